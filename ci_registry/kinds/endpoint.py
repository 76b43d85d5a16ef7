"""One address that a target speaks to: how it is reached, whom it is trusted as, and who we are to it.

A target has at least its own; others are a second address to read from, a mirror, and a token service. What the
settings say about certificates and `connect_to` is meant for the target's own address alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec import Struct, field

from ..errors import CiRegistryError, ConfigError
from ..transport.auth import Login, RegistryAuthoriser, TokenRequest
from ..transport.connection import Dial
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.origin import Origin
from ..transport.proxy import choose_proxy
from .base import Connections
from .settings import TargetSettings
from .trust import Trust

__all__ = ["RETRY_SECONDS", "Endpoint"]

RETRY_SECONDS = 120.0

Send = Callable[[TokenRequest, Origin], Reply]


class Endpoint(Struct, eq=False):
    """An address and the client for it, which is made when it is first asked for.

    `login` finds the credential; without it nobody is logged in. `mine` says that this is the target's own address,
    `configured_proxy` that the target's `proxy:` is meant for it. `explain`, `on_reply`, `retries_throttled` and
    `prefix` are those of `transport.http.Client`. `make_authoriser` replaces the usual one.
    """

    origin: Origin
    settings: TargetSettings
    connections: Connections
    login: Callable[[], Login] | None = None
    shown: str = ""
    mine: bool = True
    configured_proxy: bool = True
    prefix: str = ""
    retry_seconds: float | None = None
    retries_throttled: bool = True
    explain: Callable[[Reply, CiRegistryError], CiRegistryError] | None = None
    on_reply: Callable[[Reply], None] | None = None
    make_authoriser: Callable[[Origin, Callable[[], Login], Send], RegistryAuthoriser] = RegistryAuthoriser
    _client: Client | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.shown or self.origin.netloc

    @property
    def client(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _make_client(self) -> Client:
        connections, settings = self.connections, self.settings
        return Client(
            self.origin,
            self.dial(),
            authoriser=self.make_authoriser(self.origin, self.login, self.send_token_request) if self.login else None,
            limiter=connections.limiter(str(self.origin), settings if self.mine else None),
            cancel=connections.cancel,
            retry_seconds=self._retry_seconds(),
            on_warning=lambda text: connections.notify(f"{self.name} warns: {text}"),
            on_reply=self.on_reply,
            explain=self.explain,
            retries_throttled=self.retries_throttled,
            prefix=self.prefix,
        )

    def _retry_seconds(self) -> float:
        if self.retry_seconds is not None:
            return self.retry_seconds
        configured = self.settings.retry_seconds
        return RETRY_SECONDS if configured is None else configured

    def send_token_request(self, request: TokenRequest, service: Origin) -> Reply:
        """Ask a token service, over connections of its own."""
        beside = Endpoint(
            service,
            self.settings,
            self.connections,
            mine=self.mine and service == self.origin,
            configured_proxy=self.configured_proxy,
            retry_seconds=self.retry_seconds,
        )
        try:
            return beside.client.request(request.method, request.url, headers=request.headers, body=request.body)
        finally:
            beside.close()

    def dial(self) -> Dial:
        """How connections are made: TLS, proxy, another address."""
        settings, environ = self.settings, self.connections.environ
        self._warn()
        trust = Trust(self.origin, settings, environ, self.connections.notify, mine=self.mine)
        proxy = settings.proxy if self.configured_proxy else None
        return Dial(
            trust.tls,
            lambda origin: choose_proxy(origin, proxy, environ),
            _address(settings) if self.mine else None,
            trust.explain,
        )

    def _warn(self) -> None:
        if self.mine and self.origin.is_tls and self.settings.insecure_skip_verify:
            self.connections.notify(
                f"the certificate of {self.name} is not verified (insecure_skip_verify): anybody in between can read "
                "the password; pin it with `fingerprint:` instead"
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
