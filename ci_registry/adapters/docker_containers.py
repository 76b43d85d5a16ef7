"""Containers and networks of the Docker daemon, and what it says about itself, for `provision` and `doctor`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ..errors import CiRegistryError, ConflictError, NotFoundError, RemoteError
from ..redaction import shown
from .docker_engine import DockerEngine

__all__ = ["Container", "ContainerEngine", "DaemonFacts", "Mount", "Neighbour", "Network", "PublishedPort"]

_LABEL = "io.ci-registry.provision"
_SETTLED = timedelta(seconds=4)


class Mount(Struct, frozen=True):
    """A file or folder of this machine inside a container; `below` is its path in the provisioned folder."""

    below: str
    inside: str
    read_only: bool = True


class PublishedPort(Struct, frozen=True):
    """A port of a container, and the addresses of this machine where it is to be reached."""

    inside: int
    host: int
    addresses: tuple[str, ...] = ("127.0.0.1",)


class Container(Struct, frozen=True):
    """A container as it should be. `aliases` are its names on the network, besides its own."""

    name: str
    image: str
    network: str
    folder: Path
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    env_file: Path | None = None
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    aliases: tuple[str, ...] = ()
    content: str = ""
    """A word that changes when a mounted file does: a container whose files changed is made anew."""

    def __repr__(self) -> str:
        return shown(self, "name", "image", "network")

    def fingerprint(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, enc_hook=str, order="sorted")).hexdigest()


class Network(Struct, frozen=True):
    """A docker network: this machine's address on it, and its range, such as 172.18.0.0/16. IPv4."""

    gateway: str
    subnet: str


class Neighbour(Struct, frozen=True):
    """A running container, as far as it matters to who looks for a registry.

    `names` are those by which others on its networks call it, `published` maps its ports to `ADDRESS:PORT` here,
    `mounts` its paths to those of this machine.
    """

    id: str
    name: str
    names: tuple[str, ...]
    networks: tuple[str, ...]
    published: Mapping[int, tuple[str, ...]]
    mounts: Mapping[str, str]
    environment: Mapping[str, str]

    def __repr__(self) -> str:
        return shown(self, "id", "name", "names", "networks", "published")


class DaemonFacts(Struct, frozen=True):
    """What the daemon says about itself. `proxies` maps http, https and no to what is set, where something is."""

    version: str
    insecure_registries: tuple[str, ...]
    mirrors: tuple[str, ...]
    proxies: Mapping[str, str]
    is_rootless: bool


class ContainerEngine(DockerEngine):
    """The daemon with its containers. Errors are those of `DockerEngine`."""

    # -- what it says ------------------------------------------------------------------------------------------------

    def facts(self) -> DaemonFacts:
        """How the daemon is set up, as far as registries are concerned."""
        with self._translated("asking the docker daemon about itself"):
            info = self._client.info()
        registries = info.get("RegistryConfig") or {}
        named = [
            name for name, entry in (registries.get("IndexConfigs") or {}).items() if not entry.get("Secure", True)
        ]
        ranges = [str(each) for each in registries.get("InsecureRegistryCIDRs") or ()]
        proxies = {"http": info.get("HttpProxy"), "https": info.get("HttpsProxy"), "no": info.get("NoProxy")}
        return DaemonFacts(
            version=str(info.get("ServerVersion") or ""),
            insecure_registries=(*sorted(named), *ranges),
            mirrors=tuple(registries.get("Mirrors") or ()),
            proxies={key: str(value) for key, value in proxies.items() if value},
            is_rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or ()),
        )

    def look_at_registry(self, reference: str) -> str:
        """What the daemon's own attempt to reach a registry came to: its words, or "" when it got an answer.

        Engine API, `GET /distribution/{name}/json`: the daemon resolves, connects and trusts by its own lights.
        """
        client = self._client
        with self._translated(f"asking the docker daemon about {reference}"):
            answer = client.get(f"{client.base_url}/v{client.api_version}/distribution/{reference}/json", timeout=15)
            if answer.status_code == 200:
                return ""
            return str(answer.json().get("message") or "")

    def neighbours(self) -> list[Neighbour]:
        """The running containers."""
        with self._translated("listing the containers of the docker daemon"):
            documents = [self._client.inspect_container(each["Id"]) for each in self._client.containers()]
            return [_neighbour(document) for document in documents]

    # -- networks ----------------------------------------------------------------------------------------------------

    def ensure_network(self, name: str, known: Network | None = None) -> Network:
        """A user-defined network, created if need be: with the `known` addresses if they are still free."""
        attempt = f"creating the docker network {name}"
        with self._translated(attempt):
            exists = bool(self._client.networks(names=[f"^{name}$"]))
        if not exists:
            self._create_network(name, known)
        with self._translated(attempt):
            return _network(self._client.inspect_network(name))

    def _create_network(self, name: str, known: Network | None) -> None:
        if known is not None and known.subnet:
            try:
                self._create_network_at(name, {"Config": [{"Subnet": known.subnet, "Gateway": known.gateway}]})
                return
            except CiRegistryError:
                pass  # another network has these addresses by now: any others will do
        self._create_network_at(name, None)

    def _create_network_at(self, name: str, addresses: Any) -> None:
        labels = {_LABEL: name}
        with self._translated(f"creating the docker network {name}"):
            self._client.create_network(name, driver="bridge", ipam=addresses, labels=labels, check_duplicate=True)

    def remove_network(self, name: str) -> bool:
        """Remove a network that was created here and is empty; False when it was not, or still has members."""
        with self._translated(f"removing the docker network {name}"):
            found = self._client.networks(names=[f"^{name}$"])
            if not found or _LABEL not in (found[0].get("Labels") or {}):
                return False
            if self._client.inspect_network(name).get("Containers"):
                return False
            self._client.remove_network(name)
            return True

    # -- containers --------------------------------------------------------------------------------------------------

    def run(self, container: Container) -> str:
        """Have this container run: "started", "recreated" when it was another, or "running" when it was there.

        Its image is pulled if the daemon doesn't have it. Raises `ConflictError` when a container of that name is not
        one of ours, `RemoteError` when it can't be started.
        """
        known = self._find(container.name)
        outcome = "started"
        if known is not None:
            state = self._ours(container, known)
            if state.get("label") == container.fingerprint() and state.get("running"):
                return "running"
            self.remove(container.name)
            outcome = "recreated"
        self._ensure_image(container.image)
        self._create(container)
        with self._translated(f"starting the container {container.name}"):
            self._client.start(container.name)
        return outcome

    def remove(self, name: str) -> bool:
        """Stop and remove a container that was made here; False when there is none of that name."""
        known = self._find(name)
        if known is None:
            return False
        self._ours_by_name(name, known)
        with self._translated(f"removing the container {name}"):
            self._client.stop(name, timeout=5)
            self._client.remove_container(name, v=True, force=True)
        return True

    def log(self, name: str, lines: int = 20) -> str:
        """The last lines that a container wrote."""
        with self._translated(f"reading the log of the container {name}"):
            text: bytes = self._client.logs(name, tail=lines)
        return text.decode("utf-8", "replace")

    def state(self, name: str) -> Literal["steady", "starting", "ended"]:
        """Whether a container stays up; one that was restarted must have been up for some seconds."""
        known = self._find(name) or {}
        state = known.get("State") or {}
        if not state.get("Running"):
            return "ended"
        if state.get("Restarting"):
            return "starting"
        started = datetime.fromisoformat(str(state.get("StartedAt"))[:19] + "+00:00")
        settled = datetime.now(timezone.utc) - started > _SETTLED
        return "steady" if settled or not known.get("RestartCount") else "starting"

    def _find(self, name: str) -> Mapping[str, Any] | None:
        try:
            with self._translated(f"looking for the container {name}"):
                found: Mapping[str, Any] = self._client.inspect_container(name)
        except NotFoundError:
            return None
        return found

    def _ours(self, container: Container, known: Mapping[str, Any]) -> dict[str, Any]:
        label = self._ours_by_name(container.name, known)
        return {"label": label, "running": (known.get("State") or {}).get("Running")}

    def _ours_by_name(self, name: str, known: Mapping[str, Any]) -> str:
        labels = (known.get("Config") or {}).get("Labels") or {}
        if _LABEL not in labels:
            raise ConflictError(
                f"the container '{name}' was not made by `ci-registry provision`, so it is left alone",
                hint="choose another name with --name, or remove that container yourself",
            )
        return str(labels[_LABEL])

    def _ensure_image(self, image: str) -> None:
        try:
            self.inspect(image)
        except NotFoundError:
            self._pull(image)

    def _pull(self, image: str) -> None:
        attempt = f"pulling the image {image}"
        name, _, tag = image.rpartition(":")
        with self._translated(attempt):
            for line in self._client.pull(name, tag=tag, stream=True, decode=True):
                if line.get("error"):
                    raise RemoteError(f"{attempt} failed: the docker daemon said: {line['error']}")

    def _create(self, container: Container) -> None:
        client = self._client
        with self._translated(f"creating the container {container.name}"):
            host = client.create_host_config(
                binds=[_bind(container.folder, mount) for mount in container.mounts],
                port_bindings={port.inside: [(each, port.host) for each in port.addresses] for port in container.ports},
                restart_policy={"Name": "unless-stopped"},
            )
            endpoint: Any = client.create_endpoint_config(aliases=list(container.aliases))
            networking: Any = client.create_networking_config({container.network: endpoint})  # type: ignore[arg-type]
            client.create_container(
                container.image,
                list(container.command) or None,
                name=container.name,
                environment=dict(container.environment),
                ports=[port.inside for port in container.ports],
                host_config=host,
                networking_config=networking,
                labels={_LABEL: container.fingerprint()},
            )


