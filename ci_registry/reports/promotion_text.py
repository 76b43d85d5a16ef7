"""Plans and receipts as text that a release manager reads."""

from __future__ import annotations

from datetime import datetime, timezone

from ..engine.facts import parse_time
from ..engine.plan import Arrival, Edge, Moves, Plan, reference_text
from ..engine.receipt import Receipt
from ..ops.results_promotion import PlanReport
from .text import size_text, table

__all__ = ["OUTCOME_WORDS", "plan_summary", "plan_text", "receipt_summary", "receipt_text", "short"]

OUTCOME_WORDS = {
    "not-run": "not done",
    "content": "content there, tag not set",
    "promoted": "promoted",
    "unchanged": "already there",
    "put-back": "put back",
    "failed": "FAILED",
}


def short(digest: str | None) -> str:
    """A digest that people can compare: its algorithm and twelve digits."""
    return f"{digest.partition(':')[0]}:{digest.partition(':')[2][:12]}" if digest else "-"


def plan_text(report: PlanReport) -> str:
    """The plan as a table, one line for each arrival, then each image's verdicts, then the plan's name."""
    plan = report.plan
    heading = ("SOURCE", "DIGEST", "PLATFORMS", "AGE", "COMMIT", "DESTINATION", "BEFORE", "AFTER", "MOVES")
    rows = [_row(plan, edge, arrival, first=not index) for edge in plan.edges for index, arrival in _each(edge)]
    verdicts = _verdict_rows(plan)
    parts = [table([heading, *rows])]
    if verdicts:
        parts += ["", table([("VERDICT", "RULE", "IMAGE", "REASON"), *verdicts])]
    return "\n".join([*parts, "", *_last_lines(report)])


def _each(edge: Edge) -> list[tuple[int, Arrival]]:
    return list(enumerate(edge.arrivals))


def _row(plan: Plan, edge: Edge, arrival: Arrival, *, first: bool) -> tuple[str, ...]:
    source = edge.source
    about = (
        reference_text(source.target, source.repository, source.tag, short(source.digest)),
        short(source.digest),
        ",".join(edge.platforms) or "-",
        _age(plan, edge.created),
        (edge.commit or "-")[:12],
    )
    destination = reference_text(arrival.target, arrival.repository, arrival.tag, short(arrival.after))
    moves = (destination, short(arrival.before), short(arrival.after), _moves_text(arrival))
    return (*(about if first else ("",) * len(about)), *moves)


def _age(plan: Plan, created: str | None) -> str:
    moment, now = parse_time(created), parse_time(plan.created) or datetime.now(timezone.utc)
    if moment is None:
        return "-"
    hours = max(0.0, (now - moment).total_seconds() / 3600)
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.0f} h"


def _moves_text(arrival: Arrival) -> str:
    moves = arrival.moves
    if arrival.before == arrival.after:
        return "nothing"
    parts = []
    if moves.copy_blobs:
        parts.append(f"{moves.copy_blobs} blobs, {size_text(moves.copy_bytes)}")
    if moves.mount_blobs:
        parts.append(f"{moves.mount_blobs} mounted")
    return ", ".join(parts) or ("the tag" if arrival.tag else "the manifest")


def _verdict_rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    rows = []
    for edge in plan.edges:
        source = edge.source
        name = reference_text(source.target, source.repository, source.tag, short(source.digest))
        for verdict in edge.verdicts:
            word = "ok" if verdict.passed else "REFUSED" if verdict.refuses else "forced"
            reason = verdict.reason + (f" (forced: {verdict.forced})" if verdict.forced else "")
            rows.append((word, verdict.rule, name, reason))
    return rows


def _last_lines(report: PlanReport) -> list[str]:
    plan = report.plan
    lines = [plan_summary(plan), f"valid until {plan.valid_until}, atomic: {plan.atomic}"]
    if report.file:
        lines.append(f"saved to {report.file}")
    return [*lines, f"plan {report.digest}"]


def plan_summary(plan: Plan) -> str:
    """What a plan would do, in one line."""
    arrivals = plan.arrivals
    done = sum(1 for arrival in arrivals if arrival.before == arrival.after)
    moves = [arrival.moves for arrival in arrivals]
    return (
        f"{len(plan.edges)} images to {len(arrivals)} destinations: {len(arrivals) - done} to promote, {done} already "
        f"there; {_totals(moves)}"
    )


def _totals(moves: list[Moves]) -> str:
    blobs, size = sum(each.copy_blobs for each in moves), sum(each.copy_bytes for each in moves)
    mounts = sum(each.mount_blobs for each in moves)
    return f"{blobs} blobs ({size_text(size)}) to copy, {mounts} to mount"


def receipt_text(receipt: Receipt) -> str:
    """The receipt as a table, one line for each arrival, and what is left to do."""
    rows = [("SOURCE", "DESTINATION", "BEFORE", "AFTER", "OUTCOME")]
    for edge in receipt.edges:
        for line in edge.arrivals:
            destination = reference_text(line.target, line.repository, line.tag, short(line.after))
            rows.append((edge.source, destination, short(line.before), short(line.after), OUTCOME_WORDS[line.outcome]))
    problems = [
        f"{line.target}:{line.repository}:{line.tag}: {line.error.message if line.error else line.record_problem}"
        for line in receipt.lines
        if line.error or line.record_problem
    ]
    advice = [f"next: {receipt.advice}"] if receipt.advice else []
    return "\n".join([table(rows), *problems, *advice])


def receipt_summary(receipt: Receipt) -> str:
    """What an apply did, in one line."""
    totals = receipt.totals
    if totals and set(totals) == {"unchanged"}:
        return "nothing to do: everything is there already"
    return ", ".join(f"{count} {OUTCOME_WORDS[outcome]}" for outcome, count in totals.items()) or "nothing to do"
