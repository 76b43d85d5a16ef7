"""kind: nexus. A docker repository of Sonatype Nexus 3, by its connector or by a path."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from ..credentials.chain import Credential, Lookup
from ..errors import AccessError, CiRegistryError, ConfigError, ConflictError
from ..model.descriptor import Descriptor
from ..targets.base import Mounted, Present, Session, Target, Writer
from ..targets.mirrored import MirroredRepository
from ..targets.registry import RegistryRepository
from ..transport.auth import RegistryAuthoriser
from ..transport.exchange import Reply
from ..transport.origin import Origin
from .base import Connections
from .endpoint import Endpoint
from .findings import Finding
from .plain import PlainRegistry
from .settings import NexusTarget

if TYPE_CHECKING:
    from .nexus_api import NexusApi

__all__ = ["Nexus"]

_REFUSED_HINT = (
    "correct the password there; where the repository allows anonymous pulls, the Docker Bearer Token Realm must be "
    "active (Security, Realms)"
)


class _Route(Struct, frozen=True):
    """How a repository is reached below an origin.

    `https://HOST/repository/REPO` has its `/v2/` below that path (`prefix`). With path based routing,
    `https://HOST/REPO`, the repository is the first part of every image's name (`first`).
    """

    origin: Origin
    prefix: str = ""
    first: str = ""

    @classmethod
    def parse(cls, url: str) -> _Route:
        path = urlsplit(url).path.rstrip("/")
        if "/repository/" in path:
            return cls(Origin.parse(url), prefix=path)
        return cls(Origin.parse(url), first=path.lstrip("/"))

    def wire_name(self, name: str) -> str:
        return f"{self.first}/{name}" if self.first else name

    @property
    def shown(self) -> str:
        return f"{self.origin.netloc}{self.prefix}"

    @property
    def store(self) -> str:
        """Blobs are linked inside one repository of Nexus at most."""
        return f"{self.origin}{self.prefix or '/' + self.first}"


class _MountTrial:
    """Whether mounting was seen to work here, in this run: None before anybody tried."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.works: bool | None = None


