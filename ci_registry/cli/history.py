"""history, rollback, diff."""

from __future__ import annotations

from pathlib import Path

import click

from .output import Answer
from .promotion import DRY_RUN, file_options, force_options, forced_rules, plan_answer, promote_now
from .settings import Globals, command

__all__ = ["diff", "history", "rollback"]


@command(
    "history",
    examples=(
        "ci-registry history prod:team/app:stable",
        "ci-registry history prod:team/app --output json",
    ),
)
@click.argument("place")
def history(globals_: Globals, place: str) -> Answer:
    """Show who promoted what to a tag, or to each tag of a repository, from the records at the registry."""
    from ..ops.history import read_history
    from ..reports.history_text import history_text

    with globals_.running():
        report = read_history(globals_.places, globals_.places.parse(place))
    return Answer(report, history_text(report))


@command(
    "rollback",
    schema="receipt",
    examples=(
        "ci-registry rollback prod:team/app:stable --dry-run",
        "ci-registry rollback prod:team/app:stable --approved-by Ann",
        "ci-registry rollback prod:team/app:stable --digest sha256:$DIGEST",
    ),
)
@click.argument("place")
@click.option("--digest", metavar="D", help="What the tag is to hold, in place of what its last record says.")
@force_options
@file_options
@click.option("--approved-by", metavar="NAME", help="Who approved. [env: CI_REGISTRY_APPROVED_BY]")
@DRY_RUN
def rollback(
    globals_: Globals,
    place: str,
    digest: str | None,
    forced: tuple[str, ...],
    reason: str,
    receipt_file: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
    approved_by: str | None,
    dry_run: bool,
) -> Answer:
    """Put a tag back to what it held before its last promotion; that too leaves a record."""
    from ..engine.plan import dump_plan, plan_digest
    from ..engine.policy import refusal
    from ..ops.history import rollback_plan
    from ..ops.results_promotion import PlanReport
    from ..reports.promotion_text import plan_text

    rules = forced_rules(forced, reason)
    with globals_.running():
        made = rollback_plan(globals_.places, globals_.places.parse(place), digest, rules)
    refused = refusal(made)
    if dry_run or refused is not None:
        return plan_answer(globals_, made, None, refused)
    globals_.output.say(plan_text(PlanReport(digest=plan_digest(dump_plan(made)), file=None, plan=made)))
    return promote_now(globals_, made, (receipt_file, junit_file, html_file), approved_by)


@command(
    "diff",
    examples=(
        "ci-registry diff --from dev --to prod team/app",
        "ci-registry diff --from dev --to ecr --to hub --check",
    ),
)
@click.argument("repositories", nargs=-1)
@click.option("--from", "source", required=True, metavar="T", help="Target to compare with.")
@click.option("--to", "targets", multiple=True, required=True, metavar="U", help="Target to look at; repeatable.")
@click.option("--check", is_flag=True, help="Exit with 6 when anything differs.")
def diff(
    globals_: Globals, repositories: tuple[str, ...], source: str, targets: tuple[str, ...], check: bool
) -> Answer:
    """Show what is missing, different or extra at other targets, per repository and tag."""
    from ..ops.comparing import diff as compare_targets
    from ..reports.history_text import diff_text

    with globals_.running():
        report, error = compare_targets(globals_.places, source, targets, repositories)
    return Answer(report, diff_text(report), error if check else None)
