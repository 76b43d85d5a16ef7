"""skopeo as judge of our layouts, and the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_registry.model.descriptor import Descriptor
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import begin, bring
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.servers import skopeo_copy, skopeo_raw
from tests.support.validator import validate_layout


def image_of(images: ImageBuilder, kind: str) -> BuiltImage:
    return images.image() if kind == "image" else images.index(["linux/amd64", "linux/arm64/v8"])


@pytest.mark.parametrize("kind", ["image", "index"])
def test_skopeo_reads_what_we_wrote(tmp_path: Path, images: ImageBuilder, kind: str) -> None:
    image = image_of(images, kind)
    ours = LayoutRepository(tmp_path / "ours")
    bring(ours, images.with_referrers(images.image()), "other")
    bring(ours, image, "1.0")
    writer = begin(ours, None)  # an upload under way does not get in anybody's way
    writer.write(memoryview(b"half"))

    assert skopeo_raw(f"oci:{tmp_path}/ours:1.0") == image.content
    skopeo_copy(f"oci:{tmp_path}/ours:1.0", f"oci:{tmp_path}/theirs:2.0")
    writer.abort()

    theirs = LayoutRepository(tmp_path / "theirs")
    assert theirs.tags() == ["2.0"]
    assert theirs.resolve("2.0").digest == theirs.resolve("").digest == image.digest
    assert theirs.manifest(theirs.resolve("2.0")).content == image.content
    everything = [Descriptor(kind, digest, len(content)) for digest, (kind, content) in image.manifests.items()]  # type: ignore[arg-type]
    assert theirs.exists(everything) == set(everything)


def test_both_write_into_one_layout(tmp_path: Path, images: ImageBuilder) -> None:
    first, second, third = images.image(), images.index(), images.image()
    bring(LayoutRepository(tmp_path / "source"), second, "2.0")
    shared = LayoutRepository(tmp_path / "shared")
    bring(shared, first, "1.0")
    skopeo_copy(f"oci:{tmp_path}/source:2.0", f"oci:{tmp_path}/shared:2.0")
    bring(shared, third, "3.0")
    assert shared.tags() == ["1.0", "2.0", "3.0"]
    for tag, image in (("1.0", first), ("2.0", second), ("3.0", third)):
        assert skopeo_raw(f"oci:{tmp_path}/shared:{tag}") == image.content
        assert validate_layout(tmp_path / "shared", tag).problems == []


def test_a_full_reference_as_skopeo_writes_it(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(tmp_path / "ours"), image, "1.0")
    skopeo_copy(f"oci:{tmp_path}/ours:1.0", f"oci:{tmp_path}/theirs:docker.io/library/app:7")
    theirs = LayoutRepository(tmp_path / "theirs")
    assert theirs.tags() == ["7"]
    assert theirs.resolve("7").digest == image.digest


def test_a_repository_of_a_tree_is_read_by_its_directory(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(tmp_path, "team/app"), image, "1.0")
    assert skopeo_raw(f"oci:{tmp_path}/team/app/_layout:1.0") == image.content
