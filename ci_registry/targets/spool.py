"""Temporary files for what can only be read once: private, without a name, and so gone on every path."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..adapters.compression import Readable
from ..errors import InputFileError, StorageError
from .disk import disk_errors, write_all

__all__ = ["Counted", "new_spool", "spool_errors", "spooled"]

_READ_BYTES = 1024 * 1024
_BOMB_FROM_BYTES = 256 * 1024 * 1024
_BOMB_RATIO = 200
"""Images compress 2 to 10 times; gzip can't do more than 1032, and gets there only with nothing but zeros."""


def new_spool(directory: Path | None, what: str) -> BinaryIO:
    """An open file that only this process can reach (mode 0600, unlinked); `what` names its content in errors."""
    folder = Path(directory or tempfile.gettempdir())
    with spool_errors(folder, what):
        return tempfile.TemporaryFile(dir=folder)


@contextlib.contextmanager
def spool_errors(directory: Path | None, what: str) -> Iterator[None]:
    """A full disk and the like, with the variables that choose another one."""
    folder = directory or tempfile.gettempdir()
    try:
        with disk_errors(f"keeping {what} in a temporary file", folder):
            yield
    except StorageError as error:
        error.hint = f"free some space in {folder}, or set WORKSPACE_TMP or TMPDIR to a folder that has more"
        raise


def spooled(source: Readable, directory: Path | None, what: str, raw: Counted | None = None) -> BinaryIO:
    """Write all of `source` to a new spool. With `raw`, the compressed side of it, a bomb raises `InputFileError`."""
    spool = new_spool(directory, what)
    try:
        _fill(spool, source, directory, what, raw)
    except BaseException:
        with contextlib.suppress(OSError):  # closing flushes again what did not fit on the disk
            spool.close()
        raise
    return spool


def _fill(spool: BinaryIO, source: Readable, directory: Path | None, what: str, raw: Counted | None) -> None:
    total = 0
    while data := source.read(_READ_BYTES):
        total += len(data)
        if raw is not None and total > _BOMB_FROM_BYTES and total > _BOMB_RATIO * raw.count:
            raise InputFileError(
                f"reading {what} stopped: {raw.count} compressed bytes became {total}, as in a decompression bomb",
                hint="if it really is an image, decompress it yourself and give the plain tar",
            )
        with spool_errors(directory, what):
            # Past the buffer of the file object, so that a full disk shows here and not when it is closed.
            write_all(spool.fileno(), data)


class Counted:
    """Counts the bytes that are read from a file."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data
