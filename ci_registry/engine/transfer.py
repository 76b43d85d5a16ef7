"""The movement of one blob: read once, written to every destination that wants it, each recovering on its own.

A source that breaks is read again from where it broke. A destination that breaks, or stalls while others wait, leaves
the common pass and is finished afterwards by a ranged read of its own, from the offset that it has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import CiRegistryError, TransportError
from ..model.descriptor import Descriptor
from ..targets.base import Mounted, Present, Reader, Session, Source, Target, VerifiedReader, Writer
from ..transport.retry import Attempts, Cancel
from .buffers import Buffers
from .rehearsal import Rehearsed

__all__ = ["Feed", "Transfer"]

STALL_SECONDS = 5.0
"""How long one destination may hold up the others before it is left to finish alone."""


@dataclass
class Feed:
    """One destination of a transfer, and how it went: `outcome` or `error` is set at the end."""

    target: Target
    mount_from: Sequence[str] = ()
    writer: Writer | None = None
    session: Session | None = None
    outcome: str = ""
    error: CiRegistryError | None = None
    attempts: Attempts | None = field(default=None, repr=False)
    broke: TransportError | None = None
    """What the last break was, while there is still time to try again."""

    @property
    def is_open(self) -> bool:
        return not self.outcome and self.error is None

    def fail(self, error: CiRegistryError) -> None:
        self.error = error.on("target", self.target.location.name)
        self.drop_writer()

    def drop_writer(self) -> None:
        if self.writer is not None:
            self.writer.abort()
            self.writer = None


@dataclass
class Transfer:
    """Moves one blob. `on_bytes` is told of every chunk read; `on_session` of upload sessions worth remembering."""

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
        """Every feed ends with an outcome or an error; only a failing source raises, after the feeds are dropped."""
        try:
            self._open_all()
            self._pass_for_fresh()
            for feed in self.feeds:
                while feed.is_open:
                    self._finish_alone(feed)
        except BaseException as error:
            if not (self.keep_sessions and self.cancel):
                self._drop_all()
            if isinstance(error, CiRegistryError):
                error.on("source", self.source.location.name)
            raise

    def _drop_all(self) -> None:
        for feed in self.feeds:
            feed.drop_writer()

    # -- opening -------------------------------------------------------------------------------------------------

    def _open_all(self) -> None:
        """Open all uploads at once: one after another would cost a round trip each."""
        waiting = [feed for feed in self.feeds if feed.is_open and feed.writer is None]
        threads = [threading.Thread(target=self._open, args=(feed,), daemon=True) for feed in waiting[1:]]
        for thread in threads:
            thread.start()
        for feed in waiting[:1]:
            self._open(feed)
        for thread in threads:
            thread.join()
        self.cancel.check()

    def _open(self, feed: Feed) -> None:
        try:
            opened = feed.target.writer(self.descriptor, feed.mount_from, feed.session)
        except CiRegistryError as error:
            if not self.cancel:
                feed.error = error.on("target", feed.target.location.name)
            return
        if isinstance(opened, Present):
            feed.outcome = "copied" if isinstance(opened, Rehearsed) else "present"
        elif isinstance(opened, Mounted):
            feed.outcome = "mounted"
        else:
            feed.writer = opened
            self.on_session(feed, opened.session)

    # -- one pass over the source --------------------------------------------------------------------------------

    def _pass_for_fresh(self) -> None:
        fresh = [feed for feed in self.feeds if feed.is_open and feed.writer is not None and feed.writer.offset == 0]
        if fresh:
            self._pass(fresh, 0)

    def _finish_alone(self, feed: Feed) -> None:
        """Another go for a feed whose writer broke or that starts at an offset of its own."""
        if feed.writer is None:
            if feed.attempts is None:
                feed.attempts = Attempts(self.retry_seconds, self.cancel)
            if not feed.attempts.again():
                feed.error = feed.broke
                return
            self._open(feed)
        if feed.is_open and feed.writer is not None:
            self._pass([feed], feed.writer.offset)

    def _pass(self, feeds: list[Feed], offset: int) -> None:
        """Read from `offset` to the end into these feeds; those that break drop out with their session kept."""
        reader = VerifiedReader(self.descriptor, self.source.location.name, offset)
        attempts = Attempts(self.retry_seconds, self.cancel)
        with self.buffers.borrow(self.descriptor.size - offset, self.cancel) as buffer:
            while True:
                before = reader.offset
                try:
                    with self.source.fetch(self.descriptor, reader.offset) as stream:
                        self._pump(reader, stream, buffer, feeds)
                    break
                except TransportError as error:
                    if reader.offset > before:
                        attempts = Attempts(self.retry_seconds, self.cancel)
                    if not error.retryable or not attempts.again():
                        raise
                if not _active(feeds):
                    return
        for feed in _active(feeds):
            self._commit(feed)

    def _pump(self, reader: VerifiedReader, stream: Reader, buffer: memoryview, feeds: list[Feed]) -> None:
        active = _active(feeds)
        patience = STALL_SECONDS if len(active) > 1 else None
        while active:
            count = reader.take(stream, buffer)
            if not count:
                return
            self.on_bytes(count)
            chunk = buffer[:count]
            broke = False
            for feed in active:
                broke |= not self._write(feed, chunk, patience)
            if broke:
                active = _active(feeds)
        # every destination dropped out: nobody is left to read for

    def _write(self, feed: Feed, chunk: memoryview, patience: float | None) -> bool:
        writer = feed.writer
        assert writer is not None  # noqa: S101 - active feeds have one
        try:
            writer.write(chunk, patience)
        except TransportError as error:
            self._broke(feed, error)
            return False
        except CiRegistryError as error:
            self.cancel.check()
            feed.fail(error)
            return False
        return True

    def _commit(self, feed: Feed) -> None:
        writer = feed.writer
        assert writer is not None  # noqa: S101 - active feeds have one
        try:
            writer.commit(self.descriptor.digest)
        except TransportError as error:
            self._broke(feed, error)
        except CiRegistryError as error:
            self.cancel.check()
            feed.fail(error)
        else:
            feed.outcome, feed.writer = "copied", None
            self.on_session(feed, None)

    def _broke(self, feed: Feed, error: TransportError) -> None:
        self.cancel.check()
        feed.broke = error
        error.on("target", feed.target.location.name)
        feed.session = feed.writer.session if feed.writer is not None else None
        feed.writer = None
        if not error.retryable:
            feed.error = error


def _active(feeds: list[Feed]) -> list[Feed]:
    return [feed for feed in feeds if feed.is_open and feed.writer is not None]
