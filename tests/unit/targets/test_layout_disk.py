"""Layouts on real disks: full, read-only, cut off by a crash, shared by processes; and what is synced when."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_registry.errors import IntegrityError, RemoteError, StorageError
from ci_registry.model.descriptor import Descriptor
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets import disk, layout_directory, layout_index
from ci_registry.targets.base import Mounted, Present
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import BLOB, begin, bring, descriptor_of, read_all, write_blob
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.process import temporary_directory, wait_until
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


# -- crashes -----------------------------------------------------------------------------------------------------------


def test_data_is_on_the_disk_before_names_lead_to_it(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of system calls: each file is synced before it is renamed, and all names of blobs before the index."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(fd: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def spy_replace(source: Path, target: Path) -> None:
        calls.append(("from", str(source)))
        calls.append(("to", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    bring(LayoutRepository(directory), images.index(), "1.0")

    for position, (call, path) in enumerate(calls):
        if call == "from":
            assert ("sync", path) in calls[:position]
    tagged = max(position for position, call in enumerate(calls) if call == ("to", f"{directory}/index.json"))
    renamed = [position for position, (call, path) in enumerate(calls) if call == "to" and "/blobs/" in path]
    assert len(renamed) == len(list((directory / "blobs/sha256").iterdir()))
    assert max(renamed) < calls.index(("sync", f"{directory}/blobs/sha256"), max(renamed)) < tagged
    assert ("sync", str(directory)) in calls[tagged:]


ROOT = Path(__file__).parents[3]
PUSH_TAGS = """
import sys, zlib
from pathlib import Path
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import bring
from tests.support.images import ImageBuilder
directory, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
layout, images = LayoutRepository(directory), ImageBuilder(zlib.crc32(name.encode()))
sys.stdin.readline()
for number in range(count):
    bring(layout, images.image(1, layer_bytes=100), f"{name}-{number}")
    print(f"{name}-{number}", flush=True)
"""


def push_tags(directory: Path, name: str, count: int) -> subprocess.Popen[str]:
    """A process that adds `count` images once it gets a line, and prints each tag when it is there."""
    command = [sys.executable, "-c", PUSH_TAGS, str(directory), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_processes_that_write_at_once_lose_no_tag(directory: Path) -> None:
    processes = [push_tags(directory, name, 25) for name in "abcd"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    expected = sorted(tag for tags in printed for tag in tags)
    assert len(expected) == 100
    assert LayoutRepository(directory).tags() == expected
    assert validate_layout(directory).problems == []
    assert leftovers(directory) == []


def test_a_process_that_is_killed_leaves_a_sound_layout(directory: Path, images: ImageBuilder) -> None:
    process = push_tags(directory, "x", 10_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    printed = [process.stdout.readline().strip() for _ in range(15)]
    process.kill()
    printed += process.communicate(timeout=20)[0].split()

    layout = LayoutRepository(directory)
    assert set(printed) <= set(layout.tags())
    assert validate_layout(directory).problems == []
    bring(layout, images.image(), "after")
    assert "after" in layout.tags()


def test_threads_that_write_at_once_share_writes_of_the_index(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.image()
    layout = LayoutRepository(directory)
    bring(layout, image, "first")
    written: list[Path] = []
    waiting = threading.Barrier(8)
    replace_file = disk.replace_file

    def slow(path: Path, content: bytes) -> None:
        written.append(path)
        wait_until(lambda: waiting.n_waiting == 0, "all threads")
        time.sleep(0.05)
        replace_file(path, content)

    monkeypatch.setattr(layout_index, "replace_file", slow)

    def put(tag: str) -> None:
        waiting.wait(10)
        layout.put_manifest(parse_manifest(image.content), tag)

    threads = [threading.Thread(target=put, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert LayoutRepository(directory).tags() == ["first", *(f"t{number}" for number in range(8))]
    assert len(written) < 8


def test_a_lock_that_another_process_keeps_is_an_error(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LayoutRepository(directory)
    bring(layout, images.image(), "1.0")
    monkeypatch.setattr(layout_index, "_LOCK_SECONDS", 0.05)
    with (directory / "oci-layout").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process has kept it locked") as caught:
            layout.delete_tag("1.0")
    assert "fuser" in caught.value.hint
    layout.delete_tag("1.0")


def test_a_lock_on_a_file_that_was_replaced_is_taken_again(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tools write oci-layout anew; a lock on the old file would keep nobody out."""
    layout = LayoutRepository(directory)
    bring(layout, images.image(), "1.0")
    path, flock = directory / "oci-layout", fcntl.flock
    locked: list[bool] = []

    def replaced_meanwhile(fd: int, operation: int) -> None:
        if not locked:
            (directory / "new").write_bytes(path.read_bytes())
            (directory / "new").rename(path)
        flock(fd, operation)
        locked.append(os.path.samestat(os.fstat(fd), path.stat()))

    monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
    layout.delete_tag("1.0")
    assert locked == [False, True]


def test_a_part_that_vanishes_at_the_last_moment_keeps_the_tag_away(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may collect garbage until the index is locked."""
    layout, image = LayoutRepository(directory), images.image(1)
    bring(layout, image)
    layout.delete_manifest(image.root)

    def collected() -> None:
        assert LayoutRepository(directory).collect_garbage(-1).count

    monkeypatch.setattr(layout._blobs, "sync", collected)
    with pytest.raises(RemoteError, match="is not there"):
        layout.put_manifest(parse_manifest(image.content), "1.0")
    assert LayoutRepository(directory).tags() == []


def test_a_manifest_without_its_parts_is_not_even_written(directory: Path, images: ImageBuilder) -> None:
    image = images.image(1)
    with pytest.raises(RemoteError):
        LayoutRepository(directory).put_manifest(parse_manifest(image.content), "1.0")
    assert list((directory / "blobs/sha256").iterdir()) == []


def test_a_manifest_that_an_index_takes_up_meanwhile_is_not_deleted(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, image = LayoutRepository(directory), images.image()
    bring(layout, image)
    change = layout._index.change

    def change_and_another(edit: layout_index.Edit) -> None:
        change(edit)
        bring(LayoutRepository(directory), images.index([image]), "1.0")

    monkeypatch.setattr(layout._index, "change", change_and_another)
    layout.delete_manifest(image.root)
    assert validate_layout(directory, "1.0").problems == []


def test_who_sees_a_layout_finds_its_index(
    directory: Path, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes read while the first one makes the layout."""
    made = []

    def look(path: Path, content: bytes) -> None:
        disk.create_file(path, content)
        made.append(path.name)
        if LayoutRepository(directory).tagged("1.0") is None and not LayoutRepository(directory).is_new():
            assert LayoutRepository(directory).tags() == []

    monkeypatch.setattr(layout_directory, "create_file", look)
    bring(LayoutRepository(directory), images.image(), "1.0")
    assert sorted(made) == ["index.json", "oci-layout"]


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
