"""How many pulls a registry leaves us, as Docker Hub says it in its answers (docs.docker.com, "Usage and limits")."""

from __future__ import annotations

import re

from msgspec import Struct

from ..transport.message import Headers

__all__ = ["Quota", "read_quota"]

_UNDER_WAY = 64
_VALUE = re.compile(r"\s*(\d+)(?:\s*;\s*w=(\d+))?")


class Quota(Struct, frozen=True):
    """`remaining` of `limit` pulls in a window of `window_seconds`; a pull is one manifest that is read.

    `source` is what the registry counts by: an address, or an account's id.
    """

    limit: int
    remaining: int
    window_seconds: int
    source: str = ""

    def __str__(self) -> str:
        hours = self.window_seconds / 3600
        window = f"{hours:g} hour{'s' if hours > 1 else ''}" if hours >= 1 else f"{self.window_seconds} seconds"
        by = f", counted for {self.source}" if self.source else ""
        return f"{self.remaining} of {self.limit} pulls in {window} are left{by}"

    def or_later(self, newer: Quota | None) -> Quota:
        """What holds after another answer. Answers to requests that were under way together come in any order."""
        late = newer is not None and 0 < newer.remaining - self.remaining < _UNDER_WAY
        return self if newer is None or (late and newer.limit == self.limit) else newer

    def shortfall(self, pulls: int) -> int:
        """How many of so many pulls would be refused."""
        return max(0, pulls - self.remaining)


def read_quota(headers: Headers) -> Quota | None:
    """From the headers `ratelimit-limit` and `ratelimit-remaining` (`100;w=21600`); None where they are absent."""
    stated = headers.get("ratelimit-limit")
    if stated is None:
        return None
    limit = _VALUE.match(stated)
    remaining = _VALUE.match(headers.get("ratelimit-remaining") or "")
    if limit is None or remaining is None:
        return None
    window = limit.group(2) or remaining.group(2) or "0"
    source = headers.get("docker-ratelimit-source") or ""
    return Quota(int(limit.group(1)), int(remaining.group(1)), int(window), source)
