"""history and rollback: what promotions left at a registry, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from ..engine.expansion import Judging, Wanted, Wish, expand
from ..engine.fan_out import Workers
from ..engine.history import Step, history_of, tags_of
from ..engine.plan import Plan
from ..engine.policy import check_forced
from ..engine.record import read_statement
from ..engine.tag_rules import IMMUTABLE
from ..errors import NotFoundError, UsageError
from ..model.descriptor import Digest
from ..targets.base import Source
from .places import Place, Places
from .promoting import plan_of, tag_rules
from .results_history import HistoryEntry, HistoryReport

__all__ = ["read_history", "rollback_plan"]


def read_history(places: Places, place: Place) -> HistoryReport:
    """The history of one tag, or of every tag of a repository."""
    source = places.repository(place)
    workers = Workers(places.limiter, places.cancel)
    if place.digest:
        raise UsageError(f"{place} names a digest, and history is about tags", hint="name a tag, or the repository")
    names = [place.tag] if place.tag else tags_of(source)
    steps = history_of(workers, source, names)
    entries = workers.all([(source.location.host, partial(_entry, source, step)) for step in steps])
    return HistoryReport(repository=source.location.name, entries=entries)


def _entry(source: Source, step: Step) -> HistoryEntry:
    record = step.record
    if record is None:
        return HistoryEntry(tag=step.tag, digest=step.digest, gap=True)
    predicate = read_statement(source, record).get("predicate")
    said: Mapping[str, Any] = predicate if isinstance(predicate, Mapping) else {}
    build = said.get("build")
    return HistoryEntry(
        tag=step.tag,
        digest=record.subject,
        gap=False,
        time=record.time,
        previous=record.previous,
        kind=record.kind,
        promotion=record.promotion,
        source=record.source,
        approved_by=record.approved_by,
        commit=record.commit,
        plan=record.plan,
        tool=record.tool,
        record=record.digest,
        build={str(key): str(value) for key, value in build.items()} if isinstance(build, Mapping) else {},
        forced=[str(each.get("rule")) + ": " + str(each.get("reason")) for each in said.get("forced") or []],
    )


def rollback_plan(
    places: Places, place: Place, digest: str | None, forced: Mapping[str, str], valid_hours: float = 1.0
) -> Plan:
    """A plan that puts a tag back to what it held before its last promotion, or to `digest`.

    Raises `NotFoundError` when no record says what that was, or the image is gone.
    """
    if place.transport != "target" or not place.tag or place.digest:
        raise UsageError(f"{place} names no tag of a target", hint="write TARGET:REPOSITORY:TAG")
    check_forced(forced, [IMMUTABLE])
    target = places.target(place.where)
    source = target.repository(place.repository)
    back_to = Digest(digest) if digest else _previous(places, source, place)
    wanted = Wanted(
        target.repository(place.repository, writing=True),
        place.where,
        place.repository,
        place.tag,
        tag_rules(places, place.where),
    )
    wish = Wish(source, place.where, place.repository, None, back_to, (wanted,))
    edges = expand(Workers(places.limiter, places.cancel), [wish], Judging(forced=forced))
    return plan_of(places, place.where, [], edges=edges, kind="rollback", atomic="plan", valid_hours=valid_hours)


def _previous(places: Places, source: Source, place: Place) -> Digest:
    bare = replace(place, tag=None)
    newest = history_of(Workers(places.limiter, places.cancel), source, [place.tag or ""])[0]
    if newest.record is None:
        raise NotFoundError(
            f"rolling back {place} failed: it holds {newest.digest}, which no promotion has put there",
            hint=f"see `ci-registry history {bare}`, and name what it is to hold with --digest",
        )
    if newest.record.previous is None:
        raise NotFoundError(
            f"rolling back {place} failed: it held nothing before its promotion of {newest.record.time}",
            hint="name what it is to hold with --digest",
        )
    return Digest(newest.record.previous)
