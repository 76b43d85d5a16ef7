"""A receipt: what became of each arrival of a plan. Receipts of shards and phases can be put together into one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct, field, structs

from ..errors import CiRegistryError, InputFileError, PartialError, UsageError

__all__ = [
    "Failure",
    "Outcome",
    "Receipt",
    "ReceiptEdge",
    "ReceiptLine",
    "advice_for",
    "dump_receipt",
    "failure_of",
    "merge",
    "read_receipt",
]

SCHEMA = "receipt/1"

Outcome = Literal["not-run", "content", "promoted", "unchanged", "put-back", "failed"]
"""not-run: another shard's, or not begun. content: all parts are there, the tag is not set yet. promoted: set by this
plan, or brought where there is no tag. unchanged: it was so already. put-back: it was set, and then given back what it
held before. failed: see error."""


class Failure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an arrival failed; as `ErrorReport` of other documents."""

    code: str
    exit: int
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: CiRegistryError) -> Failure:
        return cls(code=error.code, exit=error.exit_code, message=error.message, hint=error.hint)


class ReceiptLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One arrival. `registry` is where the target is; `record` the digest of the promotion's record there."""

    target: str
    registry: str
    repository: str
    tag: str | None
    before: str | None
    after: str
    outcome: Outcome
    record: str | None = None
    record_problem: str | None = None
    error: Failure | None = None


class ReceiptEdge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image and its arrivals. `forced` are the rules that were overridden, with the reason."""

    source: str
    digest: str
    platforms: list[str]
    commit: str | None
    arrivals: list[ReceiptLine]
    forced: dict[str, str] = field(default_factory=dict)


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an apply did. `plan` is the sha256 of the plan's file; `build` facts from a fixed list of variables.

    `advice` says what to do next, "" when nothing is left.
    """

    schema: str = SCHEMA
    plan: str
    kind: str
    promotion: str | None
    atomic: str
    tool: str
    started: str
    finished: str
    approved_by: str | None = None
    build: dict[str, str] = field(default_factory=dict)
    advice: str = ""
    edges: list[ReceiptEdge] = []

    @property
    def lines(self) -> list[ReceiptLine]:
        return [line for edge in self.edges for line in edge.arrivals]

    @property
    def totals(self) -> dict[str, int]:
        """How many arrivals have each outcome that occurs."""
        found: dict[str, int] = {}
        for line in self.lines:
            found[line.outcome] = found.get(line.outcome, 0) + 1
        return found


def dump_receipt(receipt: Receipt) -> bytes:
    """The receipt as the bytes of its file."""
    return msgspec.json.format(msgspec.json.encode(receipt, enc_hook=str), indent=2) + b"\n"


def read_receipt(content: bytes, where: str) -> Receipt:
    """Understand a receipt's file; raises `InputFileError` for anything else."""
    try:
        document = json.loads(content)
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA:
            raise InputFileError(f"{where} is not a receipt that this version reads: its schema is {schema!r}")
        return msgspec.convert(document, Receipt)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputFileError(
            f"{where} is not a receipt: {error}", hint="write one with `apply --receipt FILE`"
        ) from error


def merge(receipts: Sequence[tuple[str, Receipt]]) -> Receipt:
    """One receipt out of several of one plan, named for messages. The latest word on each arrival counts.

    Raises `UsageError` when they are of different plans.
    """
    if not receipts:
        raise UsageError("there is no receipt to merge", hint="name the files")
    name, first = receipts[0]
    for other_name, other in receipts[1:]:
        if other.plan != first.plan:
            raise UsageError(
                f"{name} and {other_name} are receipts of different plans: {first.plan} and {other.plan}",
                hint="merge the receipts of one plan",
            )
    ordered = [receipt for _, receipt in sorted(receipts, key=lambda each: (each[1].finished, each[1].started))]
    last = ordered[-1]
    edges = [_merged_edge([receipt.edges[index] for receipt in ordered]) for index in range(len(first.edges))]
    merged = structs.replace(
        last,
        started=min(receipt.started for receipt in ordered),
        approved_by=next((receipt.approved_by for receipt in reversed(ordered) if receipt.approved_by), None),
        edges=edges,
    )
    return structs.replace(merged, advice=advice_for(merged))


def _merged_edge(edges: Sequence[ReceiptEdge]) -> ReceiptEdge:
    count = len(edges[0].arrivals)
    return structs.replace(edges[0], arrivals=[_merged_line([e.arrivals[i] for e in edges]) for i in range(count)])


def _merged_line(lines: Sequence[ReceiptLine]) -> ReceiptLine:
    said = lines[0]
    for line in lines[1:]:
        if line.outcome == "not-run" or (line.outcome, said.outcome) in _NO_NEWS:
            continue
        said = line
    return said


# An apply after the one that set a tag finds it set, and one that only looks at content does not look at tags.
_NO_NEWS = {("unchanged", "promoted"), ("content", "promoted"), ("content", "unchanged")}


def advice_for(receipt: Receipt) -> str:
    """What is left to do, in a few words; "" for nothing."""
    totals = receipt.totals
    if any(line.record_problem for line in receipt.lines):
        return "apply the same plan again to write the records that are missing"
    if totals.get("failed") or totals.get("put-back"):
        return "mend what failed and apply the same plan again: what is done is not done twice"
    if totals.get("not-run") or totals.get("content"):
        return "apply the same plan again to do the rest"
    return ""


def failure_of(lines: Sequence[tuple[ReceiptLine, CiRegistryError | None]]) -> CiRegistryError | None:
    """What a run failed with: `PartialError` when a tag moved and another did not, else the smallest exit code."""
    failed = [(line, error) for line, error in lines if error is not None]
    if not failed:
        return None
    moved = sum(1 for line, _ in lines if line.outcome == "promoted")
    worst = min((error for _, error in failed), key=lambda error: error.exit_code)
    if not moved:
        return worst
    causes = "; ".join(error.message for _, error in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    return PartialError(
        f"{moved} of {len(lines)} tags were set and {len(failed)} failed ({causes}{more})",
        hint="mend that and apply the same plan again: what is done is not done twice",
    )
