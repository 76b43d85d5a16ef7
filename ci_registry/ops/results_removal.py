"""What `delete` and `prune` answer; see `results`."""

from __future__ import annotations

from msgspec import Struct

from .results import ErrorReport

__all__ = ["RemovalLine", "RemovalReport"]


class RemovalLine(Struct, frozen=True, kw_only=True):
    """One tag. `action`: keep, tag (it alone goes), image (the image goes, with all its tags). `done`: it was done."""

    tag: str
    digest: str
    action: str
    reason: str
    created: str | None = None
    done: bool = False
    error: ErrorReport | None = None


class RemovalReport(Struct, frozen=True, kw_only=True):
    """`delete` and `prune`. `blobs` and `bytes` are garbage that was collected after."""

    repository: str
    dry_run: bool
    lines: list[RemovalLine]
    blobs: int = 0
    bytes: int = 0
    notes: list[str] = []
