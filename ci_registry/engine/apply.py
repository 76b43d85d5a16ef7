"""Apply: carry out a plan, exactly that plan, in two phases: content by digest, then tags.

What a destination holds decides, per arrival: the new digest, and it is done; the digest that the plan found, and it
goes on; anything else is a conflict. An apply that was interrupted goes on where it was, by that same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Literal, Protocol

from msgspec import Struct, field

from ..errors import CiRegistryError, ConflictError, Interrupted, NotFoundError, UsageError
from ..model.manifest import RECORD_TYPE
from ..targets.base import Source, Target
from ..transport.limiter import Limiter
from ..transport.retry import Cancel
from .blobs import UploadJournal
from .copy import CopyRequest, Destination, Run
from .events import Event
from .fan_out import Workers
from .legs import Leg, Shard, held_now, legs_of
from .plan import Arrival, Edge, Plan, SourceImage, reference_text
from .policy import refusal
from .receipt import Receipt, ReceiptEdge, advice_for, failure_of
from .recording import Recording
from .tagging import Tagging, TagJournal

__all__ = ["ApplyOrder", "Journal", "Phase", "apply", "now_text"]

Phase = Literal["both", "content", "tags"]


class Journal(TagJournal, Protocol):
    """What is remembered of the applies of a plan. `begun` is when the first of them started."""

    @property
    def begun(self) -> str: ...


class ApplyOrder(Struct, frozen=True):
    """A plan and what it takes to carry it out.

    `digest` is the plan's name. `is_fresh` says that the plan was made a moment ago in this process, so the world is
    not looked at again. With `uploads`, an interrupted run leaves its uploads open for the next one. `build` are facts
    for records. `prepare` makes sure that a repository can be pushed to.
    """

    plan: Plan
    digest: str
    source_of: Callable[[SourceImage], Source]
    target_of: Callable[[Arrival], Target]
    prepare: Callable[[Arrival], None]
    journal: Journal
    tool: str
    uploads: UploadJournal | None = None
    phase: Phase = "both"
    shard: Shard | None = None
    is_fresh: bool = False
    dry_run: bool = False
    approved_by: str | None = None
    build: Mapping[str, str] = field(default_factory=dict)


def now_text() -> str:
    """The time, RFC 3339 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def apply(
    order: ApplyOrder,
    limiter_of: Callable[[str], Limiter],
    cancel: Cancel,
    on_event: Callable[[Event], None] = lambda _: None,
) -> tuple[Receipt, dict[str, int], CiRegistryError | None]:
    """Carry out a plan. Gives the receipt, the counts of what moved, and what the run failed with.

    Raises before anything is done when a policy refuses the plan, it is out of date, or a shard makes no sense.
    """
    _check(order)
    application = _Application(order, limiter_of, cancel, on_event)
    error = application.run()
    return application.receipt(error), application.run_.counts.to_json(), error


def _check(order: ApplyOrder) -> None:
    plan = order.plan
    refused = refusal(plan)
    if refused is not None:
        raise refused
    if now_text() > plan.valid_until:
        raise ConflictError(
            f"the plan {order.digest} was valid until {plan.valid_until}", hint="make a new plan and have it approved"
        )
    if order.shard is not None and order.phase != "content":
        raise UsageError(
            "--shard is for the content: tags are set all together, when all content is there",
            hint="add --phase content, and run `apply --phase tags` once when all shards are done",
        )


