"""What the commands about promotions answer; see `results`."""

from __future__ import annotations

from msgspec import Struct, field

from ..engine.plan import Plan
from ..engine.receipt import Receipt

__all__ = ["PlanReport", "ReceiptReport"]


class PlanReport(Struct, frozen=True, kw_only=True):
    """`plan`, and `promote --dry-run`. `digest` is the plan's name; `file` where it was saved."""

    digest: str
    file: str | None
    plan: Plan
    notes: list[str] = []


class ReceiptReport(Struct, frozen=True, kw_only=True):
    """`apply`, `promote`, `rollback`, `receipt merge`. `counts` are blobs and bytes that this process moved."""

    dry_run: bool
    receipt: Receipt
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = []
