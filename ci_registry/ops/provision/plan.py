"""What a role of `provision` comes to: files, containers, the lines for `ci-registry.yaml`, and what to tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from ...adapters.docker_containers import Container
from .files import PlannedFile

__all__ = ["Options", "Provision", "TargetLines"]

TargetLines = dict[str, str]
"""The keys of one target with their values, as they are to stand in `ci-registry.yaml`."""


class Options(Struct, frozen=True):
    """What a user asked for. `gateway` is this machine's address on the docker network, once that is known."""

    name: str
    folder: Path
    port: int
    network: str = "ci-registry"
    gateway: str = ""
    subnet: str = ""
    tls: bool = False
    mutual: bool = False
    htpasswd: bool = False
    username: str = "ci"
    clients: tuple[str, ...] = ("client",)
    sans: tuple[str, ...] = ()
    days: int = 397
    renew: bool = False
    image: str = ""
    listen: tuple[str, ...] = ()
    upstream: str = "https://registry-1.docker.io"
    proxy_port: int = 3128
    """Where the squid of a cache listens."""
    pkcs12: bool = False
    accept_eula: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where ports are published: this machine alone, and containers by way of the gateway, unless told more."""
        if self.listen:
            return self.listen
        return ("127.0.0.1", self.gateway) if self.gateway else ("127.0.0.1",)

    @property
    def dialled(self) -> str:
        """Where to find the published port, from this machine and from containers alike once there is a gateway."""
        return f"{self.gateway or '127.0.0.1'}:{self.port}"


class Provision(Struct, frozen=True):
    """A role worked out. `data` are sub-folders that only `--purge` removes; `targets` are in the order to print."""

    role: str
    options: Options
    files: tuple[PlannedFile, ...]
    containers: tuple[Container, ...] = ()
    data: tuple[str, ...] = ()
    targets: Mapping[str, TargetLines] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
