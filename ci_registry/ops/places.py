"""Places as people type them, and the opened targets of a run.

Written as in containers-transports(5): `docker://HOST/REPO[:TAG|@DIGEST]`, `docker-daemon:REF`,
`docker-archive:FILE[:REF]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `-`, or `TARGET:REPO[:TAG|@DIGEST]`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ..credentials.chain import Chain, registry_key
from ..errors import ConfigError, NotFoundError, UsageError
from ..kinds.base import Connections, OpenTarget
from ..kinds.settings import EcrTarget, HubTarget, RegistryTarget, TargetSettings
from ..model.descriptor import Digest
from ..model.ecr_hosts import ecr_host
from ..model.reference import DOCKER_HUB, Reference
from ..targets.base import Target
from ..transport.limiter import Limiter
from ..transport.origin import is_loopback
from ..transport.retry import Cancel
from .config import Config

if TYPE_CHECKING:
    from ..adapters.docker_engine import DockerEngine

__all__ = ["Place", "Places", "parse_place"]

Transport = Literal["target", "docker", "docker-daemon", "docker-archive", "oci", "oci-archive", "stdin"]
_BUILT_IN_HUB = "dockerhub"
_FILE_TRANSPORTS = ("docker-archive", "oci-archive", "oci")


class Place(Struct, frozen=True):
    """Where an image is or goes, in its parts.

    `where` is the target's name, the registry's host, or a file or folder; "" for the daemon and stdin. `repository`
    is "" where the place does not need one.
    """

    transport: Transport
    where: str
    repository: str = ""
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        version = (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
        if self.transport == "stdin":
            return "-"
        if self.transport == "target":
            return f"{self.where}:{self.repository}{version}"
        if self.transport == "docker":
            return f"docker://{self.where}/{self.repository}{version}"
        if self.transport == "docker-daemon":
            return f"docker-daemon:{self.repository}{version}"
        name = f":{self.repository}" if self.repository else ""
        return f"{self.transport}:{self.where}{name}{version}"

    @property
    def version(self) -> str:
        """The digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"


def parse_place(text: str, targets: Iterable[str], *, default: Transport | None = None) -> Place:
    """Understand a place. `targets` are the configured names; `default` is what text without a transport means.

    Raises `ReferenceSyntaxError` or `UsageError` with what would have been right, `NotFoundError` for an unknown
    target.
    """
    known = set(targets)
    if text == "-":
        return Place("stdin", "")
    transport, colon, rest = text.partition(":")
    if colon and transport == "docker":
        return _registry_place(text, rest)
    if colon and transport == "docker-daemon":
        return _daemon_place(rest)
    if colon and transport in _FILE_TRANSPORTS:
        return _file_place(transport, rest)
    if colon and transport in known and default is not None and _could_be_local(rest):
        raise UsageError(
            f"'{text}' could be repository '{rest}' of target '{transport}' or a local image with the tag '{rest}'",
            hint=f"write docker-daemon:{text} for the local image",
        )
    if colon and transport in known:
        return _target_place(transport, rest)
    if default == "docker-daemon":
        return _daemon_place(text)
    raise _unknown(text, transport, known)


def _could_be_local(rest: str) -> bool:
    return "/" not in rest and ":" not in rest and "@" not in rest


def _registry_place(text: str, rest: str) -> Place:
    if not rest.startswith("//"):
        raise UsageError(f"'{text}' is not a place", hint=f"write docker://{rest}")
    reference = Reference.parse(rest[2:])
    return Place("docker", reference.host, reference.repository, reference.tag, reference.digest)


def _daemon_place(rest: str) -> Place:
    reference = Reference.parse(rest)
    name = rest.partition("@")[0].removesuffix(f":{reference.tag}" if reference.tag else "")
    return Place("docker-daemon", "", name, reference.tag, reference.digest)


