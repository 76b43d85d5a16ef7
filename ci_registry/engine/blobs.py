"""The blobs of a run: each wanted once per destination, mounted where it can be, read once for all that need bytes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import CiRegistryError, NotFoundError
from ..model.descriptor import Descriptor
from ..model.manifest import is_foreign
from ..targets.base import Location, Mounted, Present, Session, Source, Target
from .buffers import Buffers
from .events import Event, EventKind
from .transfer import Feed, Transfer
from .waiting import Gather, Waiting

if TYPE_CHECKING:
    from .copy import Run

__all__ = ["BlobMoves", "MountHints", "UploadJournal"]

URGENT_CHECK = 3
URGENT_BLOB = 2
WORTH_RESUMING_BYTES = 1024 * 1024


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


@dataclass
class _Want:
    """A blob that one destination may lack, while that is found out."""

    target: Target
    blob: _Blob
    feed: Feed | None = None


@dataclass
class _Group:
    """All wants for a blob that came up together, and are served by one read."""

    source: Source
    descriptor: Descriptor
    wants: list[_Want] = field(default_factory=list)


class BlobMoves:
    """Looks after all blobs of a run."""

    def __init__(self, run: Run, buffers: Buffers, journal: UploadJournal | None, retry_seconds: float) -> None:
        self._run, self._buffers, self._journal, self._retry_seconds = run, buffers, journal, retry_seconds
        self._lock = threading.Lock()
        self._blobs: dict[tuple[str, str, str], _Blob] = {}
        self._first_at: dict[tuple[str, str], tuple[str, _Blob]] = {}

    def want(self, source: Source, descriptor: Descriptor, at: Sequence[tuple[Target, Waiting]]) -> None:
        """Have a blob at each of these targets; what stands beside a target waits for it."""
        group = _Group(source, descriptor)
        for target, waiting in at:
            blob, is_fresh = self._blob_at(target, descriptor)
            waiting.wait_for(blob)
            if is_fresh:
                group.wants.append(_Want(target, blob))
        if group.wants:
            checked = Gather(len(group.wants), lambda: self._move(group))
            for want in group.wants:
                self._find_out(group, want, checked)

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

    def _find_out(self, group: _Group, want: _Want, checked: Gather) -> None:
        """Mount the blob, find it present, or learn that its bytes are needed."""
        source, target = group.source.location, want.target.location
        if (source.store, source.repository) == (target.store, target.repository):
            self._settle(group, want, "present")
            checked.arrived()
            return
        sibling = self._sibling(group, want)
        if sibling is None:
            self._check(group, want, self._mounts(group, want), checked)
            return
        repository, first = sibling
        # The same registry gets it into another repository already: one upload, and mounts from there.
        first.on_end(
            lambda: self._check(group, want, [repository], checked), lambda _: self._check(group, want, [], checked)
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
        if isinstance(group.source, MountHints):
            places += group.source.held_at(group.descriptor)
        return [place.repository for place in places if place.store == store]

    def _check(self, group: _Group, want: _Want, mounts: Sequence[str], checked: Gather) -> None:
        def check() -> None:
            self._ask(group, want, mounts)
            checked.arrived()

        def failed(error: CiRegistryError) -> None:
            want.blob.fail(error.on("target", want.target.location.name))
            checked.arrived()

        if not mounts and want.target.is_new():
            want.feed = Feed(want.target)
            checked.arrived()
        else:
            self._run.task(check, [want.target.location.host], failed, urgency=URGENT_CHECK)

    def _ask(self, group: _Group, want: _Want, mounts: Sequence[str]) -> None:
        if mounts:
            opened = want.target.writer(group.descriptor, mounts)
            if isinstance(opened, Mounted | Present):
                self._settle(group, want, "mounted" if isinstance(opened, Mounted) else "present")
            else:
                want.feed = Feed(want.target, writer=opened)
        elif want.target.exists([group.descriptor]):
            self._settle(group, want, "present")
        else:
            want.feed = Feed(want.target)

    def _settle(self, group: _Group, want: _Want, outcome: EventKind) -> None:
        place = want.target.location.name
        self._run.event(Event(outcome, place, group.descriptor.digest, count=group.descriptor.size))
        want.blob.done()

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _move(self, group: _Group) -> None:
        """Every destination has answered: one transfer serves those that need bytes."""
        group.wants = [want for want in group.wants if want.feed is not None]
        if not group.wants:
            return
        hosts = [group.source.location.host, *(want.target.location.host for want in group.wants)]
        self._run.task(
            lambda: self._transfer(group),
            hosts,
            lambda error: self._transfer_failed(group, error),
            size=group.descriptor.size,
            urgency=URGENT_BLOB,
        )

    def _transfer(self, group: _Group) -> None:
        feeds = [want.feed for want in group.wants if want.feed is not None]
        if self._journal is not None and group.descriptor.size >= WORTH_RESUMING_BYTES:
            for feed in feeds:
                feed.session = self._journal.session(feed.target.location, group.descriptor)
        transfer = Transfer(
            group.source,
            group.descriptor,
            feeds,
            self._buffers,
            self._run.cancel,
            self._retry_seconds,
            on_bytes=lambda count: self._run.event(Event("bytes", group.source.location.name, count=count)),
            on_session=lambda feed, session: self._remember(group, feed, session),
            keep_sessions=self._journal is not None,
        )
        transfer.run()
        for want, feed in zip(group.wants, feeds, strict=True):
            if feed.error is not None:
                want.blob.fail(feed.error)
            else:
                self._settle(group, want, "copied" if feed.outcome == "copied" else "present")

    def _remember(self, group: _Group, feed: Feed, session: Session | None) -> None:
        if self._journal is None or group.descriptor.size < WORTH_RESUMING_BYTES:
            return
        if session is None:
            self._journal.closed(feed.target.location, group.descriptor)
        else:
            self._journal.opened(feed.target.location, group.descriptor, session)

    def _transfer_failed(self, group: _Group, error: CiRegistryError) -> None:
        absent = isinstance(error, NotFoundError) and error.side == "source"
        for want in group.wants:
            if absent and is_foreign(group.descriptor) and group.descriptor.urls:
                self._settle(group, want, "left-out")  # its urls say where it really is
            else:
                want.blob.fail(error.on("source", group.source.location.name))
