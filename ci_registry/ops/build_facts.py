"""What a promotion's record says about the build it came from: a fixed list of variables, never the environment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from ..redaction import redact

__all__ = ["approver", "build_facts", "change_request"]

_NAMES = (
    *("JOB_NAME", "BUILD_NUMBER", "BUILD_URL", "BUILD_TAG", "NODE_NAME", "STAGE_NAME"),
    *("GIT_COMMIT", "GIT_BRANCH", "GIT_URL", "BRANCH_NAME", "TAG_NAME", "CHANGE_ID"),
    "CI_REGISTRY_CAUSE",
)
_MOST_CHARACTERS = 1000


def build_facts(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of Jenkins's variables that are set, and the cause that a pipeline gives; URLs without their login."""
    found = {name: _plain(environ[name]) for name in _NAMES if environ.get(name)}
    return {name: value[:_MOST_CHARACTERS] for name, value in found.items()}


def approver(environ: Mapping[str, str], given: str | None = None) -> str | None:
    """Who approved: as given, else from $CI_REGISTRY_APPROVED_BY."""
    return (given or environ.get("CI_REGISTRY_APPROVED_BY") or "")[:_MOST_CHARACTERS] or None


def change_request(environ: Mapping[str, str]) -> str | None:
    """The change request that this build is of, if it is."""
    return environ.get("CHANGE_ID") or None


def _plain(value: str) -> str:
    if "://" in value and "@" in value:
        parts = urlsplit(value)
        value = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return redact(value)
