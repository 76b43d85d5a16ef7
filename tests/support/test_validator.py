"""The validator finds what is wrong with an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .docker_registry import DockerRegistry
from .fake_registry import FakeRegistry, actions
from .images import BuiltImage, ImageBuilder, upload, write_layout
from .spaces import RegistrySpace
from .validator import validate_layout, validate_registry


def path_of(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.replace(":", "/")


@pytest.fixture
def layout(images: ImageBuilder, tmp_path: Path) -> tuple[Path, BuiltImage]:
    image = images.index()
    return write_layout(image, tmp_path, "1"), image


def test_a_whole_image_has_no_problems(layout: tuple[Path, BuiltImage], registry: RegistrySpace) -> None:
    directory, image = layout
    registry.upload(image)
    for result in (validate_layout(directory, "1"), registry.validate(), registry.validate(tag=image.digest)):
        assert result.problems == []
        assert result.root == image.digest
        assert result.digests == image.digests()


def test_every_missing_piece_is_found(layout: tuple[Path, BuiltImage]) -> None:
    directory, image = layout
    for digest in image.digests():
        content = path_of(directory, digest).read_bytes()
        path_of(directory, digest).unlink()
        assert f"{digest} is missing" in " ".join(validate_layout(directory, "1").problems)
        path_of(directory, digest).write_bytes(content)
    assert validate_layout(directory, "1").problems == []


def test_altered_bytes_a_wrong_size_and_strays_are_found(layout: tuple[Path, BuiltImage]) -> None:
    directory, image = layout
    digest = next(iter(image.blobs))
    path_of(directory, digest).write_bytes(image.blobs[digest][:-1] + b"?")
    index = json.loads((directory / "index.json").read_bytes())
    index["manifests"][0]["size"] += 1
    (directory / "index.json").write_text(json.dumps(index))
    path_of(directory, "sha256:tmp123").write_bytes(b"half")
    first, second, third = validate_layout(directory, "1").problems
    assert first == f"{image.digest} has {len(image.content)} bytes, but index.json says {len(image.content) + 1}"
    assert second.startswith(f"{digest} has the content of sha256:")
    assert third == "blobs/sha256/tmp123 is no blob"


def test_a_missing_and_a_doubled_tag_are_found(layout: tuple[Path, BuiltImage], images: ImageBuilder) -> None:
    directory, _ = layout
    assert validate_layout(directory, "none").problems == ["0 entries of index.json have the tag 'none'"]
    write_layout(images.image(), directory, "1")
    assert validate_layout(directory, "1").problems == ["2 entries of index.json have the tag '1'"]


def test_a_damaged_registry_is_found(images: ImageBuilder) -> None:
    image = images.image()
    blob = image.document["layers"][0]["digest"]
    with DockerRegistry() as server:
        upload(image, server.url, "app", "1")
        content = server.blob_path(blob).read_bytes()
        server.blob_path(blob).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (problem,) = validate_registry(server.url, "app", "1").problems
        assert problem.startswith(f"{blob} has the content of sha256:")
        server.blob_path(blob).unlink()
        assert validate_registry(server.url, "app", "1").problems == [f"{blob} is missing (wanted by {image.digest})"]
        assert validate_registry(server.url, "app", "2").problems == ["app:2 answers 404"]


def test_a_lying_digest_header_is_found(fake_registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    other = images.image().digest
    fake_registry.load(image, "app", "1")
    fake_registry.script("GET", "/manifests/1", actions.header("Docker-Content-Digest", other))
    (problem,) = validate_registry(fake_registry.url, "app", "1").problems
    assert problem == f"1: Docker-Content-Digest says {other}, the content is {image.digest}"
