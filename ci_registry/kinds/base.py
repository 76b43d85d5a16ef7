"""What every kind of target offers to the rest, and what a run shares among the targets it opens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from msgspec import Struct, field

from ..credentials.chain import Chain
from ..targets.base import Target
from ..transport.limiter import Limiter
from ..transport.retry import Cancel
from .quota import Quota
from .settings import TargetSettings

__all__ = ["Connections", "Metered", "OpenTarget", "RepositoryNames"]


class Connections(Struct):
    """What the targets of one run share: cancellation, limits per host, credentials, and a way to tell the user.

    `chain_for` gives the credential chain of a target; a kind may put a provider of its own before docker's
    configuration. `notify` shows one line, once each.
    """

    environ: Mapping[str, str]
    cancel: Cancel
    chain_for: Callable[[OpenTarget], Chain]
    notify: Callable[[str], None] = lambda _: None
    limiters: dict[str, Limiter] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def limiter(self, host: str, settings: TargetSettings | None = None) -> Limiter:
        """The one limiter of a host; the first target that talks to it sets its bounds."""
        known = self.limiters.get(host)
        if known is not None:
            return known
        with self._lock:
            known = self.limiters.get(host)
            if known is None:
                most = (settings.max_connections if settings else None) or 64
                known = self.limiters[host] = Limiter(most, settings.requests_per_second if settings else None)
            return known


class RepositoryNames(Protocol):
    """How a kind names repositories."""

    def landing(self, path: str) -> str:
        """The repository in which an image with this source path lands."""
        ...


@runtime_checkable
class Metered(Protocol):
    """Kinds whose registry may limit how much is pulled."""

    def quota(self) -> Quota | None:
        """What is left now; None where there is no limit. May ask the registry."""
        ...

    def forecast(self) -> str:
        """After a dry run: a sentence on what the run itself will use; "" where there is no limit."""
        ...


class OpenTarget(RepositoryNames, Protocol):
    """A configured target, ready for use. Nothing is connected before the first request."""

    @property
    def name(self) -> str:
        """Its name in the configuration, or its address when it is not configured."""
        ...

    @property
    def settings(self) -> TargetSettings: ...

    @property
    def credential_host(self) -> str:
        """The host that credentials are looked up by; "" where there is nobody to log in to."""
        ...

    def repository(self, name: str, *, writing: bool = False) -> Target:
        """One repository. With `writing`, tokens for pushing are asked for from the start."""
        ...

    def repositories(self) -> list[str]:
        """All repositories, sorted; raises where the place can't list them."""
        ...

    def prepare_repository(self, name: str) -> None:
        """Make sure that a repository can be pushed to; does nothing where the first push creates it."""
        ...

    def close(self) -> None: ...
