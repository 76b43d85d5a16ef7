"""Histories and differences as text."""

from __future__ import annotations

from ..ops.results_history import DiffReport, HistoryEntry, HistoryReport
from .promotion_text import short
from .text import table

__all__ = ["diff_text", "history_text"]


def history_text(report: HistoryReport) -> str:
    """One line for each move, newest first; a gap says so."""
    if not report.entries:
        return f"{report.repository} has no tags"
    heading = ("TAG", "TIME", "DIGEST", "BEFORE", "WHAT", "FROM", "APPROVED BY", "BUILD", "COMMIT")
    rows = [_row(entry) for entry in report.entries]
    forced = [f"{entry.tag}, {entry.time}: forced {each}" for entry in report.entries for each in entry.forced]
    note = "records are not signed: they are evidence, and no proof"
    return "\n".join([table([heading, *rows]), *forced, note])


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    if entry.gap:
        return (entry.tag, "-", short(entry.digest), "-", "moved by somebody else", "-", "-", "-", "-")
    what = entry.kind or "promotion"
    return (
        entry.tag,
        (entry.time or "-")[:19],
        short(entry.digest),
        short(entry.previous),
        f"{what} {entry.promotion}" if entry.promotion else what,
        _without_digits(entry.source),
        entry.approved_by or "-",
        entry.build.get("BUILD_URL") or "-",
        (entry.commit or "-")[:12],
    )


def _without_digits(source: str | None) -> str:
    name, at, digest = (source or "-").partition("@")
    return f"{name}{at}{short(digest)}" if at else name


def diff_text(report: DiffReport) -> str:
    """One line for each tag that differs, and the count of those that do not."""
    rows = [
        (line.state, f"{line.target}:{line.repository}:{line.tag}", short(line.source_digest), short(line.digest))
        for line in report.lines
    ]
    same = f"{report.same} tags are the same"
    return "\n".join([table([("STATE", "DESTINATION", report.source.upper(), "THERE"), *rows]), same]) if rows else same