def _file_place(transport: str, rest: str) -> Place:
    path, name = _split_file(rest)
    if not path:
        raise UsageError(f"'{transport}:{rest}' names no file", hint=f"write {transport}:FILE")
    kind: Transport = transport  # type: ignore[assignment]
    if not name:
        return Place(kind, path)
    if transport == "docker-archive":
        reference = Reference.parse(name)
        return Place(kind, path, name.partition("@")[0].removesuffix(f":{reference.tag}"), reference.tag or "latest")
    return Place(kind, path, "", name)


def _split_file(rest: str) -> tuple[str, str]:
    """A path and what follows it; a colon inside a folder's name belongs to the path only before a slash."""
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1 if "/" in rest else 0)
    first = rest.find(":")
    if first != -1 and "/" in rest[first:]:
        colon = first  # FILE:HOST/NAME:TAG
    return (rest, "") if colon == -1 else (rest[:colon], rest[colon + 1 :])


def _target_place(target: str, rest: str) -> Place:
    if not rest:
        return Place("target", target)
    reference = Reference.parse_bare(rest)
    return Place("target", target, reference.repository, reference.tag, reference.digest)


def _unknown(text: str, first: str, known: set[str]) -> Exception:
    import difflib

    near = difflib.get_close_matches(first, known, 1)
    if "://" in text:
        return UsageError(f"'{text}' is not a place", hint=f"write docker://{text.partition('://')[2]}")
    if ":" not in text and text in known:
        return UsageError(f"'{text}' names a target but no repository", hint=f"write {text}:REPOSITORY")
    hint = f"did you mean '{near[0]}'?" if near else f"the targets are: {', '.join(sorted(known)) or 'none'}"
    if ":" in text and "/" not in first and "." not in first:
        return NotFoundError(f"there is no target named '{first}' for '{text}'", hint=hint)
    return UsageError(
        f"'{text}' is not a place", hint="write TARGET:REPOSITORY[:TAG] or docker://HOST/REPOSITORY[:TAG]"
    )


