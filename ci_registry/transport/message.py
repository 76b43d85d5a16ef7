"""HTTP/1.1 messages (RFC 9112): the head of a request as bytes, and an answer read from a connection.

In place of http.client, which reads each answer's header through the email package: that took more time than the rest
of a request, and a tenth of the start-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader

__all__ = [
    "Headers",
    "IncompleteError",
    "NoAnswerError",
    "NotHttpError",
    "ProtocolError",
    "Response",
    "UnsendableError",
    "request_head",
]

_LINE_LIMIT = 64 * 1024
_FIELDS_LIMIT = 200
_END = b"\r\n\r\n"
_HEX = "0123456789abcdefABCDEF"
_INTERIM = range(100, 200)
_WITHOUT_BODY = (204, 304)


class ProtocolError(Exception):
    """What came back does not follow HTTP/1.1, or what was to be sent does not."""


class UnsendableError(ProtocolError):
    """A request that would not be one line for each of its fields."""


class NotHttpError(ProtocolError):
    """The first line of the answer is no status line; the message holds it."""


class IncompleteError(ProtocolError):
    """The connection ended before the body did."""


class NoAnswerError(ConnectionResetError):
    """The connection was closed before the first byte of an answer."""


class Headers:
    """The fields of a header, found by name in any case."""

    __slots__ = ("_values",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][0]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a field."""
        values = self._values.get(name.lower())
        return values[0] if values else default

    def get_all(self, name: str) -> list[str]:
        """All values of a field that may be repeated, in order."""
        return self._values.get(name.lower(), [])

    def setdefault(self, name: str, value: str) -> None:
        """Give a field a value where it has none."""
        self._values.setdefault(name.lower(), [value])


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request's first lines. Raises `UnsendableError` for a target or value that would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join(lines)
    if len(head.splitlines()) != len(lines) or "\0" in head or not target.isascii() or len(target.split()) != 1:
        raise UnsendableError(f"{target!r}, or a header, has characters that it can't have")
    return f"{head}\r\n\r\n".encode("latin-1", "replace")


class Response:
    """An answer: status and header are read, the body is still to be (RFC 9112, section 6).

    `is_over`: the whole body was read. `will_close`: no other request can follow on this connection.
    """

    __slots__ = ("_chunked", "_left", "_reader", "headers", "is_over", "reason", "status", "will_close")

    def __init__(self, reader: BufferedReader, method: str) -> None:
        self._reader = reader
        version, self.status, self.reason, self.headers = _read_head(reader)
        while self.status in _INTERIM:
            version, self.status, self.reason, self.headers = _read_head(reader)
        coding = (self.headers.get("Transfer-Encoding") or "").lower()
        self._chunked = coding.rpartition(",")[2].strip() == "chunked"
        self._left = self._length(method)
        self._chunked = self._chunked and self._left is None
        self.will_close = self._closes(version) or (self._left is None and not self._chunked)
        self.is_over = self._left == 0
        if self._chunked:
            self._left = 0

    def _length(self, method: str) -> int | None:
        """Bytes of the body, None where only its end will tell."""
        if method == "HEAD" or self.status in _WITHOUT_BODY:
            return 0
        stated = self.headers.get("Content-Length")
        if self._chunked or stated is None:
            return None
        if not stated.isdecimal():
            raise ProtocolError(f"its Content-Length is {stated[:40]!r}")
        return int(stated)

    def _closes(self, version: str) -> bool:
        options = (self.headers.get("Connection") or "").lower()
        return "close" in options or (version == "HTTP/1.0" and "keep-alive" not in options)

    def readinto(self, buffer: memoryview) -> int:
        """Read some of the body; 0 at its end, and where the connection ended before it (`is_over` stays false)."""
        if not self._goes_on():
            return 0
        count = self._reader.readinto(buffer if self._left is None else buffer[: self._left])
        self._took(count)
        return count

    def read(self, limit: int) -> bytes:
        """The rest of the body, at most `limit` bytes; raises `IncompleteError` if the connection ends before it."""
        parts = []
        while limit > 0 and self._goes_on():
            part = self._reader.read(limit if self._left is None else min(limit, self._left))
            self._took(len(part))
            if not part and not self.is_over:
                raise IncompleteError("it ended in the middle of an answer")
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)

    def _goes_on(self) -> bool:
        if self._chunked and not self._left and not self.is_over:
            self._next_chunk()
        return not self.is_over

    def _took(self, count: int) -> None:
        if self._left is None:
            self.is_over = not count
            return
        self._left -= count
        if count and not self._left:
            if self._chunked:
                _line(self._reader)  # what follows each chunk
            else:
                self.is_over = True

    def _next_chunk(self) -> None:
        """RFC 9112, section 7.1."""
        text = _line(self._reader).partition(";")[0].strip()
        if not text or text.strip(_HEX):
            raise ProtocolError(f"a chunk begins with {text[:40]!r}")
        self._left = int(text, 16)
        if not self._left:
            _fields(_lines(self._reader))  # the trailer
            self.is_over = True


def _read_head(reader: BufferedReader) -> tuple[str, int, str, Headers]:
    """Version, status, reason and fields."""
    ahead = reader.peek()
    head = ahead[: max(0, ahead.find(_END))]
    if head and head.count(b"\n") == head.count(b"\r\n"):
        # All of it is here, as nearly always: at once is three times as fast as line by line.
        reader.read(len(head) + len(_END))
        first, *rest = head.decode("latin-1").split("\r\n")
        return (*_status_line(first), _plain_headers(rest) or Headers(_fields(rest)))
    if not ahead:
        raise NoAnswerError("closed without an answer")
    first = reader.readline(_LINE_LIMIT).decode("latin-1").rstrip("\r\n")
    return (*_status_line(first), Headers(_fields(_lines(reader))))


def _plain_headers(lines: Sequence[str]) -> Headers | None:
    """Of lines as everybody writes them; None where one is not, which `_fields` then reads or refuses."""
    if len(lines) > _FIELDS_LIMIT:
        return None
    headers = Headers()
    values = headers._values
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or line[0] in " \t":
            return None
        name = name.rstrip().lower()
        if name in values:
            values[name].append(value.strip())
        else:
            values[name] = [value.strip()]
    return headers


def _status_line(line: str) -> tuple[str, int, str]:
    version, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/") or len(status) != 3 or not status.isdecimal():
        raise NotHttpError(repr(line[:80]))
    return version, int(status), reason.strip()


def _lines(reader: BufferedReader) -> Iterator[str]:
    """The lines up to the empty one."""
    while line := _line(reader):
        yield line


def _line(reader: BufferedReader) -> str:
    """One line without its end."""
    line = reader.readline(_LINE_LIMIT)
    if not line.endswith(b"\n"):
        if len(line) == _LINE_LIMIT:
            raise ProtocolError(f"a line of its answer is longer than {_LINE_LIMIT} bytes")
        raise IncompleteError("it ended in the middle of an answer")
    return line.rstrip(b"\r\n").decode("latin-1")


def _fields(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Names and values. A value that goes on in the next line is joined with a space."""
    fields: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[0] in " \t" and fields:
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        elif not colon:
            raise ProtocolError(f"a line of its header is {line[:80]!r}")
        else:
            fields.append((name.rstrip(), value.strip()))
        if len(fields) > _FIELDS_LIMIT:
            raise ProtocolError(f"its header has more than {_FIELDS_LIMIT} fields")
    return fields
