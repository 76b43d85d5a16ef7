"""Nexus' first start: waiting for it, then its REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ...adapters.docker_containers import ContainerEngine
from ...errors import RemoteError
from ...transport.http import Client
from ...transport.origin import Origin
from .nexus_setup import NexusSetup
from .passwords import Login
from .plan import Provision

__all__ = ["set_up"]

_PAUSE_SECONDS = 1.0


def set_up(
    provision: Provision, login: Login, engine: ContainerEngine, wait_seconds: float, say: Callable[[str], None]
) -> list[str]:
    """Everything that a fresh Nexus needs; a second time nothing is done. Raises `RemoteError` when it never starts."""
    options = provision.options
    client = Client(Origin.parse(provision.targets[options.name]["api"]), retry_seconds=20.0)
    first = options.folder / "data/admin.password"
    setup = NexusSetup(client, login.username, login.password, lambda: _read(first))
    try:
        _wait(setup, options.name, engine, wait_seconds)
        done = []
        for line in setup.run(accept_eula=options.accept_eula, upstream=options.upstream):
            say(f"Nexus: {line}")
            done.append(f"Nexus: {line}")
        return done
    finally:
        client.close()


def _wait(setup: NexusSetup, name: str, engine: ContainerEngine, wait_seconds: float) -> None:
    end = time.monotonic() + wait_seconds
    while not setup.is_ready():
        if time.monotonic() > end or engine.state(name) == "ended":
            raise RemoteError(
                f"starting Nexus failed: it was not ready after {wait_seconds:g} seconds",
                hint=f"see `docker logs {name}`; the first start takes minutes: --wait SECONDS",
            )
        time.sleep(_PAUSE_SECONDS)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
