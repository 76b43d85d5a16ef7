"""Pull limits as registries state them."""

from __future__ import annotations

from email.message import Message

import pytest

from ci_registry.kinds.quota import Quota, read_quota


def headers(**values: str) -> Message:
    message = Message()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    "limit, remaining, expected",
    [
        ("100;w=21600", "87;w=21600", Quota(100, 87, 21600)),
        ("200; w=3600", "0;w=3600", Quota(200, 0, 3600)),
        ("40", "39", Quota(40, 39, 0)),
        ("", "39", None),
        ("unlimited", "39", None),
    ],
)
def test_the_headers(limit: str, remaining: str, expected: Quota | None) -> None:
    assert read_quota(headers(ratelimit_limit=limit, ratelimit_remaining=remaining)) == expected


def test_none_where_nothing_is_said() -> None:
    assert read_quota(Message()) is None


def test_in_words() -> None:
    assert str(Quota(10, 3, 3600, "a user")) == "3 of 10 pulls in 1 hour are left, counted for a user"
    assert str(Quota(10, 3, 60)) == "3 of 10 pulls in 60 seconds are left"
    assert Quota(10, 3, 60).shortfall(5) == 2


@pytest.mark.parametrize(
    "remaining, limit, expected",
    [(96, 100, 96), (98, 100, 97), (97, 100, 97), (100, 200, 100), (197, 200, 197)],
)
def test_answers_come_in_any_order(remaining: int, limit: int, expected: int) -> None:
    known = Quota(100, 97, 21600)
    assert known.or_later(Quota(limit, remaining, 21600)).remaining == expected
    assert known.or_later(None) == known
