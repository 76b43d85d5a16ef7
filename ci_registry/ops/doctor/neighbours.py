"""Which container is behind an address of this machine, and what its files say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from ...adapters.docker_containers import Neighbour
from ...adapters.htpasswd import unreadable_users

__all__ = ["WrongHtpasswd", "behind", "wrong_htpasswd"]

_VARIABLE = "REGISTRY_AUTH_HTPASSWD_PATH"
_LARGEST_BYTES = 1 << 20


class WrongHtpasswd(Struct, frozen=True):
    """A registry's htpasswd file, here on this machine, whose users it can't read."""

    file: Path
    container: str
    users: tuple[str, ...]


def behind(neighbours: Iterable[Neighbour], dialled: tuple[str, int], name: str) -> Neighbour | None:
    """The container that is reached at an address, or by a name of a docker network."""
    host, port = dialled
    here = {f"{host}:{port}", f"127.0.0.1:{port}"} if host in ("localhost", "::1") else {f"{host}:{port}"}
    for neighbour in neighbours:
        published = {address for addresses in neighbour.published.values() for address in addresses}
        if published & here or name in neighbour.names:
            return neighbour
    return None


def wrong_htpasswd(neighbours: Iterable[Neighbour], dialled: tuple[str, int], name: str) -> WrongHtpasswd | None:
    """None where all is well, or the file can't be seen from here."""
    neighbour = behind(neighbours, dialled, name)
    inside = neighbour.environment.get(_VARIABLE) if neighbour else None
    if neighbour is None or not inside:
        return None
    file = _outside(neighbour, inside)
    try:
        text = file.read_bytes()[:_LARGEST_BYTES].decode("utf-8", "replace") if file else ""
    except OSError:
        return None
    users = unreadable_users(text)
    return WrongHtpasswd(file, neighbour.name, tuple(users)) if users and file else None


def _outside(neighbour: Neighbour, inside: str) -> Path | None:
    """Where a container's file is on this machine: below the mount that is nearest to it."""
    for target, source in sorted(neighbour.mounts.items(), key=lambda pair: -len(pair[0])):
        if inside == target or inside.startswith(f"{target.rstrip('/')}/"):
            return Path(source + inside[len(target.rstrip("/")) :])
    return None
