"""Plans and receipts as data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_registry.engine.facts import parse_time
from ci_registry.engine.legs import Shard
from ci_registry.engine.plan import Arrival, Edge, Moves, Plan, SourceImage, dump_plan, plan_digest, read_plan
from ci_registry.errors import InputFileError, UsageError

DIGEST = "sha256:" + "a" * 64


def make_plan(repository: str = "app", tag: str | None = "1", tool: str = "t") -> Plan:
    arrival = Arrival(target="prod", repository=repository, tag=tag, before=None, after=DIGEST, moves=Moves())
    source = SourceImage(target="dev", repository=repository, tag=tag, digest=DIGEST, media_type="m", size=1)
    return Plan(
        tool=tool,
        created="2024-01-01T00:00:00Z",
        valid_until="2024-01-02T00:00:00Z",
        atomic="plan",
        edges=[Edge(source=source, arrivals=[arrival])],
    )


@settings(deadline=None)
@given(st.text(), st.none() | st.text())
def test_a_plan_reads_back_as_it_was_and_has_one_form(tool: str, tag: str | None) -> None:
    plan = make_plan(tag=tag, tool=tool)
    content = dump_plan(plan)
    assert read_plan(content, "p") == plan
    assert dump_plan(read_plan(content, "p")) == content
    assert b": " not in dump_plan(make_plan())
    assert plan_digest(content) == plan_digest(dump_plan(make_plan(tag=tag, tool=tool)))


@pytest.mark.parametrize("key", ["tool", "created", "edges", "unknown"])
def test_what_is_missing_or_unknown_is_named(key: str) -> None:
    document = json.loads(dump_plan(make_plan()))
    if key == "unknown":
        document["unknown"] = 1
    else:
        document[key] = None
    with pytest.raises(InputFileError, match=f"p is not a sound plan.*{key}"):
        read_plan(json.dumps(document).encode(), "p")


@settings(deadline=None)
@given(st.integers(1, 20), st.text(min_size=1))
def test_each_repository_is_in_exactly_one_shard(count: int, repository: str) -> None:
    [arrival] = make_plan(repository).arrivals
    shards = [index for index in range(1, count + 1) if Shard(index, count).has(arrival)]
    assert len(shards) == 1
    [other_tag] = make_plan(repository, "2").arrivals
    assert Shard(shards[0], count).has(other_tag)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/2", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError):
        Shard.parse(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05+00:00"),
        ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456+00:00"),
        ("2024-01-02T03:04:05.5+02:00", "2024-01-02T03:04:05.500000+02:00"),
    ],
)
def test_times_of_images(text: str, expected: str) -> None:
    found = parse_time(text)
    assert found is not None
    assert found.isoformat() == expected


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2024-13-40T00:00:00Z", "2024-01-02"])
def test_what_is_no_time(text: object) -> None:
    assert parse_time(text) is None
