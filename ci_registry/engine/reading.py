"""Reading one blob to its end, whatever breaks on the way."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import TransportError
from ..model.descriptor import Descriptor
from ..targets.base import Source, VerifiedReader
from ..transport.retry import Attempts, Cancel

__all__ = ["PROGRESS_BYTES", "read_blob"]

PROGRESS_BYTES = 256 * 1024
"""What has to come between two breaks for the time to begin anew; a trickle would otherwise go on for hours."""


def read_blob(
    source: Source,
    descriptor: Descriptor,
    offset: int,
    buffer: memoryview,
    give: Callable[[memoryview], bool],
    *,
    cancel: Cancel,
    retry_seconds: float,
) -> bool:
    """Give the bytes from `offset` on to `give`, piece by piece; False when it wanted no more.

    A source that breaks is read again from where it broke, for up to `retry_seconds` without real progress. Raises
    `IntegrityError` at the end when size or (from offset 0) digest are wrong.
    """
    reader = VerifiedReader(descriptor, source.location.name, offset)
    attempts = Attempts(retry_seconds, cancel)
    while offset == 0 or reader.missing:
        before = reader.offset
        try:
            with source.fetch(descriptor, reader.offset) as stream:
                while count := reader.take(stream, buffer):
                    cancel.check()
                    if not give(buffer[:count]):
                        return False
            return True
        except TransportError as error:
            if not reader.missing:
                break  # the last byte came, and the connection broke only then
            if reader.offset - before >= PROGRESS_BYTES:
                attempts = Attempts(retry_seconds, cancel)
            if not error.retryable or not attempts.again():
                raise
    reader.check()
    return True
