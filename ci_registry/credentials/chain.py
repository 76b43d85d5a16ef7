"""The credential chain: providers asked in order until one answers; nobody answering is anonymous.

A provider is asked only when those before it had nothing. One that has an answer ends the search: a
credential that the registry refuses later is an error which names `Credential.source`, never a reason to try
the next. A source that is there but broken raises, and that ends the search as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from ..errors import CiRegistryError, ReferenceSyntaxError
from ..model.reference import normal_host
from ..redaction import redact, remember_secret, shown

__all__ = [
    "ANONYMOUS",
    "Answer",
    "Chain",
    "Credential",
    "Lookup",
    "NoAnswer",
    "Outcome",
    "Provider",
    "Skipped",
    "Unavailable",
    "registry_key",
]

Outcome = Literal["won", "lost", "not asked", "no answer", "unavailable", "skipped", "error"]
Remember = Literal["host", "repository", "never"]


class Credential(Struct, frozen=True, eq=False):
    """What a registry may be shown, and where it came from.

    `identity_token` is an OAuth2 refresh token for the registry's token service, `registry_token` a bearer token
    to send as it is. `source` is a phrase for messages, such as "environment variable CI_REGISTRY_DEV_PASSWORD";
    it takes no part in comparisons. Its secrets are masked in all output from the moment it exists.
    """

    username: str
    password: str
    identity_token: str = ""
    registry_token: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for secret in (self.password, self.identity_token, self.registry_token):
            remember_secret(secret)
        if len(self.password) > 3:
            remember_secret(f"{self.username}:{self.password}")

    def __repr__(self) -> str:
        return shown(self, "username", "source")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self._shown_to_registries == other._shown_to_registries

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct has one of its own, which does not ask __eq__

    def __hash__(self) -> int:
        return hash(self._shown_to_registries)

    @property
    def _shown_to_registries(self) -> tuple[str, ...]:
        return self.username, self.password, self.identity_token, self.registry_token

    @property
    def is_anonymous(self) -> bool:
        return not (self.username or self.password or self.identity_token or self.registry_token)


ANONYMOUS = Credential("", "", source="nobody has one")


class Lookup(Struct, frozen=True):
    """Whom a credential is for. `host` is `host[:port]`, `docker.io` for Docker Hub; a URL is cut down to that."""

    host: str
    repository: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "host", registry_key(self.host))


def registry_key(text: str) -> str:
    """`host[:port]` of a registry as people and configuration files write it.

    Scheme, path and the scheme's own port go, case is folded, and Docker Hub's aliases become `docker.io`.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    host = rest.partition("/")[0].lower()
    host = host.removesuffix(":80" if separator and scheme.lower() == "http" else ":443")
    try:
        return normal_host(host)
    except ReferenceSyntaxError:
        return host


class NoAnswer(Exception):  # noqa: N818 - a provider that has nothing is the normal case, not an error
    """Raised by a provider that has nothing for a lookup; `reason` says why, in words and without secrets."""

    outcome: Outcome = "no answer"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(NoAnswer):
    """The provider's source can't be asked on this machine: no backend, locked, too slow, not installed."""

    outcome: Outcome = "unavailable"


class Skipped(NoAnswer):
    """The provider's source was left out on purpose."""

    outcome: Outcome = "skipped"


class Provider(Protocol):
    """One link of the chain.

    It may have an attribute `remember`: "host" (the default) when its answer depends on host and target only,
    "repository" when on the repository as well, "never" when it keeps and renews its answers itself.
    """

    @property
    def name(self) -> str: ...

    def find(self, request: Lookup) -> Credential | None:
        """The credential, or None; `NoAnswer` and its subclasses say why there is none.

        Raises ConfigError, InputFileError or AccessError where its source is there but broken.
        """
        ...


@runtime_checkable
class _Parted(Protocol):
    """Providers that may have different credentials for parts of a host."""

    def part(self, request: Lookup) -> str: ...


