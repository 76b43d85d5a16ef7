"""Copy: any number of images from places to places, in one run.

A run expands each image into what its destinations lack: manifests are read once per digest, each blob is wanted once
per destination however many images share it, and read once for all destinations. Children go first, manifests after
what they refer to, tags last of all; so an interruption leaves unreferenced blobs and never a tag on a hole.

The parts: `Run` holds what images share, `ImageCopy` walks one image, `blobs.BlobMoves` looks after blobs, and
`delivery.Delivery` is one image on its way to one destination.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from ..errors import CiRegistryError, Interrupted, NotFoundError, UsageError
from ..model.descriptor import Descriptor, Digest, Platform
from ..model.manifest import Manifest, is_index, is_manifest
from ..targets.base import Expecting, Lister, Referrers, Source, Target, offers
from ..transport.limiter import Limiter
from ..transport.retry import Cancel
from .blobs import BlobMoves, UploadJournal
from .buffers import Buffers
from .delivery import Delivery, Destination, Node, NodeBoard, TagGuard
from .events import Counts, Event
from .scheduler import Scheduler, Task
from .turns import Turns
from .waiting import Gather, Waiting

__all__ = ["CopyRequest", "Destination", "ImageCopy", "Run", "TagGuard", "check_distinct"]

# What finishes images goes before what begins new ones, so that few are under way at any time.
URGENT_READ, URGENT_CHECK, URGENT_ROOT = 2, 3, 6
IMAGES_AT_ONCE = 256
"""Enough for 64 connections to each registry, far away as well: an image takes some ten round trips."""


Lacking = Gather[tuple[Delivery, Node]]


class CopyRequest(Struct, frozen=True):
    """One image to copy. `reference` is a tag, a digest, or a descriptor that was resolved before.

    `platform` picks one image out of an index. `referrers` brings what refers to the image and to each of its
    children, except artifacts of the types in `without_artifact_types`.
    """

    source: Source
    reference: str | Descriptor
    destinations: Sequence[Destination]
    platform: Platform | None = None
    referrers: bool = False
    without_artifact_types: frozenset[str] = frozenset()
    failures: Mapping[int, CiRegistryError] = field(default_factory=dict)
    """Destinations that have failed already, by position: what was prepared for the others did not arrive there."""


class Run:
    """Everything that the images of one run share. `add` images, then `run`; results are in the `ImageCopy`s."""

    def __init__(
        self,
        limiter_of: Callable[[str], Limiter],
        cancel: Cancel,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        journal: UploadJournal | None = None,
        retry_seconds: float = 120.0,
        buffers: Buffers | None = None,
    ) -> None:
        self.cancel = cancel
        self.counts = Counts()
        self.lock = threading.RLock()
        self.scheduler = Scheduler(limiter_of, cancel)
        self.board = NodeBoard()
        self._turns = Turns(IMAGES_AT_ONCE)
        self._on_event = on_event
        self.blobs = BlobMoves(self, buffers or Buffers(), journal, retry_seconds)
        self._images: list[ImageCopy] = []
        self._tags_of: dict[str, list[str]] = {}
        self._tags_lock = threading.Lock()
        self._tags_wanted: Counter[str] = Counter()
        self._new: dict[tuple[str, str], bool] = {}

    def tags_wanted(self, target: Target) -> int:
        """How many tags this run is to set at a target; many make one listing cheaper than asking for each."""
        return self._tags_wanted[target.location.name]

    def is_new(self, target: Target) -> bool:
        """Whether a target had nothing when this run first asked: what is there since, the run itself has brought."""
        key = (target.location.store, target.location.repository)
        known = self._new.get(key)
        return self._new.setdefault(key, target.is_new()) if known is None else known

    def event(self, event: Event) -> None:
        self.counts.add(event)
        self._on_event(event)

    def add(self, request: CopyRequest) -> ImageCopy:
        """Queue an image."""
        image = ImageCopy(self, request)
        self._images.append(image)
        for destination in request.destinations:
            self._tags_wanted[destination.target.location.name] += len(destination.tags)
        image.when_over(self._turns.over)
        self._turns.add(image.start)
        return image

    def run(self) -> None:
        """Copy everything that was added. Raises `Interrupted`; failures of images are kept in their deliveries."""
        try:
            self.scheduler.run()
        except BaseException:
            self.blobs.cancel_uploads()
            raise
        for image in self._images:
            # A run that ends with something undone and no reason for it must not look like a success.
            undone = [delivery.where for delivery in image.deliveries if not delivery.is_over]
            assert not undone, f"nothing is left to do, but {image.request.reference} is not at {undone}"  # noqa: S101

    def task(
        self,
        action: Callable[[], None],
        hosts: Iterable[str],
        failed: Callable[[CiRegistryError], None],
        *,
        size: int = 0,
        urgency: int = 5,
        after_seconds: float = 0.0,
    ) -> None:
        self.scheduler.add(Task(action, hosts, failed, size), urgency, after_seconds)

    def source_tags(self, source: Source) -> list[str]:
        """The tags of a source, listed once a run; none where it can't list."""
        if not isinstance(source, Lister):
            return []
        with self._tags_lock:
            known = self._tags_of.get(source.location.name)
            if known is None:
                known = self._tags_of[source.location.name] = self._list_tags(source)
            return known

    @staticmethod
    def _list_tags(source: Lister) -> list[str]:
        try:
            return source.tags()
        except Interrupted:
            raise
        except CiRegistryError:
            return []  # a place that won't list has no signatures that could be found by tag


