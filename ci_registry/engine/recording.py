"""Writing the records of an apply: one for each tag that it has set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..errors import CiRegistryError, RemoteError
from .events import Event
from .fan_out import Workers
from .legs import Leg
from .plan import Plan, reference_text
from .record import Promoted, prepare_for_records, records_of, write_record
from .tagging import TagJournal

__all__ = ["Recording"]


class Recording:
    """What the records of one apply have in common. `time` is when its first run began, so that a run which goes on
    after an interruption makes the same records again."""

    def __init__(
        self, plan: Plan, digest: str, tool: str, time: str, approved_by: str | None, build: Mapping[str, str]
    ) -> None:
        self._plan, self._digest, self._tool, self._time = plan, digest, tool, time
        self._approved_by, self._build = approved_by, build

    def write_all(
        self, workers: Workers, journal: TagJournal, legs: Sequence[Leg], on_event: Callable[[Event], None]
    ) -> CiRegistryError | None:
        """Write what is missing. A failure is noted in its leg; the first is given back where records are required."""
        waiting = [leg for leg in legs if self._is_wanted(leg, journal)]
        places = {id(leg.target): leg for leg in waiting}
        prepared = workers.each([(leg.host, partial(prepare_for_records, leg.target)) for leg in places.values()])
        unfit = {key: error for key, error in zip(places, prepared, strict=True) if error is not None}
        found = workers.each([(leg.host, partial(self._write, leg, unfit.get(id(leg.target)))) for leg in waiting])
        failures = []
        for leg, record in zip(waiting, found, strict=True):
            if isinstance(record, CiRegistryError):
                leg.record_problem = record.message
                failures.append((leg, record))
                on_event(Event("warning", leg.where, text=f"the record of {leg.where} is missing: {record.message}"))
            else:
                leg.record = record
                journal.note(leg.arrival.key, "recorded")
        if not failures or not self._plan.require_record:
            return None
        leg, error = failures[0]
        return RemoteError(
            f"{leg.where} was promoted, but its record, which is required, could not be written: {error.message}",
            hint="apply the same plan again: it writes the records that are missing",
        )

    @staticmethod
    def _is_wanted(leg: Leg, journal: TagJournal) -> bool:
        promoted = leg.outcome == "promoted" and leg.arrival.tag is not None
        return promoted and journal.state(leg.arrival.key) != "recorded"

    def _write(self, leg: Leg, unfit: CiRegistryError | None) -> str:
        if unfit is not None:
            raise unfit
        if leg.earlier:
            # An interrupted run may have written it; its own build may have been another one.
            for record in records_of(leg.target, leg.arrival.after, leg.arrival.tag):
                if record.plan == self._digest:
                    return record.digest
        return write_record(leg.target, self._promoted(leg))

    def _promoted(self, leg: Leg) -> Promoted:
        edge, arrival, source = leg.edge, leg.arrival, leg.edge.source
        earlier = records_of(leg.target, arrival.before, arrival.tag) if arrival.before else []
        return Promoted(
            where=leg.target.location.name,
            tag=arrival.tag or "",
            subject=source.descriptor,
            previous=arrival.before,
            previous_record=earlier[-1].digest if earlier else None,
            kind=self._plan.kind,
            promotion=self._plan.promotion,
            plan=self._digest,
            source=reference_text(source.target, source.repository, source.tag, source.digest),
            tool=self._tool,
            time=self._time,
            approved_by=self._approved_by,
            commit=edge.commit or self._build.get("GIT_COMMIT"),
            facts=self._build,
            forced=tuple(
                {"rule": verdict.rule, "reason": verdict.forced, "verdict": verdict.reason}
                for verdict in edge.verdicts
                if verdict.forced is not None
            ),
        )
