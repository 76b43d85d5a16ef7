"""The memory that blobs travel through: one budget for a whole run, whatever the number and size of blobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..transport.retry import Cancel

__all__ = ["BUFFER_BYTES", "Buffers"]

BUFFER_BYTES = 256 * 1024
"""Size of one buffer. Measured: larger ones gain nothing on loopback, smaller ones cost system calls."""


class Buffers:
    """Hands out buffers of at most `BUFFER_BYTES`; waits when `total` bytes are out."""

    def __init__(self, total: int = 8 * 1024 * 1024) -> None:
        self._left = total
        self._spare: list[bytearray] = []
        self._change = threading.Condition()

    @contextmanager
    def borrow(self, wanted: int, cancel: Cancel) -> Iterator[memoryview]:
        """A buffer for a blob of `wanted` bytes; raises `Interrupted` while waiting if the run is cancelled."""
        size = max(1, min(wanted, BUFFER_BYTES))
        with self._change:
            while self._left < size:
                cancel.check()
                self._change.wait(0.5)
            self._left -= size
            whole = self._spare.pop() if size == BUFFER_BYTES and self._spare else bytearray(size)
        try:
            yield memoryview(whole)
        finally:
            with self._change:
                self._left += size
                if size == BUFFER_BYTES:
                    self._spare.append(whole)
                self._change.notify_all()  # who waits may want less than the one that would be woken
