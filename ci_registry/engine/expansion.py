"""From wishes to edges: what the sources are, what the destinations hold, and what has to move. Reads only.

Everything is asked for side by side, and each thing once: a manifest and a configuration per digest, a repository's
tags per destination, a blob's presence per destination however many images share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct, field

from ..errors import UsageError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import RECORD_TYPE, Manifest
from ..targets.base import Referrers, Source, Target
from .facts import ImageFacts, parse_time, read_facts
from .fan_out import Workers
from .plan import Arrival, Edge, Moves, SourceImage, Verdict, reference_text
from .policy import Evidence, Rule, judge
from .presence import Presence, Question
from .record import records_of
from .tag_rules import IMMUTABLE, TagRules

__all__ = ["Judging", "Wanted", "Wish", "check_collisions", "expand"]

FEW_TAGS = 2
"""Up to so many tags of a repository are asked for one by one; for more, its list of tags is read first."""


class Wanted(Struct, frozen=True):
    """One reference that is to be set: a tag, or None to bring the image by digest alone."""

    place: Target
    target: str
    repository: str
    tag: str | None
    rules: TagRules = field(default_factory=TagRules)

    @property
    def at(self) -> tuple[str, str]:
        """The repository, the same for all names it may have."""
        return self.place.location.store, self.place.location.repository

    def key(self, digest: Digest) -> tuple[str, str, str]:
        """The reference itself, the same for all names it may have."""
        return (*self.at, self.tag or digest)


class Wish(Struct, frozen=True):
    """One image to promote: a tag or digest of a repository, and where it is wanted."""

    source: Source
    target: str
    repository: str
    tag: str | None
    digest: Digest | None
    wanted: tuple[Wanted, ...]

    @property
    def reference(self) -> str:
        return reference_text(self.target, self.repository, self.tag, self.digest or "")


class Judging(Struct, frozen=True):
    """How images are judged. `evidence` is what holds for all of them: the time, the build's change request."""

    rules: Sequence[Rule] = ()
    forced: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=lambda: Evidence("", ""))
    needs_referrers: bool = False


def check_collisions(wishes: Sequence[Wish]) -> None:
    """Refuse two images that would write one tag, and two repositories that a template puts into one."""
    tags: dict[tuple[str, str, str], Wish] = {}
    homes: dict[tuple[str, str], Wish] = {}
    for wish in wishes:
        for wanted in wish.wanted:
            home = homes.setdefault(wanted.at, wish)
            if (home.target, home.repository) != (wish.target, wish.repository):
                raise UsageError(
                    f"{home.target}:{home.repository} and {wish.target}:{wish.repository} would both land in "
                    f"{wanted.target}:{wanted.repository}",
                    hint=f"give target '{wanted.target}' a `repository:` template that keeps them apart",
                )
            if wanted.tag is None:
                continue
            other = tags.setdefault((*wanted.at, wanted.tag), wish)
            if other is not wish:
                raise UsageError(
                    f"{other.reference} and {wish.reference} would both write "
                    f"{wanted.target}:{wanted.repository}:{wanted.tag}",
                    hint="give them different tags",
                )


def expand(workers: Workers, wishes: Sequence[Wish], judging: Judging) -> list[Edge]:
    """The edges of a plan. Raises `NotFoundError` for a source that is not there, `UsageError` for collisions."""
    check_collisions(wishes)
    roots = workers.all([(wish.source.location.host, partial(_read_root, wish)) for wish in wishes])
    facts = read_facts(workers, [(wish.source, root) for wish, root in zip(wishes, roots, strict=True)])
    held = _held(workers, wishes, roots)
    moves = _moves(workers, wishes, roots, facts, held)
    evidence = _evidence(workers, wishes, roots, facts, judging)
    edges = []
    for wish, root in zip(wishes, roots, strict=True):
        arrivals = [_arrival(wanted, root, held, moves[wish.reference, index]) for index, wanted in _numbered(wish)]
        verdicts = judge(judging.rules, evidence[root.digest, wish.reference], judging.forced)
        verdicts += _tag_verdicts(wish, arrivals, judging.forced)
        edges.append(_edge(wish, root, facts[root.digest], arrivals, verdicts))
    return edges


def _numbered(wish: Wish) -> list[tuple[int, Wanted]]:
    return list(enumerate(wish.wanted))


def _read_root(wish: Wish) -> Manifest:
    return wish.source.manifest(wish.source.resolve(wish.digest or wish.tag or ""))


def _edge(wish: Wish, root: Manifest, facts: ImageFacts, arrivals: list[Arrival], verdicts: list[Verdict]) -> Edge:
    source = SourceImage(
        target=wish.target,
        repository=wish.repository,
        tag=None if wish.digest else wish.tag,
        digest=root.digest,
        media_type=root.media_type,
        size=root.descriptor.size,
    )
    return Edge(
        source=source,
        arrivals=arrivals,
        platforms=facts.platforms,
        created=facts.created,
        commit=facts.commit,
        verdicts=verdicts,
    )


