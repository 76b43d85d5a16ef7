"""Image references: `[host[:port]/]path[:tag][@digest]`.

The grammar is Docker's (distribution/reference): the first part is a host only if it holds a `.` or `:`, or is
`localhost`; otherwise the host is docker.io and one-part paths get `library/`.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from ..errors import ReferenceSyntaxError
from .descriptor import Digest

__all__ = ["DOCKER_HUB", "Reference", "check_repository", "check_tag", "split_name"]

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\[[0-9a-fA-F:]+\]|{_LABEL}(?:\.{_LABEL})*)(?::[0-9]{{1,5}})?")
_HEX64 = re.compile(r"[a-f0-9]{64}")


class Reference(Struct, frozen=True):
    """A reference in its parts. `host` is "" where the place (a target, a layout) already says it."""

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        name = f"{self.host}/{self.repository}" if self.host else self.repository
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return name + tag + digest

    @property
    def version(self) -> str:
        """What to ask a repository for: the digest if there is one, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """A full reference as people type it; docker.io and `library/` are filled in."""
        name, tag, digest = split_name(text)
        host, _, path = name.partition("/")
        if not path or not _is_host(host):
            host, path = DOCKER_HUB, name
        host = normal_host(host, text)
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if _HEX64.fullmatch(name):
            raise ReferenceSyntaxError(f"'{text}' is 64 hexadecimal digits, which can't be an image name")
        return cls(host, check_repository(path, text), tag, digest)

    @classmethod
    def parse_bare(cls, text: str) -> Reference:
        """A reference without a host, as it follows `TARGET:`."""
        name, tag, digest = split_name(text)
        return cls("", check_repository(name, text), tag, digest)

    def with_tag(self, tag: str) -> Reference:
        return replace(self, tag=check_tag(tag), digest=None)


def normal_host(host: str, text: str = "") -> str:
    """Docker Hub's aliases become `docker.io`; anything that is no host is refused."""
    if not _HOST.fullmatch(host):
        raise ReferenceSyntaxError(f"'{host}' in '{text or host}' is not a registry host")
    lower = host.lower()
    if lower in _HUB_ALIASES:
        return DOCKER_HUB
    # Capitals alone can be what makes it a host: `REGISTRY/app` is not `registry/app`, an image of Docker Hub.
    return lower if _is_host(lower) else host


def split_name(text: str) -> tuple[str, str | None, Digest | None]:
    """Split `name[:tag][@digest]`; the name is not checked."""
    if "://" in text:
        raise ReferenceSyntaxError(
            f"'{text}' has a URL scheme in it, which an image reference can't have", hint="leave out the scheme"
        )
    name, at, digest = text.partition("@")
    colon = name.rfind(":")
    tag = None
    if colon > name.rfind("/"):
        name, tag = name[:colon], check_tag(name[colon + 1 :], text)
    if not name:
        raise ReferenceSyntaxError(f"'{text}' has no image name", hint="check that the variable it came from is set")
    return name, tag, Digest(digest) if at else None


def check_tag(tag: str, text: str = "") -> str:
    """Return the tag, or raise with the reason (distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`)."""
    if _TAG.fullmatch(tag):
        return tag
    where = f" in '{text}'" if text else ""
    if not tag:
        raise ReferenceSyntaxError(f"the tag{where} is empty", hint="check that the variable it came from is set")
    raise ReferenceSyntaxError(
        f"'{tag}'{where} is not a valid tag",
        hint="use at most 128 letters, digits, '.', '_' and '-', not starting with '.' or '-'",
    )


def check_repository(path: str, text: str = "") -> str:
    """Return the repository path, or raise with the reason (distribution-spec, "Pulling manifests")."""
    if _PATH.fullmatch(path) and len(path) <= 255:
        return path
    where = f" in '{text}'" if text and text != path else ""
    if path != path.lower():
        raise ReferenceSyntaxError(
            f"repository name '{path}'{where} must be lowercase", hint=f"write it as '{path.lower()}'"
        )
    raise ReferenceSyntaxError(
        f"'{path}'{where} is not a valid repository name",
        hint="use lower-case letters and digits, with '.', '_', '-' between them and '/' between parts",
    )


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost" or part != part.lower() or part.startswith("[")
