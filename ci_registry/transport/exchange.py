"""Requests under way: answers whose body is still to be read, and requests whose body is being pushed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import RemoteError, TransportError
from .connection import NETWORK_ERRORS, Connection
from .message import Headers, Response
from .problem import ERROR_BODY_LIMIT

if TYPE_CHECKING:
    from .http import Client

__all__ = ["COMMIT_SECONDS", "EarlyAnswerError", "Exchange", "Reply", "Stream"]

COMMIT_SECONDS = 900.0
"""How long the last answer of an upload may take: some storages move the whole blob then."""

_SMALL_BODY = 64 * 1024
_EARLY_SECONDS = 2.0


class Reply(Struct):
    """A whole answer: status, headers, and the body up to the limit that was asked for."""

    method: str
    url: str
    status: int
    headers: Headers
    body: bytes = b""

    def header_values(self, name: str) -> list[str]:
        """All values of a header that may be repeated."""
        return self.headers.get_all(name)


class Stream:
    """An answer whose body is still to be read; closing it gives the connection back if the body is used up."""

    def __init__(self, client: Client, connection: Connection, response: Response, reply: Reply):
        self._client, self._connection, self._response, self.reply = client, connection, response, reply
        self.rounds = connection.rounds
        """Round trips that the answer took."""
        self._open = True

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes; 0 at the end. A break raises `TransportError`."""
        try:
            count = self._response.readinto(buffer)
        except NETWORK_ERRORS as error:
            self.close(broken=True)
            raise self._client.failure(self._connection, error, f"reading from {self.reply.url}") from error
        return count

    def skip(self, count: int) -> None:
        """Read `count` bytes and drop them."""
        buffer = memoryview(bytearray(min(count, _SMALL_BODY)))
        while count and (read := self.readinto(buffer[: min(count, len(buffer))])):
            count -= read

    def read_all(self, limit: int) -> bytes:
        """The rest of the body, at most `limit` bytes. One that ends too early raises `TransportError`."""
        try:
            return self._response.read(limit)
        except NETWORK_ERRORS as error:
            self.close(broken=True)
            raise self._client.failure(self._connection, error, f"reading from {self.reply.url}") from error

    def read_whole(self, limit: int) -> None:
        """Read a good answer into its reply; one with more than `limit` bytes is an error."""
        body = self.read_all(limit + 1)
        self.close(broken=len(body) > limit)
        if len(body) > limit:
            raise RemoteError(f"{self.reply.url} answered with more than the {limit} bytes such an answer may have")
        self.reply.body = body

    def read_refusal(self) -> None:
        """Read what a refusal says, as far as it can be had."""
        try:
            self.reply.body = self.read_all(ERROR_BODY_LIMIT)
        except TransportError:
            self.reply.body = b""
        self.close()

    def close(self, broken: bool = False) -> None:
        if self._open:
            self._open = False
            reusable = not broken and self._response.is_over and not self._response.will_close
            self._client.pool.give_back(self._connection, reusable)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Exchange:
    """A request whose body is pushed: `send()` as often as needed, then `finish()`."""

    def __init__(
        self, client: Client, connection: Connection, method: str, url: str, chunked: bool, sent: Mapping[str, str]
    ) -> None:
        self._client, self._connection = client, connection
        self._method, self._url, self._chunked = method, url, chunked
        self.sent = sent
        """The headers that said who calls."""
        self._patience: float | None = None
        self._open = True

    def patience(self, seconds: float | None) -> None:
        """Bound how long the other side may take to accept what is sent; None for the ordinary bound."""
        if seconds != self._patience:
            self._patience = seconds
            self._connection.wait(self._client.answer_seconds if seconds is None else seconds)

    def send(self, data: memoryview | bytes) -> None:
        """Push some of the body. A broken connection raises `TransportError`, an early refusal `EarlyAnswerError`."""
        if self._chunked:
            if not len(data):
                return  # an empty chunk would end the body
            frame = b"%x\r\n" % len(data)
            data = b"".join((frame, data, b"\r\n")) if len(data) < _SMALL_BODY else data
            if not isinstance(data, bytes):
                self._push(frame)
                self._push(data)
                self._push(b"\r\n")
                return
        self._push(data)

    def _push(self, data: memoryview | bytes) -> None:
        try:
            self._connection.send(data)
        except NETWORK_ERRORS as error:
            reply = self._early_answer()
            if reply is not None:
                raise EarlyAnswerError(reply) from error
            raise self._client.failure(self._connection, error, f"sending to {self._url}") from error

    def _early_answer(self) -> Reply | None:
        # A server that refuses a body answers and closes while we still send; what it said is what matters.
        try:
            self._connection.wait(_EARLY_SECONDS)
            return self._client.read_reply(self._connection, self._method, self._url, ERROR_BODY_LIMIT, reuse=False)
        except (*NETWORK_ERRORS, TransportError):
            return None
        finally:
            self.close()

    def finish(self, seconds: float = COMMIT_SECONDS) -> Reply:
        """End the body and wait for the answer."""
        try:
            if self._chunked:
                self._push(b"0\r\n\r\n")
            self._connection.wait(seconds)
            reply = self._client.read_reply(self._connection, self._method, self._url, ERROR_BODY_LIMIT)
            self._open = False
            return reply
        except EarlyAnswerError as error:
            return error.reply
        except NETWORK_ERRORS as error:
            raise self._client.failure(self._connection, error, f"sending to {self._url}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Drop the request; the connection can't be used again."""
        if self._open:
            self._open = False
            self._client.pool.give_back(self._connection, reusable=False)


class EarlyAnswerError(RemoteError):
    """The server answered before it had the whole body."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.method} {reply.url} was answered {reply.status} before its body was sent")
        self.reply = reply
