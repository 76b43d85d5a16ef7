"""A tar file that grows: blobs of known size side by side at their own places, others one after another.

It grows in a hidden file beside its destination and gets its name when it is whole, or is copied into a stream; until
then nothing of it can be seen, and it is gone when it is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
import threading
from pathlib import Path
from typing import BinaryIO

from ..errors import IntegrityError, StorageError
from ..model.descriptor import Descriptor, Digest, new_hash
from .archive_index import MemberReader
from .archive_tar import BLOCK, Member
from .disk import disk_errors, sync_directory, temporary_file
from .spool import new_spool

__all__ = ["BlobRegion", "NewArchive", "PendingBlob"]

_COPY_BYTES = 1024 * 1024
_END = b"\0" * (2 * BLOCK)


class NewArchive:
    """The file under way. `destination` is its path, or a stream that gets it at the end, or None for a file that is
    only read with `open_whole`; `name` is for people.

    `finish` or `drop` it; both may be repeated. Not finished, it leaves nothing behind.
    """

    def __init__(self, destination: Path | BinaryIO | None, name: str, spool_directory: Path | None = None) -> None:
        self.destination, self.name = destination, name
        self._spool_directory = destination.parent if isinstance(destination, Path) else spool_directory
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._end = 0
        self._members: dict[str, Member] = {}
        self._pending: list[PendingBlob] = []
        self._lock = threading.Lock()

    def _fd(self) -> int:
        if self._file is None:
            self._file = self._create()
        return self._file.fileno()

    def _create(self) -> BinaryIO:
        if not isinstance(self.destination, Path):
            return new_spool(self._spool_directory, self.name)
        with disk_errors(f"writing {self.name}", self.destination):
            if self.destination.is_dir():
                raise IsADirectoryError(21, "it is a directory")
            fd, self._path = temporary_file(self.destination.parent)
        return os.fdopen(fd, "r+b", buffering=0)

    # -- members -------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return list(self._members)

    def find(self, name: str) -> Member | None:
        """A member that is complete."""
        return self._members.get(name)

    def open(self, member: Member, offset: int = 0) -> MemberReader:
        return MemberReader(self._fd(), member, self.name, offset)

    def read(self, member: Member) -> bytes:
        with self.open(member) as reader:
            return reader.readall() or b""

    def add(self, name: str, content: bytes) -> None:
        """A small member at once."""
        with self._lock:
            offset = self._reserve(name, len(content))
            self.write_at(offset, content)
            self._members[name] = Member(name, "file", len(content), offset)

    def region(self, name: str, descriptor: Descriptor) -> BlobRegion:
        """A place for a blob of known size. One that breaks off and is begun again gets another."""
        with self._lock:
            offset = self._reserve(name, descriptor.size)
        return BlobRegion(self, name, descriptor, offset)

    def pending(self, suffix: str = "") -> PendingBlob:
        """For a blob whose size and name show at its end."""
        blob = PendingBlob(self, new_spool(self._spool_directory, f"a layer of {self.name}"), suffix)
        with self._lock:
            self._pending.append(blob)
        return blob

    def append(self, name: str, spool: BinaryIO, size: int) -> None:
        """Copy a spooled blob to the end, unless it is there already."""
        with self._lock:
            if name in self._members:
                return
            offset = self._reserve(name, size)
            with disk_errors(f"writing {self.name}", self._where):
                _copy(spool.fileno(), 0, self._fd(), offset, size)
            self._members[name] = Member(name, "file", size, offset)

    def complete(self, member: Member) -> None:
        with self._lock:
            self._members[member.name] = member

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        with disk_errors(f"writing {self.name}", self._where):
            while rest:
                count = os.pwrite(self._fd(), rest, offset)
                offset, rest = offset + count, rest[count:]

    def _reserve(self, name: str, size: int) -> int:
        """Write a header; where the bytes go."""
        header = _header(name, size)
        offset = self._end + len(header)
        self.write_at(self._end, header)
        self._end = offset + size + -size % BLOCK
        return offset

    @property
    def _where(self) -> str:
        return str(self.destination) if isinstance(self.destination, Path) else "a temporary file"

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the tar, and put it in its place or into the stream."""
        if self._file is None:
            return
        self._pack()
        self.write_at(self._end, _END)
        with disk_errors(f"writing {self.name}", self._where):
            os.ftruncate(self._fd(), self._end + len(_END))
            self._deliver()
        self.drop()

    def open_whole(self) -> BinaryIO:
        """The finished tar for reading from its start; `drop` afterwards."""
        self._pack()
        self.write_at(self._end, _END)
        os.lseek(self._fd(), 0, os.SEEK_SET)
        assert self._file is not None  # noqa: S101 - made by _fd
        return self._file

    def _pack(self) -> None:
        """Close the gaps that uploads left which broke off: nothing in the file says what they are."""
        end = 0
        for member in sorted(self._members.values(), key=lambda each: each.offset):
            header = _header(member.name, member.size)
            offset = end + len(header)
            if offset != member.offset:
                with disk_errors(f"writing {self.name}", self._where):
                    _copy(self._fd(), member.offset, self._fd(), offset, member.size)
                self.write_at(end, header)
                self.write_at(offset + member.size, b"\0" * (-member.size % BLOCK))
                self._members[member.name] = Member(member.name, "file", member.size, offset)
            end = offset + member.size + -member.size % BLOCK
        self._end = end

    def _deliver(self) -> None:
        if isinstance(self.destination, Path):
            assert self._path is not None  # noqa: S101 - made with the file
            os.fsync(self._fd())
            os.replace(self._path, self.destination)
            self._path = None
            sync_directory(self.destination.parent)
            return
        if self.destination is None:
            return
        position = 0
        while data := os.pread(self._fd(), _COPY_BYTES, position):
            self.destination.write(data)
            position += len(data)
        self.destination.flush()

    def drop(self) -> None:
        """Forget the file, if it has no name yet, and what was on its way into it."""
        while self._pending:
            self._pending.pop().close()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None


