"""kind: registry. Any registry that speaks the OCI distribution API; the other registry kinds are built on it."""

from __future__ import annotations

import threading
from functools import cached_property, partial
from typing import Any

from ..credentials.chain import Credential, Lookup
from ..errors import CiRegistryError
from ..targets.base import Target
from ..targets.listing import repositories
from ..targets.mirrored import MirroredRepository, MirrorHealth
from ..targets.registry import RegistryRepository
from ..transport.auth import RegistryAuthoriser
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.origin import Origin
from .base import Connections
from .endpoint import Endpoint
from .explain import explain_refusal
from .naming import landing
from .quota import Quota, read_quota
from .settings import TargetSettings

__all__ = ["PlainRegistry"]

_MIRROR_RETRY_SECONDS = 2.0  # the origin is the better second try


class PlainRegistry:
    """Implements `kinds.base.OpenTarget`. Subclasses change its address, names, credentials and preparation."""

    free_heads = False
    mounts = True

    def __init__(self, settings: TargetSettings, url: str, connections: Connections, *, shown: str = "") -> None:
        self.settings, self._connections = settings, connections
        self._url, self._shown = url, shown
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, bool], Target] = {}
        self._parts: dict[str, Endpoint] = {}
        self._quota: Quota | None = None
        self._manifests_read = 0
        self._mirror_health = MirrorHealth()

    # -- who and where it is -------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.settings.name or self.shown

    def address(self) -> str:
        """Its URL; a kind that has to ask for it does so when it is first needed."""
        return self._url

    @cached_property
    def origin(self) -> Origin:
        return Origin.parse(self.address())

    @cached_property
    def shown(self) -> str:
        """The host that people know it by."""
        return self._shown or self.origin.netloc

    @property
    def credential_host(self) -> str:
        return self.origin.netloc

    def credential(self, repository: str | None = None) -> Credential:
        """The credential that wins for this target."""
        return self._connections.chain_for(self).find(self.lookup(repository))

    def lookup(self, repository: str | None = None) -> Lookup:
        return Lookup(self.credential_host, repository, self.settings.name or None)

    # -- repositories --------------------------------------------------------------------------------------------

    def landing(self, path: str) -> str:
        return landing(self.settings, path)

    def wire_name(self, name: str) -> str:
        """The repository's path in requests, where it is not its name."""
        return name

    def repository(self, name: str, *, writing: bool = False) -> Target:
        with self._lock:
            known = self._repositories.get((name, writing))
            if known is None:
                made = self.writer(name) if writing else self.reader(name)
                known = self._repositories[name, writing] = made
            return known

    def writer(self, name: str) -> RegistryRepository:
        """The repository where images are pushed."""
        return self.make_repository(self.endpoint_of(name), name).for_writing()

    def reader(self, name: str) -> Target:
        """The repository that images are read from: a mirror is asked first, if the target has one."""
        own = self.make_repository(self.endpoint_of(name), name)
        if self._mirror is None:
            return own
        mirrored = self.make_repository(self._mirror, name)
        return MirroredRepository(own, mirrored, self._mirror_health, self._connections.notify)

    def make_repository(self, endpoint: Endpoint, name: str) -> RegistryRepository:
        return RegistryRepository(
            endpoint.client,
            self.wire_name(name),
            shown=endpoint.name,
            free_heads=self.free_heads,
            mounts=self.mounts,
            chunk_bytes=self.settings.chunk_bytes or 0,
        )

    def repositories(self) -> list[str]:
        return repositories(self.client)

    def prepare_repository(self, name: str) -> None:
        """Registries create a repository at its first push."""

    def quota(self) -> Quota | None:
        """How many pulls the registry says are left; None where it never said."""
        return self._quota

    def forecast(self) -> str:
        """After a dry run: what the run itself will use of the pull limit; "" where the registry named none."""
        quota, pulls = self._quota, self._manifests_read
        if quota is None or not pulls:
            return ""
        short = f", {quota.shortfall(pulls)} too few" if quota.shortfall(pulls) else ""
        return f"the run itself reads {pulls} manifests from {self.shown}: {quota}{short}"

    def check_login(self) -> bool:
        """Have the registry look at the credential: False when it does not ask for any.

        Raises `AccessError` when it refuses.
        """
        reply = self.client.request("GET", "/v2/")
        if reply.status != 200:
            raise self.client.problem(reply, f"logging in to {self.shown}")
        authoriser = self.client.authoriser
        return isinstance(authoriser, RegistryAuthoriser) and authoriser.challenge is not None

    def close(self) -> None:
        for endpoint in self._endpoints():
            endpoint.close()

    # -- the wire ------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        return self.endpoint.client

    @cached_property
    def endpoint(self) -> Endpoint:
        """The address that is written to."""
        return self.own_endpoint()

    def endpoint_of(self, name: str) -> Endpoint:
        """The same address as whoever has the credential for that repository: docker's configuration may have one for
        a part of the repositories (containers-auth.json(5))."""
        part = self._connections.chain_for(self).part(self.lookup(self.wire_name(name)))
        if not part:
            return self.endpoint
        return self._parts.setdefault(part, self.own_endpoint(login=partial(self.credential, part)))

    def own_endpoint(self, **differences: Any) -> Endpoint:
        return self.make_endpoint(self.origin, shown=self.shown, **differences)

    def make_endpoint(self, origin: Origin, **differences: Any) -> Endpoint:
        """An endpoint of this target, with this kind's manners."""
        manners: dict[str, Any] = {"login": self.credential, "explain": self.explain, "on_reply": self.note_reply}
        return Endpoint(origin, self.settings, self._connections, **{**manners, **differences})

    @cached_property
    def _mirror(self) -> Endpoint | None:
        if not self.settings.mirror:
            return None
        origin = Origin.parse(self.settings.mirror)
        return self.make_endpoint(
            origin,
            login=lambda: self._connections.chain_for(self).find(Lookup(origin.netloc)),
            mine=False,
            configured_proxy=False,
            retry_seconds=_MIRROR_RETRY_SECONDS,
            on_reply=None,
        )

    def reading_endpoints(self) -> dict[str, Endpoint]:
        """The addresses, besides its own, that images are read from, by the key that says so in the configuration."""
        return {} if self._mirror is None else {"mirror": self._mirror}

    def _endpoints(self) -> list[Endpoint]:
        """The endpoints that were needed so far."""
        made = (*(self.__dict__.get(name) for name in ("endpoint", "_mirror")), *self._parts.values())
        return [endpoint for endpoint in made if endpoint is not None]

    def explain(self, reply: Reply, failed: CiRegistryError) -> CiRegistryError:
        """Add to a refusal what is known about this kind of registry."""
        return explain_refusal(reply, failed)

    def note_reply(self, reply: Reply) -> None:
        """Look at every answer for what it says besides."""
        quota = read_quota(reply.headers)
        with self._lock:
            self._quota = self._quota.or_later(quota) if self._quota else quota
            self._manifests_read += reply.status == 200 and reply.method == "GET" and "/manifests/" in reply.url
