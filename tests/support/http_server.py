"""A small threaded HTTP/1.1 server whose replies can be broken on purpose.

Faster than http.server (headers are read into a dict), with keep-alive, chunked request bodies, Expect: 100-continue,
TLS, and what a scripted server needs: a reply cut short, slowed down, or not sent at all.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, cast
from urllib.parse import parse_qsl

__all__ = ["BrokenRequestError", "Exchange", "HttpServer", "Reply"]

_REASONS = {status.value: status.phrase for status in HTTPStatus}
# What Go's server does: it reads this much of a body nobody wanted before it answers, or else closes the connection.
_DRAIN_BYTES = 256 << 10
_LINGER_SECONDS = 0.5
_PIECE_BYTES = 1 << 20
_NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request"


class BrokenRequestError(ConnectionError):
    """The client went away in the middle of a request body."""


@dataclass
class Reply:
    """What is sent back. `cut_after`: only so many bytes of the body, then the connection is closed. `pace`: bytes per
    piece and seconds between pieces."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    cut_after: int | None = None
    pace: tuple[int, float] | None = None
    close: bool = False


class Exchange:
    """One request, as the handler sees it. `headers` have lower-case names.

    With `break_after` set, reading the body ends in `BrokenRequestError` after so many bytes.
    """

    def __init__(
        self, method: str, target: str, headers: dict[str, str], stream: IO[bytes], sock: socket.socket
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, self.raw_query = target.partition("?")
        self.headers = headers
        self.body_bytes = 0
        self.started = time.monotonic()
        self.break_after: int | None = None
        self._stream = stream
        self._socket = sock
        self._length = int(headers.get("content-length", 0))
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._unread = self._length > 0 or self._chunked
        self._continue = headers.get("expect", "").lower() == "100-continue"

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.raw_query, keep_blank_values=True)

    def argument(self, name: str) -> str | None:
        """The first query parameter of that name."""
        return next((value for key, value in self.query if key == name), None)

    @property
    def has_length(self) -> bool:
        return self._chunked or "content-length" in self.headers

    @property
    def content_length(self) -> int | None:
        """What the client said; None for a chunked body."""
        return None if self._chunked else self._length

    @property
    def body_left(self) -> bool:
        return self._unread

    def body(self) -> bytes:
        """The rest of the request body."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The request body as it comes; raises `BrokenRequestError` when it ends early."""
        if self._continue and self._unread:
            self._continue = False
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        for piece in self._chunks() if self._chunked else self._plain():
            if self.break_after is not None:
                piece = piece[: self.break_after - self.body_bytes]
            self.body_bytes += len(piece)
            yield piece
            if self.body_bytes == self.break_after:
                raise BrokenRequestError("broken on purpose")

    def drain(self) -> bool:
        """Throw away a body that nobody read, if it is small; whether the connection can be used again."""
        if not self._unread:
            return True
        if self._chunked or self._continue or self._length - self.body_bytes > _DRAIN_BYTES:
            return False
        for _ in self.pieces():
            pass
        return True

    def _plain(self) -> Iterator[bytes]:
        left = self._length - self.body_bytes
        while left:
            piece = self._stream.read1(min(left, 256 << 10))  # type: ignore[attr-defined]
            if not piece:
                raise BrokenRequestError(f"{left} bytes of the body are missing")
            left -= len(piece)
            self._unread = left > 0
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while self._unread:
            size = int(self._line().partition(b";")[0], 16)
            left = size
            while left:
                piece = self._stream.read1(min(left, 256 << 10))  # type: ignore[attr-defined]
                if not piece:
                    raise BrokenRequestError("the chunked body ends early")
                left -= len(piece)
                yield piece
            if size == 0:
                while self._line().strip():
                    pass
                self._unread = False
            else:
                self._line()

    def _line(self) -> bytes:
        line = self._stream.readline(65537)
        if not line.endswith(b"\n"):
            raise BrokenRequestError("the chunked body ends early")
        return line


Handler = Callable[[Exchange], Reply | None]