def _arrival(wanted: Wanted, root: Manifest, held: _Held, moves: Moves) -> Arrival:
    return Arrival(
        target=wanted.target,
        repository=wanted.repository,
        tag=wanted.tag,
        before=held[wanted.key(root.digest)],
        after=root.digest,
        moves=moves,
    )


def _tag_verdicts(wish: Wish, arrivals: Sequence[Arrival], forced: Mapping[str, str]) -> list[Verdict]:
    found = []
    for wanted, arrival in zip(wish.wanted, arrivals, strict=True):
        if wanted.tag is not None:
            forcing = forced.get(IMMUTABLE)
            found.append(wanted.rules.verdict(arrival.key, wanted.tag, arrival.before, arrival.after, forcing))
    return [verdict for verdict in found if verdict is not None]


# -- what destinations hold ------------------------------------------------------------------------------------------

_Held = dict[tuple[str, str, str], str | None]
"""What (store, repository, tag or digest) holds: a digest, None for nothing."""


def _held(workers: Workers, wishes: Sequence[Wish], roots: Sequence[Manifest]) -> _Held:
    tags = {(*w.at, w.tag): w for wish in wishes for w in wish.wanted if w.tag is not None}
    by_digest = {
        w.key(root.digest): (w, root)
        for wish, root in zip(wishes, roots, strict=True)
        for w in wish.wanted
        if w.tag is None
    }
    _look_at_repositories(workers, [*tags.values(), *(w for w, _ in by_digest.values())])
    jobs: list[tuple[str, Callable[[], Descriptor | None]]] = [
        (w.place.location.host, partial(w.place.tagged, tag)) for (*_, tag), w in tags.items()
    ]
    jobs += [(w.place.location.host, partial(_present, w.place, root.descriptor)) for w, root in by_digest.values()]
    found = workers.all(jobs)
    return {
        key: str(descriptor.digest) if descriptor else None
        for key, descriptor in zip([*tags, *by_digest], found, strict=True)
    }


def _look_at_repositories(workers: Workers, wanted: Sequence[Wanted]) -> None:
    """Where much is wanted of a repository, one listing says what is not there at all."""
    places: dict[tuple[str, str], list[Wanted]] = {}
    for each in wanted:
        places.setdefault(each.at, []).append(each)
    many = [each[0].place for each in places.values() if len(each) > FEW_TAGS]
    workers.all([(place.location.host, place.is_new) for place in many])


def _present(place: Target, descriptor: Descriptor) -> Descriptor | None:
    return descriptor if not place.is_new() and place.exists([descriptor]) else None


def _moves(
    workers: Workers,
    wishes: Sequence[Wish],
    roots: Sequence[Manifest],
    facts: Mapping[Digest, ImageFacts],
    held: _Held,
) -> dict[tuple[str, int], Moves]:
    presence = Presence()
    questions: dict[tuple[str, int], Question] = {}
    for wish, root in zip(wishes, roots, strict=True):
        for index, wanted in _numbered(wish):
            before = held[wanted.key(root.digest)]
            questions[wish.reference, index] = presence.question(
                wish.source.location, wanted.place, facts[root.digest], is_there=before == root.digest, before=before
            )
    presence.ask(workers)
    return {key: presence.moves(question) for key, question in questions.items()}


# -- judging ---------------------------------------------------------------------------------------------------------


def _evidence(
    workers: Workers,
    wishes: Sequence[Wish],
    roots: Sequence[Manifest],
    facts: Mapping[Digest, ImageFacts],
    judging: Judging,
) -> dict[tuple[Digest, str], Evidence]:
    referring = _referring(workers, wishes, roots) if judging.needs_referrers else {}
    common = judging.evidence
    evidence = {}
    for wish, root in zip(wishes, roots, strict=True):
        types, promotions = referring.get((wish.source.location.name, root.digest), (frozenset(), frozenset()))
        known = facts[root.digest]
        evidence[root.digest, wish.reference] = Evidence(
            reference=wish.reference,
            digest=root.digest,
            platforms=tuple(known.platforms),
            labels=known.labels,
            created=parse_time(known.created),
            now=common.now,
            referrer_types=types,
            promoted_by=promotions,
            change_request=common.change_request,
            promotion=common.promotion,
        )
    return evidence


_Referring = tuple[frozenset[str], frozenset[str]]


def _referring(
    workers: Workers, wishes: Sequence[Wish], roots: Sequence[Manifest]
) -> dict[tuple[str, Digest], _Referring]:
    """Per source repository and digest: the types of what refers to it, and the promotions that its records name."""
    asked = {(wish.source.location.name, root.digest): wish.source for wish, root in zip(wishes, roots, strict=True)}
    jobs = [(source.location.host, partial(_refers, source, digest)) for (_, digest), source in asked.items()]
    return dict(zip(asked, workers.all(jobs), strict=True))


def _refers(source: Source, digest: Digest) -> _Referring:
    if not isinstance(source, Referrers):
        return frozenset(), frozenset()
    types = frozenset(referrer.artifact_type for referrer in source.referrers(digest))
    records = records_of(source, digest) if RECORD_TYPE in types else []
    return types, frozenset(record.promotion for record in records if record.promotion)
