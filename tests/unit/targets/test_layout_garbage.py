"""Garbage of a layout: what goes, and what must not."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from ci_registry.errors import IntegrityError, NotFoundError, StorageError
from ci_registry.model.descriptor import Digest
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.layout_garbage import Garbage
from tests.contract.places import begin, bring, descriptor_of, write_blob
from tests.support.images import BuiltImage, ImageBuilder, write_layout
from tests.support.validator import validate_layout

AT_ONCE = -1.0


@pytest.fixture
def layout(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path, "team/app")


def stored(layout: LayoutRepository) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in layout.directory.glob("blobs/*/*")}


def size_of(image: BuiltImage) -> int:
    return sum(map(len, image.blobs.values())) + sum(len(content) for _, content in image.manifests.values())


def test_what_nothing_leads_to_is_removed(layout: LayoutRepository, images: ImageBuilder) -> None:
    gone, stays = images.index(), images.index(attestations=True)
    bring(layout, gone, "1.0")
    bring(layout, stays, "2.0")
    layout.delete_tag("1.0")
    expected = Garbage(len(gone.digests()), size_of(gone))

    assert layout.collect_garbage(AT_ONCE, dry_run=True) == expected
    assert stored(layout) == gone.digests() | stays.digests()
    assert layout.collect_garbage(AT_ONCE) == expected
    assert stored(layout) == stays.digests()
    assert layout.collect_garbage(AT_ONCE) == Garbage()

    assert validate_layout(layout.directory, "2.0").problems == []
    for each in (layout, LayoutRepository(layout.root, "team/app")):
        with pytest.raises(NotFoundError):
            each.resolve(gone.digest)
        with pytest.raises(NotFoundError):
            each.manifest(gone.root)


def test_shared_layers_stay(layout: LayoutRepository, images: ImageBuilder) -> None:
    shared = images.layer()
    bring(layout, images.image(1, shared=[shared]), "1.0")
    stays = images.image(1, shared=[shared])
    bring(layout, stays, "1.0")
    layout.collect_garbage(AT_ONCE)
    assert stored(layout) == stays.digests()
    assert validate_layout(layout.directory, "1.0").problems == []


def test_images_by_digest_stay(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.index([images.index(), "linux/s390x"])
    bring(layout, image)
    assert layout.collect_garbage(AT_ONCE) == Garbage()


def test_the_last_hour_is_spared(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.image()
    bring(layout, image, "1.0")
    layout.delete_tag("1.0")
    for digest in image.digests():
        os.utime(layout.directory / "blobs/sha256" / Digest(digest).hex, (0, 0))
    assert layout.collect_garbage() == Garbage()  # though the bytes are old, their names are new
    assert stored(layout) == image.digests()
    assert layout.collect_garbage(AT_ONCE).count == len(image.digests())


def test_a_young_manifest_keeps_its_old_parts(
    layout: LayoutRepository, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that waits for other destinations before its tag: its layers may be hours older than its manifest."""
    image, other = images.image(), images.image()
    for each in (image, other):
        for digest, content in each.blobs.items():
            write_blob(layout, content, digest)
    bring(layout, image, "1.0")
    layout.delete_tag("1.0")
    there = {path: path.stat() for path in (layout.directory / "blobs/sha256").iterdir()}
    stat = Path.stat

    def aged(path: Path, **options: bool) -> os.stat_result:
        found = stat(path, **options)
        if path not in there or path.name == image.digest.hex:
            return found
        return os.stat_result([*found[:7], 0, 0, 0])

    monkeypatch.setattr(Path, "stat", aged)
    assert layout.collect_garbage().count == len(other.blobs)
    assert stored(layout) == image.digests()


def test_a_blob_found_present_is_not_collected_under_the_copy(layout: LayoutRepository, images: ImageBuilder) -> None:
    layer = images.layer(100, opaque=True)
    assert isinstance(layer.content, bytes)
    write_blob(layout, layer.content, layer.descriptor.digest)
    path = layout.directory / "blobs/sha256" / layer.descriptor.digest.hex
    os.utime(path, (0, 0))
    write_blob(layout, layer.content, layer.descriptor.digest)
    assert time.time() - path.stat().st_mtime < 3600


