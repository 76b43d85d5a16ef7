"""When to try again, and stopping: `transport.retry`."""

from __future__ import annotations

import subprocess
import sys
import threading
from email.message import Message
from email.utils import formatdate

import pytest

from ci_registry.errors import Interrupted
from ci_registry.transport.retry import Attempts, Cancel, retry_after_seconds


class Clock:
    """A clock that goes on only when somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now


class FakeCancel(Cancel):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def sleep(self, seconds: float) -> None:
        self._clock.slept.append(seconds)
        self._clock.now += seconds
        self.check()


def attempts(budget_seconds: float) -> tuple[Attempts, Clock]:
    clock = Clock()
    return Attempts(budget_seconds, FakeCancel(clock), clock), clock


def test_waits_grow_with_jitter_and_end_with_the_budget() -> None:
    tries, clock = attempts(120)
    while tries.again():
        pass
    assert clock.now - 1000 <= 120
    assert 8 <= tries.count <= 20
    for number, wait in enumerate(clock.slept):
        step = min(0.25 * 2**number, 20)
        assert step / 2 <= wait <= step


def test_two_runs_do_not_wait_the_same() -> None:
    waits = set()
    for _ in range(20):
        tries, clock = attempts(10)
        tries.again()
        waits.add(clock.slept[0])
    assert len(waits) > 10


def test_no_budget_means_no_second_try() -> None:
    tries, clock = attempts(0)
    assert not tries.again()
    assert not clock.slept


def test_what_the_server_asked_for_is_the_least_wait() -> None:
    tries, clock = attempts(120)
    assert tries.again(30)
    assert 30 < clock.slept[0] <= 30.25


def test_a_server_that_asks_for_no_wait_at_all_does_not_get_a_busy_loop() -> None:
    tries, clock = attempts(10)
    while len(clock.slept) < 100 and tries.again(0.0):
        pass
    assert len(clock.slept) < 12
    assert min(clock.slept) >= 0.125


@pytest.mark.parametrize("after", [121, 86400, float("inf")])
def test_a_wait_beyond_the_budget_is_not_begun(after: float) -> None:
    tries, clock = attempts(120)
    assert not tries.again(after)
    assert not clock.slept


def headers(value: str | None) -> Message:
    message = Message()
    if value is not None:
        message["Retry-After"] = value
    return message


@pytest.mark.parametrize(
    "value, seconds",
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("9" * 400, float("inf")),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:16:50 -0000", 10.0),
        ("Thu, 01 Jan 1970 00:16:30 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:16:50 GMT", None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(headers(value), now=1000.0) == seconds


def test_retry_after_by_the_clock_of_this_machine() -> None:
    found = retry_after_seconds(headers(formatdate(usegmt=True)))
    assert found is not None
    assert found < 2


def test_a_sleeper_is_woken_and_everybody_later_refused() -> None:
    cancel = Cancel()
    woken = threading.Event()

    def sleep() -> None:
        with pytest.raises(Interrupted) as stopped:
            cancel.sleep(60)
        assert stopped.value.exit_code == 143
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    cancel.set(143)
    assert woken.wait(5)
    thread.join()
    cancel.set(130)
    with pytest.raises(Interrupted) as again:
        cancel.check()
    assert again.value.exit_code == 143, "the first reason counts"


def test_actions_run_once_and_can_be_forgotten() -> None:
    cancel, ran = Cancel(), []
    kept, forgotten = (lambda: ran.append("kept")), (lambda: ran.append("forgotten"))
    cancel.on_set(kept)
    cancel.on_set(forgotten)
    cancel.forget(forgotten)
    cancel.forget(forgotten)
    cancel.set()
    cancel.set()
    assert ran == ["kept"]


SIGNALS = """
import signal, sys, threading, time
from ci_registry.transport.connection import Dial, Pool
from ci_registry.transport.origin import Origin
from ci_registry.transport.retry import Cancel

origin = Origin.parse("http://127.0.0.1:1")
pool, cancels = Pool(Dial(), origin), [Cancel()]

def stop(*_):
    cancels[0].on_set(pool.abort)
    cancels[0].set()
    cancels[0] = Cancel()

signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    connection = pool.take(origin)
    cancels[0].on_set(print)
    cancels[0].forget(print)
    pool.give_back(connection, reusable=False)
signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""


def test_a_signal_handler_may_stop_a_run_at_any_moment() -> None:
    # A handler runs in the main thread, which may hold any lock just then: thousands of signals find that moment.
    run = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=20, check=False)
    assert run.stdout.splitlines()[-1:] == ["done"], run.stderr