class _Application:
    def __init__(
        self,
        order: ApplyOrder,
        limiter_of: Callable[[str], Limiter],
        cancel: Cancel,
        on_event: Callable[[Event], None],
    ) -> None:
        self._order, self._plan = order, order.plan
        self._started = now_text()
        self._cancel = cancel
        self._workers = Workers(limiter_of, cancel)
        self.run_ = Run(limiter_of, cancel, on_event=on_event, journal=order.uploads)
        self._all = legs_of(order.plan, order.target_of)
        self._legs = [leg for leg in self._all if order.shard is None or order.shard.has(leg.arrival)]
        self._together = order.plan.atomic == "plan"
        self._record_error: CiRegistryError | None = None

    def run(self) -> CiRegistryError | None:
        try:
            self._phases()
        except Interrupted as interrupted:
            return interrupted
        failed = failure_of([(leg.line(""), leg.error) for leg in self._legs])
        return failed or self._record_error

    def _phases(self) -> None:
        self._survey()
        if self._order.dry_run or (self._together and self._has_failed(ConflictError)):
            return
        if self._order.phase == "tags":
            self._check_content()
        else:
            self._bring_content()
        if self._order.phase == "content" or (self._together and self._has_failed(CiRegistryError)):
            return
        tagging = Tagging(self._workers, self._order.journal, self.run_.event, together=self._together)
        tagging.set_all(self._legs, look_again=self._order.phase != "tags")
        if self._together:
            tagging.put_back(self._legs)
        self._write_records()

    def _has_failed(self, kind: type[CiRegistryError]) -> bool:
        return any(isinstance(leg.error, kind) for leg in self._legs)

    # -- what is there -------------------------------------------------------------------------------------------

    def _survey(self) -> None:
        for leg in self._legs:
            leg.earlier = self._order.journal.state(leg.arrival.key) in ("tagging", "tagged", "recorded")
        if self._order.is_fresh:
            for leg in self._legs:
                leg.take(leg.arrival.before)
            return
        for leg, held in zip(self._legs, held_now(self._workers, self._legs), strict=True):
            if isinstance(held, CiRegistryError):
                leg.fail(held.on("target", leg.arrival.target))
            else:
                leg.take(held)
        self._check_sources()

    def _check_sources(self) -> None:
        """The sources of what is not done yet must still be what the plan found."""
        waiting = self._by_edge()
        edges = [edge for edge, _ in waiting if edge.source.tag is not None]
        jobs = [(self._source(edge).location.host, partial(self._check_source, edge)) for edge in edges]
        failures = dict(zip(map(id, edges), self._workers.each(jobs), strict=True))
        for edge, legs in waiting:
            error = failures.get(id(edge))
            if isinstance(error, CiRegistryError):
                for leg in legs:
                    leg.fail(error.on("source", edge.source.target))

    def _check_source(self, edge: Edge) -> None:
        source = edge.source
        held = self._source(edge).resolve(source.tag or "").digest
        if held != source.digest:
            name = reference_text(source.target, source.repository, source.tag, source.digest)
            raise ConflictError(
                f"the plan does not fit any more: {name} is {held} now, and the plan promotes {source.digest}",
                hint="make a new plan",
            )

    def _by_edge(self) -> list[tuple[Edge, list[Leg]]]:
        """The legs that are open, by their edge."""
        found: dict[int, tuple[Edge, list[Leg]]] = {}
        for leg in self._legs:
            if leg.is_open:
                found.setdefault(id(leg.edge), (leg.edge, []))[1].append(leg)
        return list(found.values())

    def _source(self, edge: Edge) -> Source:
        return self._order.source_of(edge.source)

    # -- content -------------------------------------------------------------------------------------------------

    def _bring_content(self) -> None:
        self._prepare()
        under_way = []
        for edge, legs in self._by_edge():
            targets = list({id(leg.target): leg.target for leg in legs}.values())
            request = CopyRequest(
                self._source(edge),
                edge.source.descriptor,
                [Destination(target) for target in targets],
                referrers=self._plan.referrers,
                without_artifact_types=frozenset({RECORD_TYPE}),
            )
            under_way.append((legs, targets, self.run_.add(request)))
        self.run_.run()
        for legs, targets, image in under_way:
            errors = {id(target): each.error for target, each in zip(targets, image.deliveries, strict=True)}
            for leg in legs:
                self._has_content(leg, errors[id(leg.target)])

    def _prepare(self) -> None:
        waiting = {id(leg.target): leg for leg in self._legs if leg.is_open}
        jobs = [(leg.host, partial(self._order.prepare, leg.arrival)) for leg in waiting.values()]
        failures = dict(zip(waiting, self._workers.each(jobs), strict=True))
        for leg in self._legs:
            error = failures.get(id(leg.target))
            if leg.is_open and isinstance(error, CiRegistryError):
                leg.fail(error.on("target", leg.arrival.target))

    @staticmethod
    def _has_content(leg: Leg, error: CiRegistryError | None) -> None:
        if error is not None:
            leg.fail(error)
        else:
            leg.outcome = "content" if leg.arrival.tag else "promoted"

    def _check_content(self) -> None:
        """Before tags alone are set: has somebody brought what they are to name?"""
        waiting = [leg for leg in self._legs if leg.is_open]
        jobs = [(leg.host, partial(leg.target.exists, [leg.edge.source.descriptor])) for leg in waiting]
        for leg, found in zip(waiting, self._workers.each(jobs), strict=True):
            if isinstance(found, CiRegistryError):
                leg.fail(found.on("target", leg.arrival.target))
            elif found:
                self._has_content(leg, None)
            else:
                leg.fail(_no_content(leg))

    # -- the end -------------------------------------------------------------------------------------------------

    def _write_records(self) -> None:
        order = self._order
        recording = Recording(self._plan, order.digest, order.tool, order.journal.begun, order.approved_by, order.build)
        self._record_error = recording.write_all(self._workers, order.journal, self._legs, self.run_.event)

    def receipt(self, error: CiRegistryError | None) -> Receipt:
        order, plan = self._order, self._plan
        made = Receipt(
            plan=order.digest,
            kind=plan.kind,
            promotion=plan.promotion,
            atomic=plan.atomic,
            tool=order.tool,
            started=self._started,
            finished=now_text(),
            approved_by=order.approved_by,
            build=dict(order.build),
            edges=[self._receipt_edge(edge, legs) for edge, legs in _grouped(self._all)],
        )
        return replace_advice(made, interrupted=isinstance(error, Interrupted), dry_run=order.dry_run)

    def _receipt_edge(self, edge: Edge, legs: Sequence[Leg]) -> ReceiptEdge:
        source = edge.source
        return ReceiptEdge(
            source=reference_text(source.target, source.repository, source.tag, source.digest),
            digest=source.digest,
            platforms=edge.platforms,
            commit=edge.commit,
            arrivals=[leg.line(self._plan.places[leg.arrival.target].registry) for leg in legs],
            forced={verdict.rule: verdict.forced for verdict in edge.verdicts if verdict.forced is not None},
        )


def _grouped(legs: Sequence[Leg]) -> list[tuple[Edge, list[Leg]]]:
    found: dict[int, tuple[Edge, list[Leg]]] = {}
    for leg in legs:
        found.setdefault(id(leg.edge), (leg.edge, []))[1].append(leg)
    return list(found.values())


def replace_advice(receipt: Receipt, *, interrupted: bool, dry_run: bool) -> Receipt:
    from msgspec import structs

    if dry_run:
        return receipt
    advice = advice_for(receipt)
    if interrupted:
        advice = "it was interrupted; apply the same plan again to go on"
    return structs.replace(receipt, advice=advice)


def _no_content(leg: Leg) -> NotFoundError:
    return NotFoundError(
        f"{leg.where} can't be set: {leg.arrival.after} is not in {leg.target.location.name} yet",
        hint="run `apply --phase content`, all its shards, before `apply --phase tags`",
        side="target",
    )
