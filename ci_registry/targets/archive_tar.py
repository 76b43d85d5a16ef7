"""Reading tar files one header after another (POSIX.1-2001 pax, ustar, GNU long names), with nothing taken on trust.

Members are never written to disk. Names and links that leave the archive, members without end, and headers that are
too big raise `InputFileError`; so does a file that ends early.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Literal, Protocol

from msgspec import Struct

from ..errors import InputFileError

__all__ = ["Input", "Member", "TarReader", "inside"]

BLOCK = 512
MEMBER_LIMIT = 200_000
_HEADER_LIMIT = 1024 * 1024
_EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}

Kind = Literal["file", "link", "directory", "other"]


class Input(Protocol):
    """Where a tar comes from. `take` gives at most `size` bytes, and none at the end; `skip` passes over some."""

    position: int

    def take(self, size: int) -> bytes | memoryview: ...

    def skip(self, size: int) -> bool:
        """False when the input ends before that."""
        ...


class Member(Struct, frozen=True):
    """One member. `offset` is where its bytes begin in the tar; `link` is the name that a link stands for."""

    name: str
    kind: Kind
    size: int = 0
    offset: int = 0
    link: str = ""


class TarReader:
    """Iterates over the members; between two of them `read` gives the bytes of the first. `where` is for errors."""

    def __init__(self, source: Input, where: str) -> None:
        self._source, self._where = source, where
        self._left = self._padding = 0
        self._count = 0
        self.complete = False
        """Whether the mark at the end of the archive was seen."""

    def __iter__(self) -> Iterator[Member]:
        extended: dict[str, str] = {}
        while (header := self._header()) is not None:
            if header.type in _EXTENDED:
                extended.update(self._extension(header))
            elif header.type == tarfile.XGLTYPE:
                self._extension(header)
            else:
                yield self._member(header, extended)
                extended = {}
            self._count += 1
            if self._count > MEMBER_LIMIT:
                raise self._wrong(f"it has more than {MEMBER_LIMIT} members")

    def read(self, size: int) -> bytes | memoryview:
        """At most `size` bytes of the present member; none at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._source.take(wanted)
        if not data:
            raise self._ends_early()
        self._left -= len(data)
        return data

    def read_all(self, limit: int, what: str) -> bytes:
        """The present member as a whole, if it has at most `limit` bytes."""
        if self._left > limit:
            raise self._wrong(f"{what} has {self._left} bytes, more than the {limit} it may have")
        parts = []
        while data := self.read(self._left):
            parts.append(bytes(data))
        return b"".join(parts)

    def _header(self) -> tarfile.TarInfo | None:
        if not self._source.skip(self._left + self._padding):
            raise self._ends_early()
        self._left = self._padding = 0
        block = self._exactly(BLOCK)
        if not block:
            return None
        if not block.strip(b"\0"):
            self.complete = True
            return None
        header = self._parse(block)
        if header.size < 0:
            raise self._wrong("a member has a negative size")
        self._left = header.size if header.type in _REGULAR | _EXTENDED | {tarfile.XGLTYPE} else 0
        self._padding = -self._left % BLOCK
        return header

    def _parse(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if self._count == 0:
                raise InputFileError(
                    f"{self._where} is not a tar file", hint="give an archive made by `docker save` or `skopeo copy`"
                ) from error
            raise self._wrong(f"the header of member {self._count + 1} is damaged") from error

    def _exactly(self, size: int) -> bytes:
        """`size` bytes, or none at the very end."""
        out = bytearray()
        while len(out) < size and (data := self._source.take(size - len(out))):
            out += data
        if out and len(out) < size:
            raise self._ends_early()
        return bytes(out)

    def _extension(self, header: tarfile.TarInfo) -> dict[str, str]:
        content = self.read_all(_HEADER_LIMIT, "an extended header")
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": _text(content.partition(b"\0")[0])}
        if header.type == tarfile.GNUTYPE_LONGLINK:
            return {"linkpath": _text(content.partition(b"\0")[0])}
        try:
            return dict(_pax_records(content))
        except ValueError as error:
            raise self._wrong("an extended header is damaged") from error

    def _member(self, header: tarfile.TarInfo, extended: dict[str, str]) -> Member:
        if header.type in _REGULAR and "size" in extended:
            self._resize(extended["size"])
        name = inside(extended.get("path", header.name), self._where)
        if header.type in _REGULAR:
            is_sparse = any(key.startswith("GNU.sparse") for key in extended)
            return Member(name, "other" if is_sparse else "file", self._left, self._source.position)
        if header.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = extended.get("linkpath", header.linkname)
            folder = name.rpartition("/")[0] if header.type == tarfile.SYMTYPE else ""
            return Member(name, "link", link=inside(link, self._where, folder, f"the link {name}"))
        return Member(name, "directory" if header.type == tarfile.DIRTYPE else "other")

    def _resize(self, text: str) -> None:
        if not text.isdigit():
            raise self._wrong("an extended header is damaged")
        self._left = int(text)
        self._padding = -self._left % BLOCK

    def _ends_early(self) -> InputFileError:
        return InputFileError(
            f"reading {self._where} failed: it ends early, after {self._source.position} bytes",
            hint="it was cut off while it was written or sent; make it again",
        )

    def _wrong(self, what: str) -> InputFileError:
        return InputFileError(f"reading {self._where} failed: {what}")


def inside(name: str, where: str, folder: str = "", what: str = "a member") -> str:
    """A name in its shortest form. One that is absolute or leads out of the archive raises `InputFileError`.

    Only links, which have a `folder`, may go up at all.
    """
    parts = folder.split("/") if folder else []
    leaves = name.startswith("/") or "\0" in name
    for part in name.split("/"):
        if part == "..":
            leaves = leaves or not parts or what == "a member"
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if leaves:
        raise InputFileError(
            f"reading {where} failed: {what} leads out of the archive ({name[:200]!r})",
            hint="no tool that saves images makes such an archive; don't trust it",
        )
    return "/".join(parts)


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits)
        if not len(digits) < length <= len(content):
            raise ValueError("a record that does not fit")
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not equals:
            raise ValueError("a record without a value")
        yield _text(key), _text(value)
        content = content[length:]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
