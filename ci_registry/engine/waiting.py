"""Counting what is waited for: the joints of a run, which never block a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ..errors import CiRegistryError

__all__ = ["PATIENCE_SECONDS", "Gather", "Waiting"]

T = TypeVar("T")

PATIENCE_SECONDS = 5.0
"""How long those who have arrived wait for the others."""

Remind = Callable[[float, Callable[[], None]], None]


class Gather(Generic[T]):
    """A meeting point: those who arrive within a few seconds go on together, who is late goes on alone.

    `then` is called with those who go on, in the thread that arrives last, or by `remind` when the patience is over;
    so a place that does not answer holds up the others for a moment only. `remind(seconds, action)` calls an action
    later. Whoever fails calls `left()` and is not waited for.
    """

    def __init__(self, expected: int, then: Callable[[Sequence[T]], None], remind: Remind) -> None:
        self._missing, self._then, self._remind = expected, then, remind
        self._here: list[T] = []
        self._gone = self._reminded = False
        self._lock = threading.Lock()

    def arrived(self, who: T) -> None:
        with self._lock:
            self._missing -= 1
            self._here.append(who)
        self._go_on()

    def left(self) -> None:
        with self._lock:
            self._missing -= 1
        self._go_on()

    def _go_on(self, patient: bool = True) -> None:
        with self._lock:
            going: list[T] = []
            if not self._missing or self._gone or not patient:
                going, self._here = self._here, []
                self._gone = self._gone or bool(going)
            remind = bool(self._here) and not self._reminded
            self._reminded = self._reminded or remind
        if going:
            self._then(going)
        elif remind:
            self._remind(PATIENCE_SECONDS, lambda: self._go_on(patient=False))


_NOBODY: list[Any] = []
"""Of whatever is over; nothing is ever put into it."""


class Waiting:
    """Something that is ready once all it waits for is done, and that fails once at most.

    It starts with one hold, which `expanded()` releases, so that it is not ready while wants are still being added.
    Subclasses say in `_ready` what happens then, and end it with `done()` or `fail()`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 1
        self._told: list[tuple[Callable[[], None], Callable[[CiRegistryError], None]]] = []
        self._waiters: list[Waiting] = []
        self.error: CiRegistryError | None = None
        self.is_over = False

    def hold(self) -> None:
        """One more thing to wait for."""
        with self._lock:
            self._left += 1

    def release(self) -> None:
        """One thing less to wait for."""
        with self._lock:
            self._left -= 1
            ready = self._left == 0 and not self.is_over
        if ready:
            self._ready()

    def expanded(self) -> None:
        """All that there is to wait for is known now."""
        self.release()

    def wait_for(self, other: Waiting) -> None:
        self.hold()
        with other._lock:
            if not other.is_over:
                other._waiters.append(self)
        other.on_end(self.release, self.fail)

    @property
    def is_wanted(self) -> bool:
        """Whether anything that has not failed yet still waits for this."""
        with self._lock:
            waiters = list(self._waiters)
        return any(not waiter.is_over and waiter.is_wanted for waiter in waiters)

    def on_end(self, then: Callable[[], None], failed: Callable[[CiRegistryError], None]) -> None:
        """Call one of the two when this is over, at once if it is already."""
        with self._lock:
            if not self.is_over:
                self._told.append((then, failed))
                return
        if self.error is None:
            then()
        else:
            failed(self.error)

    def done(self) -> None:
        self._end(None)

    def fail(self, error: CiRegistryError) -> None:
        self._end(error)

    def _ready(self) -> None:
        """What to do when there is nothing left to wait for; by default, that was all."""
        self.done()

    def _end(self, error: CiRegistryError | None) -> None:
        with self._lock:
            if self.is_over:
                return
            self.is_over, self.error = True, error
            told = self._told
            self._told, self._waiters = _NOBODY, _NOBODY  # thousands live as long as the run: let them be small
        for then, failed in told:
            if error is None:
                then()
            else:
                failed(error)
