"""How many requests, and how often: `transport.limiter`."""

from __future__ import annotations

import pytest

from ci_registry.transport.limiter import START, Limiter

from .test_retry import Clock


def test_it_starts_small_and_doubles_each_clean_round_up_to_the_most() -> None:
    limiter = Limiter(30)
    assert limiter.limit == START
    for _ in range(START):
        limiter.answered(0.04)
    assert limiter.limit == 2 * START
    for _ in range(100):
        limiter.answered(0.04)
    assert limiter.limit == 30


def test_it_never_starts_above_the_most() -> None:
    assert Limiter(3).limit == 3
    assert Limiter(0).limit == 1


def test_a_complaint_halves_it_once_a_second_and_growth_is_slow_from_then_on() -> None:
    clock = Clock()
    limiter = Limiter(64, clock=clock)
    limiter.throttled()
    limiter.throttled()
    assert limiter.limit == START // 2
    clock.now += 1
    limiter.throttled()
    assert limiter.limit == START // 4
    for _ in range(START // 4):
        limiter.answered(0.04)
    assert limiter.limit == START // 4 + 1
    for _ in range(10):
        clock.now += 1
        limiter.throttled()
    assert limiter.limit == 1


def test_answers_that_get_slower_end_the_growth() -> None:
    limiter = Limiter(64)
    limiter.answered(0.01)
    before = limiter.limit
    for _ in range(200):
        limiter.answered(0.5)
    assert limiter.limit == before


@pytest.mark.parametrize("seconds, most", [(0.001, START), (0.003, START), (0.005, 20), (0.04, 64)])
def test_no_more_than_bring_what_one_process_can_handle(seconds: float, most: int) -> None:
    limiter = Limiter(64)
    for _ in range(300):
        limiter.answered(seconds)
    assert limiter.limit == most


def test_a_pause_holds_everybody() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    limiter.throttled(5)
    assert limiter.delay() == 5
    clock.now += 3
    assert limiter.delay() == 2
    clock.now += 3
    assert limiter.delay() == 0


def test_a_rate_gives_each_request_its_place() -> None:
    clock = Clock()
    limiter = Limiter(requests_per_second=4, clock=clock)
    assert [limiter.delay() for _ in range(4)] == [0, 0.25, 0.5, 0.75]
    clock.now += 10
    assert limiter.delay() == 0


def test_slow_requests_of_one_kind_are_no_strain() -> None:
    limiter = Limiter(64)
    for _ in range(START):
        limiter.answered(0.02, "HEAD")
        limiter.answered(0.2, "PUT")
    assert limiter.limit == 3 * START


def test_connections_may_take_the_time_that_making_them_takes() -> None:
    limiter = Limiter(64)
    for _ in range(START):
        limiter.answered(0.04)
    for _ in range(START):
        limiter.answered(0.09, rounds=2)
    assert limiter.limit == 3 * START


def test_growth_goes_on_after_a_moment_of_strain() -> None:
    limiter = Limiter(64)
    limiter.answered(0.02)
    for seconds in (*[0.5] * 20, *[0.02] * 100):
        limiter.answered(seconds)
    assert limiter.limit == 64