class BlobRegion:
    """A writer (`targets.base.Writer`) of a blob into its own place."""

    session = None

    def __init__(self, archive: NewArchive, name: str, descriptor: Descriptor, start: int) -> None:
        self._archive, self._name, self._descriptor, self._start = archive, name, descriptor, start
        self._hash = new_hash(descriptor.digest.algorithm)
        self.offset = 0

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:  # noqa: ARG002 - disks don't wait
        if self.offset + len(chunk) > self._descriptor.size:
            raise self._wrong(f"more than {self._descriptor.size} bytes came")
        self._archive.write_at(self._start + self.offset, chunk)
        self._hash.update(chunk)
        self.offset += len(chunk)

    def commit(self, digest: Digest) -> None:
        found = f"{digest.algorithm}:{self._hash.hexdigest()}"
        if self.offset != self._descriptor.size or found != digest:
            raise self._wrong(f"{self.offset} bytes came, whose digest is {found}")
        self._archive.complete(Member(self._name, "file", self.offset, self._start))

    def abort(self) -> None:
        pass

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"writing {self._descriptor.digest} to {self._archive.name} failed: {what}")


class PendingBlob:
    """Bytes that go into a file of their own until their size is known."""

    def __init__(self, archive: NewArchive, spool: BinaryIO, suffix: str) -> None:
        self._archive, self._spool, self._suffix = archive, spool, suffix
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        self._hash.update(rest)
        self.size += len(rest)
        with disk_errors(f"writing {self._archive.name}", "a temporary file"):
            while rest:
                rest = rest[os.write(self._spool.fileno(), rest) :]

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def append(self, prefix: str = "") -> None:
        """Make it a member, named by its digest."""
        self._archive.append(f"{prefix}{self.digest.hex}{self._suffix}", self._spool, self.size)
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._spool.close()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _copy(source: int, source_offset: int, target: int, target_offset: int, size: int) -> None:
    """Copy bytes between files, or down within one file."""
    done = 0
    while done < size:
        data = os.pread(source, min(_COPY_BYTES, size - done), source_offset + done)
        if not data:
            raise StorageError("a temporary file became shorter while it was read")
        written = 0
        while written < len(data):
            written += os.pwrite(target, data[written:], target_offset + done + written)
        done += len(data)
