"""A scripted server in front of a real one: what it does not answer itself it passes on."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .http_server import Exchange, HttpServer, Reply
from .process import free_port

__all__ = ["Front", "Seen", "error_reply"]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "expect"}


@dataclass(frozen=True)
class Seen:
    """One request that arrived, and what it got."""

    method: str
    path: str
    query: str
    status: int
    authorization: str


class Front:
    """Listens on 127.0.0.1. `answer` gets each request and may pass it on with `forward`. A context manager."""

    def __init__(
        self, backend: str, answer: Callable[[Exchange], Reply], context: ssl.SSLContext | None = None
    ) -> None:
        self._backend = urlsplit(backend)
        self.seen: list[Seen] = []
        self._server = HttpServer(answer, free_port(), context, self._note)
        self.port = self._server.port
        self.host = f"127.0.0.1:{self.port}"
        self.url = self._server.url

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop()
        assert self._server.failures == []

    def forward(
        self, exchange: Exchange, path: str | None = None, headers: Mapping[str, str | None] | None = None
    ) -> Reply:
        """The real server's answer. The Host header stays, so that its addresses are ours. `headers`: None drops."""
        assert self._backend.hostname
        connection = http.client.HTTPConnection(self._backend.hostname, self._backend.port, timeout=30)
        sent: dict[str, str | None] = {k: v for k, v in exchange.headers.items() if k not in _HOP_BY_HOP}
        sent.update(headers or {})
        body = exchange.body()
        target = exchange.target if path is None else path
        try:
            connection.request(exchange.method, target, body or None, {k: v for k, v in sent.items() if v is not None})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        got = {
            name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP - {"content-length"}
        }
        return Reply(answer.status, got, content)

    def count(self, method: str, part: str = "") -> int:
        """How many requests had that method and a path (or query) in which the text is found."""
        return sum(seen.method == method and part in f"{seen.path}?{seen.query}" for seen in self.seen)

    def _note(self, exchange: Exchange, reply: Reply | None, _sent: int) -> None:
        status = reply.status if reply else 0
        authorization = exchange.headers.get("authorization", "")
        self.seen.append(Seen(exchange.method, exchange.path, exchange.raw_query, status, authorization))


def error_reply(status: int, code: str, message: str, **headers: str) -> Reply:
    """A refusal in the registry's own form."""
    body = f'{{"errors":[{{"code":"{code}","message":"{message}"}}]}}'
    return Reply(status, {"Content-Type": "application/json", **headers}, body.encode())
