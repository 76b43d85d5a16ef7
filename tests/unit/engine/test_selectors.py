"""Patterns and ranges of versions."""

from __future__ import annotations

import pytest

from ci_registry.engine.selectors import is_referrer_tag, matching, newest_versions
from ci_registry.errors import UsageError

TAGS = ["v1.0.0", "1.2.3", "1.10.0", "2.0.0-rc.1", "2.0.0", "v3.1.4", "0.2.5", "latest", "1.2", "v1", "1.2.3.4"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("*", ["v3.1.4", "2.0.0", "1.10.0", "1.2.3", "v1.0.0", "0.2.5"]),
        (">=1.0", ["v3.1.4", "2.0.0", "1.10.0", "1.2.3", "v1.0.0"]),
        (">=1.0 <2", ["1.10.0", "1.2.3", "v1.0.0"]),
        (">=1.0,<2", ["1.10.0", "1.2.3", "v1.0.0"]),
        (">1", ["v3.1.4", "2.0.0"]),
        (">1.2.3 <=2", ["2.0.0", "1.10.0"]),
        ("<=1", ["1.10.0", "1.2.3", "v1.0.0", "0.2.5"]),
        ("^1.2", ["1.10.0", "1.2.3"]),
        ("^0.2.3", ["0.2.5"]),
        ("^0", ["0.2.5"]),
        ("~1.2", ["1.2.3"]),
        ("~1", ["1.10.0", "1.2.3", "v1.0.0"]),
        ("1.x", ["1.10.0", "1.2.3", "v1.0.0"]),
        ("1.2.*", ["1.2.3"]),
        ("=2", ["2.0.0"]),
        ("==1.2.3", ["1.2.3"]),
        ("!=2 >=1.10", ["v3.1.4", "1.10.0"]),
        (">=2.0.0-rc.1 <3", ["2.0.0", "2.0.0-rc.1"]),
        ("v3.1.4", ["v3.1.4"]),
        ("^9", []),
    ],
)
def test_ranges_pick_versions_highest_first(text: str, expected: list[str]) -> None:
    assert newest_versions(TAGS, text) == expected


def test_only_so_many_of_the_highest() -> None:
    assert newest_versions(TAGS, "*", 2) == ["v3.1.4", "2.0.0"]


@pytest.mark.parametrize("text", ["", " ", ">>1", "one", ">=1.0 <", "1.0 - 2.0", "1..2", ">=1.0 || <2"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="is not a range of versions"):
        newest_versions(TAGS, text)


def test_patterns_match_whole_names() -> None:
    names = ["team/app", "team/app2", "other/team/app"]
    assert matching(names, glob="team/*") == ["team/app", "team/app2"]
    assert matching(names, regex="team/app") == ["team/app"]
    assert matching(names) == names
    with pytest.raises(UsageError, match=r"'\[' is not a regular expression"):
        matching(names, regex="[")


@pytest.mark.parametrize(
    "tag, expected",
    [("sha256-" + "a" * 64, True), ("sha256-" + "a" * 64 + ".sig", True), ("sha256-abc", False), ("1.0", False)],
)
def test_tags_that_only_list_referrers(tag: str, expected: bool) -> None:
    assert is_referrer_tag(tag) is expected
