"""Small content that a run has read: what a plan looked at need not be read again when it is carried out."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..model.descriptor import Digest

__all__ = ["ContentMemory"]

_LIMIT_BYTES = 8 * 1024 * 1024
"""Manifests and configurations of some 3000 images."""


class ContentMemory:
    """Bytes with their media type by digest; what was kept first is dropped first when there are too many.

    With a limit of 0 it keeps nothing.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.limit_bytes, self._size = limit_bytes, 0
        self._kept: OrderedDict[Digest, tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, digest: Digest, media_type: str, content: bytes) -> None:
        """Remember content whose digest was found right."""
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = media_type, content
                self._size += len(content)
            while self._size > self.limit_bytes:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._size -= len(dropped)

    def get(self, digest: Digest) -> tuple[str, bytes] | None:
        """Media type and bytes, None when they are not here."""
        return self._kept.get(digest)

    def forget(self, digest: Digest) -> None:
        with self._lock:
            _, content = self._kept.pop(digest, ("", b""))
            self._size -= len(content)
