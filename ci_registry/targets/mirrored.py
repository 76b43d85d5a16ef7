"""A repository that is read through a mirror (a pull-through cache), and from its origin where the mirror fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from ..errors import CiRegistryError, IntegrityError, Interrupted, NotFoundError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest
from .base import Location, Mounted, Present, Reader, Session, Writer
from .registry import RegistryRepository

__all__ = ["MirrorHealth", "MirroredRepository"]

T = TypeVar("T")


class MirrorHealth:
    """Whether a mirror is still asked in this run: one that does not answer is left alone. Shared by repositories."""

    def __init__(self) -> None:
        self.is_down = False


class MirroredRepository:
    """Reads from `mirror` first; writes, and whatever a cache can't know, go to `origin`.

    What the mirror lacks is read from the origin. A mirror that fails in another way is left out for the rest of the
    run, with one notice. Descriptors are checked against their digests either way.
    """

    def __init__(
        self,
        origin: RegistryRepository,
        mirror: RegistryRepository,
        health: MirrorHealth,
        notify: Callable[[str], None],
    ) -> None:
        self._origin, self._mirror, self._health, self._notify = origin, mirror, health, notify
        self._lacks: set[str] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MirroredRepository({self._origin.location.name!r}, {self._mirror.location.name!r})"

    @property
    def location(self) -> Location:
        return self._origin.location

    # -- reading -------------------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Keep manifests and configurations that are read from now on, wherever they come from."""
        self._mirror.remember()
        self._origin.remember()

    def resolve(self, reference: str) -> Descriptor:
        return self._read(reference, lambda place: place.resolve(reference))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._read(descriptor.digest, lambda place: place.manifest(descriptor))

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        return _MirroredFetch(self, descriptor, offset)

    def open_blob(self, descriptor: Descriptor, offset: int) -> AbstractContextManager[Reader]:
        """The blob opened at the mirror or, failing that, at the origin."""
        return self._read(descriptor.digest, lambda place: place.open_blob(descriptor, offset))

    def broke(self, descriptor: Descriptor, error: CiRegistryError) -> None:
        """Reading this from the mirror ended badly: the next try goes to the origin."""
        with self._lock:
            was_mirrored = not self._health.is_down and descriptor.digest not in self._lacks
            self._lacks.add(descriptor.digest)
        if was_mirrored and isinstance(error, IntegrityError):
            mirror = self._mirror.location.host
            self._notify(f"the mirror {mirror} holds damaged bytes of {descriptor.digest}: clean it or leave it out")

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        return self._origin.exists(descriptors)

    def _read(self, what: str, action: Callable[[RegistryRepository], T]) -> T:
        if self._health.is_down or what in self._lacks:
            return action(self._origin)
        try:
            return action(self._mirror)
        except Interrupted:
            raise
        except NotFoundError:
            self._lacks.add(what)
        except CiRegistryError as error:
            self._give_up(error)
        return action(self._origin)

    def _give_up(self, error: CiRegistryError) -> None:
        self._health.is_down = True
        mirror, origin = self._mirror.location, self._origin.location
        self._notify(f"the mirror {mirror.host} is left out, {origin.name} is read directly: {error.message}")

    # -- what only the origin knows ------------------------------------------------------------------------------

    def tags(self) -> list[str]:
        return self._origin.tags()

    def referrers(self, digest: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        return self._origin.referrers(digest, artifact_type)

    def tagged(self, tag: str) -> Descriptor | None:
        return self._origin.tagged(tag)

    def is_new(self) -> bool:
        return self._origin.is_new()

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        return self._origin.writer(descriptor, mount_from, session)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        self._origin.put_manifest(manifest, tag)

    def delete_tag(self, tag: str) -> None:
        self._origin.delete_tag(tag)

    def delete_manifest(self, descriptor: Descriptor) -> None:
        self._origin.delete_manifest(descriptor)


class _MirroredFetch:
    """A blob being read; one that breaks is read on from the origin by whoever tries again."""

    def __init__(self, repository: MirroredRepository, descriptor: Descriptor, offset: int) -> None:
        self._repository, self._descriptor, self._offset = repository, descriptor, offset
        self._opened: AbstractContextManager[Reader] | None = None

    def __enter__(self) -> Reader:
        self._opened = self._repository.open_blob(self._descriptor, self._offset)
        return self._opened.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CiRegistryError) and not isinstance(error, Interrupted):
            self._repository.broke(self._descriptor, error)
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
