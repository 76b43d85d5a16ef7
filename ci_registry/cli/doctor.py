"""doctor."""

from __future__ import annotations

import click

from .output import Answer
from .settings import Globals, command

__all__ = ["doctor"]


@command(
    "doctor",
    examples=(
        "ci-registry doctor",
        "ci-registry doctor dev prod:team/app",
        "ci-registry doctor prod:team/app --dry-run --output json",
    ),
)
@click.argument("targets", nargs=-1, metavar="[TARGET[:REPOSITORY]]...")
@click.option("--dry-run", is_flag=True, help="No trial upload, even where a repository is named.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0.1),
    default=5.0,
    metavar="SECONDS",
    help="How long to wait for each connection. [default: 5]",
)
def doctor(globals_: Globals, targets: tuple[str, ...], dry_run: bool, patience: float) -> Answer:
    """Check each layer of each target and of this machine, and say the cure.

    Without targets, all of the configuration file are checked. A trial upload is made, and cancelled, only where a
    repository is named.
    """
    from ..ops.doctor.examine import ask, examine, report_error
    from ..reports.doctor_text import doctor_text

    questions = ask(globals_.places, targets)
    with globals_.running():
        report = examine(globals_.places, questions, dry_run=dry_run, patience_seconds=patience)
    return Answer(report, doctor_text(report, verbose=globals_.output.is_verbose), report_error(report))
