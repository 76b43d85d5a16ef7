"""Copy orders carried out: from places and tags to the engine and back to a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec import Struct
from msgspec.structs import replace

from ..engine.copy import CopyRequest, Destination, ImageCopy, Run, check_distinct
from ..engine.delivery import Delivery, TagGuard
from ..engine.events import Event
from ..engine.rehearsal import Rehearsal
from ..errors import CiRegistryError, PartialError, UsageError
from ..kinds.base import Metered
from ..kinds.settings import TargetSettings
from ..model.descriptor import Descriptor, Platform
from ..model.manifest import RECORD_TYPE
from ..targets.base import Lister, Source
from .destinations import Destinations
from .places import Place, Places
from .results import CopiedImage, CopyReport, Delivered, error_report
from .sources import Opened, open_source

__all__ = [
    "CopyJob",
    "CopyOrder",
    "Landing",
    "landing_of",
    "landings",
    "own_tags",
    "shown_place",
]

_LEFT_OUT = frozenset({RECORD_TYPE})


class Landing(Struct, frozen=True):
    """Where one image is to go: a repository, and the tags it gets there."""

    place: Place
    tags: tuple[str, ...]


class CopyOrder(Struct, frozen=True):
    """One image to copy, and where to."""

    source: Place
    landings: Sequence[Landing]
    platform: Platform | None = None
    referrers: bool = False


def landings(
    places: Places, path: str, targets: Sequence[str], tags: Sequence[str], repository: str = ""
) -> list[Landing]:
    """The landing of an image at each target, by the target's rule; `repository` stands in for the source's path."""
    if not path and not repository:
        raise UsageError("the source has no name", hint="give it one with --repository NAME")
    if len(set(targets)) != len(targets):
        raise UsageError(f"a target is named twice: {', '.join(targets)}", hint="name each target once")
    found = []
    for name in targets:
        name = name.removesuffix(":")
        landed = places.target(name).landing(repository or path)
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


class CopyJob:
    """Copies that are carried out together. Use it in a `with` block: leaving it removes what was spooled, and drops
    what an archive was given but did not get whole."""

    def __init__(
        self, places: Places, *, dry_run: bool = False, on_event: Callable[[Event], None] = lambda _: None
    ) -> None:
        self._places, self._dry_run = places, dry_run
        self._run = Run(places.limiter, places.cancel, on_event=on_event)
        self._destinations = Destinations(places)
        self._stack = ExitStack()
        self._orders: list[tuple[CopyOrder, Opened, list[Destination]]] = []

    def __enter__(self) -> CopyJob:
        return self

    def __exit__(self, *_: object) -> None:
        self._destinations.drop()
        self._stack.close()

    def add(self, order: CopyOrder) -> None:
        """Open an order's source and destinations. An image of the daemon has its layers brought to them by this."""
        destinations = [self._destination(landing) for landing in order.landings]
        targets = [destination.target for destination in destinations]
        opened = open_source(
            self._places, order.source, targets, self._stack, dry_run=self._dry_run, on_event=self._run.event
        )
        self._orders.append((order, opened, destinations))

    def _destination(self, landing: Landing) -> Destination:
        target = self._destinations.open(landing.place)
        settings = _settings(self._places, landing.place)
        if not self._dry_run and settings is not None:
            self._places.open_target(landing.place).prepare_repository(landing.place.repository)
        return Destination(Rehearsal(target) if self._dry_run else target, landing.tags, _guard(settings))

    def carry_out(self) -> tuple[CopyReport, CiRegistryError | None]:
        """Copy. The second part of the answer is what the run failed with; an interruption raises `Interrupted`."""
        requests = [_request(order, opened, destinations) for order, opened, destinations in self._orders]
        check_distinct(requests)
        images = [self._run.add(request) for request in requests]
        self._run.run()
        self._finish(images)
        if self._dry_run:
            self._forecast()
        copied = [_copied(order, image) for (order, _, _), image in zip(self._orders, images, strict=True)]
        report = CopyReport(dry_run=self._dry_run, images=copied, counts=self._run.counts.to_json())
        return report, _failure([delivery for image in images for delivery in image.deliveries], self._dry_run)

    def _forecast(self) -> None:
        """Say what the run itself would use of a registry's pull limit: this one has used as much."""
        for order, _, _ in self._orders:
            source = self._places.open_target(order.source) if order.source.transport in ("target", "docker") else None
            line = source.forecast() if isinstance(source, Metered) else ""
            if line:
                self._places.notify(line)

    def _finish(self, images: Sequence[ImageCopy]) -> None:
        """Write the archives that got everything they were to get."""
        pairs = [
            (landing.place, delivery)
            for (order, _, _), image in zip(self._orders, images, strict=True)
            for landing, delivery in zip(order.landings, image.deliveries, strict=True)
        ]
        broken = {place for place, delivery in pairs if delivery.error is not None}
        for place, delivery in pairs:
            if place in broken or self._dry_run:
                continue
            error = self._destinations.finish(place)
            if error is not None:
                delivery.fail_late(error)


def _request(order: CopyOrder, opened: Opened, destinations: Sequence[Destination]) -> CopyRequest:
    return CopyRequest(
        opened.source,
        opened.version,
        destinations,
        platform=order.platform,
        referrers=order.referrers,
        without_artifact_types=_LEFT_OUT,
        failures=opened.failures,
    )


def _guard(settings: TargetSettings | None) -> TagGuard | None:
    if settings is None or not (settings.immutable_tags or settings.protected_tags):
        return None
    from .tag_guard import tag_guard

    return tag_guard(settings)


def _settings(places: Places, place: Place) -> TargetSettings | None:
    return places.open_target(place).settings if place.transport in ("target", "docker") else None


def _copied(order: CopyOrder, image: ImageCopy) -> CopiedImage:
    root = image.root
    return CopiedImage(
        source=str(order.source),
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
    arrived = sum(1 for delivery in deliveries if delivery.error is None and not delivery.unchanged)
    tags = [f"{each.where}:{tag}" for each in deliveries if each.error is not None for tag in each.tags_set]
    if (arrived or tags) and not dry_run:
        causes = "; ".join(f"{where}: {error.message}" for where, error in failed)
        set_before = f"; {', '.join(tags)} had been set before" if tags else ""
        return PartialError(
            f"{arrived} of {len(deliveries)} copies arrived and {len(failed)} failed ({causes}{set_before})",
            hint="run it again: what arrived is not copied twice",
        )
    return min((error for _, error in failed), key=lambda error: error.exit_code)


def own_tags(source: Source) -> tuple[list[str], int]:
    """The tags of a source, and how many were left out because they only hold what refers to other images.

    Those come along with their images (`referrers`): copied as they are, a list of referrers would replace the one at
    the destination. Raises `UsageError` where a place can't list its tags.
    """
    if not isinstance(source, Lister):
        raise UsageError(f"{source.location.name} can't list its tags", hint="name the tag to copy")
    from ..engine.selectors import is_referrer_tag

    tags = source.tags()
    own = [tag for tag in tags if not is_referrer_tag(tag)]
    return own, len(tags) - len(own)
