"""Bit for bit, whatever kind of image, in both directions, with skopeo and the validator as judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_registry.errors import IntegrityError, UsageError
from ci_registry.model.descriptor import Platform
from ci_registry.targets.layout import LayoutRepository
from tests.support.docker_registry import DockerRegistry
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import BuiltImage, ImageBuilder, upload, write_layout
from tests.support.skopeo import skopeo_copy, skopeo_raw
from tests.support.spaces import RegistrySpace
from tests.support.validator import Validation, validate_layout, validate_registry

from .copying import Copier

Build = Callable[[ImageBuilder], BuiltImage]

KINDS: dict[str, Build] = {
    "OCI image": lambda images: images.image(),
    "image without a mediaType": lambda images: images.image(media_type_field=False),
    "Docker schema 2": lambda images: images.image(docker=True),
    "zstd layers": lambda images: images.image(zstd=True),
    "index": lambda images: images.index(shared_layers=1),
    "manifest list": lambda images: images.index(docker=True),
    "attestations": lambda images: images.index(["linux/amd64", "linux/arm64"], attestations=True),
    "nested index": lambda images: images.index(
        [images.image(), images.index(["linux/arm64", images.index(["linux/s390x"])])]
    ),
    "artifact with a subject": lambda images: images.artifact(images.image()),
    "annotated": lambda images: images.image(annotations={"a.b": "ü €"}, labels={"x": "y"}),
    "no layers": lambda images: images.image(0),
    "one layer twice": lambda images: images.image(0, shared=[images.layer()] * 2),
    "large layer": lambda images: images.image([images.layer(3 << 20, opaque=True)]),
    "sha512 layer": lambda images: images.image([images.layer(algorithm="sha512")]),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_between_real_registries_and_layouts(
    registry: RegistrySpace, images: ImageBuilder, tmp_path: Path, kind: str
) -> None:
    image = KINDS[kind](images)
    registry.upload(image, "from")
    with FakeRegistry() as second, Copier.opened() as copier:
        layout = LayoutRepository(tmp_path / "layout")
        first = copier.source(registry.url, registry.repository("from"))
        # Each hop starts from what the one before has written.
        for source, target in [
            (first, copier.target(second.url)),
            (copier.source(second.url), layout),
            (LayoutRepository(tmp_path / "layout"), copier.target(registry.url, registry.repository("back"))),
        ]:
            with Copier.opened() as hop:
                copy = hop.copy(source, target)
                assert (copy.errors, copy.root) == ([], image.root)
        for found in (validate_registry(second.url, "app", "1"), validate_layout(tmp_path / "layout", "1"),
                      registry.validate("back")):  # fmt: skip
            assert (found.problems, found.root, found.digests) == ([], image.digest, image.digests())


def family(images: ImageBuilder) -> BuiltImage:
    """An index of three platforms with attestations, referrers of it and of a child, of a referrer, and signatures."""
    child = images.with_signature(images.with_referrers(images.image(platform="linux/arm64/v8")))
    image = images.index(["linux/amd64", child, "linux/arm/v7"], attestations=True)
    return images.with_signature(images.with_referrers(image), "att")


def raw(place: str, image: BuiltImage) -> list[bytes]:
    """What skopeo reads there for the tag, and for every manifest of the family by its digest."""
    name = place.rpartition(":")[0]
    digests = sorted({digest for member in image.family() for digest in member.manifests})
    return [skopeo_raw(place), *(skopeo_raw(f"{name}@{digest}") for digest in digests)]


def test_skopeo_reads_the_same_bytes_on_both_sides(registry: RegistrySpace, images: ImageBuilder) -> None:
    image = family(images)
    registry.upload(image, "from")
    with Copier.opened() as copier:
        source = copier.source(registry.url, registry.repository("from"))
        copy = copier.copy(source, copier.target(registry.url, registry.repository("to")), referrers=True)
    assert copy.errors == []
    places = [f"docker://{registry.reference(name)}" for name in ("from", "to")]
    assert raw(places[0], image) == raw(places[1], image)
    assert raw(places[1], image)[0] == image.content
    tag = f"sha256-{image.digest.hex}.att"
    assert skopeo_raw(f"docker://{registry.reference('to', tag)}") == image.signatures[tag].content


def whole_family(found: Validation, image: BuiltImage) -> bool:
    return found.problems == [] and found.referrers == {
        member.digest for member in image.family() if "subject" in member.document
    }


@pytest.mark.parametrize("source_api", [True, False])
@pytest.mark.parametrize("target_api", [True, False])
def test_referrers_with_the_api_and_without(images: ImageBuilder, source_api: bool, target_api: bool) -> None:
    image = family(images)
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.referrers_api, target.referrers_api = source_api, target_api
        source.load(image, "app", "1")
        assert copier.copy(copier.source(source.url), copier.target(target.url), referrers=True).errors == []
        assert whole_family(validate_registry(target.url, "app", "1", referrers=True), image)
        held = target.repository("app")
        for member in image.family():
            assert {digest: held.manifests[digest] for digest in member.manifests} == member.manifests
            for tag, signature in member.signatures.items():
                assert held.tags[tag] == signature.digest


def test_without_referrers_none_come_along(images: ImageBuilder) -> None:
    image = family(images)
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.load(image, "app", "1")
        copier.copy(copier.source(source.url), copier.target(target.url))
        held = target.repository("app")
        assert held.tags == {"1": image.digest}
        assert set(held.manifests) == set(image.manifests)
        assert source.count("GET", "/referrers/") == source.count("GET", "/tags/list") == 0


def test_what_skopeo_wrote_is_read_and_what_we_wrote_skopeo_reads(
    registry: RegistrySpace, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.index(attestations=True)
    write_layout(image, tmp_path / "first", "1")
    skopeo_copy(f"oci:{tmp_path / 'first'}:1", f"docker://{registry.reference('a')}")
    with Copier.opened() as copier:
        source = copier.source(registry.url, registry.repository("a"))
        assert copier.copy(source, LayoutRepository(tmp_path / "second")).errors == []
    skopeo_copy(f"oci:{tmp_path / 'second'}:1", f"docker://{registry.reference('b')}")
    assert registry.validate("b").digests == image.digests()
    assert skopeo_raw(f"docker://{registry.reference('b')}") == image.content


@pytest.mark.parametrize("present", [True, False])
def test_foreign_layers(images: ImageBuilder, present: bool) -> None:
    url = "https://layers.example/windows"
    image = images.image([images.layer(), images.foreign_layer(url, present=present)])
    with DockerRegistry(allow_urls=["^https://layers.example/"], in_memory=True) as server, Copier.opened() as copier:
        upload(image, server.url, "from", "1")
        source, target = copier.source(server.url, "from"), copier.target(server.url, "to")
        assert copier.copy(source, target).errors == []
        found = validate_registry(server.url, "to", "1")
        assert found.problems == []
        assert found.root == image.digest
        assert len(found.foreign) == (0 if present else 1)


def test_schema_1_is_refused_with_a_sentence(images: ImageBuilder) -> None:
    content = json.dumps({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": []}).encode()
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.store.put_manifest("app", kind, content, ["1"], "sha256")
        (error,) = copier.copy(copier.source(source.url), copier.target(target.url)).errors
        assert isinstance(error, UsageError)
        assert "is a Docker schema 1 manifest, an obsolete format" in error.sentence()
        assert target.count("PUT") == 0


def test_a_registry_that_stores_another_digest_is_found_out(images: ImageBuilder) -> None:
    image = images.index()
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.load(image, "app", "1")
        wrong = "sha256:" + "0" * 64
        target.script("PUT", "/manifests/1", actions.header("Docker-Content-Digest", wrong))
        (error,) = copier.copy(copier.source(source.url), copier.target(target.url)).errors
    assert isinstance(error, IntegrityError)
    assert f"the registry stored {wrong}, not {image.digest}" in error.message
    assert "changes what it stores" in error.hint


def test_one_platform(registry: RegistrySpace, images: ImageBuilder) -> None:
    image = images.index(["linux/amd64", "linux/arm64/v8"], attestations=True)
    registry.upload(image, "from")
    with Copier.opened() as copier:
        copy = copier.copy(
            copier.source(registry.url, registry.repository("from")),
            copier.target(registry.url, registry.repository("to")),
            platform=Platform.parse("linux/arm64"),
        )
    child = image.document["manifests"][1]["digest"]
    assert copy.errors == []
    found = registry.validate("to")
    assert (found.problems, found.root) == ([], child)


# -- memory ------------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_a_large_incompressible_layer_needs_less_than_64_mib(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    images = ImageBuilder(11)
    image = images.image([images.streamed_layer(512 << 20)])
    with DockerRegistry(in_memory=True) as stored:
        upload(image, stored.url, "large", "1")
        places = [f"docker://{server.host}/large:1" for server in (stored, docker_registry)]
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, sys.executable, "-m", "ci_registry", "copy", *places],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
        )
    code, peak_kib = map(int, run.stdout.splitlines()[-1].split())
    assert code == 0, run.stderr
    assert peak_kib < 64 * 1024
    assert docker_registry.blob_path(image.document["layers"][0]["digest"]).stat().st_size == 512 << 20
    docker_registry.blob_path(image.document["layers"][0]["digest"]).unlink()
