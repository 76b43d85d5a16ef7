"""Who waits for whom: `engine.waiting`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ci_registry.engine.waiting import PATIENCE_SECONDS, Gather, Waiting
from ci_registry.errors import CiRegistryError, RemoteError


class Table:
    """Notes who went on together, and lets the test say when the patience is over."""

    def __init__(self, expected: int) -> None:
        self.went: list[list[str]] = []
        self.reminders: list[Callable[[], None]] = []
        self.gather: Gather[str] = Gather(expected, self._go, self._remind)

    def _go(self, who: Sequence[str]) -> None:
        self.went.append(list(who))

    def _remind(self, seconds: float, action: Callable[[], None]) -> None:
        assert seconds == PATIENCE_SECONDS
        self.reminders.append(action)


def test_all_go_on_together() -> None:
    table = Table(3)
    for who in "abc":
        assert table.went == []
        table.gather.arrived(who)
    assert table.went == [["a", "b", "c"]]
    table.reminders[0]()
    assert table.went == [["a", "b", "c"]]


def test_one_alone_does_not_ask_to_be_reminded() -> None:
    table = Table(1)
    table.gather.arrived("a")
    assert (table.went, table.reminders) == ([["a"]], [])


def test_who_has_left_is_not_waited_for() -> None:
    table = Table(3)
    table.gather.left()
    table.gather.arrived("b")
    table.gather.left()
    assert table.went == [["b"]]


def test_nobody_goes_on_when_all_have_left() -> None:
    table = Table(2)
    table.gather.left()
    table.gather.left()
    assert (table.went, table.reminders) == ([], [])


def test_who_is_late_goes_on_alone() -> None:
    table = Table(4)
    table.gather.arrived("a")
    table.gather.arrived("b")
    assert len(table.reminders) == 1
    table.reminders[0]()
    assert table.went == [["a", "b"]]
    table.gather.arrived("c")
    table.gather.left()
    assert table.went == [["a", "b"], ["c"]]


class Noted(Waiting):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.on_end(lambda: self.notes.append("done"), lambda error: self.notes.append(str(error)))


def test_ready_when_all_it_waits_for_is_done() -> None:
    whole, parts = Noted(), [Waiting(), Waiting()]
    for part in parts:
        whole.wait_for(part)
    whole.expanded()
    parts[0].done()
    assert not whole.is_over
    parts[1].done()
    assert (whole.is_over, whole.notes) == (True, ["done"])


def test_not_ready_while_wants_are_still_added() -> None:
    whole, part = Noted(), Waiting()
    part.done()
    whole.wait_for(part)
    assert not whole.is_over
    whole.expanded()
    assert whole.notes == ["done"]


def test_it_fails_with_its_first_part_and_once() -> None:
    whole, parts = Noted(), [Waiting(), Waiting(), Waiting()]
    for part in parts:
        whole.wait_for(part)
    whole.expanded()
    parts[0].fail(RemoteError("first"))
    parts[1].fail(RemoteError("second"))
    parts[2].done()
    whole.done()
    assert whole.notes == ["first"]
    assert str(whole.error) == "first"


def test_who_asks_late_is_told_at_once() -> None:
    part, told = Waiting(), []
    part.fail(RemoteError("gone"))
    part.on_end(lambda: told.append("done"), lambda error: told.append(str(error)))
    assert told == ["gone"]


def test_wanted_while_anybody_who_has_not_failed_waits() -> None:
    class Root(Waiting):
        @property
        def is_wanted(self) -> bool:
            return not self.is_over

    one, other, middle, part = Root(), Root(), Waiting(), Waiting()
    assert not part.is_wanted
    one.wait_for(middle)
    middle.wait_for(part)
    other.wait_for(part)
    assert part.is_wanted
    one.fail(RemoteError("down"))
    assert part.is_wanted, "the other one still waits"
    other.fail(RemoteError("down"))
    assert not part.is_wanted
    assert not middle.is_over, "nobody told it, and nobody has to"


@pytest.mark.parametrize("error", [None, RemoteError("x")])
def test_ending_twice_changes_nothing(error: CiRegistryError | None) -> None:
    part = Noted()
    part.done()
    part.fail(error or RemoteError("late"))
    assert part.notes == ["done"]
    assert part.error is None
