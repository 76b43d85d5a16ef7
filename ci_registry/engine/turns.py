"""Taking turns: of very many things to do, so many are under way at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Turns"]


class Turns:
    """Begins what is added in order, at most `most` at a time; `over` says that one has ended. Safe to use from several
    threads.

    Without it, a source that answers faster than the destinations would be asked for everything first: what it said
    would have to be kept in memory, or asked for again.
    """

    def __init__(self, most: int) -> None:
        self._most, self._under_way = most, 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def add(self, begin: Callable[[], None]) -> None:
        """Have something begun, at once if it may be. It has to call `over`, once."""
        with self._lock:
            self._waiting.append(begin)
        self._go_on()

    def over(self) -> None:
        with self._lock:
            self._under_way -= 1
        self._go_on()

    def _go_on(self) -> None:
        while (begin := self._next()) is not None:
            begin()

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._under_way >= self._most or not self._waiting:
                return None
            self._under_way += 1
            return self._waiting.popleft()
