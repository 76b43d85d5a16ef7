"""Who we are to each target: the credential chain put together, logins checked and kept, and what each link says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from ..credentials import standard_providers
from ..credentials.chain import Answer, Chain, Credential, Lookup, Provider, registry_key
from ..credentials.environment import Explicit
from ..errors import CiRegistryError, UsageError
from ..kinds.base import OpenTarget
from ..kinds.settings import TargetSettings
from ..model.reference import Reference, normal_host

if TYPE_CHECKING:
    from ..credentials.stored import Store
    from .places import Places

__all__ = [
    "Kept",
    "chain_for",
    "explain",
    "explicit_of",
    "find_repository",
    "find_target",
    "keep",
    "log_in",
    "log_out",
    "open_store",
]

_API_PATH = re.compile(r"/?(?:v[12]/?)?")  # Docker writes Docker Hub as https://index.docker.io/v1/


@runtime_checkable
class _Credentialed(Protocol):
    """Kinds that bring credential providers of their own, asked before docker's configuration."""

    def providers(self) -> Iterable[Provider]: ...


@runtime_checkable
class _Checkable(Protocol):
    """Kinds that can be asked whether a credential is right."""

    def check_login(self) -> bool: ...


class _Given(Struct, frozen=True):
    """The credential that a user is logging in with, standing for the whole chain."""

    credential: Credential
    name: str = "this login"

    def find(self, request: Lookup) -> Credential:  # noqa: ARG002 - the same for everybody
        return self.credential


class Kept(Struct, frozen=True):
    """What came of a login: where it is kept, whether the registry asked for one, and why it may not be used."""

    where: str
    asked: bool = False
    remarks: tuple[str, ...] = ()


# -- the chain -----------------------------------------------------------------------------------------------------


def chain_for(target: OpenTarget, places: Places) -> Chain:
    """The links that are asked for this target, in order."""
    own = list(target.providers()) if isinstance(target, _Credentialed) else []
    explicit = explicit_of(target.settings)
    return Chain(standard_providers(places.environ, explicit=lambda _name: explicit, before_docker_config=own))


def explicit_of(settings: TargetSettings) -> Explicit:
    """What a target's settings say about its credential."""
    file = Path(settings.password_file) if settings.password_file else None
    return Explicit(settings.username, settings.password, file)


def explain(places: Places, target: OpenTarget, repository: str | None = None) -> list[Answer]:
    """What each link of the chain found, and why it won or lost; never a secret."""
    return places.chain(target).explain(_lookup(target, repository))


def _lookup(target: OpenTarget, repository: str | None = None) -> Lookup:
    return Lookup(target.credential_host, repository, target.settings.name or None)


# -- whom a user means ---------------------------------------------------------------------------------------------


def find_target(places: Places, text: str) -> OpenTarget:
    """A target by name, or the registry at a host; raises `UsageError` for a place that has no logins."""
    name = text.removesuffix(":")
    if name in places.config.targets or not _is_host(text):
        target = places.target(name)  # raises with the nearest names
    else:
        target = places.registry(_host(places, text))
    if not target.credential_host:
        raise UsageError(f"target '{target.name}' is a folder: there is nobody to log in to")
    return target


def find_repository(places: Places, text: str) -> tuple[OpenTarget, str | None]:
    """As `find_target`, where one of its repositories may be named as well."""
    name, _, rest = text.partition(":")
    if name not in places.config.targets or not rest:
        return find_target(places, text), None
    return find_target(places, name), Reference.parse_bare(rest).repository


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def _host(places: Places, text: str) -> str:
    """`host[:port]` of a registry as people write it: with a scheme, or as Docker's configuration has it."""
    name, _, rest = text.partition(":")
    if name in places.config.targets and rest:
        raise UsageError(f"'{text}' names a repository, and logins are for a whole registry", hint=f"write {name}")
    host, slash, path = (text.partition("://")[2] or text).partition("/")
    if "@" in host:  # not quoted: it may hold a password
        raise UsageError("that address has a user name in it", hint="leave that out and give -u USER --password-stdin")
    if not _API_PATH.fullmatch(slash + path):
        raise UsageError(f"'{text}' names more than a registry, which logins are for", hint=f"write {host}")
    host = normal_host(host)
    sharing = places.targets_at(host)
    if len(sharing) > 1:
        raise UsageError(f"{host} is the address of the targets {_and(sharing)}", hint=f"name one: {sharing[0]}")
    return host


def _and(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


# -- login and logout ----------------------------------------------------------------------------------------------


def open_store(places: Places, docker_config: bool) -> Store:
    """Where credentials are kept: the keyring, or docker's configuration file."""
    if docker_config:
        from ..credentials.stored import DockerConfigStore

        return DockerConfigStore(places.environ)
    from ..adapters.keychain import Keychain
    from ..credentials.stored import KeyringStore

    return KeyringStore(Keychain())


def log_in(places: Places, target: OpenTarget, credential: Credential, store: Store) -> Kept:
    """Have the registry accept the credential, then keep it.

    Raises `AccessError` when it refuses; nothing is kept then.
    """
    places.use_chain(target, Chain([_Given(credential)]))
    asked = target.check_login() if isinstance(target, _Checkable) else False
    return replace(keep(places, target, credential, store), asked=asked)


def keep(places: Places, target: OpenTarget, credential: Credential, store: Store) -> Kept:
    """Keep a credential without asking anybody about it."""
    where = store.save(target.credential_host, credential)
    return Kept(where, remarks=tuple(_remarks(places, target, credential)))


def _remarks(places: Places, target: OpenTarget, credential: Credential) -> Iterable[str]:
    """What a later run makes of a credential that was just kept, where that is not what one would expect."""
    try:
        wins = chain_for(target, places).find(_lookup(target))
    except CiRegistryError as error:
        yield f"it is not used, because {error.sentence()}"
        return
    if wins != credential:
        yield f"it is not used: {_why_not(credential, wins, target.settings)}"
    elif sharing := _sharing(places, target):
        names = f"{_and(sorted([*sharing, target.name]))} are"
        yield f"the targets {names} all on {target.credential_host} and use it; `username:` of each keeps them apart"


def _why_not(kept: Credential, wins: Credential, settings: TargetSettings) -> str:
    if settings.username and settings.username != kept.username:
        return f"target '{settings.name}' is for user '{settings.username}'"
    if wins.is_anonymous:
        return wins.source
    return f"{_who(wins)} from {wins.source} comes first"


def _who(credential: Credential) -> str:
    return f"user '{credential.username}'" if credential.username else "a token"


def _sharing(places: Places, target: OpenTarget) -> list[str]:
    """Other targets on the same host, where neither says which user it means."""
    if target.settings.username or not target.settings.name:
        return []
    names = places.targets_at(registry_key(target.credential_host))
    return [name for name in names if name != target.name and not places.config.targets[name].username]


def log_out(target: OpenTarget, store: Store, username: str | None = None) -> bool:
    """Forget the kept credential, only that of the user whom the target's configuration names, if it does; False when
    there was none."""
    return store.erase(target.credential_host, username or target.settings.username)
