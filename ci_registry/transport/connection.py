"""Connections to an origin: how they are dialled, kept for reuse, and broken off; and their failures as sentences."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from io import BufferedReader

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import CiRegistryError, TlsError, TransportError
from .message import Headers, NotHttpError, ProtocolError, Response, UnsendableError, request_head
from .origin import Origin
from .proxy import Proxy
from .tls import TlsSettings

__all__ = ["NETWORK_ERRORS", "Connection", "Dial", "Pool", "is_stale", "network_failure", "proxy_refusal"]

CONNECT_SECONDS = 15.0
_LOOK_SECONDS = 5.0

NETWORK_ERRORS = (OSError, ProtocolError)
_DROPPED = (ConnectionResetError, BrokenPipeError)


class Dial(Struct, frozen=True):
    """How connections to an origin are made."""

    tls: TlsSettings = field(default_factory=TlsSettings)
    proxy_for: Callable[[Origin], Proxy | None] = lambda _: None
    connect_to: tuple[str, int] | None = None
    explain_tls: Callable[[Origin, TlsError, bytes], TlsError] | None = None
    """Adds to a failed handshake what the server's certificate says (in DER; empty if it could not be had)."""


class Connection:
    """A connection to an origin: dials another address, through a proxy, or over TLS, as `Dial` says.

    It is made when it is first used. `timeout`, in seconds, bounds making it and each reading and writing.
    """

    def __init__(self, origin: Origin, dial: Dial, own: bool) -> None:
        self.proxy = proxy = dial.proxy_for(origin)
        self._beyond = dial.connect_to if dial.connect_to and own else (origin.host, origin.port)
        self.host, self.port = (proxy.host, proxy.port) if proxy else self._beyond
        self.origin, self.dial, self.is_own = origin, dial, own
        self._netloc, self.root = origin.netloc, str(origin)
        """What the URLs that are asked for on it begin with."""
        self.timeout = CONNECT_SECONDS
        self.sock: socket.socket | None = None
        self._reader: BufferedReader | None = None
        self.is_secured = False
        """The TLS handshake is over."""
        self.rounds = (4 if origin.is_tls else 2) + (1 if proxy else 0)
        """Round trips until an answer: one once it is made, before that those of its handshakes too."""
        self.may_break = True
        """Whether a run that is stopped may cut it off."""
        self._login = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
        self.absolute_headers: Mapping[str, str] = self._login if proxy and not origin.is_tls else {}

    def connect(self) -> None:
        """Make it: to the proxy if there is one, through that where the origin speaks TLS, and then the handshake."""
        # As bytes, since looking up a text first loads the tables of international names.
        host = self.host.encode() if self.host.isascii() else self.host
        self.sock = socket.create_connection((host, self.port), self.timeout)  # type: ignore[arg-type]
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.origin.is_tls:
            if self.proxy:
                self._tunnel(self.sock)
            self._start_tls(self.sock)
        self._reader = self.sock.makefile("rb")

    def _tunnel(self, sock: socket.socket) -> None:
        host, port = self._beyond
        beyond = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        sock.sendall(request_head("CONNECT", beyond, [("Host", beyond), *self._login.items()]))
        # Without a buffer: what follows the answer belongs to the handshake.
        with sock.makefile("rb", buffering=0) as raw:
            answer = Response(BufferedReader(raw, 1), "HEAD")
        if not 200 <= answer.status < 300:
            raise OSError(f"Tunnel connection failed: {answer.status} {answer.reason}".rstrip())

    def _start_tls(self, sock: socket.socket) -> None:
        from .handshake import check_fingerprint

        settings = self.dial.tls
        context = settings.context(own=self.is_own)
        self.sock = secured = context.wrap_socket(sock, server_hostname=self.origin.host)
        if settings.fingerprint and self.is_own:
            check_fingerprint(self.origin, secured.getpeercert(binary_form=True) or b"", settings.fingerprint)
        self.is_secured = True

    def request(self, method: str, target: str, fields: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Send a request, or the head of one whose body follows; `fields` come after Host."""
        head = request_head(method, target, [("Host", self._netloc), *fields])
        if self.sock is None:
            self.connect()
        self.send(head + body)

    def send(self, data: bytes | memoryview) -> None:
        """Send a part of a body."""
        assert self.sock is not None  # noqa: S101 - a body follows a head
        self.sock.sendall(data)

    def answer(self, method: str) -> Response:
        """Read the head of the answer to a request that was sent with `method`."""
        assert self._reader is not None  # noqa: S101 - an answer follows a request
        return Response(self._reader, method)

    def close(self) -> None:
        """End it; harmless when repeated."""
        for part in (self._reader, self.sock):
            if part is not None:
                with contextlib.suppress(OSError):  # the other side was faster
                    part.close()
        self._reader = self.sock = None

    def wait(self, seconds: float) -> None:
        """Bound each following read or write."""
        self.timeout = seconds
        if self.sock is not None and self.sock.gettimeout() != seconds:
            self.sock.settimeout(seconds)

    @property
    def is_dropped(self) -> bool:
        """Whether the other side has closed an idle connection, or sent what nobody asked for."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Break whatever another thread is doing on it."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # already closed
                # Not SSLSocket's own shutdown: that drops the encryption first, and what another thread is just
                # sending would go out in plain text.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Pool:
    """Idle connections of every origin a client met, last used first; and those in use, for cancelling.

    `abort` may be called by a signal handler, which can interrupt any of these methods: the lock is reentrant.
    """

    def __init__(self, dial: Dial, own_origin: Origin) -> None:
        self._dial, self._own_origin = dial, own_origin
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._lock = threading.RLock()

    def take(self, origin: Origin, fresh: bool = False, may_break: bool = True) -> Connection:
        """An idle connection that is still good, or a new one, which connects when it is first used."""
        connection = None
        while not fresh and (connection := self._take_idle(origin)) is not None and connection.is_dropped:
            connection.close()
        if connection is None:
            connection = Connection(origin, self._dial, own=origin == self._own_origin)
        else:
            connection.rounds = 1
        connection.may_break = may_break
        with self._lock:
            self._busy.add(connection)
        return connection

    def _take_idle(self, origin: Origin) -> Connection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def give_back(self, connection: Connection, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if reusable and connection.sock is not None:
                self._idle.setdefault(connection.origin, []).append(connection)
                return
        connection.close()

    def abort(self) -> None:
        with self._lock:
            busy = list(self._busy)
        for connection in busy:
            if connection.may_break:
                connection.abort()

    def close(self) -> None:
        with self._lock:
            idle = [connection for group in self._idle.values() for connection in group]
            self._idle.clear()
        for connection in idle:
            connection.close()


def is_stale(connection: Connection, error: Exception) -> bool:
    """Whether a reused connection failed as it does when the server had closed it meanwhile."""
    return isinstance(error, _DROPPED) or (connection.origin.is_tls and type(error).__name__ == "SSLEOFError")


def network_failure(connection: Connection, error: Exception, attempt: str) -> CiRegistryError:
    """A foreign network error as ours: the one place where these are translated."""
    failed = _handshake_failure(connection, error) if connection.origin.is_tls else None
    if failed is not None:
        return failed
    message, hint, retryable = _network_sentence(connection, error)
    failure = TransportError(f"{_without_query(attempt)} failed: {message}", hint=hint)
    failure.retryable = retryable
    failure.__cause__ = error
    return failure


def _handshake_failure(connection: Connection, error: Exception) -> CiRegistryError | None:
    from .handshake import tls_failure

    failed = tls_failure(connection.origin, error)
    if connection.is_secured and isinstance(failed, TlsError) and failed.about != "client certificate":
        return None  # it was good, and broke: something on the way spoilt what is sent
    explain = connection.dial.explain_tls
    if explain is None or not isinstance(failed, TlsError):
        return failed
    return explain(connection.origin, failed, _presented_certificate(connection))


def _presented_certificate(connection: Connection) -> bytes:
    """What the server shows to whoever comes the same way, without trust in it and without anything sent."""
    settings = connection.dial.tls
    trusting = replace(settings, ca_files=(), fingerprint="", skip_verify=True, _contexts={})
    again = Connection(connection.origin, replace(connection.dial, tls=trusting), connection.is_own)
    again.timeout = _LOOK_SECONDS
    try:
        again.connect()
        shown: bytes | None = again.sock.getpeercert(binary_form=True)  # type: ignore[union-attr]  # a TLS socket
    except (*NETWORK_ERRORS, CiRegistryError):
        return b""
    finally:
        again.close()
    return shown or b""


def proxy_refusal(connection: Connection, status: int, headers: Headers) -> TransportError | None:
    """What a proxy itself answered to a request for a plain-http registry; None when the registry answered."""
    proxy, reason = connection.proxy, (headers.get("X-Squid-Error") or "").partition(" ")[0]
    if proxy is None or connection.origin.is_tls or (status != 407 and not reason):
        return None
    said, hint, retryable = _refused_by_proxy(connection, f"{status} {reason}".rstrip(), "pass on a request to")
    failure = TransportError(said, hint=hint)
    failure.retryable = retryable
    return failure


def _network_sentence(connection: Connection, error: Exception) -> tuple[str, str, bool]:
    where = f"{connection.host}:{connection.port}"
    via = f" (the proxy set by {connection.proxy.said_by})" if connection.proxy else ""
    text = str(error)
    if isinstance(error, UnsendableError):
        return f"its address can't be asked for ({text})", "check the address", False
    if "Tunnel connection failed" in text:
        return _refused_by_proxy(connection, text.partition("failed: ")[2] or text, "connect to")
    if isinstance(error, socket.gaierror):
        hint = f"check the name; '{connection.host}' may be a container's, known only inside its docker network"
        return f"there is no host named '{connection.host}'{via}", hint, error.errno == socket.EAI_AGAIN
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on {where}{via} (connection refused)", "check the address and that it is running", True
    if isinstance(error, TimeoutError):
        return f"no answer from {where}{via} in time", "check firewalls and proxy settings", True
    if isinstance(error, NotHttpError) and "\\x15\\x03" in text:
        hint = f"write the address as https://{connection.origin.netloc}"
        return f"{where} speaks TLS, not plain HTTP", hint, False
    if isinstance(error, NotHttpError):
        return f"what answers on {where} does not speak HTTP", "check the port", False
    return f"the connection to {where}{via} broke ({text or type(error).__name__})", "run it again", True


def _refused_by_proxy(connection: Connection, status: str, action: str) -> tuple[str, str, bool]:
    proxy, origin = connection.proxy, connection.origin
    assert proxy is not None  # noqa: S101 - only called where a proxy answered
    said = f"the proxy {proxy} (set by {proxy.said_by}) refused to {action} {origin.netloc} ({status})"
    if status.startswith("407"):
        cause = "did not accept that user and password" if proxy.authorization else "wants a login"
        return f"{said}: it {cause}", f"write http://USER:PASSWORD@{proxy} into {proxy.said_by}", False
    if status.startswith("5"):
        return said, f"check that {origin.netloc} can be reached from the proxy, or name it in NO_PROXY", True
    rule = f"CONNECT to port {origin.port} (squid: acl SSL_ports)" if origin.is_tls else f"requests to {origin.netloc}"
    return said, f"allow {rule} in the proxy, or name {origin.host} in NO_PROXY", False


def _without_query(text: str) -> str:
    """An attempt's URL without its query, which may hold signatures and upload state."""
    return text.partition("?")[0]
