"""plan, apply, promote, receipt merge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .output import Answer
from .settings import Globals, command

if TYPE_CHECKING:
    from ..engine.plan import Plan
    from ..engine.receipt import Receipt
    from ..errors import CiRegistryError
    from ..ops.promoting import PromotionOrder

__all__ = [
    "DRY_RUN",
    "apply",
    "file_options",
    "force_options",
    "forced_rules",
    "plan",
    "plan_answer",
    "promote",
    "promote_now",
    "receipt",
]

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)

_WHAT = (
    click.argument("images", nargs=-1, metavar="[REPOSITORY[:TAG|@DIGEST]]..."),
    click.option("--from", "source", metavar="T", help="Target to promote from."),
    click.option("--to", "targets", multiple=True, metavar="U", help="Target to promote to; may be repeated."),
    click.option("--tag", "tags", multiple=True, metavar="X", help="Tag to set in place of the source's; repeatable."),
    click.option("--promotion", metavar="NAME", help="Promotion of the configuration file: its images and policies."),
    click.option(
        "--atomic",
        type=click.Choice(["plan", "image"]),
        help="plan: no tag moves unless all content is everywhere; image: each image stands alone. "
        "[default: plan; of a configured promotion, what it says]",
    ),
    click.option("--referrers", is_flag=True, help="Bring signatures, SBOMs and other referrers along."),
    click.option(
        "--valid-hours", type=click.FloatRange(min=0, min_open=True), default=168.0, show_default=True,
        help="How long the plan may be applied.",
    ),
)  # fmt: skip
_FORCE = (
    click.option("--force", "forced", multiple=True, metavar="RULE", help="Override a rule that refuses; repeatable."),
    click.option("--reason", default="", metavar="TEXT", help="Why it is overridden; kept in the plan and the record."),
)
_REPORTS = (
    click.option("--receipt", "receipt_file", type=_FILE, help="Write the receipt, as JSON."),
    click.option("--junit", "junit_file", type=_FILE, help="Write the receipt as JUnit XML."),
    click.option("--html", "html_file", type=_FILE, help="Write the receipt as a page."),
)
_APPROVED_BY = click.option("--approved-by", metavar="NAME", help="Who approved. [env: CI_REGISTRY_APPROVED_BY]")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Read for real, say what would happen, write nothing.")


def _with(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


what_options, force_options, file_options = _with(_WHAT), _with(_FORCE), _with(_REPORTS)


def forced_rules(forced: tuple[str, ...], reason: str) -> dict[str, str]:
    """Rules to override with the reason; raises `UsageError` for one without the other."""
    if forced and not reason.strip():
        raise UsageError(f"--force {forced[0]} needs a reason", hint='add --reason "..."')
    if reason and not forced:
        raise UsageError("--reason says why a rule is overridden, and none is", hint="add --force RULE")
    return dict.fromkeys(forced, reason)


def _order(given: dict[str, Any]) -> PromotionOrder:
    from ..ops.promoting import PromotionOrder

    forced = forced_rules(given.pop("forced"), given.pop("reason"))
    return PromotionOrder(**given, forced=forced)


@command(
    "plan",
    examples=(
        "ci-registry plan team/app:1.2 --from dev --to prod --save release.plan",
        "ci-registry plan --promotion release --save release.plan --output json",
        'ci-registry plan --promotion release --force max_age_days --reason "hotfix 42" --save release.plan',
    ),
)
@what_options
@force_options
@click.option("--save", type=_FILE, help="Write the plan to this file; its sha256 is the plan's name.")
def plan(globals_: Globals, save: Path | None, **given: Any) -> Answer:
    """Find out what a promotion would do, and write it down, to be approved and applied later."""
    made, refused = _make(globals_, _order(given))
    return plan_answer(globals_, made, save if refused is None else None, refused)


def _make(globals_: Globals, order: PromotionOrder) -> tuple[Plan, CiRegistryError | None]:
    from ..engine.policy import refusal
    from ..ops.promoting import make_plan

    with globals_.running():
        made = make_plan(globals_.places, order)
    return made, refusal(made)


def plan_answer(globals_: Globals, plan: Plan, save: Path | None, refused: CiRegistryError | None) -> Answer:
    """Answer with a plan in place of a receipt, saved where that is asked for."""
    from ..engine.plan import dump_plan, plan_digest
    from ..ops.promoting import quota_notes
    from ..ops.results_promotion import PlanReport
    from ..ops.state import save_plan
    from ..reports.promotion_text import plan_text

    globals_.output.schema = "plan"
    digest = save_plan(plan, save) if save is not None else plan_digest(dump_plan(plan))
    notes = quota_notes(globals_.places, plan)
    for note in notes:
        globals_.output.say(note)
    report = PlanReport(digest=digest, file=str(save) if save else None, plan=plan, notes=notes)
    return Answer(report, plan_text(report), refused)


@command(
    "promote",
    schema="receipt",
    examples=(
        "ci-registry promote team/app:1.2 --from dev --to prod --dry-run",
        "ci-registry promote team/app:1.2 --from dev --to ecr --to hub --tag 1.2 --tag stable",
        "ci-registry promote --promotion release --approved-by Ann --junit reports/promotion.xml",
    ),
)
@what_options
@force_options
@file_options
@_APPROVED_BY
@DRY_RUN
def promote(
    globals_: Globals,
    receipt_file: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
    approved_by: str | None,
    dry_run: bool,
    **given: Any,
) -> Answer:
    """Promote images from one target to others: plan and apply in one go."""
    made, refused = _make(globals_, _order(given))
    if dry_run or refused is not None:
        return plan_answer(globals_, made, None, refused)
    files = (receipt_file, junit_file, html_file)
    return promote_now(globals_, made, files, approved_by)


def promote_now(
    globals_: Globals, plan: Plan, files: tuple[Path | None, ...], approved_by: str | None = None
) -> Answer:
    """Apply a plan that was made a moment ago, without looking at the world again."""
    from ..engine.plan import dump_plan, plan_digest
    from ..ops.state import MemoryJournal

    announce(globals_, plan)
    digest = plan_digest(dump_plan(plan))
    return _carry_out(
        globals_, plan, digest, MemoryJournal(), files, is_fresh=True, approved_by=approved_by, dry_run=False
    )[0]


def announce(globals_: Globals, plan: Plan, would: str = "") -> None:
    """Say where everything goes."""
    from ..engine.plan import reference_text

    for edge in plan.edges:
        source = edge.source
        for arrival in edge.arrivals:
            name = reference_text(source.target, source.repository, source.tag, source.digest)
            globals_.output.say(f"{name} -> {arrival.key}{would}")


@command(
    "apply",
    schema="receipt",
    examples=(
        "ci-registry apply release.plan --expect sha256:$DIGEST --approved-by Ann",
        "ci-registry apply release.plan --phase content --shard 2/4",
        "ci-registry apply release.plan --phase tags --receipt receipt.json --html receipt.html",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--expect", metavar="sha256:D", help="Refuse any other file than the one with this sha256.")
@click.option("--phase", type=click.Choice(["content", "tags"]), help="Only bring the content, or only set the tags.")
@click.option("--shard", metavar="I/N", help="With --phase content: only this part of the destinations.")
@click.option("--fresh", is_flag=True, help="Ignore the journal of an earlier apply.")
@file_options
@_APPROVED_BY
@DRY_RUN
def apply(
    globals_: Globals,
    file: Path,
    expect: str | None,
    phase: str | None,
    shard: str | None,
    fresh: bool,
    receipt_file: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
    approved_by: str | None,
    dry_run: bool,
) -> Answer:
    """Carry out exactly the plan in FILE. What an interrupted apply has done is not done again."""
    from ..engine.legs import Shard
    from ..ops.state import MemoryJournal, PlanJournal, load_plan

    part = Shard.parse(shard) if shard else None
    if part is not None and phase != "content":
        raise UsageError(
            "--shard is for the content: tags are set all together, when all content is there",
            hint="add --phase content, and run `apply --phase tags` once when all shards are done",
        )
    made, digest = load_plan(file, expect)
    announce(globals_, made, " (dry run)" if dry_run else "")
    files = (receipt_file, junit_file, html_file)
    how: dict[str, Any] = {"phase": phase or "both", "shard": part, "approved_by": approved_by, "dry_run": dry_run}
    if dry_run:
        return _carry_out(globals_, made, digest, MemoryJournal(), files, **how)[0]
    with PlanJournal(file, digest, fresh=fresh, shared=part is not None) as journal:
        for note in journal.notes:
            globals_.output.warn(note)
        answer, made_receipt = _carry_out(globals_, made, digest, journal, files, **how)
        if answer.error is None and not made_receipt.advice:
            journal.finish()
    return answer


def _carry_out(
    globals_: Globals, plan: Plan, digest: str, journal: Any, files: tuple[Path | None, ...], **how: Any
) -> tuple[Answer, Receipt]:
    from ..ops.promoting import apply_plan
    from .progress import progress

    with progress(globals_.output) as shown, globals_.running():
        made, counts, error = apply_plan(globals_.places, plan, digest, journal, on_event=shown.on_event, **how)
    return finish(globals_, made, files, counts=counts, error=error, dry_run=how["dry_run"]), made


def finish(
    globals_: Globals,
    made: Receipt,
    files: tuple[Path | None, ...],
    *,
    counts: dict[str, int] | None = None,
    error: CiRegistryError | None = None,
    dry_run: bool = False,
) -> Answer:
    """Write the receipt in the forms asked for, and answer with it."""
    from ..ops.results_promotion import ReceiptReport
    from ..reports.files import write_reports
    from ..reports.promotion_text import receipt_summary, receipt_text

    write_reports(made, *files)
    if error is None:
        globals_.output.say(receipt_summary(made))
    report = ReceiptReport(dry_run=dry_run, receipt=made, counts=counts or {})
    return Answer(report, receipt_text(made), error)


@click.group("receipt")
def receipt() -> None:
    """Work with the receipts of applied plans."""


@command(
    "merge",
    schema="receipt",
    examples=(
        "ci-registry receipt merge shard-*.json tags.json --receipt receipt.json",
        "ci-registry receipt merge a.json b.json --html receipt.html --output json",
    ),
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@file_options
def merge(
    globals_: Globals,
    files: tuple[Path, ...],
    receipt_file: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
) -> Answer:
    """Make one receipt out of those of a plan's shards and phases."""
    from ..engine.receipt import merge as merge_receipts
    from ..engine.receipt import read_receipt
    from ..ops.state import read_bytes

    read = [(str(path), read_receipt(read_bytes(path, "the receipt"), str(path))) for path in files]
    return finish(globals_, merge_receipts(read), (receipt_file, junit_file, html_file))


receipt.add_command(merge)
