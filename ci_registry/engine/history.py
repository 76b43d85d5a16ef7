"""The history of a tag, read from the registry alone: its records, and gaps where somebody else moved it.

It begins at what the tag holds now. A digest's newest record for the tag says what the tag held before, and so on back.
Where a digest has no record for the tag, or the tag was moved without one, there is a gap; what lies before it is
looked for among the digests of the repository's other tags. One request lists the records of a digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct, field

from ..errors import CiRegistryError
from ..targets.base import Lister, Source
from .fan_out import Workers
from .record import Record, records_of
from .selectors import is_referrer_tag

__all__ = ["Step", "history_of", "tags_of"]


class Step(Struct, frozen=True):
    """One time that a tag was moved, newest first; without a `record`, a gap: `digest` was there and nobody says why.

    A gap whose digest is not known either stands between two records that do not fit together.
    """

    tag: str
    digest: str | None
    record: Record | None = None

    @property
    def is_gap(self) -> bool:
        return self.record is None


class _Archive(Struct):
    """The records of one repository, each digest asked for once."""

    place: Source
    workers: Workers
    known: dict[str, list[Record]] = field(default_factory=dict)
    searched: bool = False

    def of(self, digest: str, tag: str) -> list[Record]:
        if digest not in self.known:
            self.known[digest] = records_of(self.place, digest)
        return [record for record in self.known[digest] if record.tag == tag]

    def read(self, digests: set[str]) -> None:
        """Ask for the records of many digests at once."""
        fresh = sorted(digests - self.known.keys())
        host = self.place.location.host
        found = self.workers.all([(host, partial(records_of, self.place, digest)) for digest in fresh])
        self.known.update(zip(fresh, found, strict=True))

    def search(self) -> None:
        """Read the records of every digest that has a tag."""
        if self.searched or not isinstance(self.place, Lister):
            return
        self.searched = True
        place, host = self.place, self.place.location.host
        digests = self.workers.each([(host, partial(place.resolve, tag)) for tag in tags_of(place)])
        self.read({str(each.digest) for each in digests if not isinstance(each, CiRegistryError)})

    def newest(self, tag: str, before: str) -> Record | None:
        """The newest record of a tag that is older than a time, whatever its digest."""
        found = [record for records in self.known.values() for record in records if record.tag == tag]
        return max((record for record in found if record.time < before), key=lambda record: record.time, default=None)


def tags_of(place: Source) -> list[str]:
    """The tags of a repository that are images' own."""
    return [tag for tag in place.tags() if not is_referrer_tag(tag)] if isinstance(place, Lister) else []


def history_of(workers: Workers, place: Source, tags: Sequence[str]) -> list[Step]:
    """Every known move of these tags, each newest first. Raises `NotFoundError` when there is no such tag."""
    host = place.location.host
    found = workers.all([(host, partial(place.resolve, tag)) for tag in tags])
    now = [str(descriptor.digest) for descriptor in found]
    archive = _Archive(place, workers)
    archive.read(set(now))
    return [step for tag, digest in zip(tags, now, strict=True) for step in _walk(archive, tag, digest)]


_END_OF_TIME = "9999"


def _walk(archive: _Archive, tag: str, now: str) -> Iterator[Step]:
    digest: str | None = now
    time = _END_OF_TIME
    pointed: str | None = None
    while digest is not None:
        record = _record_at(archive, tag, digest, time, pointed)
        if record is None:
            yield Step(tag, digest)
            archive.search()
            record = archive.newest(tag, time)
            if record is None:
                return
        yield Step(tag, record.subject, record)
        digest, time, pointed = record.previous, record.time, record.previous_record


def _record_at(archive: _Archive, tag: str, digest: str, time: str, pointed: str | None) -> Record | None:
    """The record that put this digest there: the one pointed to, else the newest that is old enough."""
    fitting = [record for record in archive.of(digest, tag) if record.time < time]
    if pointed is not None:
        return next((record for record in fitting if record.digest == pointed), None)
    if time != _END_OF_TIME:
        return None  # the newer record says itself that there was none
    return fitting[-1] if fitting else None
