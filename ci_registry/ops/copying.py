"""Copy orders carried out: from places and tags to the engine and back to a report."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..engine.copy import CopyRequest, Destination, ImageCopy, Run, check_distinct
from ..engine.delivery import Delivery, TagGuard
from ..engine.events import Event
from ..engine.rehearsal import Rehearsal
from ..errors import CiRegistryError, ConflictError, PartialError, UsageError
from ..kinds.settings import TargetSettings
from ..model.descriptor import Descriptor, Platform
from ..targets.base import Lister, Source, Target
from .places import Place, Places
from .results import CopiedImage, CopyReport, Delivered, error_report

__all__ = [
    "RECORD_TYPE",
    "CopyOrder",
    "Landing",
    "carry_out",
    "landing_of",
    "landings",
    "shown_place",
    "tag_guard",
    "tags_of",
]

RECORD_TYPE = "application/vnd.ci-registry.promotion.v1+json"
"""Artifact type of our promotion records: they belong to where they were made, and no copy takes them along."""


@dataclass(frozen=True)
class Landing:
    """Where one image is to go: a repository, and the tags it gets there."""

    place: Place
    tags: tuple[str, ...]


@dataclass(frozen=True)
class CopyOrder:
    """One image to copy: `source` is opened already, `version` a tag or digest in it, `shown` its name for people."""

    source: Source
    version: str
    shown: str
    landings: Sequence[Landing]
    platform: Platform | None = None
    referrers: bool = False


def landings(
    places: Places, path: str, targets: Sequence[str], tags: Sequence[str], repository: str = ""
) -> list[Landing]:
    """The landing of an image with this source path at each target; `repository` overrides the targets' rules."""
    if not path and not repository:
        raise UsageError("the source has no name", hint="say where it lands with --repository NAME")
    if len(set(targets)) != len(targets):
        raise UsageError(f"a target is named twice: {', '.join(targets)}", hint="name each target once")
    found = []
    for name in targets:
        name = name.removesuffix(":")
        landed = repository or places.target(name).landing(path)
        found.append(Landing(Place("target", name, landed), tuple(tags)))
    return found


def landing_of(source: Place, destination: Place) -> Landing:
    """Where `copy` and `pull` put an image: under the destination's tag, else the source's, else `latest`.

    A source that is named by digest alone goes by digest alone, where the destination names no tag either.
    """
    bare = replace(destination, tag=None, digest=None)
    if destination.digest:
        raise UsageError(f"{destination} names a digest, which a destination can't have", hint="name a tag, or nothing")
    if destination.tag:
        return Landing(bare, (destination.tag,))
    if source.digest:
        return Landing(bare, ())
    return Landing(bare, (source.tag or "latest",))


def shown_place(places: Places, place: Place, tag: str = "") -> str:
    """A destination as people know it: `docker.io/team/app:1.2`."""
    version = f":{tag}" if tag else ""
    if place.transport in ("target", "docker"):
        return places.repository(place, writing=True).location.name + version
    return f"{place}{version}"


def carry_out(
    places: Places,
    orders: Sequence[CopyOrder],
    *,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
) -> tuple[CopyReport, CiRegistryError | None]:
    """Copy. The second part of the answer is what the run failed with; an interruption raises `Interrupted`."""
    run = Run(places.limiter, places.cancel, on_event=on_event)
    requests = [_request(places, order, dry_run) for order in orders]
    check_distinct(requests)
    images = [run.add(request) for request in requests]
    run.run()
    copied = [_copied(order, image) for order, image in zip(orders, images, strict=True)]
    report = CopyReport(dry_run=dry_run, images=copied, counts=run.counts.to_json())
    return report, _failure([delivery for image in images for delivery in image.deliveries], dry_run)


def _request(places: Places, order: CopyOrder, dry_run: bool) -> CopyRequest:
    destinations = []
    for landing in order.landings:
        target = places.repository(landing.place, writing=True)
        settings = _settings(places, landing.place)
        if not dry_run and settings is not None:
            places.open_target(landing.place).prepare_repository(landing.place.repository)
        guard = tag_guard(settings) if settings is not None else None
        destinations.append(Destination(Rehearsal(target) if dry_run else target, landing.tags, guard))
    return CopyRequest(
        order.source,
        order.version,
        destinations,
        platform=order.platform,
        referrers=order.referrers,
        without_artifact_types=frozenset({RECORD_TYPE}),
    )


def _settings(places: Places, place: Place) -> TargetSettings | None:
    return places.open_target(place).settings if place.transport in ("target", "docker") else None


def tag_guard(settings: TargetSettings) -> TagGuard | None:
    """Refuses to move tags that the target calls immutable: the same digest is no move, another is a conflict."""
    immutable = settings.immutable_tags
    if immutable is False or immutable == ():
        return None
    patterns = ("*",) if immutable is True else tuple(immutable)

    def guard(target: Target, tag: str, found: Descriptor | None, wanted: Descriptor) -> None:
        if found is None or not any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns):
            return
        raise ConflictError(
            f"moving the tag {target.location.name}:{tag} was refused: it is immutable (immutable_tags of target "
            f"'{settings.name}') and holds {found.digest}, not {wanted.digest}",
            hint="push under another tag",
            target=settings.name,
        )

    return guard


def _copied(order: CopyOrder, image: ImageCopy) -> CopiedImage:
    root = image.root
    return CopiedImage(
        source=order.shown,
        digest=root.digest if root else "",
        media_type=root.media_type if root else "",
        platforms=[str(platform) for platform in image.platforms],
        destinations=[
            _delivered(landing, delivery, root)
            for landing, delivery in zip(order.landings, image.deliveries, strict=True)
        ],
    )


def _delivered(landing: Landing, delivery: Delivery, root: Descriptor | None) -> Delivered:
    outcome = "failed" if delivery.error else "unchanged" if delivery.unchanged else "copied"
    moved = {tag: found for tag, found in delivery.previous.items() if found is None or found != root}
    return Delivered(
        target=landing.place.where,
        repository=delivery.where,
        reference=f"{delivery.where}@{root.digest}" if root else delivery.where,
        tags=list(landing.tags),
        outcome=outcome,
        previous={tag: found.digest if found else None for tag, found in moved.items()},
        error=error_report(delivery.error) if delivery.error else None,
    )


def _failure(deliveries: Sequence[Delivery], dry_run: bool) -> CiRegistryError | None:
    """At least one tag moved and at least one did not: `PartialError`. Nothing moved: the smallest exit code."""
    failed = [(delivery.where, delivery.error) for delivery in deliveries if delivery.error is not None]
    if not failed:
        return None
    moved = sum(1 for delivery in deliveries if delivery.error is None and not delivery.unchanged)
    if moved and not dry_run:
        causes = "; ".join(f"{where}: {error.message}" for where, error in failed)
        return PartialError(
            f"{moved} of {len(deliveries)} copies arrived and {len(failed)} failed ({causes})",
            hint="run it again: what arrived is not copied twice",
        )
    return min((error for _, error in failed), key=lambda error: error.exit_code)


def tags_of(source: Source) -> list[str]:
    """All tags of a source; raises `UsageError` where a place can't list them."""
    if not isinstance(source, Lister):
        raise UsageError(f"{source.location.name} can't list its tags", hint="name the tag to copy")
    return source.tags()
