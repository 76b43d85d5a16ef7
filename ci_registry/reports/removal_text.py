"""Removals as text."""

from __future__ import annotations

from ..ops.results_removal import RemovalLine, RemovalReport
from .promotion_text import short
from .text import size_text, table

__all__ = ["removal_text"]

_WORDS = {"keep": "keep", "tag": "remove the tag", "image": "remove the image"}


def removal_text(report: RemovalReport) -> str:
    """One line for each tag, what goes first, and the totals."""
    lines = sorted(report.lines, key=lambda line: (line.action == "keep", line.created or "", line.tag))
    rows = [(_word(line), line.tag, short(line.digest), (line.created or "-")[:10], _reason(line)) for line in lines]
    going = sum(1 for line in report.lines if line.action != "keep")
    kept = len(report.lines) - going
    done = sum(1 for line in report.lines if line.done)
    total = f"{going} of {len(report.lines)} tags would go" if report.dry_run else f"{done} tags removed, {kept} kept"
    blobs = [f"{report.blobs} blobs collected ({size_text(report.bytes)})"] if report.blobs else []
    return "\n".join([table([("WHAT", "TAG", "DIGEST", "CREATED", "WHY"), *rows]), total, *blobs, *report.notes])


def _word(line: RemovalLine) -> str:
    if line.error is not None:
        return "FAILED"
    return f"{_WORDS[line.action]}: done" if line.done else _WORDS[line.action]


def _reason(line: RemovalLine) -> str:
    return line.error.message if line.error else line.reason
