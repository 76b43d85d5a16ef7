"""What an image becomes that has no manifest yet, and what is known about its layers from earlier.

An image in the docker daemon, or in the archive that `docker save` wrote, is a configuration and uncompressed layers.
Its manifest needs the digests of compressed layers. `prepare` therefore brings the layers to the targets first, and
gives back a source whose root can be copied like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import CiRegistryError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest
from ..transport.retry import Cancel
from .base import Location, Source, Target

__all__ = [
    "Forgetful",
    "KnownBlob",
    "LayerMemory",
    "LayeredImage",
    "OnEvent",
    "Origins",
    "Part",
    "PlainLayers",
    "PrefersOci",
    "Preparable",
    "PrepareEvent",
    "Prepared",
    "TakesNotes",
]

EventKind = Literal["saving", "bytes", "copied", "mounted", "present", "left-out", "warning"]


class PrepareEvent(Struct, frozen=True):
    """One thing that happened. `where` is a place as people know it, `count` bytes: of the layer as it was sent for
    `copied`, of the uncompressed layers for `bytes`. `digest` is a layer's digest, or a diffID before it has one."""

    kind: EventKind
    where: str = ""
    digest: str = ""
    count: int = 0
    text: str = ""


OnEvent = Callable[[PrepareEvent], None]
"""Called from several threads."""


class KnownBlob(Struct, frozen=True):
    """What a layer (by diffID) or an image (by id) is in registries.

    `compressor` names who made the bytes, "" for bytes that came from elsewhere. `where` holds (store, repository)
    of places that had the blob.
    """

    descriptor: Descriptor
    compressor: str = ""
    where: tuple[tuple[str, str], ...] = ()

    def at(self, *locations: Location) -> KnownBlob:
        """The same, known to be in more places; the newest first."""
        places = [(location.store, location.repository) for location in locations]
        return replace(self, where=(*places, *(place for place in self.where if place not in places)))


class LayerMemory(Protocol):
    """Remembers what layers and images became; the best candidate first. Never raises."""

    def known(self, keys: Collection[Digest]) -> Mapping[Digest, Sequence[KnownBlob]]: ...

    def remember(self, found: Mapping[Digest, Sequence[KnownBlob]]) -> None: ...


class Forgetful:
    """A memory that holds nothing."""

    def known(self, keys: Collection[Digest]) -> Mapping[Digest, Sequence[KnownBlob]]:
        return dict.fromkeys(keys, ())

    def remember(self, found: Mapping[Digest, Sequence[KnownBlob]]) -> None:
        pass


@runtime_checkable
class PlainLayers(Protocol):
    """A place that keeps layers as uncompressed tars: compressing them on the way there would be wasted."""

    plain_layers: bool


@runtime_checkable
class PrefersOci(Protocol):
    """A place whose format is OCI's own: readers of it may see nothing but OCI manifests, so one such place among the
    targets makes the manifests that we make OCI's."""

    prefers_oci: bool


@runtime_checkable
class TakesNotes(Protocol):
    """A place where asking costs a request: it is told what was brought, so that the copy need not ask or send it,
    nor count it once more."""

    def note_present(self, blobs: Collection[Descriptor]) -> None: ...

    def is_noted(self, blob: Descriptor) -> bool: ...


class Prepared(Struct):
    """An image that can be copied: `source.manifest(root)` and what it refers to.

    `failures` are the targets that could not be given their layers, by position in the list; at least one other could.
    """

    source: Source
    root: Descriptor
    failures: dict[int, CiRegistryError] = field(default_factory=dict)


class Preparable(Protocol):
    """An image whose root is known only after `prepare`."""

    @property
    def location(self) -> Location: ...

    def prepare(
        self,
        targets: Sequence[Target],
        memory: LayerMemory | None = None,
        on_event: OnEvent = lambda _: None,
        cancel: Cancel | None = None,
    ) -> Prepared:
        """Bring the layers to the targets, one at least; the manifest and what else is missing is left to the copy
        that follows. Raises the first error when every target failed."""
        ...


class Part(Struct, frozen=True):
    """One thing met on a walk over an image: its configuration, or a layer.

    `diff_id` is what a layer should be, None where nothing says so; `size` is that of the uncompressed tar, if known.
    `read` gives at most that many bytes of it, none at the end; it need not be called.
    """

    is_config: bool
    diff_id: Digest | None
    size: int | None
    read: Callable[[int], bytes | memoryview]
    name: str = ""


class Origins(Struct):
    """What the registries that layers came from say: their original blobs, and whole manifests of this very image."""

    blobs: dict[Digest, list[KnownBlob]] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)


class LayeredImage(Protocol):
    """A configuration, whose digest is `image_id`, and uncompressed layers. `config` is None if only a walk has it."""

    @property
    def location(self) -> Location: ...

    @property
    def image_id(self) -> Digest: ...

    @property
    def diff_ids(self) -> tuple[Digest, ...]: ...

    @property
    def config(self) -> bytes | None: ...

    def walk(self, cancel: Cancel) -> AbstractContextManager[Iterator[Part]]:
        """Read the image from the start; it may be left early."""
        ...

    def origins(self, wanted: Collection[Digest], targets: Sequence[Target]) -> Origins:
        """Ask where layers came from; empty where nothing is known, and never raises."""
        ...
