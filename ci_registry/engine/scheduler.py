"""One scheduler for a whole run: which task goes next, with how many in flight per host.

A task names the hosts it talks to and takes a slot of each before it starts, all together, so two tasks can't wait
for each other. Big tasks (blobs) go biggest first. A few of them go before the small ones (manifests, checks, mounts),
since images wait for them longest; all others go after those, and leave one slot of each host free, so that small
requests keep moving. Small ones go by urgency, then first come first served. A task that is to wait for its next try
waits here, without a slot.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from ..errors import CiRegistryError, Interrupted
from ..transport.limiter import Limiter
from ..transport.retry import Cancel

__all__ = ["BIG_BYTES", "Scheduler", "Task"]

BIG_BYTES = 1024 * 1024
"""From this size in bytes on, a task counts as big."""

_BIG_FIRST = 4
"""So many big tasks, or half of what a host takes, go before small ones."""
_BIG_NOW, _SMALL, _BIG_LATER = range(3)
"""In this order: the small ones are over soon, and what they find out lets more work begin."""

_MOST_THREADS = 96
_LOOK_SECONDS = 0.5
_END_SECONDS = 3.5
"""How long a stopped run waits for its workers, whose last act is to cancel upload sessions."""


class Task:
    """Something to run once its hosts have slots. `failed` gets what it raised, and decides what that means."""

    __slots__ = ("action", "failed", "hosts", "size")

    def __init__(
        self, action: Callable[[], None], hosts: Iterable[str], failed: Callable[[CiRegistryError], None], size: int = 0
    ) -> None:
        self.action, self.failed, self.size = action, failed, size
        self.hosts = tuple(sorted(set(filter(None, hosts))))

    @property
    def is_big(self) -> bool:
        return self.size >= BIG_BYTES


def _raise(error: CiRegistryError) -> None:
    raise error


class Scheduler:
    """Runs tasks, which may add tasks, until none is left. `limiter_of` gives a host's limiter."""

    def __init__(self, limiter_of: Callable[[str], Limiter], cancel: Cancel) -> None:
        self._limiter_of, self._cancel = functools.cache(limiter_of), cancel
        lock = threading.RLock()
        self._change, self._ended = threading.Condition(lock), threading.Condition(lock)
        self._queues: dict[tuple[tuple[str, ...], bool], list[tuple[int, int, Task]]] = defaultdict(list)
        self._waiting: list[tuple[float, int, int, Task]] = []
        self._reminders: list[tuple[float, int, Callable[[], None]]] = []
        self._in_flight: dict[str, int] = defaultdict(int)
        self._big: dict[str, int] = defaultdict(int)
        self._count = itertools.count()
        self._unfinished = self._idle = self._threads = 0
        self._running = self._is_called = False
        self._crash: BaseException | None = None

    # -- what there is to do -------------------------------------------------------------------------------------

    def add(self, task: Task, urgency: int = 5, after_seconds: float = 0.0) -> None:
        """Queue a task, not before `after_seconds`; among small ones, a lower `urgency` goes first.

        Tasks may call this.
        """
        with self._change:
            self._unfinished += 1
            if after_seconds > 0:
                heapq.heappush(self._waiting, (time.monotonic() + after_seconds, next(self._count), urgency, task))
            else:
                self._push(task, urgency)
            if self._running and not self._is_called and (after_seconds > 0 or self._can_go(task.hosts, task.is_big)):
                self._call_a_thread()

    def remind(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after a while, if the run is not over by then: nobody waits for it."""
        with self._change:
            heapq.heappush(self._reminders, (time.monotonic() + seconds, next(self._count), action))

    def _push(self, task: Task, urgency: int) -> None:
        rank = -task.size if task.is_big else urgency
        heapq.heappush(self._queues[task.hosts, task.is_big], (rank, next(self._count), task))

    def _wake_sleepers(self) -> None:
        """Queue what has waited long enough."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, urgency, task = heapq.heappop(self._waiting)
            self._push(task, urgency)
        while self._reminders and self._reminders[0][0] <= now:
            self._unfinished += 1
            self._push(Task(heapq.heappop(self._reminders)[2], (), _raise), 0)

    def _look_seconds(self) -> float:
        """How long an idle worker may sleep before something that waits is due."""
        due = min((heap[0][0] for heap in (self._waiting, self._reminders) if heap), default=float("inf"))
        return min(_LOOK_SECONDS, max(0.001, due - time.monotonic()))

    # -- who does it ---------------------------------------------------------------------------------------------

    def _call_a_thread(self) -> None:
        """Have one more thread look for a task; it calls the next one itself, if there is more to do."""
        if self._is_called:
            return
        if self._idle:
            self._change.notify()
            self._is_called = True
        elif self._threads < _MOST_THREADS:
            self._start_thread()
            self._is_called = True

    def _start_thread(self) -> None:
        threading.Thread(target=self._work, name=f"copy-{self._threads + 1}", daemon=True).start()
        self._threads += 1

    @property
    def _is_over(self) -> bool:
        return not self._unfinished or bool(self._cancel) or self._crash is not None

    def run(self) -> None:
        """Wait until every task is done. Raises `Interrupted` when the run was cancelled, and bugs as they are."""
        with self._change:
            self._running = True
            self._call_a_thread()
            while not self._is_over:
                self._ended.wait(self._look_seconds())
                if not self._idle and self._best() is not None:
                    self._call_a_thread()  # all are busy while something came due
            self._running = False
            self._change.notify_all()
            self._let_workers_end()
        if self._crash is not None:
            raise self._crash
        self._cancel.check()

    def _let_workers_end(self) -> None:
        end = time.monotonic() + _END_SECONDS
        while self._threads and (left := end - time.monotonic()) > 0:
            self._ended.wait(left)

    def _work(self) -> None:
        task = None
        while True:
            with self._change:
                if task is not None:
                    self._give_back(task)
                task = self._next()
                if task is None:
                    self._threads -= 1
                    self._ended.notify()
                    return
                if not self._is_called and self._best() is not None:
                    self._call_a_thread()
            self._run_one(task)

    def _next(self) -> Task | None:
        """Wait for a task that can go; None when all is over."""
        self._is_called = False
        while (task := self._take()) is None:
            if self._is_over:
                return None
            self._idle += 1
            self._change.wait(self._look_seconds())
            self._idle -= 1
            self._is_called = False
        return task

    def _take(self) -> Task | None:
        """The most urgent task whose hosts all have a free slot; takes the slots."""
        queue = self._best()
        if queue is None:
            return None
        task = heapq.heappop(queue)[2]
        for host in task.hosts:
            self._in_flight[host] += 1
            self._big[host] += task.is_big
        return task

    def _best(self) -> list[tuple[int, int, Task]] | None:
        """The queue whose head goes next, None when nothing can go."""
        if self._cancel or self._crash is not None:
            return None
        if self._waiting or self._reminders:
            self._wake_sleepers()
        best: list[tuple[int, int, Task]] | None = None
        best_rank: tuple[int, int, int] | None = None
        for (hosts, is_big), queue in self._queues.items():
            if not queue:
                continue
            if self._can_go(hosts, is_big):
                rank = (self._group(hosts) if is_big else _SMALL, queue[0][0], queue[0][1])
                if best_rank is None or rank < best_rank:
                    best, best_rank = queue, rank
        return best

    def _group(self, hosts: tuple[str, ...]) -> int:
        early = all(self._big[host] < min(_BIG_FIRST, self._limiter_of(host).limit // 2) for host in hosts)
        return _BIG_NOW if early else _BIG_LATER

    def _can_go(self, hosts: tuple[str, ...], is_big: bool) -> bool:
        """Whether all the hosts have a free slot; one more for what is big and may wait."""
        spare = is_big and self._group(hosts) == _BIG_LATER
        for host in hosts:
            limit = self._limiter_of(host).limit
            if self._in_flight[host] >= (max(1, limit - 1) if spare else limit):
                return False
        return True

    def _run_one(self, task: Task) -> None:
        try:
            task.action()
        except Interrupted as stop:
            self._cancel.set(stop.exit_code)
        except CiRegistryError as error:
            self._report(task, error)
        except BaseException as error:  # noqa: BLE001 - a bug in a worker has to reach the main thread
            self._stop_with(error)

    def _give_back(self, task: Task) -> None:
        self._unfinished -= 1
        for host in task.hosts:
            self._in_flight[host] -= 1
            self._big[host] -= task.is_big
        self._wake()

    def _report(self, task: Task, error: CiRegistryError) -> None:
        try:
            task.failed(error)
        except BaseException as bug:  # noqa: BLE001 - as above
            self._stop_with(bug)

    def _stop_with(self, bug: BaseException) -> None:
        """End the run with the first bug; the others stop, and clean up, as if it had been cancelled."""
        with self._change:
            self._crash = self._crash or bug
        self._cancel.set()

    def _wake(self) -> None:
        # This thread takes the next task itself, and calls another if there is more that can go.
        if self._is_over:
            self._change.notify_all()
            self._ended.notify()
