"""What images are made of and say about themselves, each manifest and configuration read once per digest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import Struct, field

from ..model.descriptor import Descriptor, Digest, Platform
from ..model.manifest import DOCKER_CONFIG, OCI_CONFIG, Manifest, is_attestation, is_manifest
from ..targets.base import Source
from .fan_out import Workers
from .image_config import labels_of, read_config

__all__ = ["ImageFacts", "parse_time", "read_facts"]

_TIME = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d:\d\d)"
)
REVISION = "org.opencontainers.image.revision"


class ImageFacts(Struct):
    """One image or index. `layers` and `configs` are its distinct blobs; `labels` include its annotations."""

    root: Manifest
    layers: dict[Digest, Descriptor] = field(default_factory=dict)
    configs: dict[Digest, Descriptor] = field(default_factory=dict)
    platforms: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    created: str | None = None

    @property
    def commit(self) -> str | None:
        return self.labels.get(REVISION)


class _Library(Struct):
    """All manifests and configurations that were read, by digest."""

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    configs: dict[Digest, dict[str, Any]] = field(default_factory=dict)
    holder: dict[Digest, Source] = field(default_factory=dict)


def read_facts(workers: Workers, roots: Iterable[tuple[Source, Manifest]]) -> dict[Digest, ImageFacts]:
    """The facts of each root by its digest; many requests at once, level by level."""
    library = _Library()
    level = []
    for source, manifest in roots:
        if manifest.digest not in library.manifests:
            library.manifests[manifest.digest] = manifest
            library.holder[manifest.digest] = source
            level.append(manifest)
    tops = list(level)
    while level:
        level = _read_children(workers, library, level)
    _read_configs(workers, library)
    return {manifest.digest: _facts(library, manifest) for manifest in tops}


def _read_children(workers: Workers, library: _Library, level: Sequence[Manifest]) -> list[Manifest]:
    wanted: dict[Digest, tuple[Source, Descriptor]] = {}
    for parent in level:
        source = library.holder[parent.digest]
        for child in parent.manifests:
            if is_manifest(child.media_type) and child.digest not in library.manifests:
                wanted.setdefault(child.digest, (source, child))
    found = workers.all([(source.location.host, partial(source.manifest, child)) for source, child in wanted.values()])
    for manifest, (source, child) in zip(found, wanted.values(), strict=True):
        library.manifests[child.digest], library.holder[child.digest] = manifest, source
    return found


def _read_configs(workers: Workers, library: _Library) -> None:
    wanted: dict[Digest, tuple[Source, Manifest]] = {}
    for digest, manifest in library.manifests.items():
        config = manifest.config
        if config is not None and config.media_type in (OCI_CONFIG, DOCKER_CONFIG):
            wanted.setdefault(config.digest, (library.holder[digest], manifest))
    jobs = [(source.location.host, partial(read_config, source, manifest)) for source, manifest in wanted.values()]
    found = workers.all(jobs)
    library.configs.update(zip(wanted, found, strict=True))


def _facts(library: _Library, root: Manifest) -> ImageFacts:
    facts = ImageFacts(root)
    images = list(_images(library, root, facts))
    configs = [library.configs.get(image.config.digest, {}) for image in images if image.config is not None]
    if root.is_index:
        facts.platforms = [str(platform) for platform in root.platforms()]
    else:
        facts.platforms = [str(Platform.from_json(config)) for config in configs if config.get("os")]
    facts.labels = {**_shared_labels(configs), **dict(root.annotations or {})}
    facts.created = _oldest(configs)
    return facts


def _images(library: _Library, manifest: Manifest, facts: ImageFacts, *, counts: bool = True) -> Iterable[Manifest]:
    """Every image below a manifest; what is an attestation gives its blobs and no labels."""
    if manifest.config is not None:
        facts.configs[manifest.config.digest] = manifest.config
    facts.layers.update((layer.digest, layer) for layer in manifest.layers)
    if not manifest.is_index and counts:
        yield manifest
    for child in manifest.manifests:
        if child.digest in library.manifests:
            below = library.manifests[child.digest]
            yield from _images(library, below, facts, counts=counts and not is_attestation(child))


def _shared_labels(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The labels that all images have, with the same value."""
    labels = [labels_of(dict(config)) for config in configs]
    first = labels[0] if labels else {}
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in labels)}


def _oldest(configs: Sequence[Mapping[str, Any]]) -> str | None:
    times = {moment: str(config["created"]) for config in configs if (moment := parse_time(config.get("created")))}
    return times[min(times)] if times else None


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time, to the microsecond; None for anything else."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")  # Go writes nanoseconds, which Python does not read
    zone = "+00:00" if match["zone"] in ("Z", "z") else match["zone"]
    try:
        return datetime.fromisoformat(f"{match['second'].replace(' ', 'T')}.{fraction}{zone}")
    except ValueError:
        return None
