"""Verify: are all parts of an image really there, and, when asked, are their bytes what their digests say."""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec import Struct, field

from ..errors import CiRegistryError, IntegrityError, NotFoundError
from ..model.descriptor import Descriptor, Digest, Platform
from ..model.manifest import Manifest, is_foreign, is_manifest
from ..targets.base import Source
from ..transport.limiter import Limiter
from ..transport.retry import Cancel
from .buffers import Buffers
from .reading import read_blob
from .scheduler import Scheduler, Task

__all__ = ["Findings", "verify"]


class Findings(Struct):
    """What was looked at, and what was wrong: one sentence each, in no order."""

    root: Descriptor
    platforms: list[Platform] = field(default_factory=list)
    manifests: int = 0
    blobs: int = 0
    total_bytes: int = 0
    problems: list[str] = field(default_factory=list)


class _Walk:
    def __init__(
        self,
        source: Source,
        root: Descriptor,
        deep: bool,
        scheduler: Scheduler,
        cancel: Cancel,
        buffers: Buffers,
        retry_seconds: float,
    ) -> None:
        self._source, self._deep, self._scheduler = source, deep, scheduler
        self._cancel, self._buffers, self._retry_seconds = cancel, buffers, retry_seconds
        self.findings = Findings(root)
        self._seen: set[Digest] = set()
        self._lock = threading.Lock()
        self.unreachable: CiRegistryError | None = None

    def want(self, descriptor: Descriptor) -> None:
        with self._lock:
            if descriptor.digest in self._seen:
                return
            self._seen.add(descriptor.digest)
        whole = is_manifest(descriptor.media_type)
        action: Callable[[], None] = (lambda: self._manifest(descriptor)) if whole else (lambda: self._blob(descriptor))
        size = descriptor.size if self._deep and not whole else 0
        hosts = [self._source.location.host]
        self._scheduler.add(Task(action, hosts, lambda error: self._failed(descriptor, error), size))

    def _manifest(self, descriptor: Descriptor) -> None:
        manifest = self._source.manifest(descriptor)
        self._check_size(descriptor, manifest)
        with self._lock:
            self.findings.manifests += 1
            if descriptor == self.findings.root:
                self.findings.platforms = manifest.platforms()
        for child in manifest.successors():
            self.want(child)

    def _check_size(self, descriptor: Descriptor, manifest: Manifest) -> None:
        if descriptor.size != manifest.descriptor.size:
            self._problem(
                f"manifest {descriptor.digest} has {manifest.descriptor.size} bytes, not the {descriptor.size} "
                "that what refers to it says"
            )

    def _blob(self, descriptor: Descriptor) -> None:
        if self._deep:
            self._read(descriptor)
        elif not self._source.exists([descriptor]) and not (is_foreign(descriptor) and descriptor.urls):
            self._problem(f"blob {descriptor.digest} ({descriptor.size} bytes) is missing")
        with self._lock:
            self.findings.blobs += 1
            self.findings.total_bytes += descriptor.size

    def _read(self, descriptor: Descriptor) -> None:
        with self._buffers.borrow(descriptor.size, self._cancel) as buffer:
            read_blob(
                self._source,
                descriptor,
                0,
                buffer,
                lambda _: True,
                cancel=self._cancel,
                retry_seconds=self._retry_seconds,
            )

    def _failed(self, descriptor: Descriptor, error: CiRegistryError) -> None:
        if isinstance(error, NotFoundError):
            if not (is_foreign(descriptor) and descriptor.urls):
                kind = "manifest" if is_manifest(descriptor.media_type) else "blob"
                self._problem(f"{kind} {descriptor.digest} ({descriptor.size} bytes) is missing")
        elif isinstance(error, IntegrityError):
            self._problem(error.message)
        else:
            self.unreachable = error

    def _problem(self, sentence: str) -> None:
        with self._lock:
            self.findings.problems.append(sentence)


def verify(
    source: Source,
    reference: str,
    limiter_of: Callable[[str], Limiter],
    cancel: Cancel,
    *,
    deep: bool = False,
    retry_seconds: float = 120.0,
) -> Findings:
    """Walk everything a tag or digest refers to. With `deep`, every byte is read; what breaks is read on.

    Raises `NotFoundError` when the reference itself is not there, and what stopped the walk from seeing everything.
    """
    scheduler = Scheduler(limiter_of, cancel)
    walk = _Walk(source, source.resolve(reference), deep, scheduler, cancel, Buffers(), retry_seconds)
    walk.want(walk.findings.root)
    scheduler.run()
    if walk.unreachable is not None:
        raise walk.unreachable
    walk.findings.problems.sort()
    return walk.findings
