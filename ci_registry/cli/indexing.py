"""index create."""

from __future__ import annotations

import click

from ..errors import UsageError
from .output import Answer
from .settings import Globals, command

__all__ = ["index"]


@click.group("index")
def index() -> None:
    """Make multi-platform indexes."""


@command(
    "create",
    schema="copy",
    examples=(
        "ci-registry index create dev:team/app:1.2 dev:team/app:1.2-amd64 dev:team/app:1.2-arm64",
        "ci-registry index create prod:app:1 oci:amd64/image oci:arm64/image --annotation org.example.build=7",
    ),
)
@click.argument("destination")
@click.argument("sources", nargs=-1, required=True)
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Annotate the index.")
@click.option("--dry-run", is_flag=True, help="Read for real, say what would happen, write nothing.")
def create(
    globals_: Globals, destination: str, sources: tuple[str, ...], annotations: tuple[str, ...], dry_run: bool
) -> Answer:
    """Make one multi-platform index at DESTINATION out of images that were built on several agents."""
    from contextlib import ExitStack

    from ..ops.indexing import create_index
    from ..ops.sources import open_for_looking
    from ..reports.text import copy_summary, copy_text
    from .progress import progress

    places = globals_.places
    to_place = places.parse(destination)
    globals_.output.say(f"{len(sources)} images -> {to_place}{' (dry run)' if dry_run else ''}")
    with ExitStack() as opened, progress(globals_.output) as shown, globals_.running():
        found = [opened.enter_context(open_for_looking(places, places.parse(source))) for source in sources]
        report = create_index(
            places,
            to_place,
            found,
            annotations=dict(_pair(text) for text in annotations),
            dry_run=dry_run,
            on_event=shown.on_event,
        )
    globals_.output.say(copy_summary(report))
    return Answer(report, copy_text(report))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"the annotation '{text}' is not KEY=VALUE")
    return key, value


index.add_command(create)
