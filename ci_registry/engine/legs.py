"""The legs of an apply: each arrival of a plan on its way, and what its destination holds now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from ..errors import CiRegistryError, ConflictError, NotFoundError, UsageError
from ..targets.base import Lister, Target
from .fan_out import Workers
from .plan import Arrival, Edge, Plan
from .receipt import Failure, Outcome, ReceiptLine

__all__ = ["Leg", "Shard", "held_now", "held_of", "legs_of", "moved_error"]

FEW_TAGS = 2


class Shard(Struct, frozen=True):
    """One of `count` parts of a plan, `index` from 1 on; parts are made by destination repository."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From I/N; raises `UsageError` when I is not from 1 to N."""
        first, slash, second = text.partition("/")
        if not (slash and first.isdigit() and second.isdigit()):
            raise UsageError(f"'{text}' is not a shard", hint="write --shard I/N, as in 2/4")
        index, count = int(first), int(second)
        if not 1 <= index <= count:
            raise UsageError(f"there is no shard {index} of {count}", hint=f"shards are numbered from 1 to {count}")
        return cls(index, count)

    def has(self, arrival: Arrival) -> bool:
        name = f"{arrival.target}:{arrival.repository}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % self.count == self.index - 1


class Leg(Struct):
    """One arrival. `earlier` tells a tag that an interrupted run of this plan may have set."""

    edge: Edge
    arrival: Arrival
    target: Target
    outcome: Outcome = "not-run"
    error: CiRegistryError | None = None
    record: str | None = None
    record_problem: str | None = None
    earlier: bool = False

    @property
    def is_open(self) -> bool:
        """Whether there is anything left to do, and nothing has gone wrong."""
        return self.error is None and self.outcome in ("not-run", "content")

    @property
    def host(self) -> str:
        return self.target.location.host

    @property
    def where(self) -> str:
        tag = self.arrival.tag
        return f"{self.target.location.name}{f':{tag}' if tag else f'@{self.arrival.after}'}"

    def fail(self, error: CiRegistryError) -> None:
        self.error, self.outcome = error, "failed"

    def take(self, held: str | None) -> None:
        """Judge by what the destination holds now: done, to be done, or a conflict."""
        arrival = self.arrival
        if held == arrival.after:
            self.outcome = "promoted" if self.earlier else "unchanged"
        elif held != arrival.before:
            self.fail(moved_error(self.where, held, arrival.before, arrival.after))

    def line(self, registry: str) -> ReceiptLine:
        arrival = self.arrival
        return ReceiptLine(
            target=arrival.target,
            registry=registry,
            repository=arrival.repository,
            tag=arrival.tag,
            before=arrival.before,
            after=arrival.after,
            outcome=self.outcome,
            record=self.record,
            record_problem=self.record_problem,
            error=Failure.of(self.error) if self.error else None,
        )


def moved_error(where: str, held: str | None, before: str | None, after: str) -> ConflictError:
    """Somebody else has moved what the plan was to move."""
    expected = before or "nothing"
    return ConflictError(
        f"the plan does not fit any more: {where} holds {held or 'nothing'}, and the plan, which sets it to {after}, "
        f"found {expected} there",
        hint="make a new plan",
        side="target",
    )


def legs_of(plan: Plan, target_of: Callable[[Arrival], Target]) -> list[Leg]:
    return [Leg(edge, arrival, target_of(arrival)) for edge in plan.edges for arrival in edge.arrivals]


def held_now(workers: Workers, legs: Sequence[Leg]) -> list[str | CiRegistryError | None]:
    """What each leg's reference holds at this moment, or why that can't be known. Never from memory."""
    listed = _listings(workers, legs)
    return workers.each([(leg.host, partial(held_of, leg, listed.get(id(leg.target)))) for leg in legs])


def _listings(workers: Workers, legs: Sequence[Leg]) -> dict[int, frozenset[str] | None]:
    """The tags of repositories of which many are wanted: what is not listed need not be asked for."""
    counts: dict[int, int] = {}
    places = {id(leg.target): leg.target for leg in legs if leg.arrival.tag}
    for leg in legs:
        counts[id(leg.target)] = counts.get(id(leg.target), 0) + 1
    many = {key: place for key, place in places.items() if counts[key] > FEW_TAGS}
    found = workers.all([(place.location.host, partial(_tags, place)) for place in many.values()])
    return dict(zip(many, found, strict=True))


def _tags(place: Target) -> frozenset[str] | None:
    if not isinstance(place, Lister):
        return None
    try:
        return frozenset(place.tags())
    except NotFoundError:
        return frozenset()
    except CiRegistryError:
        return None  # not every place lets itself be listed; each tag is asked for instead


def held_of(leg: Leg, listed: frozenset[str] | None = None) -> str | None:
    """What a leg's reference holds; a tag that is not `listed` is not asked for."""
    arrival = leg.arrival
    if arrival.tag is None:
        there = not leg.target.is_new() and leg.target.exists([leg.edge.source.descriptor])
        return arrival.after if there else None
    if listed is not None and arrival.tag not in listed:
        return None
    try:
        return leg.target.resolve(arrival.tag).digest
    except NotFoundError:
        return None