def test_an_artifact_goes_with_its_subject(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.image()
    sbom = images.artifact(image)
    signature = images.artifact(sbom)
    for each, tag in ((image, "1.0"), (sbom, None), (signature, None)):
        bring(layout, each, tag)
    assert layout.collect_garbage(AT_ONCE) == Garbage()
    layout.delete_tag("1.0")
    assert layout.collect_garbage(AT_ONCE).count == len(image.digests() | sbom.digests() | signature.digests())
    assert stored(layout) == set()
    assert (layout.directory / "index.json").read_bytes().endswith(b'"manifests":[]}')


def test_an_artifact_with_a_name_stays(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.image()
    sbom = images.artifact(image)
    bring(layout, image, "1.0")
    bring(layout, sbom, "1.0-sbom")
    layout.delete_tag("1.0")
    layout.collect_garbage(AT_ONCE)
    assert stored(layout) == sbom.digests()


def test_an_artifact_whose_subject_never_was_here_stays(layout: LayoutRepository, images: ImageBuilder) -> None:
    sbom = images.artifact(images.image())
    bring(layout, sbom)
    assert layout.collect_garbage(AT_ONCE) == Garbage()
    assert stored(layout) == sbom.digests()


@pytest.mark.parametrize("removed", range(12))
def test_an_end_in_between_leaves_no_manifest_with_holes(
    layout: LayoutRepository, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    image = images.index(["linux/amd64", "linux/arm64"])
    bring(layout, image, "1.0")
    layout.delete_tag("1.0")
    unlink, left = os.unlink, [removed]

    def failing(path: Path) -> None:
        if not left[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left[0] -= 1
        unlink(path)

    monkeypatch.setattr(os, "unlink", failing)
    if removed < len(image.digests()):
        with pytest.raises(StorageError, match=r"deleting sha256:.* failed: input/output error"):
            layout.collect_garbage(AT_ONCE)
    else:
        layout.collect_garbage(AT_ONCE)
    here = stored(layout)
    for digest, (media_type, content) in image.manifests.items():
        if digest in here:
            assert {str(part.digest) for part in parse_manifest(content, media_type).successors()} <= here


def test_links_of_other_repositories_cost_nothing(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.image(1)
    bring(layout, image, "1.0")
    other = LayoutRepository(layout.root, "team/other")
    for digest, content in image.blobs.items():
        other.writer(descriptor_of(content, digest), ["team/app"])
    bring(other, image, "1.0")
    layout.delete_tag("1.0")
    assert layout.collect_garbage(AT_ONCE) == Garbage(len(image.digests()), len(image.content))
    assert validate_layout(other.directory, "1.0").problems == []


def test_a_damaged_manifest_stops_it(layout: LayoutRepository, images: ImageBuilder) -> None:
    image = images.image()
    bring(layout, image, "1.0")
    (layout.directory / "blobs/sha256" / image.digest.hex).write_bytes(b"{}")
    before = stored(layout)
    with pytest.raises(IntegrityError, match=image.digest):
        LayoutRepository(layout.root, "team/app").collect_garbage(AT_ONCE)
    assert stored(layout) == before


def test_an_index_with_absent_images_does_not(layout: LayoutRepository, images: ImageBuilder) -> None:
    image, gone = images.index(), images.image()
    layout.directory.mkdir(parents=True)
    write_layout(image, layout.directory, "1.0")
    child = next(iter(image.manifests))
    (layout.directory / "blobs/sha256" / Digest(child).hex).unlink()
    bring(layout, gone, "2.0")
    layout.delete_tag("2.0")
    layout.collect_garbage(AT_ONCE)
    left = stored(layout)
    assert set(image.manifests) - {child} <= left
    assert not gone.digests() & left


def test_files_that_are_no_blobs_are_left_alone(layout: LayoutRepository, images: ImageBuilder) -> None:
    bring(layout, images.image(), "1.0")
    (layout.directory / "blobs/sha256/README").write_text("not a blob")
    layout.collect_garbage(AT_ONCE)
    assert (layout.directory / "blobs/sha256/README").exists()


def test_unfinished_uploads_stay_while_they_are_young(layout: LayoutRepository) -> None:
    writer = begin(layout, None)
    writer.write(memoryview(b"half"))
    layout.collect_garbage(AT_ONCE)
    writer.abort()


def test_nothing_is_collected_where_there_is_no_layout(layout: LayoutRepository) -> None:
    with pytest.raises(NotFoundError, match="there is no layout"):
        layout.collect_garbage()
