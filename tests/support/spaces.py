"""A test's own part of a registry that many tests share."""

from __future__ import annotations

import re
import secrets

from ci_registry.model.descriptor import Digest

from .docker_registry import AccessLogLine, DockerRegistry
from .images import BuiltImage, upload
from .validator import Validation, validate_registry

__all__ = ["RegistrySpace"]


class RegistrySpace:
    """All repositories below a fresh prefix of a running docker-registry; `server` is shared, so don't damage it.

    The server keeps one copy of a blob for everybody, but a repository shows only what was pushed or mounted to it.
    """

    def __init__(self, server: DockerRegistry) -> None:
        self.server = server
        self.url = server.url
        self.host = server.host
        self.port = server.port
        self.prefix = f"t{secrets.token_hex(4)}"

    def repository(self, name: str = "app") -> str:
        """The full name of a repository of this test."""
        return f"{self.prefix}/{name}"

    def reference(self, name: str = "app", tag: str = "1") -> str:
        """`HOST/PREFIX/NAME:TAG`, or with `@` for a digest."""
        return f"{self.host}/{self.repository(name)}{'@' if ':' in tag else ':'}{tag}"

    def upload(self, image: BuiltImage, name: str = "app", tag: str | None = "1") -> Digest:
        """Put an image there, by the tests' own client; returns its digest."""
        return upload(image, self.url, self.repository(name), tag)

    def validate(self, name: str = "app", tag: str = "1", referrers: bool = False) -> Validation:
        """Check that an image there is whole."""
        return validate_registry(self.url, self.repository(name), tag, referrers=referrers)

    def requests(self) -> list[AccessLogLine]:
        """What the server logged about this test's repositories."""
        return [line for line in self.server.requests() if f"/{self.prefix}/" in line.path]

    def count(self, method: str, path_regex: str = "") -> int:
        """How many requests to this test's repositories had that method and path."""
        return sum(line.method == method and bool(re.search(path_regex, line.path)) for line in self.requests())
