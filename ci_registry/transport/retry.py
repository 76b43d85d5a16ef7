"""When to try again, how long to wait, and when to stop: jittered growth inside a time budget."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime

from ..errors import Interrupted

__all__ = ["RETRY_STATUSES", "Attempts", "Cancel", "retry_after_seconds"]

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_SECONDS = 0.25
_MOST_SECONDS = 20.0


class Cancel:
    """Set once when the run is to stop; everything that waits, waits on this."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._actions: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self.exit_code = 130

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self, exit_code: int = 130) -> None:
        """Stop: runs the registered actions (which close sockets) once."""
        with self._lock:
            if self._event.is_set():
                return
            self.exit_code = exit_code
            self._event.set()
            actions = list(self._actions)
        for action in actions:
            action()

    def on_set(self, action: Callable[[], None]) -> None:
        with self._lock:
            self._actions.append(action)

    def check(self) -> None:
        """Raise `Interrupted` if the run is to stop."""
        if self._event.is_set():
            raise Interrupted(exit_code=self.exit_code)

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `Interrupted` as soon as the run is to stop."""
        if self._event.wait(max(0.0, seconds)):
            self.check()


class Attempts:
    """One operation's tries: `again()` says whether there is time for another and waits for its turn."""

    def __init__(self, budget_seconds: float, cancel: Cancel, clock: Callable[[], float] = time.monotonic) -> None:
        self._cancel = cancel
        self._clock = clock
        self._deadline = clock() + budget_seconds
        self._step = _FIRST_SECONDS
        self.count = 1

    def again(self, after_seconds: float | None = None) -> bool:
        """Wait before another try; False, without waiting, when the budget would be over by then.

        `after_seconds` is what the server asked for (Retry-After); otherwise the wait grows, with full jitter.
        """
        wait = after_seconds if after_seconds is not None else random.uniform(self._step / 2, self._step)  # noqa: S311
        if self._clock() + wait > self._deadline:
            return False
        self._cancel.sleep(wait)
        self._step = min(self._step * 2, _MOST_SECONDS)
        self.count += 1
        return True


def retry_after_seconds(headers: Message, now: float | None = None) -> float | None:
    """Retry-After in seconds, from either of its forms (RFC 9110, section 10.2.3); None when absent or unreadable."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
