"""Many requests at once outside a copy: looking at hundreds of tags, or moving them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from ..errors import CiRegistryError
from ..transport.limiter import Limiter
from ..transport.retry import Cancel
from .scheduler import Scheduler, Task

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """Runs jobs side by side, as many per host as the run's scheduler allows. A job is a host and a function."""

    def __init__(self, limiter_of: Callable[[str], Limiter], cancel: Cancel) -> None:
        self._limiter_of, self.cancel = limiter_of, cancel

    def each(self, jobs: Sequence[tuple[str, Callable[[], T]]]) -> list[T | CiRegistryError]:
        """What each job gave or failed with, in their order. Raises `Interrupted` when the run is cancelled."""
        results: dict[int, T | CiRegistryError] = {}
        scheduler = Scheduler(self._limiter_of, self.cancel)

        def run(index: int, job: Callable[[], T]) -> None:
            results[index] = job()

        for index, (host, job) in enumerate(jobs):
            scheduler.add(Task(partial(run, index, job), [host], partial(results.__setitem__, index)))
        scheduler.run()
        return [results[index] for index in range(len(jobs))]

    def all(self, jobs: Sequence[tuple[str, Callable[[], T]]]) -> list[T]:
        """As `each`, but raises the failure with the smallest exit code, if any failed."""
        good: list[T] = []
        failures: list[CiRegistryError] = []
        for result in self.each(jobs):
            if isinstance(result, CiRegistryError):
                failures.append(result)
            else:
                good.append(result)
        if failures:
            raise min(failures, key=lambda error: error.exit_code)
        return good
