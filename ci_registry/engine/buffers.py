"""The memory that blobs travel through: one budget for a whole run, whatever the number and size of blobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..transport.retry import Cancel

__all__ = ["BUFFER_BYTES", "Buffers"]

BUFFER_BYTES = 256 * 1024
"""What a large blob gets at least. Measured: 1 MiB saves a tenth of the CPU time of a large copy, smaller ones cost."""
_SHARE = 8
"""A large blob gets this part of what is left, so that a few streams have large buffers and many have enough."""


class Buffers:
    """Hands out buffers; waits when `total` bytes are out."""

    def __init__(self, total: int = 8 * 1024 * 1024) -> None:
        self._left = total
        self._change = threading.Condition()

    @contextmanager
    def borrow(self, wanted: int, cancel: Cancel) -> Iterator[memoryview]:
        """A buffer for a blob of `wanted` bytes; raises `Interrupted` while waiting if the run is cancelled."""
        with self._change:
            while self._left < (size := max(1, min(wanted, max(BUFFER_BYTES, self._left // _SHARE)))):
                cancel.check()
                self._change.wait(0.5)
            self._left -= size
        try:
            yield memoryview(bytearray(size))
        finally:
            with self._change:
                self._left += size
                self._change.notify_all()  # who waits may want less than the one that would be woken