class ImageCopy:
    """One image on its way to its destinations. `root` and `platforms` are known once the source answered."""

    def __init__(self, run: Run, request: CopyRequest, followed: set[tuple[str, str]] | None = None) -> None:
        self._run, self.request = run, request
        # Thousands of images live as long as the run: none has more than it needs.
        self._followed = set() if followed is None and request.referrers else followed
        self.root: Descriptor | None = None
        self.platforms: list[Platform] = []
        self.deliveries = [Delivery(run, destination) for destination in request.destinations]
        for position, error in request.failures.items():
            self.deliveries[position].fail(error)

    @property
    def errors(self) -> list[CiRegistryError]:
        return [delivery.error for delivery in self.deliveries if delivery.error is not None]

    def when_over(self, then: Callable[[], None]) -> None:
        """Call once when all its deliveries have ended, well or not."""
        left = itertools.count(len(self.deliveries) - 1, -1)

        def ended(_: CiRegistryError | None = None) -> None:
            if next(left) == 0:
                then()

        for delivery in self.deliveries:
            delivery.on_end(ended, ended)

    # -- the root ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._run.task(self._resolve, [self.request.source.location.host], self._fail_all, urgency=URGENT_ROOT)

    def _resolve(self) -> None:
        source, reference = self.request.source, self.request.reference
        root = source.resolve(reference) if isinstance(reference, str) else reference
        if self.request.platform is not None:
            root = self._pick(root, self.request.platform)
        self.root = root
        tag = reference if isinstance(reference, str) else ""
        self._run.event(Event("resolved", source.location.name, root.digest, tag, root.size))
        if self._followed is not None:
            with self._run.lock:
                self._followed.update((root.digest, delivery.where) for delivery in self.deliveries)
        wanting = [delivery for delivery in self.deliveries if delivery.error is None]
        checked: Gather[Delivery] = Gather(len(wanting), self._checked, self._run.scheduler.remind)
        for delivery in wanting:
            self._run.task(
                lambda delivery=delivery: self._check(delivery, root, checked),  # type: ignore[misc]
                [delivery.target.location.host],
                lambda error, delivery=delivery: self._check_failed(delivery, error, checked),  # type: ignore[misc]
                urgency=URGENT_CHECK,
            )

    def _pick(self, root: Descriptor, platform: Platform) -> Descriptor:
        manifest = self.request.source.manifest(root)
        if not manifest.is_index:
            return root
        picked = manifest.pick(platform)
        if picked is None:
            known = ", ".join(str(each) for each in manifest.platforms()) or "none"
            raise NotFoundError(
                f"{self.request.source.location.name} has no image for {platform} in {root.digest}",
                hint=f"its platforms are: {known}",
            )
        return picked

    def _check(self, delivery: Delivery, root: Descriptor, checked: Gather[Delivery]) -> None:
        delivery.check(root)
        checked.arrived(delivery)

    def _check_failed(self, delivery: Delivery, error: CiRegistryError, checked: Gather[Delivery]) -> None:
        delivery.fail(error.on("target", delivery.target.location.name))
        checked.left()

    def _checked(self, deliveries: Sequence[Delivery]) -> None:
        """Some destinations have said what they have: read on only for those that lack something."""
        assert self.root is not None  # noqa: S101 - set by _resolve
        open_ones = [delivery for delivery in deliveries if delivery.error is None]
        lacking = [delivery for delivery in open_ones if delivery.lacks_content or delivery.lacks_tags]
        if self.request.referrers:
            lacking = open_ones
        for delivery in open_ones:
            if delivery not in lacking:
                delivery.finish_unchanged(self.root)
        if lacking:
            host = self.request.source.location.host
            self._run.task(
                lambda: self._read_root(lacking),
                [host],
                lambda error: self._source_failed(lacking, error),
                urgency=URGENT_READ,
            )

    def _read_root(self, deliveries: Sequence[Delivery]) -> None:
        assert self.root is not None  # noqa: S101 - set by _resolve
        manifest = self.request.source.manifest(self.root)
        self.platforms = manifest.platforms()
        for delivery in deliveries:
            if offers(delivery.target, Expecting) and isinstance(delivery.target, Expecting):
                delivery.target.expect(manifest)
            delivery.begin(manifest)
        if self.request.referrers:
            self._follow_referrers(manifest, deliveries)
        owned = [(delivery, delivery.root_node) for delivery in deliveries if delivery.root_node is not None]
        self._expand(manifest, owned)
        for delivery in deliveries:
            delivery.expanded()

    def _fail_all(self, error: CiRegistryError) -> None:
        self._source_failed(self.deliveries, error)

    def _source_failed(self, waiting: Sequence[Waiting], error: CiRegistryError) -> None:
        for each in waiting:
            each.fail(error.on("source", self.request.source.location.name))

    # -- manifests -----------------------------------------------------------------------------------------------

    def _expand(self, manifest: Manifest, wanting: Sequence[tuple[Delivery, Node]]) -> None:
        """Want everything that a manifest refers to, at each destination that lacks the manifest."""
        if not wanting:
            return
        blobs: dict[Digest, Descriptor] = {}
        for child in manifest.successors():
            if is_manifest(child.media_type):
                self._want_manifest(child, wanting)
            else:
                blobs.setdefault(child.digest, child)
        for blob in blobs.values():
            self._run.blobs.want(self.request.source, blob, [(delivery.target, node) for delivery, node in wanting])
        for _, node in wanting:
            node.expanded()

    def _want_manifest(self, child: Descriptor, wanting: Sequence[tuple[Delivery, Node]]) -> None:
        fresh: list[tuple[Delivery, Node]] = []
        for delivery, parent in wanting:
            node, is_fresh = delivery.node_for(child)
            parent.wait_for(node)
            if is_fresh:
                fresh.append((delivery, node))
        if not fresh:
            return
        checked: Lacking = Gather(
            len(fresh), lambda lacking: self._read_child(child, lacking), self._run.scheduler.remind
        )
        for delivery, node in fresh:
            self._check_child(child, delivery, node, checked)

    def _check_child(self, child: Descriptor, delivery: Delivery, node: Node, checked: Lacking) -> None:
        if delivery.target_is_new:
            checked.arrived((delivery, node))
            return

        def check() -> None:
            if node.is_wanted and not delivery.target.exists([child]):
                checked.arrived((delivery, node))
            else:
                node.done()  # it is there, or an image that has failed does not need it any more
                checked.left()

        def failed(error: CiRegistryError) -> None:
            node.fail(error.on("target", delivery.target.location.name))
            checked.left()

        self._run.task(check, [delivery.target.location.host], failed, urgency=URGENT_CHECK)

    def _read_child(self, child: Descriptor, lacking: Sequence[tuple[Delivery, Node]]) -> None:
        def read() -> None:
            manifest = self.request.source.manifest(child)
            for _, node in lacking:
                node.manifest = manifest
            self._expand(manifest, lacking)

        def failed(error: CiRegistryError) -> None:
            self._source_failed([node for _, node in lacking], error)

        self._run.task(read, [self.request.source.location.host], failed, urgency=URGENT_READ)

    # -- referrers -----------------------------------------------------------------------------------------------

    def _follow_referrers(self, manifest: Manifest, deliveries: Sequence[Delivery]) -> None:
        """Bring what refers to this manifest, and to everything in it; the root's tags wait for it."""
        self._look_for_referrers(manifest.descriptor, deliveries)
        for child in manifest.manifests:
            if is_manifest(child.media_type):
                self._look_for_referrers(child, deliveries, inside=is_index(child.media_type))

    def _look_for_referrers(self, subject: Descriptor, deliveries: Sequence[Delivery], inside: bool = False) -> None:
        held = [delivery for delivery in deliveries if delivery.error is None]
        for delivery in held:
            delivery.hold()

        def look() -> None:
            if inside:
                self._follow_referrers(self.request.source.manifest(subject), held)
            else:
                self._bring(subject.digest, held)
            for delivery in held:
                delivery.release()

        def failed(error: CiRegistryError) -> None:
            self._source_failed(held, error)

        self._run.task(look, [self.request.source.location.host], failed, urgency=URGENT_READ)

    def _bring(self, subject: Digest, deliveries: Sequence[Delivery]) -> None:
        source = self.request.source
        if isinstance(source, Referrers):
            for referrer in source.referrers(subject):
                if referrer.artifact_type not in self.request.without_artifact_types:
                    self._bring_one(referrer, (), deliveries)
        signature = f"{subject.algorithm}-{subject.hex}."
        for tag in self._run.source_tags(source):
            if tag.startswith(signature):
                self._bring_one(tag, (tag,), deliveries)

    def _bring_one(self, reference: str | Descriptor, tags: tuple[str, ...], deliveries: Sequence[Delivery]) -> None:
        key = reference if isinstance(reference, str) else reference.digest
        assert self._followed is not None  # noqa: S101 - referrers are followed only where they are asked for
        with self._run.lock:
            # Lists of referrers are kept by clients, and may lead in a circle.
            deliveries = [delivery for delivery in deliveries if (key, delivery.where) not in self._followed]
            self._followed.update((key, delivery.where) for delivery in deliveries)
        if not deliveries:
            return
        destinations = [Destination(delivery.target, tags, delivery.guard) for delivery in deliveries]
        request = CopyRequest(
            self.request.source,
            reference,
            destinations,
            referrers=True,
            without_artifact_types=self.request.without_artifact_types,
        )
        image = ImageCopy(self._run, request, self._followed)
        for delivery, inner in zip(deliveries, image.deliveries, strict=True):
            delivery.hold()
            inner.on_end(delivery.release, delivery.fail)
        image.start()


def check_distinct(requests: Sequence[CopyRequest]) -> None:
    """Refuse two images that would write one tag, before anything is written."""
    seen: dict[tuple[str, str], CopyRequest] = {}
    for request in requests:
        for destination in request.destinations:
            for tag in destination.tags:
                key = (destination.target.location.name, tag)
                if key in seen and seen[key] is not request:
                    raise UsageError(
                        f"two images would be written to {key[0]}:{tag}",
                        hint="give them different tags or repositories",
                    )
                seen[key] = request