class HttpServer:
    """Serves `handler` on 127.0.0.1 until `stop`. The handler returns a `Reply`, or None to close without one.

    `finished` is called for each exchange with the reply and the number of body bytes sent. Exceptions of a handler
    that are no `ConnectionError` are kept in `failures` (and answered with 500), for the test to look at.
    """

    def __init__(
        self,
        handler: Handler,
        port: int = 0,
        context: ssl.SSLContext | None = None,
        finished: Callable[[Exchange, Reply | None, int], None] | None = None,
    ) -> None:
        self._handler = handler
        self._finished = finished
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.failures: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop accepting and close every connection."""
        _shutdown(self._listener)  # wakes the accepting thread
        self._thread.join(5)
        self._listener.close()
        self.close_connections()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def close_connections(self) -> None:
        """Close all connections, idle ones included, as a restarting server does."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shutdown(connection)

    @property
    def connections(self) -> int:
        """How many are open now."""
        with self._lock:
            return len(self._open)

    def serve(self, sock: socket.socket) -> None:
        """One connection, in its own thread."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            try:
                sock = self._context.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                return
        with self._lock:
            self._open.add(sock)
        try:
            with sock, sock.makefile("rb", 1 << 16) as stream:
                while self._serve_one(sock, cast(IO[bytes], stream)):
                    pass
        except (ConnectionError, TimeoutError, ssl.SSLError, OSError):
            pass  # the client went away, or stop() closed the socket
        finally:
            with self._lock:
                self._open.discard(sock)

    def _serve_one(self, sock: socket.socket, stream: IO[bytes]) -> bool:
        exchange = _read_request(sock, stream)
        if exchange is None:
            return False
        reply = self._handle(exchange)
        if reply is None:
            self._finish(exchange, None, 0)
            _shutdown(sock)
            return False
        try:
            keep = exchange.drain() and not reply.close and exchange.headers.get("connection", "").lower() != "close"
            top, body = _encode(reply, exchange.method == "HEAD", keep)
        except ConnectionError:
            self._finish(exchange, None, 0)
            raise
        self._send(sock, exchange, reply, top, body)
        if reply.cut_after is not None:
            _shutdown(sock)
            return False
        if not keep:
            _linger(sock)
        return keep

    def _send(
        self, sock: socket.socket, exchange: Exchange, reply: Reply, top: bytes, body: bytes | memoryview
    ) -> None:
        """Send it all; the exchange counts as finished just before its last piece, so that a client which has read
        its reply finds it counted."""
        size, pause_seconds = reply.pace or (_PIECE_BYTES, 0)
        sent = 0
        try:
            while len(body) - sent > size:
                sock.sendall(top + bytes(body[sent : sent + size]))
                sent += min(size, len(body) - sent)
                top = b""
                time.sleep(pause_seconds)
        except OSError:
            self._finish(exchange, reply, sent)
            raise
        self._finish(exchange, reply, len(body))
        sock.sendall(top + bytes(body[sent:]))

    def _finish(self, exchange: Exchange, reply: Reply | None, sent: int) -> None:
        if self._finished is not None:
            self._finished(exchange, reply, sent)

    def _handle(self, exchange: Exchange) -> Reply | None:
        try:
            return self._handler(exchange)
        except ConnectionError:
            return None
        except Exception as error:  # noqa: BLE001 - a bug of a test's script must show as a failure, not as a hang
            self.failures.append(error)
            return Reply(500, {"Content-Type": "text/plain"}, repr(error).encode(), close=True)


def _read_request(sock: socket.socket, stream: IO[bytes]) -> Exchange | None:
    line = stream.readline(65537)
    if not line.strip():
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        # What a client that begins with TLS gets from a plain server.
        sock.sendall(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request"
        )
        return None
    headers: dict[str, str] = {}
    while (line := stream.readline(65537)).strip():
        name, _, value = line.decode("latin-1").partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Exchange(words[0], words[1], headers, stream, sock)


def _encode(reply: Reply, head: bool, keep: bool) -> tuple[bytes, bytes | memoryview]:
    """Status line and headers, and what of the body is to be sent."""
    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
    if reply.status in (204, 304):
        del headers["Content-Length"]
    if not keep:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    top = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return top, b"" if head else reply.body if reply.cut_after is None else reply.body[: reply.cut_after]


def _linger(sock: socket.socket) -> None:
    # Closing at once with bytes unread would reset the connection before the client has read the reply.
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(_LINGER_SECONDS)
    end = time.monotonic() + _LINGER_SECONDS
    while time.monotonic() < end and sock.recv(1 << 16):
        pass


def _shutdown(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
