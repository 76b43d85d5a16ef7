"""Which blobs are at a destination already, asked with few requests.

A repository that does not exist is not asked at all, nor one that can mount from its own registry. Otherwise an
image's manifest is asked for where that can save more than it costs, and each distinct layer once. A configuration
belongs to one image and is small: it is taken to be where its manifest is.
"""

from __future__ import annotations

from functools import partial

from msgspec import Struct, field

from ..model.descriptor import Descriptor, Digest
from ..targets.base import Location, Target
from .facts import ImageFacts
from .fan_out import Workers
from .plan import Moves

__all__ = ["Presence", "Question"]


class Question(Struct):
    """What one arrival needs to know. `mine` are the blobs that no earlier arrival brings to the same repository."""

    place: Target
    root: Descriptor
    blobs: int
    mine: dict[Digest, Descriptor] = field(default_factory=dict)
    configs: frozenset[Digest] = frozenset()
    is_there: bool = False
    mounts: bool = False
    asks_manifest: bool = False
    absent: set[Digest] = field(default_factory=set)


class Presence:
    """All questions of one plan, in the order of its edges."""

    def __init__(self) -> None:
        self._claimed: set[tuple[str, str, Digest]] = set()
        self._asked: list[Question] = []
        self._copied_first: set[tuple[str, Digest]] = set()

    def question(
        self, source: Location, place: Target, facts: ImageFacts, *, is_there: bool, before: str | None
    ) -> Question:
        """Note what has to be known; `before` is what the tag holds, so that a request was spent on it already."""
        here = place.location
        blobs = {**facts.layers, **facts.configs}
        question = Question(place, facts.root.descriptor, len(blobs), configs=frozenset(facts.configs))
        same_store = source.store == here.store
        question.is_there = is_there or (same_store and source.repository == here.repository)
        if question.is_there:
            return question
        question.mine = {digest: blob for digest, blob in blobs.items() if self._claim(here, digest)}
        layers = sum(1 for digest in question.mine if digest not in question.configs)
        question.mounts = same_store
        question.asks_manifest = bool(question.mine) and (before is None or layers > 1)
        self._asked.append(question)
        return question

    def _claim(self, here: Location, digest: Digest) -> bool:
        key = (here.store, here.repository, digest)
        fresh = key not in self._claimed
        self._claimed.add(key)
        return fresh

    def ask(self, workers: Workers) -> None:
        """Ask the destinations: first for manifests, then for the layers of those that are not there."""
        open_ones = [question for question in self._asked if question.mine]
        places = {id(question.place): question.place for question in open_ones}
        new = workers.all([(place.location.host, place.is_new) for place in places.values()])
        is_new = dict(zip(places, new, strict=True))
        asking = [question for question in open_ones if not is_new[id(question.place)]]
        self._ask_manifests(workers, [question for question in asking if question.asks_manifest])
        for question in open_ones:
            if is_new[id(question.place)] or question.mounts:
                question.absent = set() if question.is_there else set(question.mine)
        self._ask_layers(workers, [question for question in asking if not (question.is_there or question.mounts)])

    @staticmethod
    def _ask_manifests(workers: Workers, questions: list[Question]) -> None:
        jobs = [(q.place.location.host, partial(q.place.exists, [q.root])) for q in questions]
        for question, found in zip(questions, workers.all(jobs), strict=True):
            question.is_there = bool(found)

    @staticmethod
    def _ask_layers(workers: Workers, questions: list[Question]) -> None:
        asked = [
            (question, blob)
            for question in questions
            for digest, blob in question.mine.items()
            if digest not in question.configs
        ]
        jobs = [(question.place.location.host, partial(question.place.exists, [blob])) for question, blob in asked]
        for (question, blob), found in zip(asked, workers.all(jobs), strict=True):
            if not found:
                question.absent.add(blob.digest)
        for question in questions:
            question.absent |= question.configs & set(question.mine)

    def moves(self, question: Question) -> Moves:
        """The answer, to be asked for in the order of the questions."""
        copied: list[Descriptor] = []
        mounted: list[Descriptor] = []
        store = question.place.location.store
        for digest in question.absent:
            elsewhere = question.mounts or (store, digest) in self._copied_first
            self._copied_first.add((store, digest))
            (mounted if elsewhere else copied).append(question.mine[digest])
        return Moves(
            copy_blobs=len(copied),
            copy_bytes=sum(blob.size for blob in copied),
            mount_blobs=len(mounted),
            mount_bytes=sum(blob.size for blob in mounted),
            present_blobs=question.blobs - len(copied) - len(mounted),
        )
