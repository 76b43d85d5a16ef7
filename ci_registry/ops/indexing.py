"""`index create`: one multi-platform index out of images that were built apart, on several agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ..engine.copy import CopyRequest, Destination, Run
from ..engine.events import Event
from ..engine.image_config import read_config
from ..engine.rehearsal import Rehearsal
from ..errors import UsageError
from ..model.descriptor import Descriptor, Platform
from ..model.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, RECORD_TYPE, Manifest, dump, parse_manifest
from ..targets.base import Source
from .places import Place, Places
from .results import CopiedImage, CopyReport, Delivered
from .tag_guard import tag_guard

__all__ = ["create_index"]


def create_index(
    places: Places,
    destination: Place,
    sources: Sequence[tuple[Source, str]],
    *,
    annotations: dict[str, str] | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
) -> CopyReport:
    """Copy each source (an image, or the images of an index) to the destination's repository, then tag their index.

    The index is of Docker's kind when all images are, else OCI. Two images of one platform are refused.
    """
    if not destination.tag:
        raise UsageError(f"{destination} names no tag", hint=f"write {destination}:TAG")
    entries = [entry for source, version in sources for entry in _entries(source, version)]
    _check_platforms([descriptor for _, descriptor in entries])
    index = _index([descriptor for _, descriptor in entries], annotations or {})
    opened = places.open_target(destination)
    real = places.repository(destination, writing=True)
    if not dry_run:
        opened.prepare_repository(destination.repository)
    target = Rehearsal(real) if dry_run else real
    before = real.tagged(destination.tag)
    guard = tag_guard(opened.settings)
    if guard is not None and (before is None or before.digest != index.digest):
        guard(real, destination.tag, before, index.descriptor)
    run = Run(places.limiter, places.cancel, on_event=on_event)
    images = [
        run.add(CopyRequest(source, descriptor, [Destination(target)], without_artifact_types=frozenset({RECORD_TYPE})))
        for source, descriptor in entries
    ]
    run.run()
    for image in images:
        for error in image.errors:
            raise error
    if before is None or before.digest != index.digest:
        target.put_manifest(index, destination.tag)
        run.event(Event("tagged", real.location.name, index.digest, destination.tag, index.descriptor.size))
    return _report(destination, real.location.name, index, before, run, dry_run, sources)


def _entries(source: Source, version: str) -> list[tuple[Source, Descriptor]]:
    manifest = source.manifest(source.resolve(version))
    if manifest.is_index:
        return [(source, child) for child in manifest.manifests]
    config = read_config(source, manifest)
    platform = Platform.from_json(config)
    if not platform.os or not platform.architecture:
        raise UsageError(
            f"{source.location.name}@{manifest.digest} does not say which platform it is for",
            hint="only images can go into an index, not other artifacts",
        )
    return [(source, replace(manifest.descriptor, platform=platform))]


def _check_platforms(descriptors: Sequence[Descriptor]) -> None:
    seen: dict[Platform, Descriptor] = {}
    for descriptor in descriptors:
        platform = descriptor.platform
        if platform is None or platform.os == "unknown":
            continue
        other = seen.setdefault(platform, descriptor)
        if other.digest != descriptor.digest:
            raise UsageError(
                f"two images are for {platform}: {other.digest} and {descriptor.digest}",
                hint="give one image for each platform",
            )


def _index(descriptors: Sequence[Descriptor], annotations: dict[str, str]) -> Manifest:
    distinct = list({descriptor.digest: descriptor for descriptor in descriptors}.values())
    docker = all(descriptor.media_type == DOCKER_MANIFEST for descriptor in distinct) and not annotations
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else OCI_INDEX,
        "manifests": [descriptor.to_json() for descriptor in distinct],
    }
    if annotations:
        document["annotations"] = annotations
    return parse_manifest(dump(document))


def _report(
    destination: Place,
    where: str,
    index: Manifest,
    before: Descriptor | None,
    run: Run,
    dry_run: bool,
    sources: Sequence[tuple[Source, str]],
) -> CopyReport:
    tag = destination.tag or ""
    unchanged = before is not None and before.digest == index.digest
    delivered = Delivered(
        target=destination.where,
        repository=where,
        reference=f"{where}@{index.digest}",
        tags=[tag],
        outcome="unchanged" if unchanged else "copied",
        previous={} if unchanged else {tag: before.digest if before else None},
    )
    image = CopiedImage(
        source=", ".join(f"{source.location.name}:{version}" for source, version in sources),
        digest=index.digest,
        media_type=index.media_type,
        platforms=[str(platform) for platform in index.platforms()],
        destinations=[delivered],
    )
    return CopyReport(dry_run=dry_run, images=[image], counts=run.counts.to_json())
