"""kind: registry. Any registry that speaks the OCI distribution API; the other registry kinds are built on it."""

from __future__ import annotations

import threading
from pathlib import Path

from ..credentials.chain import Credential, Lookup
from ..errors import ConfigError
from ..targets.listing import repositories
from ..targets.registry import RegistryRepository
from ..transport.auth import RegistryAuthoriser, TokenRequest
from ..transport.connection import Dial
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.origin import Origin
from ..transport.problem import problem
from ..transport.proxy import choose_proxy
from ..transport.tls import TlsSettings
from .base import Connections
from .naming import landing
from .settings import TargetSettings

__all__ = ["PlainRegistry"]


class PlainRegistry:
    """Implements `kinds.base.OpenTarget`. Subclasses change its address, names, credentials and preparation."""

    free_heads = False
    mounts = True

    def __init__(self, settings: TargetSettings, url: str, connections: Connections, *, shown: str = "") -> None:
        self.settings, self._connections = settings, connections
        self.origin = Origin.parse(url)
        self.shown = shown or self.origin.netloc
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._repositories: dict[tuple[str, bool], RegistryRepository] = {}

    @property
    def name(self) -> str:
        return self.settings.name or self.shown

    @property
    def credential_host(self) -> str:
        return self.origin.netloc

    def credential(self, repository: str | None = None) -> Credential:
        """The credential that wins for this target."""
        return self._connections.chain_for(self).find(self.lookup(repository))

    def lookup(self, repository: str | None = None) -> Lookup:
        return Lookup(self.credential_host, repository, self.settings.name or None)

    def landing(self, path: str) -> str:
        return landing(self.settings, path)

    def repository(self, name: str, *, writing: bool = False) -> RegistryRepository:
        with self._lock:
            known = self._repositories.get((name, writing))
            if known is None:
                known = self._repositories[name, writing] = self._make_repository(name, writing)
            return known

    def _make_repository(self, name: str, writing: bool) -> RegistryRepository:
        repository = RegistryRepository(
            self.client_unlocked(),
            self.wire_name(name),
            shown=self.shown,
            free_heads=self.free_heads,
            mounts=self.mounts,
            chunk_bytes=self.settings.chunk_bytes or 0,
        )
        return repository.for_writing() if writing else repository

    def wire_name(self, name: str) -> str:
        """The repository's path in requests, where it is not its name."""
        return name

    def repositories(self) -> list[str]:
        return repositories(self.client)

    def prepare_repository(self, name: str) -> None:
        """Registries create a repository at its first push."""

    def check_login(self) -> bool:
        """Have the registry look at the credential: False when it does not ask for any.

        Raises `AccessError` when it refuses.
        """
        reply = self.client.request("GET", "/v2/")
        if reply.status != 200:
            raise problem(reply, f"logging in to {self.shown}")
        authoriser = self.client.authoriser
        return isinstance(authoriser, RegistryAuthoriser) and authoriser.challenge is not None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    # -- the wire ------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        with self._lock:
            return self.client_unlocked()

    def client_unlocked(self) -> Client:
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _make_client(self) -> Client:
        client = self._bare_client(self.origin)
        client.authoriser = self.make_authoriser()
        return client

    def make_authoriser(self) -> RegistryAuthoriser:
        return RegistryAuthoriser(self.origin, self.credential, self._send_token_request)

    def _bare_client(self, origin: Origin) -> Client:
        connections, settings = self._connections, self.settings
        retry_seconds = settings.retry_seconds
        return Client(
            origin,
            self.dial(),
            limiter=connections.limiter(str(origin), settings),
            cancel=connections.cancel,
            retry_seconds=120.0 if retry_seconds is None else retry_seconds,
            on_warning=lambda text: connections.notify(f"{self.shown} warns: {text}"),
        )

    def _send_token_request(self, request: TokenRequest, service: Origin) -> Reply:
        client = self._bare_client(service)
        try:
            return client.request(request.method, request.url, headers=request.headers, body=request.body)
        finally:
            client.close()

    def dial(self) -> Dial:
        """How connections are made: TLS, proxy, another address."""
        settings, environ = self.settings, self._connections.environ
        return Dial(
            self.tls_settings(),
            lambda origin: choose_proxy(origin, settings.proxy, environ),
            _address(settings),
            self._connections.explain_tls,
        )

    def tls_settings(self) -> TlsSettings:
        settings = self.settings
        if settings.insecure_skip_verify:
            self._connections.notify(
                f"the certificate of {self.shown} is not verified (insecure_skip_verify): anybody in between can read "
                "the password; pin it with `fingerprint:` instead"
            )
        return TlsSettings(
            ca_files=(Path(settings.ca),) if settings.ca else (),
            client_cert=Path(settings.client_cert) if settings.client_cert else None,
            client_key=Path(settings.client_key) if settings.client_key else None,
            fingerprint=settings.fingerprint or "",
            skip_verify=settings.insecure_skip_verify,
        )


def _address(settings: TargetSettings) -> tuple[str, int] | None:
    if not settings.connect_to:
        return None
    host, _, port = settings.connect_to.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(
            f"targets.{settings.name}.connect_to is '{settings.connect_to}', not HOST:PORT",
            path=f"targets.{settings.name}.connect_to",
        )
    return host.strip("[]"), int(port)
