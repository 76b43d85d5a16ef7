"""Connections to an origin: how they are dialled, kept for reuse, and broken off; and their failures as sentences."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import CiRegistryError, TlsError, TransportError
from .origin import Origin
from .proxy import Proxy
from .tls import TlsSettings, check_fingerprint, tls_failure

__all__ = ["NETWORK_ERRORS", "STALE", "Connection", "Dial", "Pool", "network_failure"]

CONNECT_SECONDS = 15.0

NETWORK_ERRORS = (OSError, http.client.HTTPException)
STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
"""What a reused connection fails with when the server had closed it meanwhile."""


@dataclass(frozen=True)
class Dial:
    """How connections to an origin are made."""

    tls: TlsSettings = field(default_factory=TlsSettings)
    proxy_for: Callable[[Origin], Proxy | None] = lambda _: None
    connect_to: tuple[str, int] | None = None
    explain_tls: Callable[[Origin, TlsError], TlsError] | None = None
    """Adds what the server's certificate says to a trust failure (needs an X.509 parser)."""


class Connection(http.client.HTTPConnection):
    """A connection to an origin: dials another address, through a proxy, or over TLS, as `Dial` says."""

    def __init__(self, origin: Origin, dial: Dial, own: bool) -> None:
        proxy = dial.proxy_for(origin)
        host, port = dial.connect_to if dial.connect_to and own else (origin.host, origin.port)
        super().__init__(proxy.host if proxy else host, proxy.port if proxy else port, timeout=CONNECT_SECONDS)
        self.origin, self.proxy, self.dial, self._own = origin, proxy, dial, own
        self.used = False
        login = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
        self.absolute_headers = login if proxy and not origin.is_tls else {}
        if proxy and origin.is_tls:
            self.set_tunnel(host, port, headers=login)

    def connect(self) -> None:
        super().connect()
        if self.origin.is_tls:
            settings = self.dial.tls
            context = settings.context(with_client_cert=self._own)
            self.sock = context.wrap_socket(self.sock, server_hostname=self.origin.host)
            if settings.fingerprint and self._own:
                certificate = self.sock.getpeercert(binary_form=True)
                check_fingerprint(self.origin, certificate or b"", settings.fingerprint)

    def wait(self, seconds: float) -> None:
        """Bound each following read or write."""
        self.timeout = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def abort(self) -> None:
        """Break whatever another thread is doing on it."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # already closed
                sock.shutdown(socket.SHUT_RDWR)


class Pool:
    """Idle connections of every origin a client met, last used first; and those in use, for cancelling."""

    def __init__(self, dial: Dial, own_origin: Origin) -> None:
        self._dial, self._own_origin = dial, own_origin
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._lock = threading.Lock()

    def take(self, origin: Origin, fresh: bool = False) -> Connection:
        with self._lock:
            idle = self._idle.get(origin)
            connection = idle.pop() if idle and not fresh else None
            if connection is None:
                connection = Connection(origin, self._dial, own=origin == self._own_origin)
            self._busy.add(connection)
            return connection

    def give_back(self, connection: Connection, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if reusable and connection.sock is not None:
                connection.used = True
                self._idle.setdefault(connection.origin, []).append(connection)
                return
        connection.close()

    def abort(self) -> None:
        with self._lock:
            busy = list(self._busy)
        for connection in busy:
            connection.abort()

    def close(self) -> None:
        with self._lock:
            idle = [connection for group in self._idle.values() for connection in group]
            self._idle.clear()
        for connection in idle:
            connection.close()


def network_failure(connection: Connection, error: Exception, attempt: str) -> CiRegistryError:
    """A foreign network error as ours: the one place where these are translated."""
    origin = connection.origin
    if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
        failed = tls_failure(origin, error)
        explain = connection.dial.explain_tls
        return explain(origin, failed) if explain and isinstance(failed, TlsError) else failed
    message, hint, retryable = _network_sentence(connection, error)
    failure = TransportError(f"{_without_query(attempt)} failed: {message}", hint=hint)
    failure.retryable = retryable
    failure.__cause__ = error
    return failure


def _network_sentence(connection: Connection, error: Exception) -> tuple[str, str, bool]:
    where = f"{connection.host}:{connection.port}"
    via = f" (the proxy set by {connection.proxy.said_by})" if connection.proxy else ""
    text = str(error)
    if "Tunnel connection failed" in text:
        return _tunnel_sentence(connection, text)
    if isinstance(error, socket.gaierror):
        hint = f"check the name; '{connection.host}' may be a container's, known only inside its docker network"
        return f"there is no host named '{connection.host}'{via}", hint, error.errno == socket.EAI_AGAIN
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on {where}{via} (connection refused)", "check the address and that it is running", True
    if isinstance(error, TimeoutError):
        return f"no answer from {where}{via} in time", "check firewalls and proxy settings", True
    if isinstance(error, http.client.BadStatusLine) and "\\x15\\x03" in repr(text):
        hint = f"write the address as https://{connection.origin.netloc}"
        return f"{where} speaks TLS, not plain HTTP", hint, False
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return f"what answers on {where} does not speak HTTP", "check the port", False
    return f"the connection to {where}{via} broke ({text or type(error).__name__})", "run it again", True


def _tunnel_sentence(connection: Connection, text: str) -> tuple[str, str, bool]:
    status = text.partition("failed: ")[2] or text
    said = f"the proxy {connection.proxy} refused to connect to {connection.origin.netloc} ({status})"
    if "407" in status:
        return said, "the proxy wants a login: write it as http://USER:PASSWORD@HOST:PORT in the variable", False
    hint = f"allow CONNECT to port {connection.origin.port} in the proxy (squid: acl SSL_ports), or set NO_PROXY"
    return said, hint, "50" in status


def _without_query(text: str) -> str:
    """An attempt's URL without its query, which may hold signatures and upload state."""
    return text.partition("?")[0]
