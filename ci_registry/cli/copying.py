"""push, pull, copy, tag."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import StorageError, UsageError
from .output import Answer
from .settings import Globals, command

if TYPE_CHECKING:
    from ..ops.copying import CopyOrder, Landing
    from ..ops.places import Place

__all__ = ["copy", "pull", "push", "tag"]

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Read for real, say what would happen, write nothing.")
_PLATFORM = click.option("--platform", metavar="OS/ARCH", help="Copy one platform's image out of an index.")
_REFERRERS = click.option("--referrers", is_flag=True, help="Bring signatures, SBOMs and other referrers along.")


@command(
    "push",
    schema="copy",
    examples=(
        "ci-registry push app:1.2 --target dev",
        "ci-registry push oci:build/image --repository team/app --tag 1.2 --tag latest --target dev --target hub",
        "docker save app:1.2 | ci-registry push - --repository app --tag 1.2 --target dev",
    ),
)
@click.argument("source")
@click.option("--target", "--to", "targets", multiple=True, required=True, metavar="T", help="Where to; repeatable.")
@click.option("--repository", default="", metavar="NAME", help="Name to land under, in place of the source's.")
@click.option("--tag", "tags", multiple=True, metavar="X", help="Tag to set in place of the source's; may be repeated.")
@click.option("--digest-file", type=click.Path(path_type=Path), help="Write the pushed digest to this file.")
@_PLATFORM
@_REFERRERS
@_DRY_RUN
def push(
    globals_: Globals,
    source: str,
    targets: tuple[str, ...],
    repository: str,
    tags: tuple[str, ...],
    digest_file: Path | None,
    platform: str | None,
    referrers: bool,
    dry_run: bool,
) -> Answer:
    """Copy an image to one or more targets and print each pushed HOST/REPO@DIGEST.

    SOURCE is an image of the local docker daemon (app:1.2), an archive, `-` for an archive on stdin, a layout, or any
    other place.
    """
    from ..model.reference import check_repository, check_tag
    from ..ops.copying import landings
    from ..ops.sources import source_path

    places = globals_.places
    for each in tags:
        check_tag(each)
    if repository:
        check_repository(repository)
    place = places.parse(source, default="docker-daemon")
    wanted = tags or ((place.tag,) if place.tag else () if place.digest else ("latest",))
    landed = landings(places, source_path(place), targets, wanted, repository)
    answer = _copy_one(globals_, place, landed, platform=platform, referrers=referrers, dry_run=dry_run)
    if digest_file is not None and answer.error is None and not dry_run:
        _write_digest(digest_file, answer.result.images[0].digest)
    return answer


def _write_digest(path: Path, digest: str) -> None:
    try:
        path.write_text(digest + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"writing the digest to {path} failed: {error.strerror}") from error


@command(
    "pull",
    schema="copy",
    examples=(
        "ci-registry pull dev:team/app:1.2 docker-daemon:app:1.2",
        "ci-registry pull dev:team/app:1.2 oci-archive:app.tar",
        "ci-registry pull hub:busybox oci:images/busybox --platform linux/amd64",
    ),
)
@click.argument("source")
@click.argument("destination")
@_PLATFORM
@_REFERRERS
@_DRY_RUN
def pull(
    globals_: Globals, source: str, destination: str, platform: str | None, referrers: bool, dry_run: bool
) -> Answer:
    """Copy an image from a target to an archive, a layout or the docker daemon."""
    return _copy(globals_, source, destination, platform=platform, referrers=referrers, dry_run=dry_run)


@command(
    "copy",
    schema="copy",
    examples=(
        "ci-registry copy dev:team/app:1.2 prod:team/app:1.2",
        "ci-registry copy docker://registry.example.org/app:1 oci:backup/app:1 --referrers",
        "ci-registry copy dev:team/app prod:team/app --all-tags --dry-run",
    ),
)
@click.argument("source")
@click.argument("destination")
@click.option("--all-tags", is_flag=True, help="Copy every tag of the source repository.")
@_PLATFORM
@_REFERRERS
@_DRY_RUN
def copy(
    globals_: Globals,
    source: str,
    destination: str,
    all_tags: bool,
    platform: str | None,
    referrers: bool,
    dry_run: bool,
) -> Answer:
    """Copy from any place to any place: the whole index, bit for bit, so that digests stay what they are."""
    if all_tags:
        return _copy_all(globals_, source, destination, referrers=referrers, dry_run=dry_run)
    return _copy(globals_, source, destination, platform=platform, referrers=referrers, dry_run=dry_run)


@command(
    "tag",
    schema="copy",
    examples=(
        "ci-registry tag dev:team/app:1.2 stable latest",
        "ci-registry tag docker-daemon:app:1.2 stable",
    ),
)
@click.argument("place")
@click.argument("new_tags", nargs=-1, required=True)
@_DRY_RUN
def tag(globals_: Globals, place: str, new_tags: tuple[str, ...], dry_run: bool) -> Answer:
    """Add tags to an image where it is, without moving a byte."""
    from ..model.reference import check_tag
    from ..ops.copying import Landing
    from ..ops.places import Place

    parsed = globals_.places.parse(place)
    for each in new_tags:
        check_tag(each)
    tags = tuple(dict.fromkeys(new_tags))
    if parsed.transport == "docker-daemon":
        return _tag_local(globals_, parsed, tags, dry_run)
    landing = Landing(Place(parsed.transport, parsed.where, parsed.repository), tags)
    return _copy_one(globals_, parsed, [landing], dry_run=dry_run)


def _tag_local(globals_: Globals, place: Place, tags: tuple[str, ...], dry_run: bool) -> Answer:
    from ..ops.local_tags import tag_local
    from ..reports.text import copy_text

    report = tag_local(globals_.places, place, tags, dry_run=dry_run)
    return Answer(report, copy_text(report))


def _copy(globals_: Globals, source: str, destination: str, **how: Any) -> Answer:
    from ..ops.copying import landing_of

    places = globals_.places
    parsed = places.parse(source)
    return _copy_one(globals_, parsed, [landing_of(parsed, places.parse(destination))], **how)


def _copy_one(
    globals_: Globals,
    source: Place,
    landed: list[Landing],
    *,
    platform: str | None = None,
    referrers: bool = False,
    dry_run: bool = False,
) -> Answer:
    from ..model.descriptor import Platform
    from ..ops.copying import CopyOrder

    wanted = Platform.parse(platform) if platform else None
    for landing in landed:
        _announce(globals_, source, landing, dry_run)
    return _carry_out(globals_, [CopyOrder(source, landed, wanted, referrers)], dry_run)


def _copy_all(globals_: Globals, source: str, destination: str, *, referrers: bool, dry_run: bool) -> Answer:
    from msgspec.structs import replace

    from ..ops.copying import CopyOrder, Landing, own_tags

    places = globals_.places
    from_place, to_place = places.parse(source), places.parse(destination)
    if from_place.tag or from_place.digest or to_place.tag or to_place.digest:
        raise UsageError("--all-tags copies whole repositories", hint="leave the tag out of source and destination")
    tags, left_out = own_tags(places.repository(from_place))
    if left_out and not referrers:
        globals_.output.say(f"{left_out} tags of signatures and referrers are left out; --referrers brings them")
    globals_.output.say(f"{from_place} -> {to_place} ({len(tags)} tags)")
    orders = [
        CopyOrder(replace(from_place, tag=each), [Landing(to_place, (each,))], referrers=referrers) for each in tags
    ]
    return _carry_out(globals_, orders, dry_run)


def _announce(globals_: Globals, source: Place, landing: Landing, dry_run: bool) -> None:
    from ..ops.copying import shown_place

    would = " (dry run)" if dry_run else ""
    for each in landing.tags or ("",):
        globals_.output.say(f"{source} -> {shown_place(globals_.places, landing.place, each)}{would}")


def _carry_out(globals_: Globals, orders: list[CopyOrder], dry_run: bool) -> Answer:
    from ..ops.copying import CopyJob
    from ..reports.text import copy_summary, copy_text
    from .progress import progress

    with (
        progress(globals_.output) as shown,
        globals_.running(),
        CopyJob(globals_.places, dry_run=dry_run, on_event=shown.on_event) as job,
    ):
        for order in orders:
            job.add(order)
        report, error = job.carry_out()
    if error is None or report.counts["blobs_copied"]:
        globals_.output.say(copy_summary(report))
    return Answer(report, copy_text(report), error)
