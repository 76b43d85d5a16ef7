"""The one question that every push asks the docker daemon, put to a local socket without the docker SDK.

Importing the SDK takes longer than everything else in a push that finds nothing to do (0.13 of 0.3 s). So where the
daemon is on this machine, an image is inspected by a plain request first (Docker Engine API, "Inspect an image");
whatever is not a clear answer is left to the SDK, which also has the words for what went wrong.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["ask", "local_socket"]

_DEFAULT_SOCKET = "/var/run/docker.sock"
_ANSWER_SECONDS = 20.0
_ANSWER_LIMIT = 16 * 1024 * 1024
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
    connection = _SocketConnection(path)
    try:
        connection.request("GET", "".join(f"/{quote(word, safe='/:')}" for word in words), headers={"Host": "docker"})
        response = connection.getresponse()
        document = json.loads(response.read(_ANSWER_LIMIT)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    version = response.headers.get("Api-Version")
    return (document, version) if isinstance(document, dict) and version else None


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
