"""Where the layers of a local image came from: the daemon remembers the registry digests of what it pulled.

An image that was pulled, and one that was built upon it, share layers with it. Its manifest, read again from its
registry, says what those layers are there: so they can be mounted or found, with their original digests, instead of
being compressed and sent. All of this is a bonus, and any failure means only that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from ..adapters.docker_engine import DockerEngine, LocalImage, LocalName
from ..errors import CiRegistryError, Interrupted
from ..model.descriptor import Digest, Platform
from ..model.manifest import Manifest, is_attestation
from ..model.reference import Reference
from .base import Source, Target
from .prepared import KnownBlob, Origins

__all__ = ["find_origins"]

_INSPECTED = 64
_READ = 4
"""How many registries' manifests are read at most."""


class _Ancestor(Struct, frozen=True):
    """A local image whose layers are the lowest of ours, or all of them."""

    id: Digest
    diff_ids: tuple[Digest, ...]
    digests: tuple[str, ...]


def find_origins(
    engine: DockerEngine,
    image: LocalImage,
    wanted: Collection[Digest],
    targets: Sequence[Target],
    open_repository: Callable[[Reference], Source | None],
) -> Origins:
    """The original blobs of the `wanted` layers, as far as the registries they came from still tell. Never raises."""
    origins = Origins()
    missing = set(wanted)
    reads = 0
    for ancestor, reference in _references(engine, image, targets, open_repository):
        if reads == _READ or not missing & set(ancestor.diff_ids):
            continue
        reads += 1
        with _giving_up():
            source = open_repository(reference)
            manifest = _manifest_of(source, reference, ancestor.id, image.platform) if source is not None else None
            if source is None or manifest is None or len(manifest.layers) != len(ancestor.diff_ids):
                continue
            _enter(origins, ancestor, manifest, source)
            if ancestor.id == image.id:
                origins.manifests.append(manifest)
            if _is_store_of(source, targets):
                missing -= set(ancestor.diff_ids)
    return origins


def _enter(origins: Origins, ancestor: _Ancestor, manifest: Manifest, source: Source) -> None:
    for diff_id, layer in zip(ancestor.diff_ids, manifest.layers, strict=True):
        origins.blobs.setdefault(diff_id, []).append(KnownBlob(layer).at(source.location))


def _references(
    engine: DockerEngine,
    image: LocalImage,
    targets: Sequence[Target],
    open_repository: Callable[[Reference], Source | None],
) -> Iterator[tuple[_Ancestor, Reference]]:
    """What can be asked, best first: in a target's own registry, and as many layers as possible."""
    found = []
    for ancestor in _ancestors(engine, image):
        for text in ancestor.digests:
            with _giving_up():
                reference = Reference.parse(text)
                source = open_repository(reference)
                if source is not None:
                    found.append((_is_store_of(source, targets), len(ancestor.diff_ids), ancestor, reference))
    found.sort(key=lambda entry: (not entry[0], -entry[1]))
    for _, _, ancestor, reference in found:
        yield ancestor, reference


def _is_store_of(source: Source, targets: Sequence[Target]) -> bool:
    return any(source.location.store == target.location.store for target in targets)


def _ancestors(engine: DockerEngine, image: LocalImage) -> Iterator[_Ancestor]:
    if image.digests:
        yield _Ancestor(image.id, image.diff_ids, image.digests)
    with _giving_up():
        for name in _candidates(engine, image)[:_INSPECTED]:
            local = engine.inspect(name.id)
            count = len(local.diff_ids)
            if count and local.diff_ids == image.diff_ids[:count]:
                yield _Ancestor(local.id, local.diff_ids, name.digests)


def _candidates(engine: DockerEngine, image: LocalImage) -> list[LocalName]:
    return [name for name in engine.images() if name.digests and name.id != image.id]


def _manifest_of(source: Source, reference: Reference, image_id: Digest, platform: Platform) -> Manifest | None:
    """The manifest with that configuration, by itself or in an index."""
    manifest = source.manifest(source.resolve(reference.version))
    if not manifest.is_index:
        return manifest if manifest.config is not None and manifest.config.digest == image_id else None
    for child in manifest.manifests:
        if child.platform is not None and child.platform.satisfies(platform) and not is_attestation(child):
            found = source.manifest(child)
            if found.config is not None and found.config.digest == image_id:
                return found
    return None


@contextmanager
def _giving_up() -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise
    except CiRegistryError:
        pass
