"""kind: dockerhub. Docker Hub: its addresses, its names of exactly two parts, and its pull limits."""

from __future__ import annotations

from ..errors import ConfigError, ReferenceSyntaxError
from ..model.reference import DOCKER_HUB
from .base import Connections
from .naming import landing
from .plain import PlainRegistry
from .settings import HubTarget

__all__ = ["DockerHub"]

_API_HOST = "https://registry-1.docker.io"


class DockerHub(PlainRegistry):
    """Manifests are resolved by HEAD, since a GET counts as a pull."""

    free_heads = True

    def __init__(self, settings: HubTarget, connections: Connections) -> None:
        super().__init__(settings, settings.url or _API_HOST, connections, shown=DOCKER_HUB)

    @property
    def credential_host(self) -> str:
        return DOCKER_HUB

    def wire_name(self, name: str) -> str:
        parts = name.split("/")
        if len(parts) == 1:
            return f"library/{name}"
        if len(parts) > 2:
            raise ReferenceSyntaxError(
                f"'{name}' has {len(parts)} parts, but a repository on Docker Hub has exactly two",
                hint="use NAMESPACE/NAME, or set `repository: '{namespace}/{path_dashed}'` for the target",
            )
        return name

    def landing(self, path: str) -> str:
        namespace = self.settings.namespace or self.credential().username
        if not namespace:
            raise ConfigError(
                f"target '{self.name}' has no namespace, and no credential whose user could stand for one was found",
                path=f"targets.{self.name}.namespace",
                hint="set `namespace:`, or log in with `ci-registry login dockerhub`",
            )
        return landing(self.settings, path, "{namespace}/{name}", namespace)
