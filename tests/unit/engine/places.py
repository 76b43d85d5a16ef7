"""Places in memory that fail on command, for the engine's tests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ci_registry.errors import CiRegistryError, IntegrityError, NotFoundError, TransportError
from ci_registry.model.descriptor import Descriptor, Digest, digest_of
from ci_registry.model.manifest import Manifest, parse_manifest
from ci_registry.targets.base import Location, Mounted, Present, Session, Writer
from tests.support.images import BuiltImage

__all__ = ["BLOB", "MemoryPlace", "MemoryWriter", "blob_of", "broken"]

BLOB = "application/vnd.oci.image.layer.v1.tar"


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(BLOB, digest_of(content), len(content))


def broken(message: str = "the connection broke", retryable: bool = True) -> TransportError:
    error = TransportError(message)
    error.retryable = retryable
    return error


class MemoryReader:
    def __init__(self, place: MemoryPlace, content: bytes, offset: int) -> None:
        self._place, self._content, self._offset = place, content, offset

    def readinto(self, buffer: memoryview) -> int:
        self._place.before_read(self._offset)
        part = self._content[self._offset : self._offset + min(len(buffer), self._place.piece_bytes)]
        buffer[: len(part)] = part
        self._offset += len(part)
        return len(part)


@dataclass(eq=False)
class MemoryWriter:
    """An upload in memory: what was written stays in `data`, so that it can be gone on with."""

    place: MemoryPlace
    descriptor: Descriptor | None
    data: bytearray = field(default_factory=bytearray)
    offset: int = 0
    is_dead: bool = False

    @property
    def session(self) -> Session:
        return {"number": self.place.uploads.index(self)}

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:
        assert not self.is_dead, "written to a dead writer"
        self.place.patience.append(patience_seconds)
        try:
            self.place.before_write(self.offset)
        except TransportError:
            self.is_dead = True
            raise
        self.data += chunk
        self.offset = len(self.data)

    def commit(self, digest: Digest) -> None:
        assert not self.is_dead, "committed a dead writer"
        try:
            self.place.before_commit(digest)
        except TransportError:
            self.is_dead = True
            raise
        self.place.open_uploads.discard(self)
        if f"sha256:{hashlib.sha256(self.data).hexdigest()}" != digest:
            raise IntegrityError("wrong bytes came")
        self.place.blobs[digest] = bytes(self.data)

    def abort(self) -> None:
        self.place.open_uploads.discard(self)
        self.place.aborted += 1


def _nothing(*_: object) -> None:
    pass


@dataclass(eq=False)
class MemoryPlace:
    """A source and target. `before_...` are called before that happens, and may raise or wait."""

    name: str = "memory"
    repository: str = "app"
    store: str = ""
    host: str = ""
    piece_bytes: int = 1 << 20
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags_held: dict[str, str] = field(default_factory=dict)
    keeps_uploads: bool = True
    reads: list[tuple[str, int]] = field(default_factory=list)
    patience: list[float | None] = field(default_factory=list)
    uploads: list[MemoryWriter] = field(default_factory=list)
    open_uploads: set[MemoryWriter] = field(default_factory=set)
    aborted: int = 0
    puts: list[str] = field(default_factory=list)
    before_fetch: Callable[[Descriptor, int], None] = _nothing
    before_read: Callable[[int], None] = _nothing
    before_open: Callable[[], None] = _nothing
    before_write: Callable[[int], None] = _nothing
    before_commit: Callable[[str], None] = _nothing
    before_exists: Callable[[], None] = _nothing
    before_put: Callable[[str], None] = _nothing
    before_resolve: Callable[[], None] = _nothing
    mounts: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, image: BuiltImage, tag: str = "1") -> MemoryPlace:
        self.blobs.update(image.blobs)
        for digest, (media_type, content) in image.manifests.items():
            self.manifests[digest] = parse_manifest(content, media_type)
        self.tags_held[tag] = image.digest
        return self

    @property
    def location(self) -> Location:
        return Location(self.store or self.name, self.repository, f"{self.name}/{self.repository}", self.host)

    # -- source --------------------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> Descriptor:
        self.before_resolve()
        digest = reference if ":" in reference else self.tags_held.get(reference)
        if digest not in self.manifests:
            raise NotFoundError(f"{self.name} has no {reference}")
        return self.manifests[digest].descriptor

    def manifest(self, descriptor: Descriptor) -> Manifest:
        if descriptor.digest not in self.manifests:
            raise NotFoundError(f"{self.name} has no {descriptor.digest}")
        return self.manifests[descriptor.digest]

    @contextmanager
    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Iterator[MemoryReader]:
        with self._lock:
            self.reads.append((descriptor.digest, offset))
        self.before_fetch(descriptor, offset)
        if descriptor.digest not in self.blobs:
            raise NotFoundError(f"{self.name} has no {descriptor.digest}")
        yield MemoryReader(self, self.blobs[descriptor.digest], offset)

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        self.before_exists()
        return {each for each in descriptors if each.digest in self.blobs or each.digest in self.manifests}

    # -- target --------------------------------------------------------------------------------------------------

    def is_new(self) -> bool:
        return not self.manifests and not self.blobs

    def tagged(self, tag: str) -> Descriptor | None:
        return self.manifests[self.tags_held[tag]].descriptor if tag in self.tags_held else None

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        self.before_open()
        with self._lock:
            if self.mounts and mount_from and descriptor is not None:
                return Mounted(mount_from[0])
            writer = MemoryWriter(self, descriptor)
            if session is not None and self.keeps_uploads:
                old = self.uploads[session["number"]]
                self.open_uploads.discard(old)
                writer.data, writer.offset = bytearray(old.data), len(old.data)
            self.uploads.append(writer)
            self.open_uploads.add(writer)
            return writer

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        self.before_put(tag or manifest.digest)
        for part in manifest.successors():
            held = self.manifests if part.digest in self.manifests else self.blobs
            if part.digest not in held and not part.urls:
                raise CiRegistryError(f"{tag or manifest.digest} was put before its part {part.digest}")
        with self._lock:
            self.manifests[manifest.digest] = manifest
            self.puts.append(tag or manifest.digest)
            if tag:
                self.tags_held[tag] = manifest.digest
