"""Two repositories compared tag by tag: what is missing, different, or only at the destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct

from ..errors import NotFoundError
from ..targets.base import Lister, Source
from .fan_out import Workers
from .selectors import is_referrer_tag

__all__ = ["Difference", "Pair", "compare"]


class Pair(Struct, frozen=True):
    """A source repository and where it lands. `source` is None where only the destination has it."""

    source: Source | None
    destination: Source


class Difference(Struct, frozen=True):
    """One tag; a digest is None on the side that lacks it."""

    tag: str
    source: str | None
    destination: str | None

    @property
    def state(self) -> str:
        if self.source == self.destination:
            return "same"
        return "missing" if self.destination is None else "extra" if self.source is None else "different"


def compare(workers: Workers, pairs: Sequence[Pair]) -> list[list[Difference]]:
    """Every tag of each pair, sorted. A repository that does not exist has none."""
    places = {
        (place.location.store, place.location.repository): place
        for pair in pairs
        for place in (pair.source, pair.destination)
        if place is not None
    }
    listed = workers.all([(place.location.host, partial(_tags, place)) for place in places.values()])
    tags = dict(zip(places, listed, strict=True))
    asked = [(key, tag) for key, names in tags.items() for tag in names]
    found = workers.all([(places[key].location.host, partial(_digest, places[key], tag)) for key, tag in asked])
    digests = dict(zip(asked, found, strict=True))
    held = {key: {tag: digests[key, tag] for tag in names} for key, names in tags.items()}
    return [_differences(_of(held, pair.source), _of(held, pair.destination)) for pair in pairs]


_Held = Mapping[tuple[str, str], Mapping[str, str | None]]


def _of(held: _Held, place: Source | None) -> Mapping[str, str | None]:
    return held[place.location.store, place.location.repository] if place is not None else {}


def _differences(source: Mapping[str, str | None], destination: Mapping[str, str | None]) -> list[Difference]:
    found = [Difference(tag, source.get(tag), destination.get(tag)) for tag in sorted({*source, *destination})]
    return [each for each in found if each.source or each.destination]


def _tags(place: Source) -> list[str]:
    if not isinstance(place, Lister):
        return []
    try:
        return [tag for tag in place.tags() if not is_referrer_tag(tag)]
    except NotFoundError:
        return []


def _digest(place: Source, tag: str) -> str | None:
    """What a tag holds, asked in the way that costs no pull where the place has one."""
    tagged = getattr(place, "tagged", None)
    try:
        found = tagged(tag) if tagged is not None else place.resolve(tag)
    except NotFoundError:
        return None
    return str(found.digest) if found is not None else None
