"""Turns: in order, so many at once, and none is forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from ci_registry.engine.turns import Turns


def test_in_order_and_so_many_at_once() -> None:
    turns, begun = Turns(2), list[int]()
    for number in range(4):
        turns.add(lambda number=number: begun.append(number))  # type: ignore[misc]
    assert begun == [0, 1]
    turns.over()
    assert begun == [0, 1, 2]
    turns.over()
    turns.over()
    assert begun == [0, 1, 2, 3]


def test_what_is_over_at_once_makes_room() -> None:
    turns, begun = Turns(1), list[int]()
    for number in range(3):

        def begin(number: int = number) -> None:
            begun.append(number)
            turns.over()

        turns.add(begin)
    assert begun == [0, 1, 2]


def test_from_many_threads() -> None:
    turns, lock, under_way, most, done = Turns(3), threading.Lock(), 0, 0, 0
    with ThreadPoolExecutor(8) as pool:

        def work() -> None:
            nonlocal under_way, done
            with lock:
                under_way -= 1
                done += 1
            turns.over()

        def begin() -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            pool.submit(work)

        for _ in range(200):
            turns.add(begin)
        while done < 200:
            pass
    assert most <= 3
