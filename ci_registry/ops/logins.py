"""Who we are to each target: the credential chain put together, logins checked and kept, and what each link says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..credentials import standard_providers
from ..credentials.chain import Answer, Chain, Credential, Lookup, Provider
from ..credentials.environment import Explicit
from ..errors import UsageError
from ..kinds.base import OpenTarget
from ..model.reference import normal_host

if TYPE_CHECKING:
    from ..credentials.stored import Store
    from .places import Places

__all__ = ["chain_for", "explain", "find_target", "log_in", "log_out", "open_store"]


@runtime_checkable
class _Credentialed(Protocol):
    """Kinds that bring credential providers of their own, asked before docker's configuration."""

    def providers(self) -> Iterable[Provider]: ...


@runtime_checkable
class _Checkable(Protocol):
    """Kinds that can be asked whether a credential is right."""

    def check_login(self) -> bool: ...


@dataclass(frozen=True)
class _Given:
    """The credential that a user is logging in with, standing for the whole chain."""

    credential: Credential
    name: str = "this login"

    def find(self, request: Lookup) -> Credential:  # noqa: ARG002 - the same for everybody
        return self.credential


def chain_for(target: OpenTarget, places: Places) -> Chain:
    """The links that are asked for this target, in order."""
    own = list(target.providers()) if isinstance(target, _Credentialed) else []
    settings = target.settings
    file = Path(settings.password_file) if settings.password_file else None
    explicit = Explicit(settings.username, settings.password, file)
    return Chain(standard_providers(places.environ, explicit=lambda _name: explicit, before_docker_config=own))


def find_target(places: Places, text: str) -> OpenTarget:
    """A target by name, or the registry at a host; raises `UsageError` for a place that has no logins."""
    name = text.removesuffix(":")
    if name in places.config.targets:
        target = places.target(name)
    elif "." in text or ":" in text or text == "localhost":
        target = places.registry(normal_host(text.partition("://")[2].rstrip("/") or text))
    else:
        target = places.target(name)  # raises with the nearest names
    if not target.credential_host:
        raise UsageError(f"target '{target.name}' is a folder: there is nobody to log in to")
    return target


def open_store(places: Places, docker_config: bool) -> Store:
    """Where credentials are kept: the keyring, or docker's configuration file."""
    if docker_config:
        from ..credentials.stored import DockerConfigStore

        return DockerConfigStore(places.environ)
    from ..adapters.keychain import Keychain
    from ..credentials.stored import KeyringStore

    return KeyringStore(Keychain())


def log_in(places: Places, target: OpenTarget, credential: Credential, store: Store) -> tuple[str, bool]:
    """Have the registry accept the credential, then keep it. Answers where, and whether the registry asked for it.

    Raises `AccessError` when it refuses; nothing is kept then.
    """
    places.use_chain(target, Chain([_Given(credential)]))
    asked = target.check_login() if isinstance(target, _Checkable) else False
    return store.save(target.credential_host, credential), asked


def log_out(target: OpenTarget, store: Store, username: str | None = None) -> bool:
    """Forget the kept credential; False when there was none."""
    return store.erase(target.credential_host, username)


def explain(places: Places, target: OpenTarget, repository: str | None = None) -> list[Answer]:
    """What each link of the chain found, and why it won or lost; never a secret."""
    lookup = Lookup(target.credential_host, repository, target.settings.name or None)
    return places.chain(target).explain(lookup)
