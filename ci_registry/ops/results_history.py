"""What `history` and `diff` answer; see `results`."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["DiffLine", "DiffReport", "HistoryEntry", "HistoryReport"]


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One move of a tag, newest first. A `gap` is what no record explains: somebody else moved the tag.

    `build` are facts about the build, from a fixed list of variables. Records are evidence and not signed.
    """

    tag: str
    digest: str | None
    gap: bool
    time: str | None = None
    previous: str | None = None
    kind: str | None = None
    promotion: str | None = None
    source: str | None = None
    approved_by: str | None = None
    commit: str | None = None
    plan: str | None = None
    tool: str | None = None
    record: str | None = None
    build: dict[str, str] = field(default_factory=dict)
    forced: list[str] = []


class HistoryReport(Struct, frozen=True, kw_only=True):
    """`history`."""

    repository: str
    entries: list[HistoryEntry]


class DiffLine(Struct, frozen=True, kw_only=True):
    """One tag that differs. `state`: missing (not at the destination), different, or extra (only there)."""

    state: str
    target: str
    repository: str
    tag: str
    source_repository: str | None = None
    source_digest: str | None = None
    digest: str | None = None


class DiffReport(Struct, frozen=True, kw_only=True):
    """`diff`. `same` counts the tags that hold the same digest on both sides."""

    source: str
    targets: list[str]
    same: int
    lines: list[DiffLine]
