"""Compression of layers and of archives: the only module that imports isal and zstandard.

Layers are compressed by ISA-L's igzip. What it writes depends on how its input is cut, so the input is always cut the
same way here; and levels 0 to 2 give the same bytes on every x86-64 processor with SSE4.2, which level 3 does not
promise (docs/decisions/0003-layer-compression.md). The header has no name and no time.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from typing import IO, Any, Protocol, cast

from ..errors import InputFileError

__all__ = [
    "HEAD_BYTES",
    "LayerCompressor",
    "Prefixed",
    "PushDecompressor",
    "Readable",
    "compression_of",
    "compressor_name",
    "decompressing",
]

LEVEL = 2
_CUT_BYTES = 64 * 1024
_GZIP_WINDOW_BITS = 31
HEAD_BYTES = 6
"""How many bytes of a file `compression_of` needs to see."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
_XZ_MEMORY_BYTES = 512 * 1024 * 1024
_READ_BYTES = 256 * 1024


class Readable(Protocol):
    """What bytes are read from; `read` gives at most `size` bytes, and none at the end."""

    def read(self, size: int, /) -> bytes: ...


def compressor_name() -> str:
    """Names the bytes that `LayerCompressor` makes: the same name means the same bytes for the same layer."""
    from isal import ISAL_VERSION

    return f"isal-{ISAL_VERSION}-level{LEVEL}-cut{_CUT_BYTES}"


class LayerCompressor:
    """Makes one gzip stream of a layer, the same however the layer arrives. Compressing releases the GIL."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW_BITS)
        self._rest = bytearray()

    def compress(self, data: bytes | memoryview) -> bytes:
        """What can be written already, after `data` came in."""
        out = []
        view = memoryview(data)
        if self._rest:
            missing = _CUT_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < _CUT_BYTES:
                return b""
            out.append(self._stream.compress(self._rest))
            self._rest = bytearray()
        whole = len(view) - len(view) % _CUT_BYTES
        out += [self._stream.compress(view[start : start + _CUT_BYTES]) for start in range(0, whole, _CUT_BYTES)]
        self._rest += view[whole:]
        return b"".join(out)

    def finish(self) -> bytes:
        """The end of the stream."""
        last = self._stream.compress(self._rest) if self._rest else b""
        return last + self._stream.flush()


def compression_of(head: bytes) -> str:
    """The kind of compression a file begins with: gzip, zstd, xz, or "" for none of them."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


def decompressing(file: Readable, kind: str, where: str) -> Readable:
    """Read what a compressed file holds; `where` names it in errors. Damage raises `InputFileError`."""
    return _Checked(_OPENERS[kind](file), kind, where)


def _open_gzip(file: Readable) -> Readable:
    from isal import igzip

    opened: Readable = igzip.IGzipFile(fileobj=_WithReadinto(file), mode="rb")  # type: ignore[no-untyped-call]
    return opened


class _WithReadinto:
    """What the gzip reader wants of a file."""

    def __init__(self, file: Readable) -> None:
        self.read = file.read

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _open_zstd(file: Readable) -> Readable:
    from zstandard import ZstdDecompressor

    opened: Readable = ZstdDecompressor().stream_reader(file, read_across_frames=True)  # type: ignore[arg-type]
    return opened


class _XzStreams:
    """Reads the xz streams of a file one after another, with a limit on memory that the file can't raise."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._decompressor = _xz_decompressor()

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decompressor.eof and not self._next_stream():
                return b""
            data = self._file.read(_READ_BYTES) if self._decompressor.needs_input else b""
            if not data and self._decompressor.needs_input:
                raise EOFError("it ends early")
            out = self._decompressor.decompress(data, size)
            if out:
                return out

    def _next_stream(self) -> bool:
        rest = self._decompressor.unused_data.lstrip(b"\0")  # streams may be padded with zeros
        while not rest:
            more = self._file.read(_READ_BYTES)
            if not more:
                return False
            rest = more.lstrip(b"\0")
        self._decompressor = _xz_decompressor()
        self._file = Prefixed(rest, self._file)
        return True


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class Prefixed:
    """Bytes that were read already, and then the rest of a file."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head, self._file = head, file

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._file.read(size)
        out, self._head = self._head[:size], self._head[size:]
        return out


_OPENERS: dict[str, Callable[[Readable], Readable]] = {"gzip": _open_gzip, "zstd": _open_zstd, "xz": _XzStreams}


class _Checked:
    """Turns what the libraries raise into our error."""

    def __init__(self, file: Readable, kind: str, where: str) -> None:
        self._file, self._kind, self._where = file, kind, where
        self._damage = _damage_errors(kind)

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except self._damage as error:
            raise _damaged(self._where, self._kind, error) from error


def _damaged(where: str, kind: str, error: Exception) -> InputFileError:
    return InputFileError(
        f"reading {where} failed: its {kind} compression is damaged ({error})", hint="make or download the file again"
    )


def _damage_errors(kind: str) -> tuple[type[Exception], ...]:
    if kind == "gzip":
        from isal import isal_zlib

        return (EOFError, gzip.BadGzipFile, isal_zlib.error)  # type: ignore[return-value]
    if kind == "zstd":
        from zstandard import ZstdError

        return (EOFError, ZstdError)
    return (EOFError, lzma.LZMAError)


class PushDecompressor:
    """Decompresses what is pushed into it, and hands pieces of bounded size to `write`."""

    def __init__(self, kind: str, where: str, write: Callable[[bytes], object]) -> None:
        self._kind, self._where = kind, where
        self._damage = _damage_errors(kind)
        self._push: _PushGzip | _PushZstd = _PushGzip(write) if kind == "gzip" else _PushZstd(write)

    def write(self, data: bytes | memoryview) -> None:
        """Damage raises `InputFileError`."""
        try:
            self._push.write(data)
        except self._damage as error:
            raise _damaged(self._where, self._kind, error) from error

    def finish(self) -> None:
        """Raise if the data ended early."""
        if not self._push.is_complete():
            raise _damaged(self._where, self._kind, EOFError("it ends early"))


class _PushGzip:
    """The members of a gzip file one after another."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._stream: Any = None

    def write(self, data: bytes | memoryview) -> None:
        from isal import isal_zlib

        while len(data):
            if self._stream is None:
                self._stream = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
            self._write(self._stream.decompress(data, _READ_BYTES))
            if self._stream.eof:
                data, self._stream = self._stream.unused_data, None
            else:
                data = self._stream.unconsumed_tail

    def is_complete(self) -> bool:
        return self._stream is None


class _PushZstd:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        from zstandard import ZstdDecompressor

        self._stream: Any = ZstdDecompressor().stream_writer(cast("IO[bytes]", _Sink(write)), closefd=False)

    def write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)

    def is_complete(self) -> bool:
        return True  # zstandard does not tell; the diffID of the layer does


class _Sink:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._take = write

    def write(self, data: bytes) -> int:
        self._take(data)
        return len(data)
