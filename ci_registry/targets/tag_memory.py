"""What a run remembers of a repository's tags: one listing answers for many of them, and for the repository itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ..errors import CiRegistryError, Interrupted
from ..transport.exchange import Reply
from ..transport.problem import diagnostics
from .listing import strings

__all__ = ["TagMemory"]

_SECONDS = 60.0
"""What was seen is good for one run; a session in a longer-lived process looks again."""
_MOST_PAGES = 3
_NO_REPOSITORY = ("NAME_UNKNOWN", "NOT_FOUND")


class TagMemory:
    """`list_pages` gives the pages of the listing, a 404 among them."""

    def __init__(self, list_pages: Callable[[], Iterator[Reply]]) -> None:
        self._list_pages = list_pages
        self._lock = threading.Lock()
        self._is_new: bool | None = None
        self._tags: set[str] | None = None
        self._seen_at = float("-inf")

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._seen_at > _SECONDS

    def is_new(self) -> bool:
        """Whether there is no such repository yet. Asks once."""
        with self._lock:
            if self._is_new is None or self._is_old:
                self._look()
            return bool(self._is_new)

    def lacks(self, tag: str) -> bool:
        """Whether it is known, without asking, that there is no such tag."""
        known = None if self._is_old else self._tags
        return known is not None and tag not in known

    def saw(self, tag: str | None) -> None:
        """Something was found, or put, under a tag or a digest (None)."""
        with self._lock:
            if self._tags is None:
                self._seen_at = time.monotonic()
            elif tag is not None:
                self._tags.add(tag)
            self._is_new = False

    def _look(self) -> None:
        self._seen_at, self._is_new, self._tags = time.monotonic(), False, None
        try:
            self._read_pages()
        except Interrupted:
            self._is_new = None
            raise
        except CiRegistryError:
            return  # listing may be forbidden where pushing is not

    def _read_pages(self) -> None:
        found: set[str] = set()
        for number, reply in enumerate(self._list_pages()):
            if reply.status == 404:
                self._is_new = any(entry.code in _NO_REPOSITORY for entry in diagnostics(reply.body))
                self._tags = set() if self._is_new else None
                return
            if number == _MOST_PAGES:
                return  # too many tags to list them all: that there are any is enough
            found.update(strings(reply, "tags"))
        self._tags = found
