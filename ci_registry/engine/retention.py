"""What may be removed from a repository, and what not: decisions over facts that were read before. Pure.

A tag goes only if it fits the pattern, is not protected, and is not among the newest of those that fit. An image goes
with its last tag, unless something that stays still names it: another tag, an index, or the record of a tag that stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field

from .record import Record
from .tag_rules import TagRules

__all__ = ["Decision", "Shelf", "TagFact", "named_elsewhere", "prune"]


class TagFact(Struct, frozen=True):
    """A tag, what it holds, when that was created, and which manifests are inside of it."""

    tag: str
    digest: str
    created: datetime | None = None
    inside: frozenset[str] = frozenset()


class Shelf(Struct, frozen=True):
    """Everything that counts of one repository."""

    tags: Sequence[TagFact]
    records: Sequence[Record] = ()
    rules: TagRules = field(default_factory=TagRules)


class Decision(Struct, frozen=True):
    """What happens to a tag. `action`: keep, tag (the tag alone goes), image (the image goes, with all its tags)."""

    tag: str
    digest: str
    action: str
    reason: str
    created: datetime | None = None


def prune(shelf: Shelf, matching: Sequence[str], keep: int, most: int) -> list[Decision]:
    """Decide about every tag: of those `matching`, all but the `keep` newest go, the oldest first, `most` at a time."""
    kept: dict[str, str] = {}
    candidates: list[TagFact] = []
    for fact in shelf.tags:
        why = _why_kept(fact, shelf.rules, matching)
        if why:
            kept[fact.tag] = why
        else:
            candidates.append(fact)
    candidates.sort(key=lambda fact: (fact.created, fact.tag), reverse=True)
    kept.update((fact.tag, f"among the newest {keep}") for fact in candidates[:keep])
    going = candidates[keep:][::-1]
    kept.update((fact.tag, f"the limit of {most} in one run is reached") for fact in going[most:])
    gone = {fact.tag for fact in going[:most]}
    return [_decision(shelf, fact, gone, kept) for fact in sorted(shelf.tags, key=lambda fact: fact.tag)]


def _why_kept(fact: TagFact, rules: TagRules, matching: Sequence[str]) -> str:
    if fact.tag not in matching:
        return "does not match"
    if rules.is_protected(fact.tag):
        return "protected"
    return "" if fact.created else "does not say when it was created"


def _decision(shelf: Shelf, fact: TagFact, gone: set[str], kept: Mapping[str, str]) -> Decision:
    if fact.tag not in gone:
        return Decision(fact.tag, fact.digest, "keep", kept[fact.tag], fact.created)
    named = named_elsewhere(shelf, fact.digest, gone)
    if named:
        return Decision(fact.tag, fact.digest, "tag", f"the image stays: {named}", fact.created)
    return Decision(fact.tag, fact.digest, "image", "nothing else names the image", fact.created)


def named_elsewhere(shelf: Shelf, digest: str, gone: set[str]) -> str:
    """What still names a digest when the tags `gone` are no more; "" for nothing."""
    for fact in shelf.tags:
        if fact.tag in gone:
            continue
        if fact.digest == digest:
            return f"the tag {fact.tag} holds it"
        if digest in fact.inside:
            return f"the index {fact.tag} contains it"
    for record in shelf.records:
        if record.tag not in gone and digest in (record.subject, record.previous):
            return f"a record of the tag {record.tag} names it"
    return ""
