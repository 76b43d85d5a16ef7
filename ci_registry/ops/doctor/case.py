"""One target under examination: what is known of it so far, and how to reach it in more ways than one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from ...kinds.endpoint import Endpoint
from ...kinds.plain import PlainRegistry
from ...transport.challenge import Challenge
from ...transport.connection import NETWORK_ERRORS, Connection, Dial
from ...transport.exchange import Reply
from ...transport.http import Client
from ...transport.origin import Origin
from ...transport.proxy import Proxy
from ...transport.tls import TlsSettings
from ..places import Places
from .surroundings import Surroundings

__all__ = ["Case"]


class Case(Struct, eq=False):
    """Steps read and fill this in. `may_write`: trial uploads are allowed; `patience_seconds` bounds each connection.

    `reply` is the answer to `GET /v2/` without a login, `challenge` what it asks for.
    """

    name: str
    target: PlainRegistry
    surroundings: Surroundings
    places: Places
    repository: str | None = None
    may_write: bool = False
    patience_seconds: float = 5.0
    reply: Reply | None = None
    challenge: Challenge | None = None
    config_file: Path | None = None
    tags: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    certificate: bytes = b""
    _clients: list[Client] = field(default_factory=list)

    @property
    def origin(self) -> Origin:
        return self.target.origin

    @property
    def netloc(self) -> str:
        return self.origin.netloc

    @property
    def endpoint(self) -> Endpoint:
        return self.target.endpoint

    @property
    def dial(self) -> Dial:
        return self.endpoint.client.dial

    @property
    def proxy(self) -> Proxy | None:
        return self.dial.proxy_for(self.origin)

    @property
    def dialled(self) -> tuple[str, int]:
        """Host and port that are connected to: the proxy's, those of `connect_to`, or the URL's own."""
        proxy = self.proxy
        if proxy is not None:
            return proxy.host, proxy.port
        return self.dial.connect_to or (self.origin.host, self.origin.port)

    @property
    def where(self) -> str:
        host, port = self.dialled
        return f"{host}:{port}"

    def values(self, **more: object) -> dict[str, object]:
        """What findings of this target may speak of."""
        origin = self.origin
        known: dict[str, object] = {
            "target": self.name,
            "host": origin.host,
            "port": origin.port,
            "netloc": origin.netloc,
            "url": f"{origin}",
            "where": self.where,
            "dialled": self.where,
            "repository": self.wire_repository,
        }
        return {**known, **{key: value for key, value in more.items() if value is not None}}

    @property
    def wire_repository(self) -> str:
        return self.target.wire_name(self.repository) if self.repository else ""

    # -- connections -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connection(self, *, trusting: bool = False, plain: bool = False) -> Iterator[Connection]:
        """A fresh connection, not yet made; `trusting` takes any certificate, `plain` speaks HTTP to the same port."""
        dial = self.dial
        if trusting:
            tls = TlsSettings(client_cert=dial.tls.client_cert, client_key=dial.tls.client_key, skip_verify=True)
            dial = replace(dial, tls=tls)
        origin = self.origin
        if plain:
            origin, dial = Origin("http", origin.host, origin.port), replace(dial, proxy_for=lambda _: None)
        connection = Connection(origin, dial, own=True)
        connection.timeout = self.patience_seconds
        try:
            yield connection
        finally:
            with contextlib.suppress(*NETWORK_ERRORS):
                connection.close()

    def client(self, endpoint: Endpoint | None = None, *, logged_in: bool = True) -> Client:
        """A client, of the target's own address unless told otherwise, that tries once; it is closed with the case."""
        endpoint = endpoint or self.endpoint
        login = endpoint.login if logged_in else None
        once = replace(endpoint, login=login, retry_seconds=0.0, _client=None, _lock=threading.Lock())
        client = once.client
        client.answer_seconds = max(self.patience_seconds, 10.0)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    # -- files -------------------------------------------------------------------------------------------------------

    def near_ca(self) -> Path | None:
        """The folder of the target's CA, if it also holds the CA's key, so that certificates can be made with it."""
        ca = self.target.settings.ca
        folder = Path(ca).parent if ca else None
        return folder if folder is not None and (folder / "ca.key").exists() else None
