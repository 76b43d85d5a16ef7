"""What is where in a tar file on disk: gone through once, then read at any offset by any number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import RawIOBase
from typing import BinaryIO

from ..errors import InputFileError, TransportError
from .archive_tar import Member, TarReader
from .disk import disk_errors

__all__ = ["MemberReader", "TarIndex"]

_HOPS = 40


class _FileInput:
    """The tar file as a `archive_tar.Input`."""

    def __init__(self, fd: int, where: str) -> None:
        self._fd, self._where = fd, where
        self._size = os.fstat(fd).st_size
        self.position = 0

    def take(self, size: int) -> bytes:
        with disk_errors("reading the archive", self._where):
            data = os.pread(self._fd, size, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        is_there = self.position + size <= self._size
        self.position = min(self.position + size, self._size)
        return is_there


class TarIndex:
    """The members of an open tar file, which this object closes. `where` names the file in errors."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file, self.where = file, where
        self._fd = file.fileno()
        reader = TarReader(_FileInput(self._fd, where), where)
        self._members = {member.name: member for member in reader}
        self.complete = reader.complete
        for member in self._members.values():
            if member.kind == "link":
                self.find(member.name)

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> Member | None:
        """The file of that name, links followed; None when there is none. Raises `InputFileError` for a circle."""
        for _ in range(_HOPS):
            member = self._members.get(name)
            if member is None or member.kind != "link":
                return member if member is not None and member.kind == "file" else None
            name = member.link
        raise InputFileError(f"reading {self.where} failed: its links go round in a circle at {name!r}")

    def read(self, name: str, limit: int) -> bytes:
        """A small file; raises `InputFileError` when it is absent or has more than `limit` bytes."""
        member = self.find(name)
        if member is None:
            raise InputFileError(f"reading {self.where} failed: it has no {name}{self._maybe_cut()}")
        if member.size > limit:
            raise InputFileError(
                f"reading {self.where} failed: {name} has {member.size} bytes, more than the {limit} it may have"
            )
        content = bytearray(member.size)
        with self.open(member) as reader:
            filled = 0
            while filled < member.size:
                filled += reader.readinto(memoryview(content)[filled:])
        return bytes(content)

    def open(self, member: Member, offset: int = 0) -> MemberReader:
        """The bytes of a member from an offset on."""
        return MemberReader(self._fd, member, self.where, offset)

    def _maybe_cut(self) -> str:
        return "" if self.complete else " (the file has no end mark, so it may be cut off)"


class MemberReader(RawIOBase):
    """Reads one member; needs no seek, so readers of one file don't disturb each other."""

    def __init__(self, fd: int, member: Member, where: str, offset: int = 0) -> None:
        super().__init__()
        self._fd, self._member, self._where = fd, member, where
        self._offset = offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._member.size - self._offset)
        if wanted <= 0:
            return 0
        with disk_errors("reading the archive", self._where):
            count = os.preadv(self._fd, [memoryview(buffer)[:wanted]], self._member.offset + self._offset)
        if count == 0:
            broken = TransportError(f"reading {self._where} failed: it became shorter while it was read")
            broken.retryable = False
            raise broken
        self._offset += count
        return count
