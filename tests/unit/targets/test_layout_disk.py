"""Layouts on disks that are full or may not be written: each has its sentence, and nothing half-written stays."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_registry.errors import StorageError
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import begin, bring, read_all, write_blob
from tests.support.images import ImageBuilder
from tests.support.process import temporary_directory
from tests.support.validator import validate_layout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(".*"))


# -- a full disk -------------------------------------------------------------------------------------------------------


@dataclass
class SmallDisk:
    """A directory that holds 300 kB and no 600 kB; inside `filling` the kernel says why."""

    root: Path
    reason: str
    filling: Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def limited_files(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow above `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """A file system of its own for root; others get a limit on the size of files, which fails at the same calls."""
    root = temporary_directory()
    if os.geteuid():
        yield SmallDisk(root, "file too large", lambda: limited_files(500_000))
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(root)], check=True, timeout=20)
    try:
        yield SmallDisk(root, "no space left on device", contextlib.nullcontext)
    finally:
        subprocess.run(["umount", str(root)], check=True, timeout=20)


def test_a_full_disk_leaves_nothing_behind(small_disk: SmallDisk, images: ImageBuilder) -> None:
    layout = LayoutRepository(small_disk.root / "layout")
    fits, too_big = images.image(1, layer_bytes=100_000), images.layer(600_000, opaque=True)
    bring(layout, fits, "1.0")
    assert isinstance(too_big.content, bytes)
    writer = begin(layout, too_big.descriptor)

    with small_disk.filling(), pytest.raises(StorageError) as caught:
        writer.write(memoryview(too_big.content))

    assert f"writing {too_big.descriptor.digest} to oci:{small_disk.root}/layout failed" in str(caught.value)
    assert small_disk.reason in str(caught.value)
    assert str(layout.directory) in str(caught.value)
    assert caught.value.exit_code == 7
    assert caught.value.hint
    writer.abort()
    assert leftovers(layout.directory) == []
    assert validate_layout(layout.directory, "1.0").problems == []
    # once there is room again, nothing stands in the way
    bring(layout, images.image(1, layer_bytes=100_000), "2.0")


def test_an_index_that_does_not_fit_stays_as_it_was(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    image = images.image(1)
    bring(layout, image, "1.0")
    for number in range(12):
        layout.put_manifest(parse_manifest(image.content), f"a-tag-that-takes-some-room-{number}")
    before = (directory / "index.json").read_bytes()
    with (
        limited_files(len(before) - 10),
        pytest.raises(StorageError, match=r"writing oci:.* failed: file too large .*index\.json"),
    ):
        layout.put_manifest(parse_manifest(image.content), "one-more")
    assert (directory / "index.json").read_bytes() == before
    assert leftovers(directory) == []
    assert "one-more" not in layout.tags()
    layout.put_manifest(parse_manifest(image.content), "one-more")
    assert "one-more" in LayoutRepository(directory).tags()


def test_a_manifest_that_does_not_fit_leaves_nothing(directory: Path, images: ImageBuilder) -> None:
    layout = LayoutRepository(directory)
    image = images.image(1)
    for digest, content in image.blobs.items():
        write_blob(layout, content, digest)
    with limited_files(100), pytest.raises(StorageError, match=f"writing {image.digest} to oci:.*file too large"):
        layout.put_manifest(parse_manifest(image.content), "1.0")
    assert leftovers(directory) == []
    assert layout.tags() == []
    assert not (directory / "blobs/sha256" / image.digest.hex).exists()


# -- no permission -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """As a user to whom permissions apply."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A directory that may be looked at and not written to."""
    root = temporary_directory()
    root.chmod(0o555)
    yield root
    root.chmod(0o700)


def test_a_directory_that_may_not_be_written(forbidden: Path) -> None:
    for root in (forbidden, forbidden / "layout"):
        with as_somebody(), pytest.raises(StorageError) as caught:
            begin(LayoutRepository(root), None)
        assert f"writing to oci:{root} failed: permission denied ({root})" in str(caught.value)
        assert caught.value.exit_code == 7
        assert "right" in caught.value.hint


def test_a_layout_that_may_be_read_and_not_written(forbidden: Path, images: ImageBuilder) -> None:
    forbidden.chmod(0o755)
    image = images.image()
    bring(LayoutRepository(forbidden), image, "1.0")
    for path in (forbidden, forbidden / "blobs/sha256"):
        path.chmod(0o555)
    for path in forbidden.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    with as_somebody():
        layout = LayoutRepository(forbidden)
        assert layout.resolve("1.0").digest == image.digest
        with pytest.raises(StorageError, match="permission denied"):
            bring(layout, images.image(), "2.0")
        with pytest.raises(StorageError, match=r"locking oci:.* failed: permission denied .*oci-layout"):
            layout.delete_tag("1.0")
    for path in (forbidden / "blobs/sha256", forbidden / "blobs"):
        path.chmod(0o700)


def test_a_blob_that_may_not_be_read(forbidden: Path, images: ImageBuilder) -> None:
    forbidden.chmod(0o755)
    layer = images.layer(100, opaque=True)
    bring(LayoutRepository(forbidden), images.image([layer]), "1.0")
    path = forbidden / "blobs/sha256" / layer.descriptor.digest.hex
    path.chmod(0)
    with as_somebody(), pytest.raises(StorageError, match=f"reading {layer.descriptor.digest} .*permission denied"):
        read_all(LayoutRepository(forbidden), layer.descriptor)


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_file_where_a_directory_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=f"writing to oci:{tmp_path}/file{below} failed") as caught:
        begin(LayoutRepository(Path(f"{tmp_path}/file{below}")), None)
    assert "path" in caught.value.hint
