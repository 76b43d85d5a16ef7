"""Counting what is waited for: the joints of a run, which never block a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import CiRegistryError

__all__ = ["Gather", "Waiting"]


class Gather:
    """A meeting point: calls `then` when `arrived()` was called `count` times, in the thread that arrives last."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left, self._then = count, then
        self._lock = threading.Lock()
        if count == 0:
            then()

    def arrived(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._then()


class Waiting:
    """Something that is ready once all it waits for is done, and that fails once at most.

    It starts with one hold, which `expanded()` releases, so that it is not ready while wants are still being added.
    Subclasses say in `_ready` what happens then, and end it with `done()` or `fail()`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 1
        self._told: list[tuple[Callable[[], None], Callable[[CiRegistryError], None]]] = []
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
        other.on_end(self.release, self.fail)

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
            told, self._told = self._told, []
        for then, failed in told:
            if error is None:
                then()
            else:
                failed(error)
