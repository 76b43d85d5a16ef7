"""Real servers for tests, in one place: docker-registry, token server, nginx, squid, and skopeo as a judge.

Each is a context manager, listens on 127.0.0.1 on a port of its own, and is gone when the test process is.
"""

from __future__ import annotations

from .certificates import Authority, KeyPair
from .docker_registry import AccessLogLine, DockerRegistry, htpasswd
from .process import ServerProcess, ServerStartError, find_program, free_port, temporary_directory, wait_until
from .proxies import Nginx, Squid
from .skopeo import skopeo, skopeo_config, skopeo_copy, skopeo_raw
from .token_server import TokenRequest, TokenServer, TokenService

__all__ = [
    "AccessLogLine",
    "Authority",
    "DockerRegistry",
    "KeyPair",
    "Nginx",
    "ServerProcess",
    "ServerStartError",
    "Squid",
    "TokenRequest",
    "TokenServer",
    "TokenService",
    "find_program",
    "free_port",
    "htpasswd",
    "skopeo",
    "skopeo_config",
    "skopeo_copy",
    "skopeo_raw",
    "temporary_directory",
    "wait_until",
]
