"""Sources opened for a copy. Some need work first: an archive on stdin is spooled, a daemon's layers are compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import UsageError
from ..model.descriptor import Platform
from ..model.reference import Reference
from ..targets.base import Source
from .copying import CopyOrder, Landing
from .places import Place, Places

__all__ = ["open_for_looking", "open_source", "order_from", "source_path"]


def source_path(place: Place) -> str:
    """The path of a source without its host, by which a target decides where it lands; "" when it has no name."""
    if place.transport in ("docker-daemon", "docker-archive") and place.repository:
        path = Reference.parse(place.repository).repository
        # `app` is docker.io/library/app to docker, but nobody who built it here means Docker Hub's library.
        return path.removeprefix("library/") if "/" not in place.repository else path
    return place.repository


def open_source(places: Places, place: Place) -> Source:
    """A source that needs no preparation."""
    return places.repository(place)


@contextmanager
def open_for_looking(places: Places, place: Place) -> Iterator[tuple[Source, str]]:
    """A source and the version that a place names in it, for commands that only look."""
    with order_from(places, place, []) as order:
        yield order.source, order.version


@contextmanager
def order_from(
    places: Places,
    place: Place,
    landed: Sequence[Landing],
    *,
    platform: Platform | None = None,
    referrers: bool = False,
) -> Iterator[CopyOrder]:
    """The order to copy a place to its landings; what was prepared for it is removed at the end."""
    if place.transport in ("target", "docker", "oci"):
        version = place.version if place.transport != "oci" else (place.digest or place.tag or "")
        yield CopyOrder(open_source(places, place), version, str(place), landed, platform, referrers)
        return
    raise UsageError(f"{place} can't be read here")
