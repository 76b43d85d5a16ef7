"""Telling layers by their names in what `docker save` writes."""

from __future__ import annotations

import json

import pytest

from ci_registry.model.descriptor import Digest
from ci_registry.targets.daemon_layers import LayerNames

# An image built from scratch by Docker 20.10.24, and the directories in what it saved.
IMAGE = Digest("sha256:effa80e0ce932586a83958cae11de448fdbada0dc7f8d5a49c68c160716e08ae")
LAYERS = [
    Digest("sha256:53f73036406ae161ef018f9a2bd2c7c64f31ff1a2345f2f287d575ad7b6d3a61"),
    Digest("sha256:5bb2252088beb31a7211167de6a9f7a72a00eac9a22a70b0ee9e94232bd91acb"),
    Digest("sha256:3c582af8510f5ade4e662fe0669218302730a18b721118f2e2f050db3bdce0b4"),
]
NAMES = [
    "625e6bf2ea88dbfee6cc6cc8cfdc862026b8a0fe95cd7a4e66c3bcdfea3cf8cc/layer.tar",
    "5a21ca27c04ce4f163043b576a28e1d45db4f6a0ca0f80f3bad9df1e3233fe72/layer.tar",
    "4ecdc3a817ecdd48cbcc99482ad1f4efd2f05032c95306c3598eef6e013d0cf7/layer.tar",
]
CONTAINER_CONFIG = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def test_docker_before_25_names_layers_by_ids_that_can_be_computed() -> None:
    # in the order of the tar, which is that of the names
    names = LayerNames(IMAGE, LAYERS)
    assert [names.layer(name) for name in sorted(NAMES)] == [LAYERS[2], LAYERS[1], LAYERS[0]]
    assert names.is_config(f"{IMAGE.hex}.json")
    assert not names.is_config("manifest.json")


@pytest.mark.parametrize("form", ["blobs/sha256/{}", "{}.tar"])
def test_others_name_layers_by_their_diffids(form: str) -> None:
    names = LayerNames(IMAGE, LAYERS)
    for layer in LAYERS:
        assert names.is_layer(form.format(layer.hex))
        assert names.layer(form.format(layer.hex)) == layer
    assert names.is_config(f"blobs/sha256/{IMAGE.hex}")
    assert not names.is_layer(f"blobs/sha256/{IMAGE.hex}")
    assert not names.is_layer(f"{LAYERS[0].hex}/VERSION")


def test_only_one_name_can_be_the_last_layer_s() -> None:
    names = LayerNames(IMAGE, LAYERS)
    first, second = f"{'1' * 64}/layer.tar", f"{'2' * 64}/layer.tar"
    assert [names.layer(name) for name in (first, second, first)] == [LAYERS[2], None, LAYERS[2]]


def test_a_daemon_in_another_time_zone_is_learned_from() -> None:
    """The ids hold the epoch as that daemon writes it; each layer's document tells before the layer comes."""
    here = {"created": "1970-01-01T01:00:00+01:00", "container_config": CONTAINER_CONFIG, "os": "linux"}
    names = LayerNames(IMAGE, LAYERS)
    lowest = "8a07bd38b5e9ab1cc30c9a94ccc6fbd5be8d64c2c0e8a22bd2ed0b3f4b1ab4d7"
    assert names.is_v1_document(f"{lowest}/json")
    names.learn(json.dumps({"id": lowest, **here}).encode())
    expected = _v1_id(LAYERS[0], here["created"])
    assert names.layer(f"{expected}/layer.tar") == LAYERS[0]
    assert not names.is_v1_document(f"{expected}/json")
    # the names of a daemon in UTC are still known
    assert names.layer(NAMES[0]) == LAYERS[0]


def _v1_id(layer: Digest, created: object) -> str:
    import hashlib

    document = {"container_config": CONTAINER_CONFIG, "created": created, "layer_id": layer}
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"created": 1}'])
def test_documents_that_tell_nothing(content: bytes) -> None:
    names = LayerNames(IMAGE, LAYERS)
    names.learn(content)
    assert names.layer(NAMES[0]) == LAYERS[0]


def test_an_image_without_layers() -> None:
    assert LayerNames(IMAGE, []).layer(NAMES[0]) is None
