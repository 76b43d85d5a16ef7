"""The memory that blobs travel through: `engine.buffers`."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from ci_registry.engine.buffers import BUFFER_BYTES, Buffers
from ci_registry.errors import Interrupted
from ci_registry.transport.retry import Cancel


@pytest.mark.parametrize("wanted, size", [(0, 1), (1, 1), (1000, 1000), (1 << 20, 1 << 20), (1 << 40, 1 << 20)])
def test_a_buffer_is_as_large_as_needed_and_an_eighth_of_the_budget_at_most(wanted: int, size: int) -> None:
    with Buffers(8 << 20).borrow(wanted, Cancel()) as buffer:
        assert len(buffer) == size


def test_the_more_are_out_the_smaller_they_get_down_to_a_least() -> None:
    buffers = Buffers(8 << 20)
    with ExitStack() as stack:
        sizes = [len(stack.enter_context(buffers.borrow(1 << 30, Cancel()))) for _ in range(16)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == BUFFER_BYTES
    with buffers.borrow(1 << 30, Cancel()) as buffer:
        assert len(buffer) == sizes[0]


def test_never_more_than_the_budget_is_out() -> None:
    buffers, cancel = Buffers(3 * BUFFER_BYTES), Cancel()
    lock, pause = threading.Lock(), threading.Event()
    out = most = 0

    def work(size: int) -> None:
        nonlocal out, most
        for _ in range(5):
            with buffers.borrow(size, cancel) as buffer:
                with lock:
                    out += len(buffer)
                    most = max(most, out)
                pause.wait(0.002)
                with lock:
                    out -= len(buffer)

    threads = [threading.Thread(target=work, args=(size,)) for size in (BUFFER_BYTES, 1000, 1 << 30, 77) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert out == 0
    assert 2 * BUFFER_BYTES < most <= 3 * BUFFER_BYTES


def test_a_buffer_comes_back_after_an_error() -> None:
    buffers, cancel = Buffers(BUFFER_BYTES), Cancel()
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), buffers.borrow(BUFFER_BYTES, cancel):
            raise ValueError("x")
    with buffers.borrow(BUFFER_BYTES, cancel):
        pass


def test_waiting_for_one_ends_when_the_run_is_stopped() -> None:
    buffers, cancel = Buffers(BUFFER_BYTES), Cancel()
    cancel.set()
    with buffers.borrow(BUFFER_BYTES, cancel), pytest.raises(Interrupted), buffers.borrow(1, cancel):
        pass
