"""Manifests: every kind is understood, and nothing else gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ci_registry.errors import InputFileError, UsageError
from ci_registry.model import manifest as model
from ci_registry.model.descriptor import Descriptor, Digest, Platform, digest_of
from ci_registry.model.manifest import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    dump,
    is_attestation,
    is_foreign,
    opening_type,
    parse_manifest,
)
from tests.support.images import BuiltImage, ImageBuilder

DIGEST = "sha256:" + "0123456789abcdef" * 4


def parsed(image: BuiltImage, media_type: str = "") -> Manifest:
    return parse_manifest(image.content, media_type)


def one(**changes: Any) -> dict[str, Any]:
    """A small image manifest; a value of None leaves its key out."""
    document = {
        "schemaVersion": 2,
        "mediaType": model.OCI_MANIFEST,
        "config": {"mediaType": model.OCI_CONFIG, "digest": DIGEST, "size": 2},
        "layers": [],
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


# -- what is understood ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
def test_an_image(images: ImageBuilder, docker: bool) -> None:
    image = images.image(3, docker=docker)
    found = parsed(image)
    assert found.media_type == (model.DOCKER_MANIFEST if docker else model.OCI_MANIFEST)
    assert (found.digest, found.content, found.descriptor.size) == (image.digest, image.content, len(image.content))
    assert not found.is_index
    assert found.config is not None
    assert found.config.media_type == (model.DOCKER_CONFIG if docker else model.OCI_CONFIG)
    assert {str(blob.digest) for blob in found.blobs()} == set(image.blobs)
    assert list(found.successors()) == [found.config, *found.layers]
    assert (found.manifests, found.subject, found.artifact_type) == ((), None, "")


@pytest.mark.parametrize("docker", [False, True])
def test_an_index(images: ImageBuilder, docker: bool) -> None:
    image = images.index(["linux/amd64", "linux/arm64/v8"], docker=docker, attestations=not docker)
    found = parsed(image)
    assert found.is_index
    assert (found.config, found.layers) == (None, ())
    assert list(found.successors()) == list(found.manifests)
    assert len(found.manifests) == (2 if docker else 4)
    assert found.platforms() == [Platform("linux", "amd64"), Platform("linux", "arm64", "v8")]


def test_an_artifact(images: ImageBuilder) -> None:
    subject = images.image()
    found = parsed(images.artifact(subject, "application/vnd.example.x", annotations={"a": "b"}))
    assert found.subject is not None
    assert found.subject.digest == subject.digest
    assert found.subject not in set(found.successors())
    listed = found.as_referrer()
    assert (listed.digest, listed.size, listed.media_type) == (found.digest, len(found.content), model.OCI_MANIFEST)
    assert (listed.artifact_type, listed.annotations) == ("application/vnd.example.x", {"a": "b"})


def test_an_image_with_a_subject_is_listed_by_the_type_of_its_config(images: ImageBuilder) -> None:
    found = parsed(images.image(subject=images.image()))
    assert found.as_referrer().artifact_type == model.OCI_CONFIG


def test_the_artifact_manifest_of_a_draft_keeps_its_blobs() -> None:
    blob = {"mediaType": "application/x", "digest": DIGEST, "size": 3}
    document = {"mediaType": model.OCI_ARTIFACT, "artifactType": "application/x", "blobs": [blob]}
    found = parse_manifest(dump(document))
    assert [str(each.digest) for each in found.successors()] == [DIGEST]
    assert found.artifact_type == "application/x"


@pytest.mark.parametrize(
    "stated, expected",
    [
        ("", model.OCI_MANIFEST),
        ("application/json", model.OCI_MANIFEST),
        ("text/plain; charset=utf-8", model.OCI_MANIFEST),
        (model.DOCKER_MANIFEST, model.DOCKER_MANIFEST),
        (f"{model.OCI_MANIFEST}; charset=utf-8", model.OCI_MANIFEST),
    ],
)
def test_a_manifest_may_leave_its_type_to_others(stated: str, expected: str) -> None:
    assert parse_manifest(dump(one(mediaType=None)), stated).media_type == expected


def test_an_index_may_leave_its_type_to_others() -> None:
    assert parse_manifest(dump({"schemaVersion": 2, "manifests": []})).media_type == model.OCI_INDEX


def test_its_own_type_wins(images: ImageBuilder) -> None:
    assert parsed(images.image(docker=True), "application/json").media_type == model.DOCKER_MANIFEST
    assert parsed(images.image(docker=True), model.OCI_INDEX).media_type == model.DOCKER_MANIFEST


def test_the_bytes_are_kept_as_they_are() -> None:
    content = json.dumps(one(), indent=7).encode() + b"\n\n"
    found = parse_manifest(content)
    assert (found.content, found.digest, found.descriptor.size) == (content, digest_of(content), len(content))


def test_layers_may_repeat(images: ImageBuilder) -> None:
    layer = images.layer()
    assert len(parsed(images.image([layer, layer])).layers) == 2


def test_unknown_types_of_layers_and_keys_are_no_matter() -> None:
    layer = {"mediaType": "application/vnd.unheard.of", "digest": DIGEST, "size": 1, "data": "aGk=", "x": {}}
    found = parse_manifest(dump(one(layers=[layer], extension={"deep": [1]}, schemaVersion=None)))
    assert [each.media_type for each in found.layers] == ["application/vnd.unheard.of"]


def test_what_we_make_ourselves_is_compact_and_in_order() -> None:
    assert dump({"b": 1, "a": {"ü": []}}) == '{"b":1,"a":{"ü":[]}}'.encode()


def test_the_empty_config_is_the_specification_s() -> None:
    assert model.EMPTY_CONFIG.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert model.EMPTY_CONFIG.digest == digest_of(model.EMPTY_CONFIG_BYTES)
    assert model.EMPTY_CONFIG.size == len(model.EMPTY_CONFIG_BYTES) == 2


# -- what is refused ---------------------------------------------------------------------------------------------------

SCHEMA1 = {"schemaVersion": 1, "name": "library/old", "tag": "1", "fsLayers": [], "history": []}


@pytest.mark.parametrize(
    "document, stated",
    [
        (SCHEMA1, ""),
        (SCHEMA1, "application/json"),
        ({**SCHEMA1, "signatures": []}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({**SCHEMA1, "schemaVersion": 2}, "application/vnd.docker.distribution.manifest.v1+json"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, model.OCI_MANIFEST),
    ],
)
def test_schema_1_is_refused_with_a_cure(document: dict[str, Any], stated: str) -> None:
    with pytest.raises(UsageError, match="old:1 is a Docker schema 1 manifest") as caught:
        parse_manifest(dump(document), stated, "old:1")
    assert type(caught.value) is UsageError
    assert caught.value.exit_code == 2
    assert "push the image again with Docker 1.10" in caught.value.hint


CHILD = {"mediaType": model.OCI_MANIFEST, "digest": DIGEST, "size": 2}
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not JSON"),
    "half": (dump(one())[:-5], "is not JSON"),
    "binary": (bytes(range(256)), "is not JSON"),
    "HTML": (b"<html>Please log in</html>", "is not JSON"),
    "too deep": (b"[" * 200_000, "is not JSON"),
    "deep inside": (b'{"a":' * 100_000, "is not JSON"),
    "a list": (b"[]", "is not a JSON object"),
    "a text": (b'"sha256"', "is not a JSON object"),
    "null": (b"null", "is not a JSON object"),
    "an empty object": (b"{}", "is neither an image manifest nor an index"),
    "another document": (b'{"Cmd": ["sh"], "architecture": "amd64"}', "is neither an image manifest nor an index"),
    "a type of something else": (b'{"mediaType": "application/x"}', "is neither an image manifest nor an index"),
    "layers that are none": (dump(one(layers={"digest": DIGEST})), "'layers' of app:1 is not a list"),
    "a layer that is none": (dump(one(layers=["x"])), "app:1 holds a descriptor that is not an object"),
    "a layer of no size": (dump(one(layers=[{"digest": DIGEST}])), "without a valid size"),
    "a layer with a path": (dump(one(layers=[{"digest": "sha256:/etc", "size": 1}])), "whose digest is wrong"),
    "a config that is none": (dump(one(config=["x"])), "the config of app:1 is not an object"),
    "no config": (dump(one(config=None)), "app:1 has no config"),
    "a config without digest": (dump(one(config={"size": 2})), "whose digest is wrong"),
    "a subject that is none": (dump(one(subject="x")), "the subject of app:1 is not an object"),
    "annotations that are none": (dump(one(annotations=["x"])), "the annotations of app:1 are not an object"),
    "an index of texts": (
        dump({"mediaType": model.OCI_INDEX, "manifests": [DIGEST]}),
        "holds a descriptor that is not an object",
    ),
    "manifests that are none": (
        dump({"mediaType": model.OCI_INDEX, "manifests": {"a": CHILD}}),
        "'manifests' of app:1 is not a list",
    ),
    "an image that is an index too": (
        dump(one(manifests=[CHILD])),
        "app:1 is an image manifest with 'manifests' in it",
    ),
    "an index that is an image too": (
        dump({**one(), "mediaType": model.OCI_INDEX, "manifests": [CHILD]}),
        "app:1 is an index with 'config' in it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_manifest(case: str) -> None:
    content, words = REFUSED[case]
    with pytest.raises(InputFileError) as caught:
        parse_manifest(content, where="app:1")
    assert "app:1" in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.exit_code == 2


def test_the_largest_manifest_and_one_byte_more() -> None:
    content = dump(one())
    whole = content + b" " * (model.MANIFEST_LIMIT - len(content))
    assert parse_manifest(whole).descriptor.size == 4 * 1024 * 1024
    with pytest.raises(InputFileError, match="app:1 has 4194305 bytes, more than the 4194304 a manifest may have"):
        parse_manifest(whole + b" ", where="app:1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CHILD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("schemaVersion", "config", "layers", "manifests", "subject", "annotations", "artifactType", "blobs")
TYPES = st.sampled_from(sorted(model.MANIFEST_TYPES))


@given(
    st.fixed_dictionaries({}, optional={"mediaType": TYPES | JSON, **dict.fromkeys(KEYS, JSON)}),
    st.just("") | TYPES | st.text(),
)
def test_any_document_is_a_manifest_or_refused(document: dict[str, Any], stated: str) -> None:
    content = json.dumps(document).encode()
    try:
        found = parse_manifest(content, stated)
    except UsageError:
        return
    assert found.content == content
    assert found.media_type in model.MANIFEST_TYPES
    assert (found.manifests == ()) or found.is_index
    assert found.as_referrer().to_json()["digest"] == found.digest
    for part in found.successors():
        assert Digest(part.digest) == part.digest


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_manifest_or_refused(content: bytes) -> None:
    try:
        parse_manifest(content)
    except UsageError as error:
        assert len(str(error)) < 500  # noqa: PT017 - most inputs raise, some do not


# -- picking a platform ------------------------------------------------------------------------------------------------


def index_of(*platforms: str) -> Manifest:
    children = [
        {
            **CHILD,
            "digest": str(digest_of(text.encode())),
            "platform": Descriptor("", Digest(DIGEST), 0, platform=Platform.parse(text)).to_json()["platform"],
        }
        for text in platforms
    ]
    return parse_manifest(dump({"mediaType": model.OCI_INDEX, "manifests": children}))


@pytest.mark.parametrize(
    "platforms, wanted, picked",
    [
        (["linux/amd64", "linux/arm64/v8"], "linux/amd64", "linux/amd64"),
        (["linux/amd64", "linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm/v5", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v7", "linux/arm"], "linux/arm", "linux/arm"),
        (["linux/arm/v7", "linux/arm/v5"], "linux/arm", "linux/arm/v7"),
        (["linux/amd64"], "linux/arm64", None),
        (["linux/amd64"], "linux/amd64/v3", None),
        (
            ["windows/amd64:10.0.17763.1", "windows/amd64:10.0.20348.2"],
            "windows/amd64:10.0.20348",
            "windows/amd64:10.0.20348.2",
        ),
        ([], "linux/amd64", None),
    ],
)
def test_the_image_for_a_platform(platforms: list[str], wanted: str, picked: str | None) -> None:
    found = index_of(*platforms).pick(Platform.parse(wanted))
    assert (found.digest if found else None) == (digest_of(picked.encode()) if picked else None)


def test_attestations_are_never_picked(images: ImageBuilder) -> None:
    index = parsed(images.index(["linux/amd64"], attestations=True))
    assert index.pick(Platform("unknown", "unknown")) is None
    assert [is_attestation(child) for child in index.manifests] == [False, True]


def test_an_attestation_is_known_by_either_sign() -> None:
    plain = Descriptor(model.OCI_MANIFEST, Digest(DIGEST), 1)
    assert not is_attestation(plain)
    assert is_attestation(replace(plain, platform=Platform("unknown", "unknown")))
    assert is_attestation(replace(plain, annotations={"vnd.docker.reference.type": "attestation-manifest"}))


@pytest.mark.parametrize(
    "media_type, urls, foreign",
    [
        (model.OCI_LAYER_GZIP, (), False),
        (model.OCI_LAYER_GZIP, ("https://example.org/x",), True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", (), True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", (), True),
        (model.DOCKER_LAYER_GZIP, (), False),
    ],
)
def test_layers_that_may_be_elsewhere(media_type: str, urls: tuple[str, ...], foreign: bool) -> None:
    assert is_foreign(Descriptor(media_type, Digest(DIGEST), 1, urls=urls)) is foreign


def test_oci_is_asked_for_first_and_schema_1_last() -> None:
    accepted = model.ACCEPT.split(", ")
    assert accepted[:2] == [model.OCI_MANIFEST, model.OCI_INDEX]
    assert set(accepted) >= model.MANIFEST_TYPES
    assert accepted[-2:] == [model.DOCKER_SCHEMA1_SIGNED, model.DOCKER_SCHEMA1]


@pytest.mark.parametrize(
    ("content", "content_type", "found"),
    [
        (b'{"schemaVersion":2,"mediaType":"%b","config":{}}' % OCI_MANIFEST.encode(), OCI_MANIFEST, OCI_MANIFEST),
        (
            b'{\n   "schemaVersion": 2,\n   "mediaType": "%b",' % OCI_INDEX.encode(),
            f"{OCI_INDEX}; charset=x",
            OCI_INDEX,
        ),
        (b'{"schemaVersion":2,"mediaType":"%b"}' % OCI_MANIFEST.encode(), OCI_INDEX, ""),
        (b'{"schemaVersion":2,"mediaType":"%b"}' % OCI_MANIFEST.encode(), "application/json", ""),
        (b'{"schemaVersion":2,"config":{"mediaType":"%b"}}' % OCI_MANIFEST.encode(), OCI_MANIFEST, ""),
        (b'{"schemaVersion":1,"mediaType":"%b"}' % DOCKER_MANIFEST.encode(), DOCKER_MANIFEST, ""),
        (b'{"schemaVersion":2,"mediaType":"text/plain"}', "text/plain", ""),
        (b"", "", ""),
    ],
)
def test_a_type_is_taken_from_the_first_bytes_only_where_they_and_the_header_agree(
    content: bytes, content_type: str, found: str
) -> None:
    assert opening_type(content, content_type) == found
