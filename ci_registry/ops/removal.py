"""delete and prune: first a plan of what would go, then its removal. Nothing else in this program deletes anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from msgspec import Struct, structs

from ..engine.facts import parse_time, read_facts
from ..engine.fan_out import Workers
from ..engine.history import tags_of
from ..engine.record import Record, records_of
from ..engine.retention import Decision, Shelf, TagFact, named_elsewhere, prune
from ..engine.selectors import matching
from ..engine.tag_rules import TagRules
from ..errors import (
    AccessError,
    CiRegistryError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PartialError,
    RefusedError,
    RemoteError,
    UsageError,
)
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest
from ..targets.base import Deleter, Source, Target
from .places import Place, Places
from .results import error_report
from .results_removal import RemovalLine, RemovalReport

__all__ = ["Removal", "plan_delete", "plan_prune"]


@runtime_checkable
class _Collector(Protocol):
    """Places that collect their garbage when asked to."""

    def collect_garbage(self, minimum_age_seconds: float = ..., dry_run: bool = ...) -> Any: ...


class Removal(Struct):
    """A plan of removal, and carrying it out. `shown` is the plan as a report that nothing was done for yet."""

    target: Target
    decisions: list[Decision]
    shelf: Shelf
    workers: Workers

    @property
    def shown(self) -> RemovalReport:
        lines = [_line(decision) for decision in self.decisions]
        return RemovalReport(repository=self.target.location.name, dry_run=True, lines=lines)

    @property
    def going(self) -> list[Decision]:
        return [decision for decision in self.decisions if decision.action != "keep"]

    def carry_out(self, *, blobs: bool = False) -> tuple[RemovalReport, CiRegistryError | None]:
        """Remove; gives the report, and what failed. An image with several tags goes once, for all of them."""
        first = {decision.digest: decision for decision in self.going if decision.action == "image"}
        jobs = [decision for decision in self.going if decision.action == "tag"] + list(first.values())
        host = self.target.location.host
        results = self.workers.each([(host, partial(self._remove, decision)) for decision in jobs])
        outcome = {
            (decision.action, decision.tag if decision.action == "tag" else decision.digest): result
            for decision, result in zip(jobs, results, strict=True)
        }
        lines = [_done(decision, outcome) for decision in self.decisions]
        report = RemovalReport(repository=self.target.location.name, dry_run=False, lines=lines)
        errors = [result for result in results if isinstance(result, CiRegistryError)]
        if blobs:
            report = self._collect(report)
        return report, _failure(report, errors)

    def _remove(self, decision: Decision) -> bool:
        deleter = _deleter(self.target)
        if decision.action == "image":
            deleter.delete_manifest(Descriptor("", Digest(decision.digest), 0))
            return True
        others = [fact.tag for fact in self.shelf.tags if fact.digest == decision.digest and fact.tag != decision.tag]
        manifest = self.target.manifest(Descriptor("", Digest(decision.digest), 0)) if others else None
        try:
            deleter.delete_tag(decision.tag)
        except (IntegrityError, AccessError, NotFoundError) as error:
            raise self._not_alone(decision, others, error) from error
        if manifest is not None:
            self._check_others(decision, others, manifest)
        return True

    def _not_alone(self, decision: Decision, others: Sequence[str], error: CiRegistryError) -> AccessError:
        where = f"{self.target.location.name}:{decision.tag}"
        named = named_elsewhere(self.shelf, decision.digest, {decision.tag})
        if others:
            hint = f"the image can't be removed instead: {', '.join(sorted(others)[:5])} hold it too"
        elif named:
            hint = f"the image can't be removed instead: {named}"
        else:
            hint = f"nothing else names {decision.digest}: add --image to remove the image itself"
        return AccessError(
            f"deleting the tag {where} alone is not possible, and nothing was removed: {error.message}", hint=hint
        )

    def _check_others(self, decision: Decision, others: Sequence[str], manifest: Manifest) -> None:
        """Some registries take the whole image away with one of its tags: then the others are set again."""
        try:
            self.target.resolve(others[0])
        except NotFoundError as error:
            for tag in others:
                self.target.put_manifest(manifest, tag)
            raise RemoteError(
                f"deleting {self.target.location.name}:{decision.tag} removed the whole image with its other tags; "
                f"they were set again: {', '.join(others)}",
                hint="this registry can't remove a tag alone",
            ) from error

    def _collect(self, report: RemovalReport) -> RemovalReport:
        if not isinstance(self.target, _Collector):
            note = (
                "blobs go when the registry collects its garbage: run `registry garbage-collect CONFIG` on its machine"
            )
            return structs.replace(report, notes=[note])
        garbage = self.target.collect_garbage()
        return structs.replace(report, blobs=garbage.count, bytes=garbage.size)


def _deleter(target: Target) -> Deleter:
    if not isinstance(target, Deleter):
        raise AccessError(f"{target.location.name} can't remove anything", hint="remove it where it is kept")
    return cast(Deleter, target)


def _line(decision: Decision) -> RemovalLine:
    return RemovalLine(
        tag=decision.tag,
        digest=decision.digest,
        action=decision.action,
        reason=decision.reason,
        created=decision.created.isoformat() if decision.created else None,
    )


def _done(decision: Decision, outcome: dict[tuple[str, str], bool | CiRegistryError]) -> RemovalLine:
    line = _line(decision)
    if decision.action == "keep":
        return line
    result = outcome[decision.action, decision.tag if decision.action == "tag" else decision.digest]
    if isinstance(result, CiRegistryError):
        return structs.replace(line, error=error_report(result))
    return structs.replace(line, done=True)


def _failure(report: RemovalReport, errors: Sequence[CiRegistryError]) -> CiRegistryError | None:
    if not errors:
        return None
    done = sum(1 for line in report.lines if line.done)
    if not done:
        return min(errors, key=lambda error: error.exit_code)
    return PartialError(
        f"{done} tags of {report.repository} were removed and {len(errors)} removals failed: {errors[0].message}",
        hint="see the table for each of them",
    )


# -- planning --------------------------------------------------------------------------------------------------------


def plan_delete(places: Places, place: Place, *, image: bool = False) -> Removal:
    """Plan to delete one tag, and with `image` what it holds. Raises `RefusedError` for what must not go."""
    if not place.tag or place.digest:
        raise UsageError(f"{place} names no tag", hint="write TARGET:REPOSITORY:TAG")
    target, rules, workers = _open(places, place)
    if rules.is_protected(place.tag):
        raise RefusedError(
            f"deleting {place} was refused: the tag is protected (protected_tags of target '{place.where}')",
            hint="take it out of protected_tags first",
        )
    digest = target.resolve(place.tag).digest
    shelf = _shelf(workers, target, rules)
    named = named_elsewhere(shelf, digest, {place.tag})
    if image and named:
        raise ConflictError(
            f"deleting the image {digest} from {target.location.name} was refused: {named}",
            hint="leave out --image to delete the tag alone",
        )
    others = sorted(fact.tag for fact in shelf.tags if fact.digest == digest and fact.tag != place.tag)
    also = f"also tagged {', '.join(others)}" if others else named or "nothing else names the image"
    decision = Decision(place.tag, digest, "image" if image else "tag", also)
    return Removal(target, [decision], shelf, workers)


def plan_prune(
    places: Places, place: Place, *, keep: int, match: str, protect: Sequence[str] = (), most: int = 100
) -> Removal:
    """Plan to remove all but the `keep` newest of the tags that `match`, a regular expression for the whole tag."""
    if place.tag or place.digest:
        raise UsageError(f"{place} names an image, and prune is about a repository", hint="leave the tag out")
    matching((), regex=match)  # a pattern that is none is said before anything is asked for
    target, rules, workers = _open(places, place)
    rules = TagRules(rules.immutable, (*rules.protected, *protect))
    names = tags_of(target)
    shelf = _shelf(workers, target, rules, with_age=True)
    return Removal(target, prune(shelf, matching(names, regex=match), keep, most), shelf, workers)


def _open(places: Places, place: Place) -> tuple[Target, TagRules, Workers]:
    target = places.repository(place, writing=True)
    _deleter(target)
    rules = TagRules()
    if place.transport in ("target", "docker"):
        settings = places.open_target(place).settings
        rules = TagRules.of(settings.immutable_tags, settings.protected_tags)
    return target, rules, Workers(places.limiter, places.cancel)


def _shelf(workers: Workers, target: Target, rules: TagRules, *, with_age: bool = False) -> Shelf:
    """Everything in the repository: its tags, what is in their indexes, their records, and with_age their age."""
    host = target.location.host
    names = tags_of(target)
    roots = workers.all([(host, partial(_root, target, tag)) for tag in names])
    distinct = {root.digest: root for root in roots}
    facts = read_facts(workers, [(target, root) for root in distinct.values()]) if with_age else {}
    listed = workers.all([(host, partial(records_of, target, digest)) for digest in distinct])
    created = {digest: parse_time(fact.created) for digest, fact in facts.items()}
    tags = [
        TagFact(tag, root.digest, created.get(root.digest), frozenset(child.digest for child in root.manifests))
        for tag, root in zip(names, roots, strict=True)
    ]
    records: list[Record] = [record for found in listed for record in found]
    return Shelf(tags, records, rules)


def _root(target: Source, tag: str) -> Manifest:
    return target.manifest(target.resolve(tag))
