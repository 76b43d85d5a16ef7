"""Which task goes next, and how a run ends: `engine.scheduler`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ci_registry.engine.scheduler import BIG_BYTES, Scheduler, Task
from ci_registry.errors import CiRegistryError, Interrupted, RemoteError
from ci_registry.transport.limiter import Limiter
from ci_registry.transport.retry import Cancel


def never(error: CiRegistryError) -> None:
    raise AssertionError(f"nothing was to fail: {error}")


class Runner:
    """A scheduler with a limit for each host."""

    def __init__(self, **limits: int) -> None:
        self.limiters = {host: Limiter(limit) for host, limit in limits.items()}
        self.cancel = Cancel()
        self.scheduler = Scheduler(lambda host: self.limiters.setdefault(host, Limiter()), self.cancel)

    def add(
        self,
        action: Callable[[], object],
        *hosts: str,
        failed: Callable[[CiRegistryError], None] = never,
        size: int = 0,
        urgency: int = 5,
        after_seconds: float = 0.0,
    ) -> None:
        self.scheduler.add(Task(lambda: (action(), None)[1], hosts, failed, size), urgency, after_seconds)


def test_every_task_runs_also_those_that_tasks_add() -> None:
    runner, done = Runner(), []
    lock = threading.Lock()

    def task(depth: int) -> None:
        with lock:
            done.append(depth)
        for _ in range(3 if depth < 4 else 0):
            runner.add(lambda: task(depth + 1), "a")

    runner.add(lambda: task(0), "a")
    runner.scheduler.run()
    assert len(done) == 1 + 3 + 9 + 27 + 81


def test_nothing_to_do() -> None:
    Runner().scheduler.run()


def test_it_can_run_again() -> None:
    runner, done = Runner(), []
    for number in range(2):
        runner.add(lambda number=number: done.append(number))
        runner.scheduler.run()
    assert done == [0, 1]


def test_never_more_than_the_limit_of_any_host() -> None:
    runner = Runner(a=3, b=2)
    lock, now, most = threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    pause = threading.Event()

    def task(*hosts: str) -> None:
        with lock:
            for host in hosts:
                now[host] += 1
                most[host] = max(most[host], now[host])
        pause.wait(0.005)
        with lock:
            for host in hosts:
                now[host] -= 1

    for _ in range(20):
        runner.add(lambda: task("a"), "a")
        runner.add(lambda: task("a", "b"), "b", "a")
        runner.add(lambda: task("b"), "b")
    runner.scheduler.run()
    assert most["a"] == 3
    assert most["b"] == 2


def test_the_biggest_first_and_the_small_before_them() -> None:
    runner, order = Runner(a=1), []
    for size in (2, 5, 3):
        runner.add(lambda size=size: order.append(size), "a", size=size * BIG_BYTES)
    for urgency in (4, 1, 2, 1):
        runner.add(lambda urgency=urgency: order.append(f"small {urgency}"), "a", urgency=urgency)
    runner.scheduler.run()
    assert order == ["small 1", "small 1", "small 2", "small 4", 5, 3, 2]


def test_some_big_ones_go_first_where_there_are_slots() -> None:
    runner, full = Runner(a=8), threading.Barrier(8)
    started: list[str] = []

    def task(kind: str) -> None:
        started.append(kind)
        if len(started) <= 8:
            full.wait(10)

    for _ in range(20):
        runner.add(lambda: task("small"), "a")
    for _ in range(6):
        runner.add(lambda: task("big"), "a", size=BIG_BYTES)
    runner.scheduler.run()
    assert sorted(started[:8]) == ["big"] * 4 + ["small"] * 4
    assert len(started) == 26


def test_one_slot_stays_free_for_small_tasks() -> None:
    runner = Runner(a=3)
    lock, go_on = threading.Lock(), threading.Event()
    started: list[str] = []

    def big() -> None:
        with lock:
            started.append("big")
            if len(started) == 2:
                runner.add(small, "a", urgency=9)
        assert go_on.wait(10), "the small one found no slot"

    def small() -> None:
        with lock:
            started.append("small")
        go_on.set()

    for _ in range(4):
        runner.add(big, "a", size=BIG_BYTES)
    runner.scheduler.run()
    assert started == ["big", "big", "small", "big", "big"]


def test_a_host_that_is_full_does_not_hold_up_others() -> None:
    runner, done = Runner(slow=1, fast=1), threading.Event()
    runner.add(lambda: done.wait(10), "slow")
    runner.add(lambda: None, "slow", "fast")
    runner.add(done.set, "fast", urgency=9)
    runner.scheduler.run()
    assert done.is_set()


def test_tasks_that_wait_take_no_slot_and_come_back() -> None:
    runner, order = Runner(a=1), []
    runner.add(lambda: order.append("later"), "a", after_seconds=0.15)
    runner.add(lambda: order.append("latest"), "a", after_seconds=0.3)
    runner.add(lambda: order.append("now"), "a")
    runner.scheduler.run()
    assert order == ["now", "later", "latest"]


def test_a_waiting_task_starts_while_all_workers_are_busy() -> None:
    runner, came = Runner(), threading.Event()
    runner.add(lambda: came.wait(10) or pytest.fail("it never started"))
    runner.add(came.set, after_seconds=0.1)
    runner.scheduler.run()


def test_reminders_are_called_in_time_and_not_waited_for() -> None:
    runner, called = Runner(), threading.Event()
    runner.scheduler.remind(0.05, called.set)
    runner.scheduler.remind(3600, lambda: pytest.fail("too early"))
    runner.add(lambda: called.wait(10))
    runner.scheduler.run()
    assert called.is_set()


def test_what_a_task_raises_is_told_to_it_and_the_others_go_on() -> None:
    runner, told, done = Runner(), [], []

    def fail() -> None:
        raise RemoteError("down")

    runner.add(fail, "a", failed=told.append)
    runner.add(lambda: done.append(1), "a")
    runner.scheduler.run()
    assert [str(error) for error in told] == ["down"]
    assert done == [1]


@pytest.mark.parametrize("where", ["action", "failed"])
def test_a_bug_ends_the_run_as_it_is_and_stops_the_rest(where: str) -> None:
    runner = Runner()

    def buggy(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    def fail() -> None:
        raise RemoteError("down")

    runner.add(lambda: runner.cancel.sleep(60))
    runner.add(buggy if where == "action" else fail, failed=buggy)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        runner.scheduler.run()
    assert runner.cancel, "what is under way cleans up as if it had been cancelled"


def test_a_cancelled_run_starts_nothing_more_and_wakes_who_waits() -> None:
    runner, started = Runner(a=1), []

    def first() -> None:
        started.append(1)
        runner.cancel.set(143)
        runner.cancel.sleep(60)

    runner.add(first, "a")
    runner.add(lambda: started.append(2), "a")
    runner.add(lambda: started.append(3), after_seconds=60)
    with pytest.raises(Interrupted) as stopped:
        runner.scheduler.run()
    assert stopped.value.exit_code == 143
    assert started == [1]


def test_workers_that_do_not_stop_are_left_behind_after_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_registry.engine.scheduler._END_SECONDS", 0.3)
    runner, stuck = Runner(), threading.Event()
    # Others that end one by one must not make the wait begin anew each time.
    for number in range(30):
        runner.add(lambda number=number: threading.Event().wait(0.1 * number))
    runner.add(lambda: stuck.wait(20))
    runner.add(runner.cancel.set)
    with pytest.raises(Interrupted):
        runner.scheduler.run()
    assert runner.scheduler._threads > 5
    stuck.set()


def test_a_limit_that_grows_is_used() -> None:
    runner = Runner(a=64)
    meeting = threading.Barrier(20, timeout=10)
    runner.limiters["a"].limit = 1

    def grow() -> None:
        runner.limiters["a"].limit = 20

    runner.add(grow, "a", urgency=1)
    for _ in range(20):
        runner.add(meeting.wait, "a")
    runner.scheduler.run()
    assert not meeting.broken
