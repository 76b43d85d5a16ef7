"""The second phase of an apply: tags, set all at once at the end, and put back where a plan stands as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ..errors import CiRegistryError, RemoteError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest
from .events import Event
from .fan_out import Workers
from .immutable import set_tag
from .legs import Leg, held_now, held_of, moved_error

__all__ = ["TagJournal", "Tagging"]


class TagJournal(Protocol):
    """What an apply remembers between runs of one plan. States: tagging, tagged, recorded, put-back."""

    def state(self, key: str) -> str: ...
    def note(self, key: str, state: str) -> None: ...


class Tagging:
    """Sets the tags of legs. With `together`, the first failure stops it, and `put_back` undoes what it has set."""

    def __init__(
        self, workers: Workers, journal: TagJournal, on_event: Callable[[Event], None], *, together: bool
    ) -> None:
        self._workers, self._journal, self._on_event = workers, journal, on_event
        self._together = together
        self._stop = threading.Event()

    def set_all(self, legs: Sequence[Leg], *, look_again: bool) -> None:
        """Set the tag of every open leg; `look_again` unless it was just seen what they hold."""
        waiting = [leg for leg in legs if leg.is_open]
        if look_again:
            for leg, held in zip(waiting, held_now(self._workers, waiting), strict=True):
                if isinstance(held, CiRegistryError):
                    leg.fail(held.on("target", leg.arrival.target))
                else:
                    leg.take(held)
        if self._together and any(leg.error for leg in waiting):
            return
        waiting = [leg for leg in waiting if leg.is_open]
        manifests = self._manifests(waiting)
        jobs = [(leg.host, partial(self._set, leg, manifests[leg.arrival.after])) for leg in waiting]
        for leg, result in zip(waiting, self._workers.each(jobs), strict=True):
            if isinstance(result, CiRegistryError):
                leg.fail(result.on("target", leg.arrival.target))

    def _manifests(self, legs: Sequence[Leg]) -> dict[str, Manifest | CiRegistryError]:
        """Each manifest once, from a destination: there it is, or the tag could not be set."""
        holders = {leg.arrival.after: leg for leg in legs}
        jobs = [(leg.host, partial(leg.target.manifest, leg.edge.source.descriptor)) for leg in holders.values()]
        return dict(zip(holders, self._workers.each(jobs), strict=True))

    def _set(self, leg: Leg, manifest: Manifest | CiRegistryError) -> None:
        if self._stop.is_set():
            return
        try:
            if isinstance(manifest, CiRegistryError):
                raise manifest
            self._put(leg, manifest)
        except CiRegistryError:
            if self._together:
                self._stop.set()
            raise

    def _put(self, leg: Leg, manifest: Manifest) -> None:
        arrival, tag = leg.arrival, leg.arrival.tag or ""
        self._journal.note(arrival.key, "tagging")
        set_tag(leg.target, manifest, tag)
        leg.outcome = "promoted"
        self._journal.note(arrival.key, "tagged")
        self._on_event(Event("tagged", leg.target.location.name, manifest.digest, tag, manifest.descriptor.size))

    # -- putting back --------------------------------------------------------------------------------------------

    def put_back(self, legs: Sequence[Leg]) -> None:
        """Give the tags that were set what they held before, unless somebody moved them on. New tags stay.

        Nothing is put back after a failure that another try may cure.
        """
        if not any(leg.error for leg in legs) or any(isinstance(leg.error, RemoteError) for leg in legs):
            return
        back = [leg for leg in legs if leg.outcome == "promoted" and leg.arrival.tag and leg.arrival.before]
        results = self._workers.each([(leg.host, partial(self._put_back, leg)) for leg in back])
        for leg, result in zip(back, results, strict=True):
            if isinstance(result, CiRegistryError):
                leg.error = result  # the tag stays as it was set, and the receipt says so

    def _put_back(self, leg: Leg) -> None:
        before = Digest(leg.arrival.before or "")
        held = held_of(leg)
        if held != leg.arrival.after:
            raise moved_error(leg.where, held, leg.arrival.before, leg.arrival.after)
        manifest = leg.target.manifest(Descriptor("", before, 0))
        leg.target.put_manifest(manifest, leg.arrival.tag)
        leg.outcome = "put-back"
        self._journal.note(leg.arrival.key, "put-back")
