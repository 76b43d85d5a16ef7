"""When to try again, how long to wait, and when to stop: jittered growth inside a time budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timezone
from typing import TYPE_CHECKING

from ..errors import Interrupted

if TYPE_CHECKING:
    from .message import Headers

__all__ = ["RETRY_STATUSES", "Attempts", "Cancel", "retry_after_seconds"]

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_SECONDS = 0.25
_MOST_SECONDS = 20.0
_LOOK_SECONDS = 0.5


class Cancel:
    """Set once when the run is to stop; everything that waits, waits on this.

    `set` may be called by a signal handler, which can interrupt any of these methods in its own thread: the lock is
    reentrant, and a wake-up that is lost to that is made up for within `_LOOK_SECONDS`.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._actions: list[Callable[[], None]] = []
        self._change = threading.Condition(threading.RLock())
        self.exit_code = 130

    def __bool__(self) -> bool:
        return self._is_set

    def set(self, exit_code: int = 130) -> None:
        """Stop: runs the registered actions (which close sockets) once."""
        with self._change:
            if self._is_set:
                return
            self.exit_code = exit_code
            self._is_set = True
            actions = list(self._actions)
            self._change.notify_all()
        for action in actions:
            action()

    def on_set(self, action: Callable[[], None]) -> None:
        with self._change:
            self._actions.append(action)

    def forget(self, action: Callable[[], None]) -> None:
        """Undo `on_set`, for what ends before the run does."""
        with self._change:
            if action in self._actions:
                self._actions.remove(action)

    def check(self) -> None:
        """Raise `Interrupted` if the run is to stop."""
        if self._is_set:
            raise Interrupted(exit_code=self.exit_code)

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `Interrupted` as soon as the run is to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._is_set:
            with self._change:
                if not self._is_set:
                    self._change.wait(min(left, _LOOK_SECONDS))
        self.check()


class Attempts:
    """One operation's tries: `again()` says whether there is time for another and waits for its turn."""

    def __init__(self, budget_seconds: float, cancel: Cancel, clock: Callable[[], float] = time.monotonic) -> None:
        self._cancel = cancel
        self._clock = clock
        self._deadline = clock() + budget_seconds
        self._step = _FIRST_SECONDS
        self.count = 1

    def next_wait(self, after_seconds: float | None = None) -> float | None:
        """Seconds to wait before another try; None when the budget would be over by then.

        `after_seconds` is what the server asked for (Retry-After). The wait grows, with jitter also on top of what was
        asked for: those who were sent away together must not come back together, nor at once where that was zero.
        """
        import random

        wait = (after_seconds or 0.0) + random.uniform(self._step / 2, self._step)  # noqa: S311
        if self._clock() + wait > self._deadline:
            return None
        self._step = min(self._step * 2, _MOST_SECONDS)
        self.count += 1
        return wait

    def again(self, after_seconds: float | None = None) -> bool:
        """Wait before another try; False, without waiting, when there is no time for one."""
        wait = self.next_wait(after_seconds)
        if wait is None:
            return False
        self._cancel.sleep(wait)
        return True


def retry_after_seconds(headers: Headers, now: float | None = None) -> float | None:
    """Retry-After in seconds, from either of its forms (RFC 9110, section 10.2.3); None when absent or unreadable."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # "-0000" means GMT whose offset is nobody's
    return max(0.0, moment.timestamp() - (time.time() if now is None else now))
