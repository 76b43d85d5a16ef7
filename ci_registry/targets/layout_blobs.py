"""The blobs of a layout: `blobs/ALGORITHM/HEX` (OCI image-spec, image-layout.md, "Blobs").

A blob grows in a hidden temporary file of the layout and is renamed into place when its size and digest are right and
its bytes are on the disk, so that a file under `blobs` is always whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NoReturn

from ..errors import CiRegistryError, InputFileError, IntegrityError, NotFoundError
from ..model.descriptor import Descriptor, Digest, digest_of, new_hash
from .base import Session
from .disk import TEMPORARY, disk_errors, make_directory, replace_file, sync_directory, temporary_file

__all__ = ["BlobReader", "BlobStore", "BlobWriter"]

_REHASH_BYTES = 1024 * 1024
_GIVEN_UP_SECONDS = 24 * 3600.0


class BlobStore:
    """The files under `DIRECTORY/blobs`. `name` is the place's name in messages."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self._blobs = f"{directory}/blobs"

    def path(self, digest: Digest) -> Path:
        return Path(f"{self._blobs}/{digest.algorithm}/{digest.hex}")

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the file is there in the right size; one `stat`."""
        digest = descriptor.digest
        try:
            found = os.stat(f"{self._blobs}/{digest.algorithm}/{digest.hex}")
        except OSError:
            return False
        return found.st_size == descriptor.size

    def has_fresh(self, descriptor: Descriptor) -> bool:
        """Like `has`, and keeps the blob from being collected as garbage before a manifest refers to it."""
        if not self.has(descriptor):
            return False
        with contextlib.suppress(OSError):
            os.utime(self.path(descriptor.digest))
        return True

    def read(self, digest: Digest, limit: int) -> bytes:
        """A small blob, whole and checked.

        Raises `NotFoundError`, `IntegrityError`, `StorageError`, and `InputFileError` above `limit` bytes.
        """
        path = self.path(digest)
        with self.errors(digest, path), path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise InputFileError(f"reading {digest} from {self.name} failed: {path} has more than {limit} bytes")
        found = digest_of(content, digest.algorithm)
        if found != digest:
            raise IntegrityError(
                f"reading {digest} from {self.name} failed: the digest of {path} is {found}",
                hint="the file is damaged; copy that image again",
            )
        return content

    @contextlib.contextmanager
    def errors(self, digest: Digest, path: Path) -> Iterator[None]:
        """What goes wrong when a blob is opened or read, as a sentence that names its file."""
        attempt = f"reading {digest} from {self.name}"
        try:
            with disk_errors(attempt, path):
                yield
        except CiRegistryError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise NotFoundError(
                f"{attempt} failed: there is no file {path}", hint="copy that image to the layout again"
            ) from error.__cause__

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, digest: Digest, content: bytes) -> None:
        """Write a small blob at once. The caller has seen to it that the digest is right."""
        path = self.path(digest)
        with disk_errors(f"writing {digest} to {self.name}", path):
            make_directory(path.parent)
            replace_file(path, content, temporary_in=self.directory)

    def sync(self) -> None:
        """See to it that the names of all blobs are on the disk, before an index refers to them."""
        with disk_errors(f"writing to {self.name}", self._blobs):
            for algorithm in os.listdir(self._blobs):
                sync_directory(Path(self._blobs, algorithm))

    def begin(self, descriptor: Descriptor | None) -> BlobWriter:
        with disk_errors(f"writing to {self.name}", self.directory):
            fd, path = temporary_file(self.directory)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return BlobWriter(self, descriptor, FileIO(fd, "r+"), path)

    def resume(self, descriptor: Descriptor, session: Session) -> BlobWriter | None:
        """Go on with what an earlier process wrote; None when that is gone or somebody else goes on with it."""
        # Only the last part counts: a journal must not make us write anywhere else.
        name = Path(str(session.get("path") or "")).name
        if not name.startswith(TEMPORARY):
            return None
        path = self.directory / name
        with disk_errors(f"writing {descriptor.digest} to {self.name}", path):
            file = _claim(path)
            if file is None:
                return None
            writer = BlobWriter(self, descriptor, file, path)
            writer.rehash()
        if writer.offset <= descriptor.size:
            return writer
        writer.abort()
        return None

    def link(self, descriptor: Descriptor, other: BlobStore) -> bool:
        """Take a blob over from another layout: a hard link, or a checked copy where there can't be one."""
        if not other.has(descriptor):
            return False
        source, target = other.path(descriptor.digest), self.path(descriptor.digest)
        with disk_errors(f"linking {descriptor.digest} into {self.name}", target):
            make_directory(target.parent)
            try:
                os.link(source, target)
            except FileExistsError:
                return self.has(descriptor)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                self._copy(descriptor, source)
        return True

    def _copy(self, descriptor: Descriptor, source: Path) -> None:
        writer = self.begin(descriptor)
        try:
            with source.open("rb", buffering=0) as file:
                while chunk := file.read(_REHASH_BYTES):
                    writer.write(memoryview(chunk))
            writer.commit(descriptor.digest)
        except BaseException:
            writer.abort()
            raise

    def adopt(self, temporary: Path, digest: Digest) -> None:
        """Rename a finished file into place."""
        path = self.path(digest)
        make_directory(path.parent)
        os.replace(temporary, path)

    def forget_uploads(self, older_than_seconds: float = _GIVEN_UP_SECONDS) -> None:
        """Remove temporary files that nobody has open and nobody wrote to for a day."""
        for path in self.directory.glob(f"{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime < older_than_seconds:
                    continue
                file = _claim(path)
                if file is not None:
                    path.unlink()
                    file.close()


def _claim(path: Path) -> FileIO | None:
    """Open a temporary file for us alone; None when it is gone or somebody has it open."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    file = FileIO(fd, "r+")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if os.fstat(fd).st_nlink == 0:
        file.close()
        return None
    return file


class BlobWriter:
    """Implements `targets.base.Writer`: a blob in its temporary file, locked while it is open."""

    def __init__(self, store: BlobStore, descriptor: Descriptor | None, file: FileIO, path: Path) -> None:
        self._store, self._descriptor, self._file, self._path = store, descriptor, file, path
        self._algorithm = descriptor.digest.algorithm if descriptor is not None else "sha256"
        self._hash: hashlib._Hash = new_hash(self._algorithm)
        self.offset = 0

    @property
    def session(self) -> Session:
        return {"path": str(self._path), "offset": self.offset}

    @property
    def _attempt(self) -> str:
        return f"writing {self._descriptor.digest if self._descriptor else 'a blob'} to {self._store.name}"

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:  # noqa: ARG002 - disks don't wait
        if self._descriptor is not None and self.offset + len(chunk) > self._descriptor.size:
            self._refuse(f"there are more than the {self._descriptor.size} bytes that its manifest says")
        with disk_errors(self._attempt, self._path):
            while len(chunk):
                count = os.write(self._file.fileno(), chunk)
                self._hash.update(chunk[:count])
                self.offset += count
                chunk = chunk[count:]

    def commit(self, digest: Digest) -> None:
        if self._descriptor is not None and self.offset != self._descriptor.size:
            self._refuse(f"there were {self.offset} of the {self._descriptor.size} bytes that its manifest says")
        with disk_errors(self._attempt, self._path):
            if digest.algorithm != self._algorithm:
                self._algorithm = digest.algorithm
                self.rehash()
            found = f"{self._algorithm}:{self._hash.hexdigest()}"
            if found != digest:
                self._refuse(f"the digest of what was written is {found}, not {digest}")
            os.fsync(self._file.fileno())
            self._store.adopt(self._path, digest)
            self._file.close()

    def rehash(self) -> None:
        """Bring hash and offset to what the file holds."""
        self._hash = new_hash(self._algorithm)
        self._file.seek(0)
        while chunk := self._file.read(_REHASH_BYTES):
            self._hash.update(chunk)
        self.offset = self._file.tell()

    def abort(self) -> None:
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()

    def _refuse(self, reason: str) -> NoReturn:
        # Nothing is kept of it: going on from wrong bytes could never end well.
        self.abort()
        raise IntegrityError(
            f"{self._attempt} failed: {reason}",
            hint="the source is damaged, or changed while it was read; run it again",
        )


class BlobReader:
    """A blob being read; opens on entry. Raises `NotFoundError`, and `IntegrityError` when the file's size is wrong."""

    def __init__(self, store: BlobStore, descriptor: Descriptor, offset: int) -> None:
        self._store, self._descriptor, self._offset = store, descriptor, offset
        self._path = store.path(descriptor.digest)
        self._file: FileIO | None = None

    def __enter__(self) -> BlobReader:
        with self._store.errors(self._descriptor.digest, self._path):
            file = FileIO(str(self._path))
            size = os.fstat(file.fileno()).st_size
        if size != self._descriptor.size:
            file.close()
            raise IntegrityError(
                f"reading {self._descriptor.digest} from {self._store.name} failed: {self._path} has {size} bytes, "
                f"and its manifest says {self._descriptor.size}",
                hint="the file is damaged; copy that image again",
            )
        file.seek(self._offset)
        self._file = file
        return self

    def readinto(self, buffer: memoryview) -> int:
        assert self._file is not None  # noqa: S101 - read only inside its `with`
        with self._store.errors(self._descriptor.digest, self._path):
            return self._file.readinto(buffer) or 0

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
