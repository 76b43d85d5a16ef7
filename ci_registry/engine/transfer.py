"""The movement of one blob: read once, written to every destination that wants it, each recovering on its own.

A source that breaks is read again from where it broke. A destination that breaks, or holds up the others, leaves the
common pass and is finished afterwards by a ranged read of its own, from the offset that it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from ..errors import CiRegistryError, IntegrityError, Interrupted, RemoteError, TransportError
from ..model.descriptor import Descriptor
from ..targets.base import Mounted, Present, Session, Source
from ..transport.retry import Attempts, Cancel
from .buffers import Buffers
from .feed import Beside, Feed
from .reading import PROGRESS_BYTES, read_blob
from .rehearsal import Rehearsed

__all__ = ["Feed", "Transfer"]

STALL_SECONDS = 5.0
"""How long one destination may hold up the others before it is left to finish alone."""

_LOOK_SECONDS = 0.1


class Transfer(Struct):
    """Moves one blob. `run` serves all feeds at once; who is `left` behind then is finished alone: after
    `wait_seconds`, by `prepare` and `finish`, and so on until it is no longer open.

    `on_bytes` is told of every chunk read, `on_session` of upload sessions worth remembering.
    """

    source: Source
    descriptor: Descriptor
    feeds: list[Feed]
    buffers: Buffers
    cancel: Cancel
    retry_seconds: float = 120.0
    on_bytes: Callable[[int], None] = lambda _: None
    on_session: Callable[[Feed, Session | None], None] = lambda _feed, _session: None
    keep_sessions: bool = False
    """Leave upload sessions open when the run is interrupted, for a later run to go on with."""

    def run(self) -> None:
        """Serve all feeds in one pass. Only a failing source raises, after the uploads were cancelled."""
        with self._dropping(self.feeds):
            for feed in self.feeds:
                if feed.writer is not None:
                    self.on_session(feed, feed.writer.session)  # opened by a mount that was not done
            self._each([feed for feed in self.feeds if feed.is_open and feed.writer is None], self._open)
            fresh = [feed for feed in _active(self.feeds) if feed.reached == 0]
            if fresh:
                self._pass(fresh, 0)

    @property
    def left(self) -> list[Feed]:
        """The feeds that are to be finished alone."""
        return [feed for feed in self.feeds if feed.is_open]

    # -- a feed of its own ---------------------------------------------------------------------------------------

    def wait_seconds(self, feed: Feed) -> float | None:
        """How long to wait before a feed is tried again; None, and it has failed, when its time is over."""
        if feed.beside is not None or feed.broke is None:
            return 0.0
        if feed.attempts is None:
            feed.attempts = Attempts(self.retry_seconds, self.cancel)
        wait = feed.attempts.next_wait()
        if wait is None:
            self._failed(feed, feed.broke)
        return wait

    def prepare(self, feed: Feed) -> None:
        """Have a writer, if it takes one; talks to the destination alone."""
        with self._dropping([feed]):
            if feed.beside is not None:
                feed.beside.wait_for()
                feed.beside = None
            elif feed.is_open and feed.writer is None:
                self._reopen(feed)
            self.cancel.check()

    def finish(self, feed: Feed) -> None:
        """Read for this feed alone, from the offset that it has."""
        with self._dropping([feed]):
            if feed.is_open and feed.writer is not None:
                self._pass([feed], feed.reached)

    def _reopen(self, feed: Feed) -> None:
        before = feed.reached
        if feed.was_ending and self._arrived(feed):
            # Only the answer was lost: a storage may take longer to move a blob than a proxy waits for it.
            self._ended(feed, "copied")
            return
        self._open(feed)
        if feed.reached - before >= PROGRESS_BYTES:
            feed.attempts = None  # it gets on, so its time begins anew

    def _arrived(self, feed: Feed) -> bool:
        try:
            return bool(feed.target.exists([self.descriptor]))
        except Interrupted:
            raise
        except CiRegistryError:
            return False  # opening the upload again will say what is wrong

    @contextmanager
    def _dropping(self, feeds: list[Feed]) -> Iterator[None]:
        """Cancel uploads when the source fails or the run is stopped."""
        try:
            yield
        except BaseException as error:
            if not (self.keep_sessions and self.cancel):
                for feed in feeds:
                    if feed.is_open:
                        feed.abandon()
            if isinstance(error, CiRegistryError) and not isinstance(error, Interrupted):
                error.on("source", self.source.location.name)
            raise

    # -- side by side --------------------------------------------------------------------------------------------

    def _each(self, feeds: list[Feed], action: Callable[[Feed], None]) -> None:
        """Do something for each feed at once; who is not done when the patience is over is left behind."""
        if len(self.feeds) == 1:
            for feed in feeds:
                action(feed)
        else:
            for feed in feeds:
                feed.beside = Beside(lambda feed=feed: action(feed))  # type: ignore[misc]
            self._wait_a_moment(feeds)
        self.cancel.check()

    def _wait_a_moment(self, feeds: list[Feed]) -> None:
        end = time.monotonic() + STALL_SECONDS
        waiting = feeds
        while waiting and time.monotonic() < end and not self.cancel:
            if waiting[0].beside is None or waiting[0].beside.wait_for(_LOOK_SECONDS):
                waiting[0].beside = None
                waiting = waiting[1:]
        for feed in waiting:
            if feed.beside is not None and feed.beside.wait_for(0):
                feed.beside = None

    def _open(self, feed: Feed) -> None:
        try:
            opened = feed.target.writer(self.descriptor, feed.mount_from, feed.session)
        except Interrupted:
            return
        except CiRegistryError as error:
            self._failed(feed, error)
            return
        if isinstance(opened, Present):
            self._ended(feed, "copied" if isinstance(opened, Rehearsed) else "present")
        elif isinstance(opened, Mounted):
            self._ended(feed, "mounted")
        elif feed.take(opened):
            self.on_session(feed, opened.session)

    # -- one pass over the source --------------------------------------------------------------------------------

    def _pass(self, feeds: list[Feed], offset: int) -> None:
        """Read from `offset` to the end into these feeds; those that break drop out with their session kept."""
        with self.buffers.borrow(self.descriptor.size - offset, self.cancel) as buffer:
            whole = read_blob(
                self.source,
                self.descriptor,
                offset,
                buffer,
                lambda chunk: self._give(feeds, chunk),
                cancel=self.cancel,
                retry_seconds=self.retry_seconds,
            )
        if whole:
            self._each(_active(feeds), self._commit)

    def _give(self, feeds: list[Feed], chunk: memoryview) -> bool:
        """Write a chunk to every feed that is still there; whether any is left to read on for."""
        self.on_bytes(len(chunk))
        active = _active(feeds)
        patience = STALL_SECONDS if len(active) > 1 else None
        for feed in active:
            self._write(feed, chunk, patience)
        return bool(_active(feeds))

    def _write(self, feed: Feed, chunk: memoryview, patience: float | None) -> None:
        writer = feed.writer
        assert writer is not None  # noqa: S101 - active feeds have one
        if not feed.is_wanted():
            self._failed(feed, RemoteError("the rest of an image was not sent, as a part of it had failed"))
            return
        try:
            writer.write(chunk, patience)
        except TransportError as error:
            self._broke(feed, error)
        except CiRegistryError as error:
            self.cancel.check()
            self._failed(feed, error)

    def _commit(self, feed: Feed) -> None:
        writer = feed.writer
        assert writer is not None  # noqa: S101 - active feeds have one
        feed.was_ending = True
        try:
            writer.commit(self.descriptor.digest)
        except Interrupted:
            return
        except TransportError as error:
            self._broke(feed, error)
        except CiRegistryError as error:
            if isinstance(error, IntegrityError) and feed.reached and not feed.restarted:
                self._restart(feed, error)
            elif not self.cancel:
                self._failed(feed, error)
        else:
            self._ended(feed, "copied")

    # -- how it went ---------------------------------------------------------------------------------------------

    def _broke(self, feed: Feed, error: TransportError) -> None:
        self.cancel.check()
        feed.lose_writer(error)
        if not error.retryable:
            self._failed(feed, error)

    def _restart(self, feed: Feed, error: IntegrityError) -> None:
        """An upload that was gone on with came out wrong: places disagree on what they have; begin again, once."""
        feed.restarted = True
        feed.lose_writer(TransportError(error.message, hint=error.hint))
        feed.forget_session()

    def _failed(self, feed: Feed, error: CiRegistryError) -> None:
        feed.error = error.on("target", feed.target.location.name)
        feed.abandon()
        feed.tell_end()

    def _ended(self, feed: Feed, outcome: str) -> None:
        feed.outcome, feed.writer, feed.broken = outcome, None, None
        self.on_session(feed, None)
        feed.tell_end()


def _active(feeds: list[Feed]) -> list[Feed]:
    """Those that can be written to: not ended, not broken, and nothing else under way for them."""
    return [feed for feed in feeds if feed.is_open and feed.writer is not None and feed.beside is None]
