"""Layouts that are cut off by a crash, or shared by processes and threads: what is synced when, and who may write."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ci_registry.errors import RemoteError, StorageError
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets import disk, layout_directory, layout_index
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import bring
from tests.support.images import ImageBuilder
from tests.support.process import wait_until
from tests.support.validator import validate_layout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(".*"))


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
