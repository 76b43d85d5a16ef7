"""Tags of images in the local docker daemon, which sets them by itself."""

from __future__ import annotations

from collections.abc import Sequence

from ..targets.daemon import local_image
from .places import Place, Places
from .results import CopiedImage, CopyReport, Delivered

__all__ = ["tag_local"]


def tag_local(places: Places, place: Place, tags: Sequence[str], *, dry_run: bool = False) -> CopyReport:
    """Add tags to an image of the daemon, under its own name; raises `NotFoundError` with the nearest names."""
    engine = places.docker_engine()
    image = local_image(engine, str(place).removeprefix("docker-daemon:"))
    if not dry_run:
        for tag in tags:
            engine.tag(image.id, place.repository, tag)
    delivered = Delivered(
        target="",
        repository=place.repository,
        reference=f"docker-daemon:{place.repository}@{image.id}",
        tags=list(tags),
        outcome="copied",
    )
    copied = CopiedImage(source=str(place), digest=image.id, media_type="", platforms=[], destinations=[delivered])
    return CopyReport(dry_run=dry_run, images=[copied], counts={"tags": len(tags)})
