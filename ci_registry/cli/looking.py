"""inspect, list, verify."""

from __future__ import annotations

import click

from .output import Answer
from .settings import Globals, command

__all__ = ["inspect", "list_command", "verify"]


@command(
    "inspect",
    schema="image",
    examples=(
        "ci-registry inspect dev:team/app:1.2",
        "ci-registry inspect docker://registry.example.org/app:1 --platform linux/arm64 --referrers",
        "ci-registry inspect dev:team/app:1.2 --raw",
    ),
)
@click.argument("place")
@click.option("--platform", metavar="OS/ARCH", help="Show the image for one platform of an index.")
@click.option("--referrers", is_flag=True, help="Also list what refers to it: signatures, SBOMs, records.")
@click.option("--raw", is_flag=True, help="Write the manifest's bytes as they are stored.")
def inspect(globals_: Globals, place: str, platform: str | None, referrers: bool, raw: bool) -> Answer | None:
    """Show what an image is: its digest, platforms, labels and parts."""
    import sys

    from ..ops.looking import inspect as inspect_place
    from ..ops.looking import raw_manifest
    from ..ops.sources import open_for_looking
    from ..reports.text import image_text

    parsed = globals_.places.parse(place)
    with open_for_looking(globals_.places, parsed) as (source, version):
        if raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(raw_manifest(source, version, platform).content)
            sys.stdout.buffer.flush()
            return None
        report = inspect_place(source, version, str(parsed), platform=platform, referrers=referrers)
    return Answer(report, image_text(report))


@command(
    "list",
    examples=(
        "ci-registry list dev",
        "ci-registry list dev:team/app",
        "ci-registry list docker://registry.example.org/team/app",
    ),
)
@click.argument("place")
def list_command(globals_: Globals, place: str) -> Answer:
    """List the repositories of a target, or the tags of a repository."""
    from ..ops.looking import list_place
    from ..ops.results import TagList
    from ..reports.text import repositories_text, tags_text

    report = list_place(globals_.places, place)
    return Answer(report, tags_text(report) if isinstance(report, TagList) else repositories_text(report))


@command(
    "verify",
    examples=(
        "ci-registry verify prod:team/app:1.2",
        "ci-registry verify oci:backup/app:1 --deep",
    ),
)
@click.argument("place")
@click.option("--deep", is_flag=True, help="Read every byte and check it against its digest.")
def verify(globals_: Globals, place: str, deep: bool) -> Answer:
    """Check that all parts of an image are really there."""
    from ..ops.looking import verify as verify_place
    from ..ops.sources import open_for_looking
    from ..reports.text import verify_text

    parsed = globals_.places.parse(place)
    with open_for_looking(globals_.places, parsed) as (source, version), globals_.running():
        report, error = verify_place(globals_.places, str(parsed), source, version, deep=deep)
    return Answer(report, verify_text(report), error)
