"""Dry runs: a target that is read for real and written to in mind only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from ..model.descriptor import Descriptor
from ..model.manifest import Manifest
from ..targets.base import Location, Mounted, Present, Reader, Session, Target

__all__ = ["Rehearsal", "Rehearsed"]


class Rehearsed(Present, frozen=True):
    """Stands for an upload that would have happened: no byte is read for it."""


class Rehearsal:
    """Wraps a target: reads go through, writes only say what they would do. Mounts are taken to succeed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._noted: set[str] = set()

    def note_present(self, blobs: Collection[Descriptor]) -> None:
        """Be told of blobs that were counted already."""
        self._noted.update(blob.digest for blob in blobs)

    def is_noted(self, blob: Descriptor) -> bool:
        return blob.digest in self._noted

    @property
    def location(self) -> Location:
        return self._target.location

    def resolve(self, reference: str) -> Descriptor:
        return self._target.resolve(reference)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._target.manifest(descriptor)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        return self._target.fetch(descriptor, offset)

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        noted = {descriptor for descriptor in descriptors if self.is_noted(descriptor)}
        return noted | self._target.exists([each for each in descriptors if each not in noted])

    def is_new(self) -> bool:
        return self._target.is_new()

    def tagged(self, tag: str) -> Descriptor | None:
        return self._target.tagged(tag)

    def writer(
        self,
        descriptor: Descriptor | None,
        mount_from: Sequence[str] = (),
        session: Session | None = None,  # noqa: ARG002 - nothing is gone on with
    ) -> Present | Mounted:
        if descriptor is not None and self.is_noted(descriptor):
            return Present()
        if descriptor is not None and mount_from:
            return Present() if self._has(descriptor) else Mounted(mount_from[0])
        return Rehearsed()

    def _has(self, descriptor: Descriptor) -> bool:
        return not self._target.is_new() and bool(self._target.exists([descriptor]))

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        """Nothing: that is the point."""
