"""Uploads to a layout: gone on with, given up, and mounts in place of them."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from ci_registry.errors import IntegrityError, StorageError
from ci_registry.model.descriptor import Descriptor
from ci_registry.targets.base import Mounted, Present
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import BLOB, begin, bring, descriptor_of, read_all
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.validator import validate_layout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(".*"))


# -- uploads -----------------------------------------------------------------------------------------------------------


def half_written(layout: LayoutRepository, images: ImageBuilder) -> tuple[bytes, Descriptor, dict[str, object]]:
    """An upload that its process left: content, descriptor, session."""
    layer = images.layer(10_000, opaque=True)
    assert isinstance(layer.content, bytes)
    descriptor = Descriptor(BLOB, layer.descriptor.digest, 10_000)
    writer = begin(layout, descriptor)
    writer.write(memoryview(layer.content)[:6000])
    session = json.loads(json.dumps(writer.session))
    assert session["offset"] == 6000
    writer._file.close()  # type: ignore[attr-defined]
    return layer.content, descriptor, session


def test_an_upload_goes_on_where_it_was(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    content, descriptor, session = half_written(layout, images)
    writer = layout.writer(descriptor, session=session)
    assert not isinstance(writer, Present | Mounted)
    assert writer.offset == 6000
    writer.write(memoryview(content)[6000:])
    writer.commit(descriptor.digest)
    assert read_all(layout, descriptor) == content
    assert leftovers(directory) == []


def test_only_one_goes_on_with_an_upload(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    _, descriptor, session = half_written(layout, images)
    first = layout.writer(descriptor, session=session)
    second = layout.writer(descriptor, session=session)
    assert not isinstance(first, Present | Mounted)
    assert not isinstance(second, Present | Mounted)
    assert (first.offset, second.offset) == (6000, 0)
    first.abort()
    second.abort()
    assert leftovers(directory) == []


def test_wrong_bytes_from_before_are_found_out(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    content, descriptor, session = half_written(layout, images)
    Path(str(session["path"])).write_bytes(bytes(6000))
    writer = layout.writer(descriptor, session=session)
    assert not isinstance(writer, Present | Mounted)
    writer.write(memoryview(content)[6000:])
    with pytest.raises(IntegrityError, match="the digest of what was written is"):
        writer.commit(descriptor.digest)
    assert leftovers(directory) == []
    again = layout.writer(descriptor, session=session)
    assert not isinstance(again, Present | Mounted)
    assert again.offset == 0
    again.abort()


def test_more_bytes_than_there_should_be_begin_anew(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    _, descriptor, session = half_written(layout, images)
    Path(str(session["path"])).write_bytes(bytes(10_001))
    writer = layout.writer(descriptor, session=session)
    assert not isinstance(writer, Present | Mounted)
    assert writer.offset == 0
    writer.abort()
    assert leftovers(directory) == []


@pytest.mark.parametrize("path", ["../victim", "/etc/hostname", "index.json", "", None, 7, ".ci-registry-link"])
def test_a_session_leads_to_no_other_file(directory: Path, images: ImageBuilder, path: object) -> None:
    layout = LayoutRepository(directory)
    bring(layout, images.image(), "1.0")
    victim = directory.parent / "victim"
    victim.write_bytes(b"precious")
    if path == ".ci-registry-link":
        (directory / path).symlink_to(victim)
    index = (directory / "index.json").read_bytes()
    descriptor = images.layer(100, opaque=True).descriptor
    if path == ".ci-registry-link":
        with pytest.raises(StorageError):
            layout.writer(descriptor, session={"path": path, "offset": 0})
    else:
        writer = layout.writer(descriptor, session={"path": path, "offset": 0})
        assert not isinstance(writer, Present | Mounted)
        assert writer.offset == 0
        writer.abort()
    assert victim.read_bytes() == b"precious"
    assert (directory / "index.json").read_bytes() == index


def test_uploads_nobody_wrote_to_for_a_day_are_removed(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    held = begin(layout, None)
    held_path = Path(str(held.session["path"])) if held.session else directory
    _, _, young = half_written(layout, images)
    _, _, old = half_written(layout, images)
    for path in (held_path, Path(str(old["path"]))):
        os.utime(path, (time.time() - 90_000,) * 2)
    begin(LayoutRepository(directory), None).abort()
    assert leftovers(directory) == sorted([held_path.name, Path(str(young["path"])).name])
    held.abort()


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def neighbours(tmp_path: Path, images: ImageBuilder) -> tuple[LayoutRepository, LayoutRepository, BuiltImage]:
    """Two repositories of a tree, and an image that the first one has."""
    image = images.image(1)
    source = LayoutRepository(tmp_path, "team/source")
    bring(source, image, "1.0")
    return source, LayoutRepository(tmp_path, "team/target"), image


def test_a_mount_is_a_hard_link(neighbours: tuple[LayoutRepository, LayoutRepository, BuiltImage]) -> None:
    source, target, image = neighbours
    for digest, content in image.blobs.items():
        assert target.writer(descriptor_of(content, digest), ["team/source"]) == Mounted("team/source")
        name = f"blobs/sha256/{digest.partition(':')[2]}"
        assert (source.directory / name).samefile(target.directory / name)
        assert target.writer(descriptor_of(content, digest), ["team/source"]) == Present()


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(_source: Path, _target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_hard_links_a_mount_is_a_copy(
    neighbours: tuple[LayoutRepository, LayoutRepository, BuiltImage], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    source, target, image = neighbours
    begin(target, None).abort()
    refuse_links(monkeypatch, number)
    for digest, content in image.blobs.items():
        assert target.writer(descriptor_of(content, digest), ["team/source"]) == Mounted("team/source")
        assert read_all(target, descriptor_of(content, digest)) == content
        name = f"blobs/sha256/{digest.partition(':')[2]}"
        assert not (source.directory / name).samefile(target.directory / name)
    assert leftovers(target.directory) == []


def test_a_layout_is_made_where_there_are_no_hard_links(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.EPERM)
    bring(LayoutRepository(directory), images.image(), "1.0")
    assert validate_layout(directory, "1.0").problems == []


def test_a_copy_of_a_damaged_neighbour_is_refused(
    neighbours: tuple[LayoutRepository, LayoutRepository, BuiltImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, image = neighbours
    digest, content = next(iter(image.blobs.items()))
    (source.directory / "blobs/sha256" / digest.partition(":")[2]).write_bytes(bytes(len(content)))
    begin(target, None).abort()
    refuse_links(monkeypatch, errno.EXDEV)
    with pytest.raises(IntegrityError):
        target.writer(descriptor_of(content, digest), ["team/source"])
    assert target.exists([descriptor_of(content, digest)]) == set()
    assert leftovers(target.directory) == []


def test_a_neighbour_that_lacks_the_blob_is_no_help(
    neighbours: tuple[LayoutRepository, LayoutRepository, BuiltImage], images: ImageBuilder
) -> None:
    _, target, _ = neighbours
    opened = target.writer(images.layer(100, opaque=True).descriptor, ["team/source", "team/none"])
    assert not isinstance(opened, Present | Mounted)
    opened.abort()
