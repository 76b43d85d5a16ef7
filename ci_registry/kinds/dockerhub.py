"""kind: dockerhub. Docker Hub: its addresses, its names of exactly two parts, and its pull limits."""

from __future__ import annotations

from typing import Any

from ..errors import AccessError, CiRegistryError, ConfigError, ReferenceSyntaxError, RemoteError
from ..model.reference import DOCKER_HUB
from ..transport.exchange import Reply
from ..transport.origin import Origin
from ..transport.problem import diagnostics
from .base import Connections
from .endpoint import Endpoint
from .explain import is_page
from .naming import landing
from .plain import PlainRegistry
from .quota import Quota
from .settings import HubTarget

__all__ = ["DockerHub"]

_REGISTRY = "https://registry-1.docker.io"
_PROBE = "ratelimitpreview/test"


class DockerHub(PlainRegistry):
    """Manifests are resolved by HEAD, since a GET counts as a pull."""

    free_heads = True

    def __init__(self, settings: HubTarget, connections: Connections) -> None:
        super().__init__(settings, settings.url or _REGISTRY, connections, shown=DOCKER_HUB)
        self._api = settings.api

    @property
    def credential_host(self) -> str:
        return DOCKER_HUB

    # -- names ---------------------------------------------------------------------------------------------------

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
        return self.wire_name(landing(self.settings, path, "{namespace}/{name}", self._namespace()))

    def _namespace(self) -> str:
        if self.settings.namespace:
            return self.settings.namespace
        credential = self.credential()
        if not credential.username:
            raise ConfigError(
                f"target '{self.name}' has no namespace, and no credential whose user could stand for one was found",
                path=f"targets.{self.name}.namespace",
                hint="set `namespace:`, or log in with `ci-registry login dockerhub`",
            )
        if "@" in credential.username:
            raise ConfigError(
                f"target '{self.name}' has no namespace, and the user from {credential.source} is an e-mail address",
                path=f"targets.{self.name}.namespace",
                hint="set `namespace:` to the account's name",
            )
        return credential.username.lower()

    # -- what the registry itself does not offer -----------------------------------------------------------------

    def repositories(self) -> list[str]:
        """The repositories of the namespace, from the Hub's own API: its registry has no catalog."""
        from .hub_api import HUB_API, HubApi

        address = self._api or (None if self._url != _REGISTRY else HUB_API)
        if address is None:
            raise ConfigError(
                f"listing the repositories of target '{self.name}' failed: a gateway stands in for Docker Hub, whose "
                "registry has no catalog",
                path=f"targets.{self.name}.api",
                hint="set `api:` to the address of the Hub's API behind that gateway",
            )
        endpoint = Endpoint(Origin.parse(address), self.settings, self._connections, mine=False)
        try:
            return HubApi(endpoint.client, self.credential()).repositories(self._namespace())
        finally:
            endpoint.close()

    def quota(self) -> Quota | None:
        """What is left of the pull limit; None without one. Asks the Hub's own free probe if nothing was said yet."""
        if self._quota is None:
            scopes = frozenset({f"repository:{_PROBE}:pull"})
            self.client.request("HEAD", f"/v2/{_PROBE}/manifests/latest", scopes=scopes)
        return self._quota

    # -- the wire ------------------------------------------------------------------------------------------------

    def make_endpoint(self, origin: Origin, **differences: Any) -> Endpoint:
        # Whoever asks again within minutes is refused longer.
        return super().make_endpoint(origin, **{"retries_throttled": False, **differences})

    def explain(self, reply: Reply, failed: CiRegistryError) -> CiRegistryError:
        if reply.status == 429:
            return self._limited(reply, failed)
        if isinstance(failed, AccessError) and "insufficient_scope" in (reply.headers.get("WWW-Authenticate") or ""):
            return AccessError(
                failed.message,
                hint="check that the namespace is yours and that the access token may do this (read-only tokens can't "
                "push); Docker Hub answers so for repositories that do not exist, too",
            )
        return super().explain(reply, failed)

    def _limited(self, reply: Reply, failed: CiRegistryError) -> CiRegistryError:
        when = reply.headers.get("Retry-After")
        wait = f"wait {when} seconds" if when and when.isdigit() else "wait"
        spoken = diagnostics(reply.body)
        if any(entry.code == "TOOMANYREQUESTS" for entry in spoken):
            left = f" ({self._quota})" if self._quota else ""
            return RemoteError(
                f"{failed.message}; that is Docker Hub's pull limit{left}",
                hint=f"{wait} for the window to end, log in with an account that may pull more, or read through "
                "`mirror:`",
            )
        if spoken and not is_page(reply):
            return RemoteError(
                f"{failed.message}; that is Docker Hub's limit on requests of any kind from one address",
                hint=f"{wait} some minutes, and set `requests_per_second:` or `max_connections:` of the target",
            )
        return RemoteError(failed.message, hint=f"{wait}, log in, or read through `mirror:`")
