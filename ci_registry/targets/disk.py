"""Files that a crash leaves either as they were or as they should be, and disk errors as sentences.

Temporary files have names that start with `TEMPORARY` and lie in the directory of a layout: hidden, so that other tools
pass them by, and on the same file system, so that they can be renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import StorageError

__all__ = [
    "TEMPORARY",
    "create_file",
    "disk_errors",
    "make_directory",
    "replace_file",
    "sync_directory",
    "temporary_file",
    "write_all",
]

TEMPORARY = ".ci-registry-"

_CURES = {
    errno.ENOSPC: "free some space on that disk and run it again",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`)",
    errno.EACCES: "give this user the right to use that path",
    errno.EPERM: "give this user the right to use that path",
    errno.EROFS: "use a path that can be written",
    errno.ENOTDIR: "a part of that path is a file and not a directory; check it",
    errno.EEXIST: "there is a file where a directory should be; check the path",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.EIO: "the disk may be damaged; see the kernel's log",
}


@contextlib.contextmanager
def disk_errors(attempt: str, path: Path | str) -> Iterator[None]:
    """Any `OSError` inside becomes a `StorageError`: `ATTEMPT failed: REASON (PATH)`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{attempt} failed: {reason[:1].lower()}{reason[1:]} ({path})", hint=_CURES.get(error.errno or 0, "")
        ) from error


def temporary_file(directory: Path) -> tuple[int, Path]:
    """A new empty file open for reading and writing, with the permissions that the umask gives."""
    path = directory / f"{TEMPORARY}{secrets.token_hex(8)}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def replace_file(path: Path, content: bytes, temporary_in: Path | None = None) -> None:
    """Put a file in place whole, its bytes on the disk first. The caller syncs the directory."""
    with _complete_file(temporary_in or path.parent, content) as temporary:
        os.replace(temporary, path)


def create_file(path: Path, content: bytes) -> None:
    """Like `replace_file`, but a file that is there already is left alone."""
    with _complete_file(path.parent, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            # No hard links here (exFAT, some network shares): exclusive still, though not whole at once.
            with contextlib.suppress(FileExistsError), path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


@contextlib.contextmanager
def _complete_file(directory: Path, content: bytes) -> Iterator[Path]:
    fd, temporary = temporary_file(directory)
    try:
        try:
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, each entered into its parent for good."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """See to it that the names in a directory survive a crash."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
