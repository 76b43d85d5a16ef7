"""The one question that every push asks the docker daemon, put to a local socket without the docker SDK.

Importing the SDK takes longer than everything else in a push that finds nothing to do (0.13 of 0.3 s). So where the
daemon is on this machine, an image is inspected by a plain request first (Docker Engine API, "Inspect an image");
whatever is not a clear answer is left to the SDK, which also has the words for what went wrong.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["ask", "local_socket"]

_DEFAULT_SOCKET = "/var/run/docker.sock"
_ANSWER_SECONDS = 20.0
_ANSWER_LIMIT = 16 * 1024 * 1024
_PART_BYTES = 64 * 1024
_CONFIG_LIMIT = 1024 * 1024


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


def ask(path: str, *words: str) -> tuple[dict[str, Any], str] | None:
    """What the daemon answers to GET of these words as a path, and its API version; None when it does not simply
    answer."""
    target = "".join(f"/{quote(word, safe='/:')}" for word in words)
    try:
        head, _, body = _exchange(path, target).partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        document = json.loads(body) if status.split()[1:2] == ["200"] else None
    except (OSError, ValueError):
        return None
    named = (field.partition(":") for field in fields)
    version = next((value.strip() for name, _, value in named if name.lower() == "api-version"), "")
    return (document, version) if isinstance(document, dict) and version else None


def _exchange(path: str, target: str) -> bytes:
    """The whole answer to a GET. HTTP/1.0 (RFC 1945): the daemon sends the body as it is and then ends the connection.

    http.client would bring ssl and the email package along, a fifth of a push that finds nothing to do.
    """
    end = time.monotonic() + _ANSWER_SECONDS
    parts, count = [], 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode("ascii"))
        while part := connection.recv(_PART_BYTES):
            parts.append(part)
            count += len(part)
            if count > _ANSWER_LIMIT or time.monotonic() > end:
                raise OSError("too much, or too slow")
    return b"".join(parts)
