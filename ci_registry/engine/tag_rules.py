"""What a target says about its tags: which never move, and which only a promotion may move.

`immutable` tags never move once they exist. `protected` ones are never removed, and move only by promotion or
rollback, which leave a record; `push`, `copy` and `tag` may set a new one but not move it. Setting a tag to the digest
that it holds already is no move.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from msgspec import Struct

from .plan import Verdict

__all__ = ["IMMUTABLE", "TagRules"]

IMMUTABLE = "immutable_tags"


class TagRules(Struct, frozen=True):
    """The shell patterns of one target."""

    immutable: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()

    @classmethod
    def of(cls, immutable: bool | Sequence[str], protected: Sequence[str]) -> TagRules:
        """From the settings of a target: `immutable` is true for all tags, or patterns."""
        patterns = ("*",) if immutable is True else () if immutable is False else tuple(immutable)
        return cls(patterns, tuple(protected))

    def is_immutable(self, tag: str) -> bool:
        return any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.immutable)

    def is_protected(self, tag: str) -> bool:
        return any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.protected)

    def verdict(self, reference: str, tag: str, before: str | None, after: str, forced: str | None) -> Verdict | None:
        """What a plan says of moving a tag: None for tags that may move, or do not."""
        if before is None or before == after or not self.is_immutable(tag):
            return None
        reason = f"{reference} is immutable and holds {before}, not {after}"
        return Verdict(rule=IMMUTABLE, passed=False, reason=reason, forced=forced, conflict=True)
