"""The movement of one blob: `engine.transfer`, on places in memory that fail on command."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from ci_registry.engine.buffers import BUFFER_BYTES, Buffers
from ci_registry.engine.transfer import Feed, Transfer
from ci_registry.errors import (
    AccessError,
    CiRegistryError,
    IntegrityError,
    Interrupted,
    NotFoundError,
    RemoteError,
    TransportError,
)
from ci_registry.transport.retry import Cancel

from .places import MemoryPlace, blob_of, broken

CONTENT = random.Random(7).randbytes(5 * BUFFER_BYTES + 123)
BLOB = blob_of(CONTENT)
DIGEST = BLOB.digest


def source_with(content: bytes = CONTENT) -> MemoryPlace:
    return MemoryPlace("source", blobs={DIGEST: content})


class Move:
    """A transfer from a source to some places, carried to its end as the engine does it."""

    def __init__(self, source: MemoryPlace, *targets: MemoryPlace, cancel: Cancel | None = None, **how: Any) -> None:
        self.ended: list[Feed] = []
        self.sessions: list[object] = []
        self.read = 0
        self.cancel = Cancel() if cancel is None else cancel
        self.feeds = [Feed(target, on_end=self.ended.append) for target in targets]
        how = {"retry_seconds": 20.0, **how}
        self.transfer = Transfer(source, BLOB, self.feeds, Buffers(8 * BUFFER_BYTES), self.cancel, on_bytes=self._count,
                                 on_session=lambda _, session: self.sessions.append(session), **how)  # fmt: skip

    def _count(self, count: int) -> None:
        self.read += count

    def run(self) -> Move:
        """Waits between tries are left out."""
        self.transfer.run()
        while self.transfer.left:
            for feed in self.transfer.left:
                if self.transfer.wait_seconds(feed) is not None:
                    self.transfer.prepare(feed)
                    self.transfer.finish(feed)
        return self

    @property
    def outcomes(self) -> list[str]:
        return [feed.outcome for feed in self.feeds]

    @property
    def errors(self) -> list[CiRegistryError | None]:
        return [feed.error for feed in self.feeds]


def times(count: int, error: CiRegistryError | None = None) -> Any:
    """Raises for the first `count` calls."""
    left = [count]

    def act(*_: object) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error or broken()

    return act


def at(offset: int, error: CiRegistryError | None = None, count: int = 1) -> Any:
    """Raises when that byte is reached, `count` times."""
    left = [count]

    def act(reached: int, *_: object) -> None:
        if reached >= offset and left[0] > 0:
            left[0] -= 1
            raise error or broken()

    return act


@pytest.mark.parametrize("count", [1, 2, 5])
def test_read_once_for_all(count: int) -> None:
    source, targets = source_with(), [MemoryPlace(f"t{number}") for number in range(count)]
    move = Move(source, *targets).run()
    assert move.outcomes == ["copied"] * count
    assert all(target.blobs == {DIGEST: CONTENT} for target in targets)
    assert source.reads == [(DIGEST, 0)]
    assert move.read == len(CONTENT)
    assert sorted(map(id, move.ended)) == sorted(map(id, move.feeds)), "each is told once"


def test_an_empty_blob() -> None:
    empty = blob_of(b"")
    source, target = MemoryPlace("source", blobs={empty.digest: b""}), MemoryPlace("target")
    feed = Feed(target)
    Transfer(source, empty, [feed], Buffers(8 * BUFFER_BYTES), Cancel()).run()
    assert feed.outcome == "copied"
    assert target.blobs == {empty.digest: b""}


@pytest.mark.parametrize("breaks", [1, 3])
def test_a_source_that_breaks_is_read_on_from_there(breaks: int) -> None:
    source, targets = source_with(), [MemoryPlace("a"), MemoryPlace("b")]
    source.before_read = at(2 * BUFFER_BYTES, count=breaks)
    move = Move(source, *targets).run()
    assert move.outcomes == ["copied", "copied"]
    assert source.reads == [(DIGEST, 0)] + [(DIGEST, 2 * BUFFER_BYTES)] * breaks
    assert move.read == len(CONTENT), "nothing was read twice"


def test_a_source_that_breaks_after_its_last_byte_has_given_it_all() -> None:
    source = source_with()
    source.before_read = at(len(CONTENT))
    assert Move(source, MemoryPlace("a")).run().outcomes == ["copied"]
    assert source.reads == [(DIGEST, 0)]


def test_a_source_that_gets_on_has_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = []

    class Impatient:
        def __init__(self, *_: object) -> None:
            budgets.append(self)
            self.tries = 0

        def again(self) -> bool:
            self.tries += 1
            return self.tries <= 1

    monkeypatch.setattr("ci_registry.engine.reading.Attempts", Impatient)
    source = source_with()
    seen: set[int] = set()

    def each_piece_breaks_once(offset: int) -> None:
        if offset not in seen and offset:
            seen.add(offset)
            raise broken()

    source.before_read = each_piece_breaks_once
    assert Move(source, MemoryPlace("a")).run().outcomes == ["copied"]
    assert len(seen) >= 5
    source.before_read = at(0, count=99)
    with pytest.raises(TransportError):
        Move(source, MemoryPlace("b")).run()


@pytest.mark.parametrize(
    "content, error",
    [
        (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), IntegrityError),
        (CONTENT + b"x", IntegrityError),
        (CONTENT[:-1], TransportError),
    ],
)
def test_wrong_bytes_arrive_nowhere_and_leave_nothing(content: bytes, error: type[CiRegistryError]) -> None:
    targets = [MemoryPlace("a"), MemoryPlace("b")]
    with pytest.raises(error) as failed:
        Move(source_with(content), *targets, retry_seconds=0).run()
    assert failed.value.side == "source"
    for target in targets:
        assert (target.blobs, target.open_uploads) == ({}, set())


def test_a_blob_that_the_source_lacks() -> None:
    target = MemoryPlace("a")
    with pytest.raises(NotFoundError) as failed:
        Move(MemoryPlace("source"), target).run()
    assert (failed.value.side, failed.value.target) == ("source", "source/app")
    assert target.open_uploads == set()


@pytest.mark.parametrize("breaks", [1, 3])
def test_a_destination_that_breaks_goes_on_from_what_it_has_and_the_others_do_not_notice(breaks: int) -> None:
    source, good, bad = source_with(), MemoryPlace("good"), MemoryPlace("bad")
    bad.before_write = at(2 * BUFFER_BYTES, count=breaks)
    move = Move(source, good, bad).run()
    assert move.outcomes == ["copied", "copied"]
    assert bad.blobs == good.blobs == {DIGEST: CONTENT}
    assert source.reads == [(DIGEST, 0)] + [(DIGEST, 2 * BUFFER_BYTES)] * breaks
    assert move.ended[0].target is good, "it was done before the other one was tried again"
    assert bad.open_uploads == set()


def test_a_destination_that_forgets_its_uploads_gets_all_of_it_again() -> None:
    source, target = source_with(), MemoryPlace("a", keeps_uploads=False)
    target.before_write = at(2 * BUFFER_BYTES)
    assert Move(source, target).run().outcomes == ["copied"]
    assert source.reads == [(DIGEST, 0), (DIGEST, 0)]


def test_a_destination_that_always_breaks_is_given_up_and_its_upload_cancelled() -> None:
    good, bad = MemoryPlace("good"), MemoryPlace("bad")
    bad.before_write = at(BUFFER_BYTES, broken("no more"), count=10**6)
    move = Move(source_with(), good, bad, retry_seconds=0).run()
    assert move.outcomes == ["copied", ""]
    assert str(move.errors[1]) == "no more"
    assert (move.errors[1].side, move.errors[1].target) == ("target", "bad/app")  # type: ignore[union-attr]
    assert bad.open_uploads == set()
    assert len(move.ended) == 2


@pytest.mark.parametrize("error", [broken(retryable=False), AccessError("denied"), RemoteError("413")])
@pytest.mark.parametrize("moment", ["before_open", "before_write", "before_commit"])
def test_a_destination_that_says_no_is_not_asked_again(error: CiRegistryError, moment: str) -> None:
    good, bad = MemoryPlace("good"), MemoryPlace("bad")
    calls = []

    def refuse(*_: object) -> None:
        calls.append(moment)
        raise error

    setattr(bad, moment, refuse)
    move = Move(source_with(), good, bad).run()
    assert move.outcomes == ["copied", ""]
    assert move.errors[1] is error
    assert (len(calls), bad.open_uploads) == (1, set())


def test_no_reading_on_when_nobody_is_left() -> None:
    source, bad = source_with(), MemoryPlace("bad")
    bad.before_write = at(0, AccessError("denied"), count=99)
    move = Move(source, bad).run()
    assert isinstance(move.errors[0], AccessError)
    assert move.read <= BUFFER_BYTES


def test_an_answer_lost_at_the_end_is_looked_for_before_anything_is_sent_again() -> None:
    source, target = source_with(), MemoryPlace("a")

    def lose_the_answer(digest: str) -> None:
        target.blobs[digest] = CONTENT
        raise broken()

    target.before_commit = lose_the_answer
    assert Move(source, target).run().outcomes == ["copied"]
    assert source.reads == [(DIGEST, 0)]
    assert len(target.uploads) == 1


def test_an_end_that_broke_is_repeated_without_the_bytes() -> None:
    source, target = source_with(), MemoryPlace("a")
    target.before_commit = times(2)
    assert Move(source, target).run().outcomes == ["copied"]
    assert source.reads == [(DIGEST, 0)]
    assert len(target.uploads) == 3


def test_an_upload_that_was_gone_on_with_and_came_out_wrong_begins_again_once() -> None:
    source, target = source_with(), MemoryPlace("a")
    target.before_write = at(2 * BUFFER_BYTES)

    def spoil(_digest: str) -> None:
        if len(target.uploads) == 2:
            target.uploads[1].data[0] ^= 1

    target.before_commit = spoil
    assert Move(source, target).run().outcomes == ["copied"]
    assert source.reads == [(DIGEST, 0), (DIGEST, 2 * BUFFER_BYTES), (DIGEST, 0)]
    assert target.open_uploads == set()


def test_an_upload_in_one_piece_that_comes_out_wrong_has_failed() -> None:
    target = MemoryPlace("a")
    target.before_commit = times(1, IntegrityError("wrong bytes came"))
    move = Move(source_with(), target).run()
    assert isinstance(move.errors[0], IntegrityError)


def test_a_destination_that_gets_on_has_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient:
        def __init__(self, *_: object) -> None:
            self.tries = 0

        def next_wait(self) -> float | None:
            self.tries += 1
            return 0.0 if self.tries <= 1 else None

    monkeypatch.setattr("ci_registry.engine.transfer.Attempts", Impatient)
    target, seen = MemoryPlace("a"), set()

    def each_piece_breaks_once(offset: int) -> None:
        if offset and offset not in seen:
            seen.add(offset)
            raise broken()

    target.before_write = each_piece_breaks_once
    assert Move(source_with(), target).run().outcomes == ["copied"]
    assert len(seen) == 5


def test_a_destination_that_stalls_at_a_write_is_left_to_finish_alone() -> None:
    # The writer raises once the patience is over; only a lone destination gets the ordinary bound.
    source, good, slow = source_with(), MemoryPlace("good"), MemoryPlace("slow")
    slow.before_write = at(BUFFER_BYTES)
    Move(source, good, slow).run()
    assert good.patience[0] == slow.patience[0] == 5.0
    assert good.patience[-1] is None, "nobody else is held up any more"
    assert slow.patience[-1] is None
    assert source.reads == [(DIGEST, 0), (DIGEST, BUFFER_BYTES)]


@pytest.mark.parametrize("moment", ["before_open", "before_commit"])
def test_a_destination_that_does_not_answer_holds_up_the_others_for_a_moment_only(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_registry.engine.transfer.STALL_SECONDS", 0.2)
    good, slow, go_on = MemoryPlace("good"), MemoryPlace("slow"), threading.Event()
    setattr(slow, moment, lambda *_: go_on.wait(20))
    move = Move(source_with(), good, slow)
    move.transfer.run()
    assert move.outcomes == ["copied", ""]
    assert [feed.target for feed in move.ended] == [good]
    go_on.set()
    (left,) = move.transfer.left
    assert move.transfer.wait_seconds(left) == 0
    move.transfer.prepare(left)
    move.transfer.finish(left)
    assert move.outcomes == ["copied", "copied"]
    assert slow.blobs == {DIGEST: CONTENT}


def test_an_upload_that_opens_after_the_source_failed_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_registry.engine.transfer.STALL_SECONDS", 0.1)
    good, slow, go_on = MemoryPlace("good"), MemoryPlace("slow"), threading.Event()
    slow.before_open = lambda: go_on.wait(20)
    move = Move(MemoryPlace("source"), good, slow)
    with pytest.raises(NotFoundError):
        move.transfer.run()
    go_on.set()
    beside = move.feeds[1].beside
    assert beside is not None
    assert beside.wait_for(10)
    assert (slow.open_uploads, slow.aborted, good.open_uploads) == (set(), 1, set())


@pytest.mark.parametrize("outcome", ["present", "mounted"])
def test_what_needs_no_bytes_ends_without_a_read(outcome: str) -> None:
    from ci_registry.targets.base import Mounted, Present

    class Ready(MemoryPlace):
        def writer(self, *_: object, **__: object) -> Present | Mounted:  # type: ignore[override]
            return Present() if outcome == "present" else Mounted("other")

    source = source_with()
    move = Move(source, Ready("a"), Ready("b")).run()
    assert move.outcomes == [outcome] * 2
    assert source.reads == []


def test_what_nobody_waits_for_any_more_is_not_sent_on() -> None:
    good, given_up = MemoryPlace("good"), MemoryPlace("given up")
    move = Move(source_with(), good, given_up)
    wanted = [True]
    move.feeds[1].is_wanted = lambda: wanted[0]
    given_up.before_write = lambda _: wanted.clear() or wanted.append(False)
    move.run()
    assert move.outcomes == ["copied", ""]
    assert len(given_up.patience) == 1
    assert given_up.open_uploads == set()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_stopping_cancels_uploads_or_keeps_them_for_a_later_run(keep: bool, count: int) -> None:
    cancel = Cancel()
    source, targets = source_with(), [MemoryPlace(f"t{number}") for number in range(count)]
    source.before_read = lambda offset: cancel.set(143) if offset >= 2 * BUFFER_BYTES else None
    move = Move(source, *targets, cancel=cancel, keep_sessions=keep)
    with pytest.raises(Interrupted) as stopped:
        move.run()
    assert stopped.value.exit_code == 143
    assert stopped.value.sentence() == "interrupted."
    for target in targets:
        assert len(target.open_uploads) == (1 if keep else 0)
        assert target.blobs == {}


def test_stopping_while_a_broken_destination_waits_cancels_its_upload() -> None:
    cancel, target = Cancel(), MemoryPlace("a")
    target.before_write = at(BUFFER_BYTES)
    move = Move(source_with(), target, cancel=cancel)
    move.transfer.run()
    (left,) = move.transfer.left
    assert len(target.open_uploads) == 1
    cancel.set()
    with pytest.raises(Interrupted):
        move.transfer.prepare(left)
    assert target.open_uploads == set()


def test_sessions_are_told_when_they_begin_and_end() -> None:
    target = MemoryPlace("a")
    target.before_write = at(BUFFER_BYTES)
    assert Move(source_with(), target).run().sessions == [{"number": 0}, {"number": 1}, None]


def test_a_session_of_an_earlier_run_is_gone_on_with() -> None:
    source, target = source_with(), MemoryPlace("a")
    target.before_write = at(3 * BUFFER_BYTES, broken(retryable=False))
    Move(source, target, keep_sessions=True).run()
    target.before_write = lambda _: None
    again = Move(source, target)
    again.feeds[0].session = {"number": 0}
    again.run()
    assert again.outcomes == ["copied"]
    assert source.reads[-1] == (DIGEST, 3 * BUFFER_BYTES)


def test_a_bug_beside_the_others_is_not_lost() -> None:
    bad = MemoryPlace("bad")

    def buggy() -> None:
        raise ZeroDivisionError("a bug")

    bad.before_open = buggy
    with pytest.raises(ZeroDivisionError):
        Move(source_with(), MemoryPlace("good"), bad).run()
