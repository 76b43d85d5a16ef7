"""The text files of a folder, from templates with @{NAME} places; nginx's and compose's own $ stay as they are."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ...adapters.docker_containers import Container

__all__ = ["compose_text", "render"]


class _Text(string.Template):
    delimiter = "@"


def render(template: str, values: Mapping[str, object]) -> bytes:
    """A file of `templates/` with its places filled in; one that nobody fills is a KeyError, a bug."""
    text = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
    return _Text(text).substitute(values).encode()


def compose_text(containers: Sequence[Container], heading: str) -> bytes:
    """The same containers for `docker compose` (Compose specification)."""
    import yaml

    networks = {container.network for container in containers}
    document: dict[str, Any] = {
        "services": {container.name: _service(container) for container in containers},
        "networks": {network: {"name": network, "external": True} for network in sorted(networks)},
    }
    body = yaml.safe_dump(document, sort_keys=False, width=110)
    return f"# {heading}\n# The network must exist: docker network create {' '.join(sorted(networks))}\n{body}".encode()


def _service(container: Container) -> dict[str, Any]:
    service: dict[str, Any] = {"image": container.image, "container_name": container.name, "restart": "unless-stopped"}
    if container.command:
        service["command"] = list(container.command)
    if container.env_file:
        service["env_file"] = [container.env_file.name]
    service["ports"] = [
        f"{address}:{port.host}:{port.inside}" for port in container.ports for address in port.addresses
    ]
    service["volumes"] = [
        f"./{mount.below}:{mount.inside}{':ro' if mount.read_only else ''}" for mount in container.mounts
    ]
    service["networks"] = {container.network: {"aliases": list(container.aliases)}}
    return {key: value for key, value in service.items() if value}