class Places:
    """The opened targets of one run."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        cancel: Cancel | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config, self.environ = config, environ
        self.cancel = Cancel() if cancel is None else cancel  # one that is not set is false
        self._said: set[str] = set()
        self._notify = notify
        self._opened: dict[str, OpenTarget] = {}
        self._chains: dict[str, Chain] = {}
        self._engine: DockerEngine | None = None
        self._lock = threading.RLock()
        self.connections = Connections(environ, self.cancel, self.chain, self.notify)

    def notify(self, text: str) -> None:
        """Show one line, once."""
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
        self._notify(text)

    def limiter(self, host: str) -> Limiter:
        return self.connections.limiter(host)

    def parse(self, text: str, *, default: Transport | None = None) -> Place:
        return parse_place(text, self.config.targets, default=default)

    def docker_engine(self) -> DockerEngine:
        """The local docker daemon, connected to when it is first asked something."""
        from ..adapters.docker_engine import DockerEngine

        with self._lock:
            if self._engine is None:
                self._engine = DockerEngine(self.environ)
            return self._engine

    def close(self) -> None:
        for target in self._opened.values():
            target.close()
        if self._engine is not None:
            self._engine.close()

    # -- targets -------------------------------------------------------------------------------------------------

    def target(self, name: str) -> OpenTarget:
        """A configured target by name; raises `NotFoundError` with the nearest names."""
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open(self.config.target(name, self.environ))
            return self._opened[name]

    def _open(self, settings: TargetSettings) -> OpenTarget:
        from ..kinds.opening import open_target

        return open_target(settings, self.connections)

    def registry(self, host: str) -> OpenTarget:
        """The registry at `host[:port]`: the configured target with that address, else https with defaults."""
        with self._lock:
            if f"//{host}" not in self._opened:
                name = self._configured(host)
                self._opened[f"//{host}"] = self.target(name) if name else self._open(self._unconfigured(host))
            return self._opened[f"//{host}"]

    def targets_at(self, host: str) -> list[str]:
        """The names of the targets at a host (`host[:port]`, `docker.io` for Docker Hub)."""
        return self._hub_targets() if host == DOCKER_HUB else self._addressed(host) + self._ecr_targets(host)

    def _configured(self, host: str) -> str | None:
        fits = self.targets_at(host)
        if len(fits) > 1:
            raise ConfigError(
                f"docker://{host} could be any of the targets {', '.join(sorted(fits))}, which share that address",
                hint=f"write {fits[0]}:REPOSITORY",
            )
        return fits[0] if fits else None

    def _addressed(self, host: str) -> list[str]:
        """The targets whose `url` has this host; the port of its scheme may be left out on either side."""
        addresses = self.config.addresses(self.environ)
        return [name for name, url in addresses.items() if registry_key(url) == registry_key(_like(url, host))]

    def _ecr_targets(self, host: str) -> list[str]:
        """The targets of kind ecr whose account and region make up this host."""
        wanted = ecr_host(host)
        if wanted is None:
            return []
        settings = [self._known(name) for name, said in self.config.targets.items() if isinstance(said, EcrTarget)]
        return [
            ecr.name
            for ecr in settings
            if isinstance(ecr, EcrTarget) and ecr.url is None and wanted.is_of(ecr.account, ecr.region, ecr.public)
        ]

    def _known(self, name: str) -> TargetSettings | None:
        """A target with its variables expanded; None while one of them is not set."""
        try:
            return self.config.target(name, self.environ)
        except ConfigError:
            return None

    def _hub_targets(self) -> list[str]:
        """The targets of kind dockerhub; the built-in one only when there is no other."""
        hubs = [name for name, settings in self.config.targets.items() if isinstance(settings, HubTarget)]
        return [name for name in hubs if name != _BUILT_IN_HUB] or [_BUILT_IN_HUB]

    def _unconfigured(self, host: str) -> TargetSettings:
        ecr = ecr_host(host)
        if ecr is not None:
            account, region = ecr.account or None, ecr.region or None
            return EcrTarget(name="", url=f"https://{host}", account=account, region=region, public=ecr.public)
        name = host.partition(":")[0] if not host.startswith("[") else host[1 : host.index("]")]
        scheme = "http" if is_loopback(name) and self._speaks_http(host) else "https"
        return RegistryTarget(name="", url=f"{scheme}://{host}")

    def _speaks_http(self, host: str) -> bool:
        """Whether a loopback address answers in plain HTTP; nothing else ever falls back to it."""
        from ..transport.probe import answers_plain_http

        if not answers_plain_http(host):
            return False
        self.notify(f"{host} is on this machine and speaks plain HTTP, so http://{host} is used")
        return True

    def chain(self, target: OpenTarget) -> Chain:
        """The credential chain of a target; two targets on one host have one each."""
        from .logins import chain_for

        with self._lock:
            if target.name not in self._chains:
                self._chains[target.name] = chain_for(target, self)
            return self._chains[target.name]

    def use_chain(self, target: OpenTarget, chain: Chain) -> None:
        """Ask another chain for this target from now on."""
        with self._lock:
            self._chains[target.name] = chain

    # -- repositories --------------------------------------------------------------------------------------------

    def open_target(self, place: Place) -> OpenTarget:
        """The target that a `TARGET:` or `docker://` place names."""
        return self.registry(place.where) if place.transport == "docker" else self.target(place.where)

    def repository(self, place: Place, *, writing: bool = False) -> Target:
        """The repository or layout that a place names, for places that need no preparation."""
        if place.transport == "oci":
            from pathlib import Path

            from ..targets.layout import LayoutRepository

            return LayoutRepository(Path(place.where))
        if place.transport not in ("target", "docker"):
            raise UsageError(f"{place} can't be used here", hint="name a target, a docker:// address or an oci: layout")
        if not place.repository:
            raise UsageError(f"{place} names no repository", hint=f"write {place.where}:REPOSITORY")
        return self.open_target(place).repository(place.repository, writing=writing)


def _like(url: str, host: str) -> str:
    return f"{url.partition('://')[0]}://{host}"