def _bind(folder: Path, mount: Mount) -> str:
    return f"{(folder / mount.below).resolve()}:{mount.inside}:{'ro' if mount.read_only else 'rw'}"


def _network(document: Mapping[str, Any]) -> Network:
    for pool in (document.get("IPAM") or {}).get("Config") or ():
        gateway = str(pool.get("Gateway") or "").partition("/")[0]
        if gateway and ":" not in gateway:
            return Network(gateway, str(pool.get("Subnet") or ""))
    return Network("", "")


def _neighbour(document: Mapping[str, Any]) -> Neighbour:
    settings = document.get("NetworkSettings") or {}
    networks = settings.get("Networks") or {}
    name = str(document.get("Name") or "").lstrip("/")
    aliases = [str(alias) for network in networks.values() for alias in network.get("Aliases") or ()]
    return Neighbour(
        id=str(document.get("Id") or ""),
        name=name,
        names=tuple(dict.fromkeys([name, *aliases])),
        networks=tuple(networks),
        published=dict(_published(settings.get("Ports") or {})),
        mounts={str(each.get("Destination")): str(each.get("Source")) for each in document.get("Mounts") or ()},
        environment=_environment((document.get("Config") or {}).get("Env") or ()),
    )


def _published(ports: Mapping[str, Any]) -> Iterator[tuple[int, tuple[str, ...]]]:
    for port, bindings in ports.items():
        number = port.partition("/")[0]
        yield int(number), tuple(f"{_reachable(b.get('HostIp'))}:{b.get('HostPort')}" for b in bindings or ())


def _reachable(address: object) -> str:
    text = str(address or "")
    return "127.0.0.1" if text in ("", "0.0.0.0", "::") else text  # noqa: S104 - compared, not bound


def _environment(lines: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
