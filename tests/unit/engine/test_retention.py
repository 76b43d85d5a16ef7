"""What may be removed: never what is protected, young, or named by something that stays."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_registry.engine.record import Record
from ci_registry.engine.retention import Shelf, TagFact, prune
from ci_registry.engine.tag_rules import TagRules
from ci_registry.model.descriptor import Descriptor, Digest

FIRST = datetime(2024, 1, 1, tzinfo=timezone.utc)
RECORD = Descriptor("m", Digest("sha256:" + "f" * 64), 1)

facts = st.builds(
    lambda number, digest, age, inside: TagFact(
        f"t{number}", f"d{digest}", None if age is None else FIRST + timedelta(days=age), frozenset(inside)
    ),
    st.integers(0, 12),
    st.integers(0, 5),
    st.none() | st.integers(0, 9),
    st.sets(st.sampled_from([f"d{number}" for number in range(6)]), max_size=1),
)
records = st.builds(
    lambda tag, subject, previous: Record(RECORD, f"d{subject}", f"t{tag}", "2024", previous=f"d{previous}"),
    st.integers(0, 12),
    st.integers(0, 5),
    st.integers(0, 5),
)


@settings(deadline=None)
@given(
    st.lists(facts, unique_by=lambda fact: fact.tag),
    st.lists(records, max_size=4),
    st.integers(0, 4),
    st.integers(1, 4),
)
def test_the_rules_hold_for_any_repository(tags: list[TagFact], found: list[Record], keep: int, most: int) -> None:
    shelf = Shelf(tags, found, TagRules(protected=("t1*",)))
    matching = [fact.tag for fact in tags if fact.tag != "t0"]
    decisions = {decision.tag: decision for decision in prune(shelf, matching, keep, most)}
    assert decisions.keys() == {fact.tag for fact in tags}
    going = {tag for tag, decision in decisions.items() if decision.action != "keep"}
    staying = decisions.keys() - going
    by_tag = {fact.tag: fact for fact in tags}
    assert len(going) <= most
    assert not {tag for tag in going if tag == "t0" or tag.startswith("t1") or by_tag[tag].created is None}
    candidates = [fact for fact in tags if fact.tag in matching and not fact.tag.startswith("t1") and fact.created]
    assert len([fact for fact in candidates if fact.tag in staying]) >= min(keep, len(candidates))
    named = {by_tag[tag].digest for tag in staying} | {inside for tag in staying for inside in by_tag[tag].inside}
    named |= {digest for each in found if each.tag not in going for digest in (each.subject, each.previous) if digest}
    for tag in going:
        assert (decisions[tag].action == "image") is (by_tag[tag].digest not in named)
