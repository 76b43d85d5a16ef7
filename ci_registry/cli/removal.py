"""delete, prune."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..errors import Interrupted, UsageError
from .output import Answer
from .settings import Globals, command

if TYPE_CHECKING:
    from ..ops.removal import Removal

__all__ = ["delete", "prune"]

_YES = click.option("--yes", is_flag=True, help="Do not ask; needed where stdin is no terminal.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Read for real, say what would happen, write nothing.")


@command(
    "delete",
    schema="removal",
    examples=(
        "ci-registry delete dev:team/app:1.2-rc1 --dry-run",
        "ci-registry delete dev:team/app:1.2-rc1 --yes",
        "ci-registry delete dev:team/app:1.2-rc1 --image --yes",
    ),
)
@click.argument("place")
@click.option("--image", is_flag=True, help="Remove the image itself too, unless anything else names it.")
@_YES
@_DRY_RUN
def delete(globals_: Globals, place: str, image: bool, yes: bool, dry_run: bool) -> Answer:
    """Delete a tag, alone: other tags of the same image stay, and so does the image."""
    from ..ops.removal import plan_delete

    with globals_.running():
        removal = plan_delete(globals_.places, globals_.places.parse(place), image=image)
    return _carry_out(globals_, removal, yes=yes, dry_run=dry_run)


@command(
    "prune",
    schema="removal",
    examples=(
        "ci-registry prune dev:team/app --keep 20 --match '.*-rc[0-9]+' --dry-run",
        "ci-registry prune dev:team/app --keep 20 --match '.*-rc[0-9]+' --protect 'v*' --yes",
        "ci-registry prune local:team/app --keep 5 --match '.*' --blobs --yes",
    ),
)
@click.argument("place")
@click.option("--keep", type=click.IntRange(min=0), required=True, metavar="N", help="Keep the N newest that match.")
@click.option("--match", required=True, metavar="RE", help="Regular expression that the whole tag must fit to go.")
@click.option("--protect", multiple=True, metavar="GLOB", help="Tags that stay, beside protected_tags; repeatable.")
@click.option(
    "--most", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="Remove at most N tags."
)
@click.option(
    "--blobs", is_flag=True, help="Collect the blobs that nothing refers to any more, where that is possible."
)
@_YES
@_DRY_RUN
def prune(
    globals_: Globals,
    place: str,
    keep: int,
    match: str,
    protect: tuple[str, ...],
    most: int,
    blobs: bool,
    yes: bool,
    dry_run: bool,
) -> Answer:
    """Remove old tags, and the images that nothing names any more. What would go is shown first."""
    from ..ops.removal import plan_prune

    with globals_.running():
        removal = plan_prune(
            globals_.places, globals_.places.parse(place), keep=keep, match=match, protect=protect, most=most
        )
    return _carry_out(globals_, removal, yes=yes, dry_run=dry_run, blobs=blobs)


def _carry_out(globals_: Globals, removal: Removal, *, yes: bool, dry_run: bool, blobs: bool = False) -> Answer:
    from ..reports.removal_text import removal_text

    shown = removal.shown
    if dry_run:
        return Answer(shown, removal_text(shown))
    if not yes and removal.going:
        globals_.output.say(removal_text(shown))
        _ask(len(removal.going))
    with globals_.running():
        report, error = removal.carry_out(blobs=blobs)
    return Answer(report, removal_text(report), error)


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{count} tags would be removed, and nobody can be asked", hint="add --yes, or --dry-run")
    if not click.confirm(f"Remove {count} tags?", err=True):
        raise Interrupted("nothing was removed")
