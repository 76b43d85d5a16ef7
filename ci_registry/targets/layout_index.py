"""`index.json` of a layout: which manifests it holds, and by which names (OCI image-spec, image-layout.md).

Writers, in this process and in others, take turns by a lock on the file `oci-layout`, which every layout has and
nobody needs to change: no other file is left behind. Readers need no lock, since the index is replaced whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..errors import CiRegistryError, InputFileError, StorageError
from ..model.descriptor import Descriptor
from ..model.manifest import OCI_INDEX, dump
from .disk import disk_errors, replace_file, sync_directory

__all__ = ["EMPTY_INDEX", "REF_NAME", "Edit", "Entry", "IndexFile"]

REF_NAME = "org.opencontainers.image.ref.name"
EMPTY_INDEX = dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
INDEX_LIMIT = 64 * 1024 * 1024
_LOCK_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 0.05


class Entry(Struct, frozen=True):
    """One manifest of the index; `document` is its descriptor as it stands in the file, unknown keys included."""

    descriptor: Descriptor
    document: Mapping[str, Any]
    name: str
    """The reference name, "" for none: a bare tag, or a full reference as some tools write it."""
    tag: str
    """The tag in `name`."""

    @classmethod
    def from_json(cls, value: object, where: str) -> Entry:
        descriptor = Descriptor.from_json(value, where)
        assert isinstance(value, Mapping)  # noqa: S101 - from_json refused anything else
        name = descriptor.annotations.get(REF_NAME, "")
        return cls(descriptor, value, name, _tag_part(name))

    @classmethod
    def of(cls, descriptor: Descriptor, name: str = "") -> Entry:
        """An entry of our own, under a bare tag or without a name."""
        document = descriptor.to_json()
        if name:
            document["annotations"] = {**document.get("annotations", {}), REF_NAME: name}
        return cls(descriptor, document, name, _tag_part(name))


def _tag_part(name: str) -> str:
    path, at, _ = name.partition("@")
    if "/" not in path and ":" not in path:
        return "" if at else path
    last = path.rpartition("/")[2]
    return last.partition(":")[2] or ("" if at else "latest")


Edit = Callable[[list[Entry]], list[Entry]]


class _Request:
    """One change that waits for its turn."""

    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.done = False
        self.error: CiRegistryError | None = None


class IndexFile:
    """Reads and changes the index of the layout in `directory`; `name` is the place's name in messages."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / "index.json"
        self._lock_path = directory / "oci-layout"
        self._name = name
        self._known: tuple[bytes | None, dict[str, Any], list[Entry]] = (None, {}, [])
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def read(self) -> list[Entry]:
        """The entries as they are now. Raises `InputFileError` for a file that is no index."""
        return self._read()[2]

    def _read(self) -> tuple[bytes | None, dict[str, Any], list[Entry]]:
        content = self._content()
        known = self._known
        # Reading again is cheap and parsing is not; times and inode numbers repeat too soon to tell files apart.
        if content != known[0]:
            known = self._known = (content, *self._parse(content))
        return known

    def _content(self) -> bytes:
        try:
            with disk_errors(f"reading {self._name}", self.path), self.path.open("rb") as file:
                content = file.read(INDEX_LIMIT + 1)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InputFileError(f"{self._name} is not an OCI layout: {self.path} is missing") from error
            raise
        if len(content) > INDEX_LIMIT:
            raise InputFileError(f"{self._name} can't be read: {self.path} has more than {INDEX_LIMIT} bytes")
        return content

    def _parse(self, content: bytes) -> tuple[dict[str, Any], list[Entry]]:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"{self._name} can't be read: {self.path} is not JSON ({error})") from error
        manifests = document.get("manifests") if isinstance(document, dict) else None
        if not isinstance(manifests, list) or document.get("schemaVersion", 2) != 2:
            raise InputFileError(f"{self._name} can't be read: {self.path} is not an OCI image index")
        return document, [Entry.from_json(value, str(self.path)) for value in manifests]

    def change(self, edit: Edit) -> None:
        """Let `edit` make new entries of the present ones, and put them on the disk before this returns.

        Changes that wait at the same time are written together; `edit` may be called again and must only look at the
        layout. An error that it raises leaves the index as it was.
        """
        request = _Request(edit)
        with self._queue_lock:
            self._queue.append(request)
        with self._turn:
            if not request.done:
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                # Not in the queue when the thread that took it was interrupted.
                self._carry_out(batch if request in batch else [*batch, request])
        if request.error is not None:
            raise request.error

    def _carry_out(self, batch: list[_Request]) -> None:
        try:
            with self.lock():
                self._apply(batch)
        except CiRegistryError as error:
            for request in batch:
                request.error = request.error or error
        for request in batch:
            request.done = True

    def _apply(self, batch: list[_Request]) -> None:
        entries = before = self.read()
        for request in batch:
            try:
                entries = request.edit(entries)
            except CiRegistryError as error:
                request.error = error
        if entries != before:
            self.write(entries)

    def write(self, entries: list[Entry]) -> None:
        """Put these entries in place of the present ones; only for who holds the lock."""
        document = {**self._read()[1], "manifests": [entry.document for entry in entries]}
        content = dump(document)
        with disk_errors(f"writing {self._name}", self.path):
            replace_file(self.path, content)
            sync_directory(self.path.parent)
        self._known = (content, document, entries)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all other writers of this layout out; raises `StorageError` when one stays longer than a minute."""
        with disk_errors(f"locking {self._name}", self._lock_path):
            fd = self._locked_file()
        try:
            yield
        finally:
            os.close(fd)

    def _locked_file(self) -> int:
        end = time.monotonic() + _LOCK_SECONDS
        pause = 0.001
        while True:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another tool may have replaced the file meanwhile; a lock on the old one keeps nobody out.
                if os.path.samestat(os.fstat(fd), self._lock_path.stat()):
                    return fd
            except BlockingIOError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if time.monotonic() > end:
                raise StorageError(
                    f"writing {self._name} failed: another process has kept it locked for {_LOCK_SECONDS:.0f} seconds",
                    hint=f"see which with `fuser {self._lock_path}`",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
