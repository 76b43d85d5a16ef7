"""The requests that a push makes to the docker daemon, put to a local socket without the docker SDK.

Importing the SDK takes longer than everything else in a push that finds nothing to do (0.13 of 0.2 s), and it reads a
saved image in chunks of 32 KiB, which takes twice as long as the daemon needs to send it. So where the daemon is on
this machine, images are inspected, listed and saved by plain requests first (Docker Engine API, "Inspect an image",
"List images", "Export an image"); whatever is not a clear answer is left to the SDK, which also has the words for what
went wrong.

They are HTTP/1.0 (RFC 1945): the daemon sends the body as it is and then ends the connection. http.client would bring
ssl and the email package along, a fifth of a push that finds nothing to do.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Body", "ask", "local_socket", "open_body"]

_DEFAULT_SOCKET = "/var/run/docker.sock"
_ANSWER_SECONDS = 20.0
_ANSWER_LIMIT = 16 * 1024 * 1024
_PART_BYTES = 64 * 1024
_BODY_BYTES = 256 * 1024
"""As much as a local socket holds."""
_CONFIG_LIMIT = 1024 * 1024
_HEAD_LIMIT = 64 * 1024
_CHECK_SECONDS = 0.1
_END = b"\r\n\r\n"


def local_socket(environ: Mapping[str, str]) -> str | None:
    """The path of the socket where docker's settings clearly choose one; None where the SDK has to find out."""
    host = environ.get("DOCKER_HOST") or ""
    if host:
        return host.removeprefix("unix://") if host.startswith("unix:///") else None
    if environ.get("DOCKER_CONTEXT", "default") not in ("", "default") or _has_context(environ):
        return None
    return _DEFAULT_SOCKET


def _has_context(environ: Mapping[str, str]) -> bool:
    """Whether docker's config.json chooses a context, or can't be understood."""
    directory = environ.get("DOCKER_CONFIG")
    path = Path(directory) if directory else Path.home() / ".docker"
    try:
        with (path / "config.json").open("rb") as file:
            document = json.loads(file.read(_CONFIG_LIMIT))
        return document.get("currentContext", "default") not in ("", "default")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True


def ask(path: str, *words: str) -> tuple[Any, str] | None:
    """What the daemon answers to GET of these words as a path, an object or array of JSON, and its API version; None
    when it does not simply answer."""
    try:
        head, _, body = _exchange(path, words).partition(_END)
        document = json.loads(body) if _is_good(head) else None
    except (OSError, ValueError):
        return None
    _, *fields = head.decode("latin-1").split("\r\n")
    named = (field.partition(":") for field in fields)
    version = next((value.strip() for name, _, value in named if name.lower() == "api-version"), "")
    return (document, version) if isinstance(document, (dict, list)) and version else None


class Body:
    """The body of an answer, up to where the daemon ends the connection. Closing it lets the daemon stop."""

    def __init__(self, connection: socket.socket, begun: bytes) -> None:
        self._connection, self._begun = connection, begun

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end; raises `OSError`."""
        if self._begun:
            part, self._begun = self._begun[:size], self._begun[size:]
            return part
        return self._connection.recv(min(size, _BODY_BYTES))

    def abort(self) -> None:
        """Break off what another thread is reading."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


def open_body(path: str, *words: str, check: Callable[[], None]) -> Body | None:
    """The body of the answer to GET of these words as a path, once it begins; None when the daemon does not simply
    answer. `check` is called all the time while the daemon makes ready, and may raise to give up."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _ask_for(connection, path, words)
        head, _, begun = _head(connection, check).partition(_END)
        if _is_good(head):
            connection.settimeout(None)
            return Body(connection, begun)
    except OSError:
        pass
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _head(connection: socket.socket, check: Callable[[], None]) -> bytes:
    """What comes up to the end of the head, and perhaps some of the body."""
    connection.settimeout(_CHECK_SECONDS)
    head = b""
    while _END not in head:
        try:
            part = connection.recv(_PART_BYTES)
        except TimeoutError:
            check()
            continue
        if not part or len(head) > _HEAD_LIMIT:
            raise OSError("no head")
        head += part
    return head


def _is_good(head: bytes) -> bool:
    return head.partition(b"\r\n")[0].split()[1:2] == [b"200"]


def _ask_for(connection: socket.socket, path: str, words: Sequence[str]) -> None:
    target = "".join(f"/{quote(word, safe='/:')}" for word in words)
    connection.settimeout(_ANSWER_SECONDS)
    connection.connect(path)
    connection.sendall(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode("ascii"))


def _exchange(path: str, words: Sequence[str]) -> bytes:
    """The whole answer to a GET."""
    end = time.monotonic() + _ANSWER_SECONDS
    parts, count = [], 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _ask_for(connection, path, words)
        while part := connection.recv(_PART_BYTES):
            parts.append(part)
            count += len(part)
            if count > _ANSWER_LIMIT or time.monotonic() > end:
                raise OSError("too much, or too slow")
    return b"".join(parts)
