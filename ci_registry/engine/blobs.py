"""The blobs of a run: each wanted once per destination, mounted where it can be, read once for all that need bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from ..errors import CiRegistryError, NotFoundError, RemoteError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import is_foreign
from ..targets.base import Location, Mounted, Present, Session, Source, Target, Writer, offers
from ..targets.prepared import TakesNotes
from .buffers import Buffers
from .events import Event, EventKind
from .feed import Beside, Feed
from .transfer import Transfer
from .waiting import Gather, Waiting

if TYPE_CHECKING:
    from .copy import Run

__all__ = ["BlobMoves", "MountHints", "UploadJournal"]

URGENT_CHECK = 3
URGENT_BLOB = 2
WORTH_RESUMING_BYTES = 1024 * 1024
_CANCEL_SECONDS = 3.0


class UploadJournal(Protocol):
    """Where unfinished upload sessions are kept for a later run."""

    def session(self, where: Location, descriptor: Descriptor) -> Session | None: ...
    def opened(self, where: Location, descriptor: Descriptor, session: Session) -> None: ...
    def closed(self, where: Location, descriptor: Descriptor) -> None: ...


@runtime_checkable
class MountHints(Protocol):
    """Sources that know other places which hold a blob, to mount it from (a local image's base, say)."""

    def held_at(self, descriptor: Descriptor) -> Sequence[Location]: ...


class _Blob(Waiting):
    """A blob wanted at one destination."""


_THERE = _Blob()
"""Stands for every blob that has arrived."""
_THERE.done()


class _Want(Struct, eq=False):
    """A blob that one destination may lack, while that is found out."""

    target: Target
    blob: _Blob
    feed: Feed | None = None


class _Group(Struct, eq=False):
    """All wants for a blob that came up together, and are served by one read."""

    source: Source
    descriptor: Descriptor


Checked = Gather[_Want]


class BlobMoves:
    """Looks after all blobs of a run."""

    def __init__(self, run: Run, buffers: Buffers, journal: UploadJournal | None, retry_seconds: float) -> None:
        self._run, self._buffers, self._journal, self._retry_seconds = run, buffers, journal, retry_seconds
        self._lock = threading.Lock()
        self._blobs: dict[tuple[str, str, str], _Blob] = {}
        self._first_at: dict[tuple[str, str], tuple[str, _Blob]] = {}
        self._feeds: set[Feed] = set()

    def want(self, source: Source, descriptor: Descriptor, at: Sequence[tuple[Target, Waiting]]) -> None:
        """Have a blob at each of these targets; what stands beside a target waits for it."""
        wants: list[_Want] = []
        for target, waiting in at:
            blob, is_fresh = self._blob_at(target, descriptor)
            waiting.wait_for(blob)
            if is_fresh:
                wants.append(_Want(target, blob))
        if not wants:
            return  # as most are where images share their layers
        group = _Group(source, descriptor)
        checked = self._gather(group, len(wants))
        for want in wants:
            self._find_out(group, want, checked)

    def _gather(self, group: _Group, count: int) -> Checked:
        return Gather(count, lambda wants: self._move(group, wants), self._run.scheduler.remind)

    def _blob_at(self, target: Target, descriptor: Descriptor) -> tuple[_Blob, bool]:
        place = target.location
        key = (place.store, place.repository, descriptor.digest)
        with self._lock:
            known = self._blobs.get(key)
            if known is None:
                known = self._blobs[key] = _Blob()
                self._first_at.setdefault((place.store, descriptor.digest), (place.repository, known))
                return known, True
            return known, False

    # -- what is there -------------------------------------------------------------------------------------------

    def _find_out(self, group: _Group, want: _Want, checked: Checked) -> None:
        """Mount the blob, find it present, or learn that its bytes are needed."""
        source, target = group.source.location, want.target.location
        if (source.store, source.repository) == (target.store, target.repository):
            self._settle(group, want, "present")
            checked.left()
            return
        sibling = self._sibling(group, want)
        if sibling is None:
            self._check(group, want, self._mounts(group, want), checked)
            return
        repository, first = sibling
        # The same registry gets it into another repository already: one upload, and mounts from there. The others do
        # not wait for this one, which waits for them.
        checked.left()
        alone = self._gather(group, 1)
        first.on_end(
            lambda: self._check(group, want, [repository], alone), lambda _: self._check(group, want, [], alone)
        )

    def _sibling(self, group: _Group, want: _Want) -> tuple[str, _Blob] | None:
        if group.source.location.store == want.target.location.store:
            return None
        with self._lock:
            repository, blob = self._first_at[want.target.location.store, group.descriptor.digest]
        return None if blob is want.blob else (repository, blob)

    def _mounts(self, group: _Group, want: _Want) -> list[str]:
        store = want.target.location.store
        places = [group.source.location]
        if offers(group.source, MountHints) and isinstance(group.source, MountHints):
            places += group.source.held_at(group.descriptor)
        return [place.repository for place in places if place.store == store]

    def _check(self, group: _Group, want: _Want, mounts: Sequence[str], checked: Checked) -> None:
        def check() -> None:
            if self._still_wanted(want):
                self._ask(group, want, mounts)
            if want.feed is None:
                checked.left()
            else:
                checked.arrived(want)

        def failed(error: CiRegistryError) -> None:
            want.blob.fail(error.on("target", want.target.location.name))
            checked.left()

        try:
            is_new = not mounts and self._run.is_new(want.target)
        except CiRegistryError as error:
            failed(error)
            return
        if is_new:
            self._feed(group, want)
            checked.arrived(want)
        else:
            self._run.task(check, [want.target.location.host], failed, urgency=URGENT_CHECK)

    def _still_wanted(self, want: _Want) -> bool:
        """Nothing more is done for an image that has failed already, at a place that may be down."""
        if want.blob.is_wanted:
            return True
        want.blob.fail(_not_wanted())
        return False

    def _ask(self, group: _Group, want: _Want, mounts: Sequence[str]) -> None:
        if mounts:
            opened = want.target.writer(group.descriptor, mounts)
            if isinstance(opened, Mounted | Present):
                self._settle(group, want, "mounted" if isinstance(opened, Mounted) else "present")
            else:
                self._feed(group, want, opened)
        elif want.target.exists([group.descriptor]):
            self._settle(group, want, "present")
        else:
            self._feed(group, want)

    def _feed(self, group: _Group, want: _Want, writer: Writer | None = None) -> None:
        want.feed = Feed(
            want.target,
            writer=writer,
            on_end=lambda feed: self._fed(group, want, feed),
            is_wanted=lambda: want.blob.is_wanted,
        )
        with self._lock:
            self._feeds.add(want.feed)

    def _settle(self, group: _Group, want: _Want, outcome: EventKind) -> None:
        target, blob = want.target, group.descriptor
        if outcome != "present" or not _was_counted(target, blob):
            self._run.event(Event(outcome, target.location.name, blob.digest, count=blob.size))
        want.blob.done()
        if want.blob.error is None:
            self._forget(target.location, blob.digest, want.blob)

    def _forget(self, place: Location, digest: Digest, blob: _Blob) -> None:
        """Only that it is there need be known of a blob from now on."""
        with self._lock:
            self._blobs[place.store, place.repository, digest] = _THERE
            repository, first = self._first_at[place.store, digest]
            if first is blob:
                self._first_at[place.store, digest] = repository, _THERE

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _move(self, group: _Group, wants: Sequence[_Want]) -> None:
        """Some destinations have answered that they need bytes: one transfer serves them together."""
        self._run.task(
            lambda: self._transfer(group, wants),
            [group.source.location.host, *(want.target.location.host for want in wants)],
            lambda error: self._source_failed(group, wants, error),
            size=group.descriptor.size,
            urgency=URGENT_BLOB,
        )

    def _transfer(self, group: _Group, wants: Sequence[_Want]) -> None:
        feeds = [want.feed for want in wants if want.feed is not None]
        if self._remembers(group):
            for feed in feeds:
                feed.session = self._journal.session(feed.target.location, group.descriptor) if self._journal else None
        transfer = Transfer(
            group.source,
            group.descriptor,
            feeds,
            self._buffers,
            self._run.cancel,
            self._retry_seconds,
            on_bytes=lambda count: self._run.event(Event("bytes", group.source.location.name, count=count)),
            on_session=lambda feed, session: self._remember(group, feed, session),
            keep_sessions=self._remembers(group),
        )
        transfer.run()
        for want in wants:
            self._finish_alone(group, transfer, want)

    def _finish_alone(self, group: _Group, transfer: Transfer, want: _Want) -> None:
        """Another go for a feed that was left behind, without holding slots of others while it waits."""
        feed = want.feed
        wait = transfer.wait_seconds(feed) if feed is not None and feed.is_open else None
        if feed is None or wait is None:
            return
        self._run.task(
            lambda: self._prepared(group, transfer, want, feed),
            [want.target.location.host],
            lambda error: self._source_failed(group, [want], error),
            urgency=URGENT_BLOB,
            after_seconds=wait,
        )

    def _prepared(self, group: _Group, transfer: Transfer, want: _Want, feed: Feed) -> None:
        transfer.prepare(feed)
        if feed.writer is None:
            self._finish_alone(group, transfer, want)
            return

        def finish() -> None:
            transfer.finish(feed)
            self._finish_alone(group, transfer, want)

        self._run.task(
            finish,
            [group.source.location.host, want.target.location.host],
            lambda error: self._source_failed(group, [want], error),
            size=group.descriptor.size,
            urgency=URGENT_BLOB,
        )

    def _fed(self, group: _Group, want: _Want, feed: Feed) -> None:
        with self._lock:
            self._feeds.discard(feed)
        if feed.error is not None:
            want.blob.fail(feed.error)
        else:
            self._settle(group, want, "copied" if feed.outcome == "copied" else "present")

    def _source_failed(self, group: _Group, wants: Sequence[_Want], error: CiRegistryError) -> None:
        absent = isinstance(error, NotFoundError) and error.side == "source"
        with self._lock:
            self._feeds.difference_update(want.feed for want in wants if want.feed is not None)
        for want in wants:
            if absent and is_foreign(group.descriptor) and group.descriptor.urls and not want.blob.is_over:
                self._settle(group, want, "left-out")  # its urls say where it really is
            else:
                want.blob.fail(error.on("source", group.source.location.name))

    # -- unfinished uploads --------------------------------------------------------------------------------------

    def _remembers(self, group: _Group) -> bool:
        return self._journal is not None and group.descriptor.size >= WORTH_RESUMING_BYTES

    def _remember(self, group: _Group, feed: Feed, session: Session | None) -> None:
        if self._journal is None or not self._remembers(group):
            return
        feed.is_remembered = session is not None
        if session is None:
            self._journal.closed(feed.target.location, group.descriptor)
        else:
            self._journal.opened(feed.target.location, group.descriptor, session)

    def cancel_uploads(self) -> None:
        """Cancel the uploads that were opened and wait for their turn, when a run is stopped; not those that a later
        run goes on with."""
        with self._lock:
            feeds = [feed for feed in self._feeds if feed.is_open and not feed.is_remembered]
        cancelling = [Beside(feed.abandon) for feed in feeds]
        end = time.monotonic() + _CANCEL_SECONDS
        for each in cancelling:
            each.wait_for(max(0.0, end - time.monotonic()))


def _was_counted(target: Target, blob: Descriptor) -> bool:
    """Whether the target was told of the blob when it was brought there, ahead of this run."""
    return offers(target, TakesNotes) and isinstance(target, TakesNotes) and target.is_noted(blob)


def _not_wanted() -> CiRegistryError:
    return RemoteError("this part of an image was not copied, as another part of it had failed")