class Nexus(PlainRegistry):
    """Pushes go to `url`, reading goes to `pull_url` where that is another."""

    def __init__(self, settings: NexusTarget, connections: Connections) -> None:
        super().__init__(settings, settings.url, connections)
        self._nexus = settings
        self._route = _Route.parse(settings.url)
        self._pull_route = _Route.parse(settings.pull_url) if settings.pull_url else None
        self._trial = _MountTrial()

    @cached_property
    def shown(self) -> str:
        return self._route.shown

    # -- repositories --------------------------------------------------------------------------------------------

    def writer(self, name: str) -> RegistryRepository:
        return self._repository(self.endpoint_of(name), self._route, name).for_writing()

    def reader(self, name: str) -> Target:
        if self._pull_route is None:
            own = self._repository(self.endpoint_of(name), self._route, name)
        else:
            own = self._repository(self._pull_endpoint, self._pull_route, name)
        if self._mirror is None:
            return own
        mirrored = self.make_repository(self._mirror, name)
        return MirroredRepository(own, mirrored, self._mirror_health, self._connections.notify)

    def _repository(self, endpoint: Endpoint, route: _Route, name: str) -> NexusRepository:
        return NexusRepository(
            self._trial,
            endpoint.client,
            route.wire_name(name),
            shown=route.shown,
            store=route.store,
            chunk_bytes=self.settings.chunk_bytes or 0,
        )

    def repositories(self) -> list[str]:
        """From the registry's catalog, or by path from the REST API, which needs `api:` and `nexus_repository:`."""
        if not self._route.first:
            return super().repositories()
        name = self._nexus.nexus_repository or self._route.first
        api = self._api_endpoint()
        try:
            return self._api(api).image_names(name)
        finally:
            api.close()

    def checks(self) -> list[Finding]:
        """What the REST API tells about this repository; one "unknown" where `api:` is not set."""
        from .nexus_checks import nexus_findings

        if not self._nexus.api:
            return [Finding("api", "unknown", "no `api:` is set, so Nexus itself was not asked", "set it")]
        api = self._api_endpoint()
        try:
            return nexus_findings(self._api(api), self._nexus)
        finally:
            api.close()

    def _api(self, endpoint: Endpoint) -> NexusApi:
        from .nexus_api import NexusApi

        return NexusApi(endpoint.client, self._nexus.api or "", self.credential())

    def _api_endpoint(self) -> Endpoint:
        if not self._nexus.api:
            raise ConfigError(
                f"target '{self.name}' has no `api:`, which is asked for the images of a repository by path",
                path=f"targets.{self.name}.api",
                hint="set it to the address of the web interface, such as http://nexus:8081",
            )
        return Endpoint(Origin.parse(self._nexus.api), self.settings, self._connections, mine=False, retry_seconds=5.0)

    # -- the wire ------------------------------------------------------------------------------------------------

    def own_endpoint(self, **differences: Any) -> Endpoint:
        return self.make_endpoint(self._route.origin, shown=self.shown, prefix=self._route.prefix, **differences)

    @cached_property
    def _pull_endpoint(self) -> Endpoint:
        route = self._pull_route
        assert route is not None  # noqa: S101 - only asked for where there is one
        return self.make_endpoint(
            route.origin, shown=route.shown, prefix=route.prefix, mine=False, login=self._pull_credential
        )

    def make_endpoint(self, origin: Origin, **differences: Any) -> Endpoint:
        manners = {"make_authoriser": partial(RegistryAuthoriser, refused_hint=_REFUSED_HINT)}
        return super().make_endpoint(origin, **{**manners, **differences})

    def _pull_credential(self) -> Credential:
        """The credential for the address to pull from, else the target's own: both are the same Nexus."""
        assert self._pull_route is not None  # noqa: S101 - only asked for where there is one
        host = self._pull_route.origin.netloc
        found = self._connections.chain_for(self).find(Lookup(host, None, self.settings.name or None))
        return self.credential() if found.is_anonymous else found

    def _endpoints(self) -> list[Endpoint]:
        pull = self.__dict__.get("_pull_endpoint")
        return [*super()._endpoints(), *([pull] if pull is not None else [])]

    def reading_endpoints(self) -> dict[str, Endpoint]:
        pull = {} if self._pull_route is None else {"pull_url": self._pull_endpoint}
        return {**super().reading_endpoints(), **pull}

    # -- refusals ------------------------------------------------------------------------------------------------

    def explain(self, reply: Reply, failed: CiRegistryError) -> CiRegistryError:
        said = reply.body.lower()
        if b"read only" in said or b"read-only" in said or b"does not allow adding" in said:
            return AccessError(
                failed.message, hint="the repository's deployment policy is read-only (writePolicy DENY); change it"
            )
        if b"eula" in said or b"license agreement" in said:
            return AccessError(
                failed.message, hint="accept the Community Edition's licence in the web interface, as administrator"
            )
        if isinstance(failed, ConflictError):
            hint = "the repository's deployment policy is ALLOW_ONCE (disable redeploy); push under another tag"
            return ConflictError(failed.message, hint=hint)
        if isinstance(failed, AccessError) and reply.status == 403:
            return AccessError(
                failed.message,
                hint="give this user nx-repository-view-docker-*-add and -edit; pushing to a group needs Nexus Pro, so "
                "push to the connector of a hosted repository (`url:`) and read from the group (`pull_url:`)",
            )
        return super().explain(reply, failed)


class NexusRepository(RegistryRepository):
    """Mounts only once a mount was seen to work, since not every version of Nexus does what it answers."""

    def __init__(self, trial: _MountTrial, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._trial = trial

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        if not mount_from or descriptor is None or session is not None:
            return super().writer(descriptor, mount_from, session)
        if self._trial.works is None:
            with self._trial.lock:
                if self._trial.works is None:
                    return self._try_mount(descriptor, mount_from)
        return super().writer(descriptor, mount_from if self._trial.works else ())

    def _try_mount(self, descriptor: Descriptor, mount_from: Sequence[str]) -> Writer | Present | Mounted:
        answer = super().writer(descriptor, mount_from)
        self._trial.works = isinstance(answer, Mounted) and bool(self.exists([descriptor]))
        if isinstance(answer, Mounted) and not self._trial.works:
            return super().writer(descriptor)
        return answer