class Answer(Struct, frozen=True):
    """What one link of the chain had to say, for `credentials explain`. Never holds a secret."""

    provider: str
    outcome: Outcome
    detail: str


_Result = Credential | NoAnswer | CiRegistryError


class _Cell:
    """The remembered result of one provider for one lookup; whoever comes second waits for the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: _Result | None = None

    def get(self, ask: Callable[[], _Result]) -> _Result:
        with self._lock:
            if self._result is None:
                self._result = ask()
            return self._result


class Chain:
    """Asks its providers in order and remembers their answers in memory. Safe to use from several threads."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self.providers = tuple(providers)
        self._lock = threading.Lock()
        self._cells: dict[tuple[int, Lookup], _Cell] = {}

    def find(self, lookup: Lookup) -> Credential:
        """The first credential that a provider has, else an anonymous one whose `source` says who could not be asked.

        Raises ConfigError, InputFileError or AccessError where a source is there but broken.
        """
        reasons = []
        for position in range(len(self.providers)):
            result = self._ask(position, lookup)
            if isinstance(result, Credential):
                return result
            if isinstance(result, CiRegistryError):
                import copy

                # a copy: the caller may mark it with its side of a copy, and other threads get the same result
                raise copy.copy(result) from result.__cause__
            if isinstance(result, Unavailable):
                reasons.append(f"{self.providers[position].name}: {result.reason}")
        return _anonymous(reasons)

    def explain(self, lookup: Lookup, *, ask_all: bool = True) -> list[Answer]:
        """What each link says, in order, the anonymous end included. Raises nothing that `find` would raise.

        With `ask_all` false, links behind the winner are "not asked", as in a real run.
        """
        answers: list[Answer] = []
        decided = False
        for position, provider in enumerate(self.providers):
            if decided and not ask_all:
                answers.append(Answer(provider.name, "not asked", "an earlier link decided"))
                continue
            outcome, detail = _describe(self._ask(position, lookup), decided)
            answers.append(Answer(provider.name, outcome, redact(detail)))
            decided = decided or outcome in ("won", "error")
        end: Outcome = "not asked" if decided else "won"
        answers.append(Answer("anonymous", end, "an earlier link decided" if decided else "nobody has a credential"))
        return answers

    def part(self, lookup: Lookup) -> str:
        """The beginning of the repository's name that has a credential of its own; "" where it is the whole host's."""
        parts = (provider.part(lookup) for provider in self.providers if isinstance(provider, _Parted))
        return max(parts, key=len, default="")

    def forget(self, lookup: Lookup) -> None:
        """Ask the providers again at the next `find` for this host, whatever the repository."""
        with self._lock:
            self._cells = {key: cell for key, cell in self._cells.items() if key[1].host != lookup.host}

    def _ask(self, position: int, lookup: Lookup) -> _Result:
        provider = self.providers[position]
        remember: Remember = getattr(provider, "remember", "host")
        if remember == "never":
            return _ask(provider, lookup)
        key = lookup if remember == "repository" else replace(lookup, repository=None)
        with self._lock:
            cell = self._cells.setdefault((position, key), _Cell())
        return cell.get(lambda: _ask(provider, key))


def _ask(provider: Provider, lookup: Lookup) -> _Result:
    try:
        return provider.find(lookup) or NoAnswer(f"nothing for {lookup.host}")
    except (NoAnswer, CiRegistryError) as result:
        return result


def _anonymous(reasons: list[str]) -> Credential:
    return replace(ANONYMOUS, source=redact("; ".join(reasons))) if reasons else ANONYMOUS


def _describe(result: _Result, decided: bool) -> tuple[Outcome, str]:
    if isinstance(result, Credential):
        who = f"user {result.username}" if result.username else _kind(result)
        return "lost" if decided else "won", f"{who}, from {result.source}"
    if isinstance(result, NoAnswer):
        return result.outcome, result.reason
    return "error", result.sentence()


def _kind(credential: Credential) -> str:
    return "an identity token" if credential.identity_token else "a bearer token"
