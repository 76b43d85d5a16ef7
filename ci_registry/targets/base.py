"""The contracts between the copy engine and the places that hold images.

A place is bound to one repository, layout or archive. Powers that only some places have (listing, referrers, deletion)
are separate protocols, found by `isinstance` and never by asking what kind a place is.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from msgspec import Struct

from ..errors import IntegrityError, TransportError
from ..model.descriptor import Descriptor, Digest, new_hash
from ..model.manifest import Manifest

if TYPE_CHECKING:
    import hashlib

__all__ = [
    "Deleter",
    "Expecting",
    "Lister",
    "Location",
    "Mounted",
    "Present",
    "Reader",
    "Referrers",
    "Remembering",
    "Session",
    "Source",
    "Target",
    "VerifiedReader",
    "Writer",
    "offers",
]

Session = Mapping[str, Any]
"""State of an unfinished upload, JSON-able: kept in a journal, given back to `Target.writer` by a later run."""


class Location(Struct, frozen=True):
    """Where a place is.

    `store` says which blobs can be mounted from each other: places with equal stores share a registry (scheme, host
    and port after aliases) or a layout tree. `host` groups requests for limits. `name` is for people.
    """

    store: str
    repository: str
    name: str
    host: str = ""


class Reader(Protocol):
    """An open blob. `readinto` returns the count of bytes, 0 at the end, and raises `TransportError` when it breaks."""

    def readinto(self, buffer: memoryview) -> int: ...


class Source(Protocol):
    """All a copy needs to read."""

    @property
    def location(self) -> Location: ...

    def resolve(self, reference: str) -> Descriptor:
        """What a tag or digest names; raises `NotFoundError`."""
        ...

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Read and check a manifest; raises `NotFoundError`, `IntegrityError`."""
        ...

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        """Open a blob at an offset in bytes. The engine checks size and digest of what it reads."""
        ...

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        """Which of these manifests and blobs are here; asks for as little as the place allows."""
        ...


class Writer(Protocol):
    """An upload under way: bytes are pushed, so one read can feed many writers and a broken one can go on.

    `offset` is how many bytes the place has. After a `TransportError` from `write` or `commit` the writer is dead;
    `session` then opens another with `Target.writer(descriptor, session=...)` at the offset that the place has.
    """

    offset: int

    @property
    def session(self) -> Session | None: ...

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:
        """Push some bytes; a place that takes longer than `patience_seconds` over them raises `TransportError`."""
        ...

    def commit(self, digest: Digest) -> None:
        """Finish; the place checks the digest where it can. Raises `IntegrityError` when it does not fit."""
        ...

    def abort(self) -> None:
        """Drop the upload and cancel it at the place; never raises."""
        ...


class Present(Struct, frozen=True):
    """The place has the blob already."""


class Mounted(Struct, frozen=True):
    """The place linked the blob from its repository `source`; no byte moved."""

    source: str


class Target(Source, Protocol):
    """All a copy needs to write."""

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        """Begin to write a blob.

        With `mount_from`, repositories of the same store are asked for it first. Without a descriptor the digest is
        given at `commit` (for bytes that are compressed on their way).
        """
        ...

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        """Store a manifest by digest, or under a tag; its parts must be there. Checks the digest that came out."""
        ...

    def is_new(self) -> bool:
        """Whether nothing can be here yet (the repository does not exist), so that asking for parts is useless."""
        ...

    def tagged(self, tag: str) -> Descriptor | None:
        """What a tag holds now, None when it does not exist; costs no pull."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """Places that want to know what they will be given before its parts are looked for."""

    def expect(self, manifest: Manifest) -> None: ...


@runtime_checkable
class Remembering(Protocol):
    """Places that keep the small content that they read, when told to: a plan and what it leads to read it once."""

    def remember(self) -> None: ...


@runtime_checkable
class Lister(Protocol):
    """Places that can say what they hold."""

    def tags(self) -> list[str]:
        """The tags of this repository, sorted; raises `NotFoundError` when there is no such repository."""
        ...


@runtime_checkable
class Referrers(Protocol):
    """Places that can say which artifacts refer to a manifest."""

    def referrers(self, digest: Digest, artifact_type: str | None = None) -> list[Descriptor]: ...


@runtime_checkable
class Deleter(Protocol):
    """Places that can remove things."""

    def delete_tag(self, tag: str) -> None:
        """Remove a tag alone; raises `RemoteError` naming why the place can't."""
        ...

    def delete_manifest(self, descriptor: Descriptor) -> None:
        """Remove a manifest and every tag on it."""
        ...


@functools.cache
def _has(kind: type, power: type) -> bool:
    return issubclass(kind, power)


def offers(place: object, power: type) -> bool:
    """Whether a place has a power. Asked before `isinstance` where that would cost 20 microseconds for each blob."""
    return _has(type(place), power)  # type: ignore[arg-type]  # a class is hashable


class VerifiedReader:
    """Reads a blob to its end and vouches for it: the wrong size or digest raises `IntegrityError` at the end.

    A stream that ends early raises `TransportError`, so that it can be read on from `offset`, in bytes; the hash goes
    on with it. A blob that is read from a later `offset` on is checked for its size alone: its destination, which has
    the beginning, checks the digest.
    """

    def __init__(self, descriptor: Descriptor, where: str, offset: int = 0) -> None:
        self.descriptor, self._where = descriptor, where
        self.offset = offset
        self._hash: hashlib._Hash | None = None if offset else new_hash(descriptor.digest.algorithm)

    @property
    def missing(self) -> int:
        """How many bytes are still to come."""
        return self.descriptor.size - self.offset

    def take(self, reader: Reader, buffer: memoryview) -> int:
        """Read from `reader` into `buffer`; 0 once everything was read and found right."""
        left = self.missing
        count = reader.readinto(buffer)
        if count == 0:
            if left:
                raise TransportError(f"reading {self.descriptor.digest} from {self._where} ended {left} bytes early")
            self.check()
            return 0
        if count > left:
            raise IntegrityError(
                f"reading {self.descriptor.digest} from {self._where} gave more than the {self.descriptor.size} bytes "
                "that its manifest says",
                hint="the source is damaged; push that image again",
            )
        if self._hash is not None:
            self._hash.update(buffer[:count])
        self.offset += count
        return count

    def check(self) -> None:
        """Compare the digest of what was read; raises `IntegrityError`."""
        if self._hash is None:
            return
        found = f"{self.descriptor.digest.algorithm}:{self._hash.hexdigest()}"
        if found != self.descriptor.digest:
            raise IntegrityError(
                f"reading {self.descriptor.digest} from {self._where} gave bytes whose digest is {found}",
                hint="the source is damaged; push that image again",
            )
