"""Ways for the scriptable registry to misbehave: `registry.script("GET", "/blobs/", fake_actions.break_download(100))`.

An action gets the exchange and `proceed`, which handles the request as a good registry would; it returns the reply to
send, or None to close the connection without one. Write your own as a function of that shape where none fits.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from .http_server import Exchange, Reply

__all__ = [
    "Action",
    "Proceed",
    "break_download",
    "break_upload",
    "calling",
    "corrupt",
    "delay",
    "drop",
    "drop_reply",
    "error",
    "header",
    "html",
    "huge_error",
    "replace_body",
    "slow_download",
    "stall",
    "status",
    "truncate",
    "without_header",
]

Proceed = Callable[[], Reply | None]
Action = Callable[[Exchange, Proceed], Reply | None]


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"", close: bool = False) -> Action:
    """Answer with this, whatever was asked; the request is not carried out."""
    return lambda _exchange, _proceed: Reply(code, dict(headers or {}), body, close=close)


def error(
    code: int, name: str, message: str, detail: object = None, headers: Mapping[str, str] | None = None
) -> Action:
    """Answer with an error envelope: `error(403, "DENIED", "Your authorization token has expired.")`."""
    body = json.dumps({"errors": [{"code": name, "message": message, "detail": detail}]}).encode()
    return status(code, {"Content-Type": "application/json", **(headers or {})}, body)


def html(code: int = 502, text: str = "<html><body><h1>502 Bad Gateway</h1></body></html>") -> Action:
    """Answer as a proxy in front would."""
    return status(code, {"Content-Type": "text/html"}, text.encode())


def huge_error(code: int = 500, size: int = 64 << 20) -> Action:
    """An error whose body is far larger than anybody should read."""
    return status(code, {"Content-Type": "text/plain"}, b"x" * size)


def drop() -> Action:
    """Close the connection before any reply; the request is not carried out."""
    return lambda _exchange, _proceed: None


def drop_reply() -> Action:
    """Carry the request out, then close the connection instead of answering."""

    def act(_exchange: Exchange, proceed: Proceed) -> None:
        proceed()

    return act


def break_download(after_bytes: int) -> Action:
    """Send the headers and only so many bytes of the body, then close."""
    return _changed(lambda reply: replace(reply, cut_after=after_bytes))


def break_upload(after_bytes: int, keep: bool = True) -> Action:
    """Read so many bytes of the request body, then close; `keep`: they stay in the upload session."""

    def act(exchange: Exchange, proceed: Proceed) -> Reply | None:
        exchange.break_after = after_bytes
        if not keep:
            exchange.body()
        return proceed()

    return act


def truncate(size: int) -> Action:
    """Answer with the first bytes only, and a Content-Length that agrees: complete HTTP, wrong content."""
    return _changed(lambda reply: replace(reply, body=bytes(reply.body[:size])))


def corrupt() -> Action:
    """Answer with one bit of the body's last byte flipped."""
    return _changed(lambda reply: replace(reply, body=bytes(reply.body[:-1]) + bytes([reply.body[-1] ^ 1])))


def replace_body(body: bytes) -> Action:
    """Keep status and headers, exchange the body: `replace_body(b" " * (5 << 20))` is a huge manifest."""
    return _changed(lambda reply: replace(reply, body=body))


def header(name: str, value: str) -> Action:
    """Set a header of the reply."""
    return _changed(lambda reply: replace(reply, headers={**reply.headers, name: value}))


def without_header(name: str) -> Action:
    """Leave a header out of the reply."""
    return _changed(
        lambda reply: replace(reply, headers={k: v for k, v in reply.headers.items() if k.lower() != name.lower()})
    )


def delay(seconds: float) -> Action:
    """Wait, then do what was asked."""

    def act(_exchange: Exchange, proceed: Proceed) -> Reply | None:
        time.sleep(seconds)
        return proceed()

    return act


def slow_download(piece_bytes: int, pause_seconds: float) -> Action:
    """Send the body in pieces with a pause before each."""
    return _changed(lambda reply: replace(reply, pace=(piece_bytes, pause_seconds)))


def stall(until: threading.Event, reached: threading.Event | None = None, limit_seconds: float = 30) -> Action:
    """Do nothing until an event is set (30 s at most), then what was asked. `reached` is set when the wait begins."""

    def act(_exchange: Exchange, proceed: Proceed) -> Reply | None:
        if reached is not None:
            reached.set()
        until.wait(limit_seconds)
        return proceed()

    return act


def calling(function: Callable[[], object]) -> Action:
    """Call something first: `calling(registry.expire_tokens)` makes the request fail with 401 as an old token does."""

    def act(_exchange: Exchange, proceed: Proceed) -> Reply | None:
        function()
        return proceed()

    return act


def _changed(change: Callable[[Reply], Reply]) -> Action:
    def act(_exchange: Exchange, proceed: Proceed) -> Reply | None:
        reply = proceed()
        return None if reply is None else change(reply)

    return act
