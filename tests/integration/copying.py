"""Copies between servers, as the program makes them, with its own clients and one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ci_registry.engine.copy import CopyRequest, Destination, ImageCopy, Run
from ci_registry.targets.base import Source, Target
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.limiter import Limiter
from ci_registry.transport.origin import Origin
from ci_registry.transport.retry import Cancel

__all__ = ["Copier"]


class Copier:
    """One run: repositories opened by address, images added, and carried out by `run`."""

    def __init__(self, retry_seconds: float = 5.0, **how: Any) -> None:
        self.cancel = Cancel()
        self.limiters: dict[str, Limiter] = {}
        self.retry_seconds = retry_seconds
        self._clients: dict[str, Client] = {}
        self.run_ = Run(self._limiter, self.cancel, retry_seconds=retry_seconds, **how)

    def _limiter(self, host: str) -> Limiter:
        return self.limiters.setdefault(host, Limiter())

    @classmethod
    @contextmanager
    def opened(cls, **how: Any) -> Iterator[Copier]:
        copier = cls(**how)
        try:
            yield copier
        finally:
            copier.close()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def client(self, url: str) -> Client:
        if url not in self._clients:
            self._clients[url] = Client(
                Origin.parse(url), limiter=self._limiter(url), cancel=self.cancel, retry_seconds=self.retry_seconds
            )
        return self._clients[url]

    def source(self, url: str, repository: str = "app") -> RegistryRepository:
        return RegistryRepository(self.client(url), repository)

    def target(self, url: str, repository: str = "app", **how: Any) -> RegistryRepository:
        return RegistryRepository(self.client(url), repository, **how).for_writing()

    def add(self, source: Source, *targets: Target, tags: Sequence[str] = ("1",), **how: Any) -> ImageCopy:
        reference = how.pop("reference", "1")
        return self.run_.add(
            CopyRequest(source, reference, [Destination(each, tuple(tags)) for each in targets], **how)
        )

    def run(self) -> None:
        self.run_.run()

    def copy(self, source: Source, *targets: Target, **how: Any) -> ImageCopy:
        copy = self.add(source, *targets, **how)
        self.run()
        return copy
