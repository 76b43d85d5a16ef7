"""How much one host is asked at once and how often: adaptive concurrency, a rate, and pauses it asked for.

The number in flight starts at 12. While answers come back about as fast as the fastest seen to such a request, it
doubles each clean round (slow start, as TCP does: at 40 ms round trips a step of one a round would take seconds to
matter). While more than one in four is slower, the host, or this process, is busy and more would only queue there, so
the number stays. It stays as well where those in flight bring more answers than this process can handle, as 12 do that
are answered within 3 ms: each connection beyond that is one more thread to wake (measured: an eighth of the time of a
run on loopback). It halves on 429 and 5xx, and grows by one a round from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["START", "Limiter"]

START = 12
_SLACK_SECONDS = 0.002
_STRAINED = 0.25
_ENOUGH = 4000.0
"""Answers a second that are more than one process handles."""
_MEMORY = 16
"""How many answers it takes until what came before hardly counts."""


class Limiter:
    """One per host, shared by everything in a run that talks to it. All methods may be called from any thread."""

    def __init__(
        self,
        max_connections: int = 64,
        requests_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_connections = max(1, max_connections)
        self.limit = min(START, self.max_connections)
        self._interval = 1.0 / requests_per_second if requests_per_second else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._paused_until = 0.0
        self._slow_start = True
        self._clean = 0
        self._best: dict[str, float] = {}
        self._strain = 0.0
        self._halved_at = float("-inf")

    def delay(self) -> float:
        """Seconds to wait before the next request; takes that request's place in the rate."""
        with self._lock:
            now = self._clock()
            due = max(now, self._paused_until)
            if self._interval:
                due = max(due, self._next_at)
                self._next_at = due + self._interval
            return due - now

    def answered(self, seconds: float, method: str = "", rounds: int = 1) -> None:
        """A request was answered without complaint, `seconds` after it was sent.

        `rounds`: how many round trips that took, more than one where a connection had to be made.
        """
        with self._lock:
            best = self._best.get(method, seconds)
            if rounds == 1:
                best = self._best[method] = min(best, seconds)
            is_slow = seconds > 2 * rounds * best + _SLACK_SECONDS
            self._strain += (is_slow - self._strain) / _MEMORY
            if is_slow or self._strain > _STRAINED or self.limit >= _ENOUGH * best:
                return
            self._clean += 1
            if self._clean >= (1 if self._slow_start else self.limit):
                self._clean = 0
                self.limit = min(self.limit + 1, self.max_connections)

    def throttled(self, pause_seconds: float = 0.0) -> None:
        """The host said 429 or 5xx: halve, at most once a second, and let nobody ask before `pause_seconds`."""
        with self._lock:
            now = self._clock()
            self._slow_start = False
            self._clean = 0
            self._paused_until = max(self._paused_until, now + pause_seconds)
            if now - self._halved_at >= 1.0:
                self._halved_at = now
                self.limit = max(1, self.limit // 2)
