"""HTTP/1.1 to one registry: a pool of connections, push-style bodies, retries, redirects, limits.

Built on http.client, driven by hand so that a body can be pushed chunk by chunk while another connection is read
(docs/decisions/0001-transport.md). One `Client` serves one registry; it may be used from any number of threads.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin

from ..errors import CiRegistryError, RemoteError, TlsError, TransportError
from .limiter import Limiter
from .origin import Origin
from .problem import ERROR_BODY_LIMIT, diagnostics
from .proxy import Proxy
from .retry import RETRY_STATUSES, Attempts, Cancel, retry_after_seconds
from .tls import TlsSettings, check_fingerprint, tls_failure

__all__ = ["Authoriser", "Client", "Dial", "EarlyAnswer", "Exchange", "Reply", "Scopes", "Stream"]

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 60.0
COMMIT_SECONDS = 900.0
"""How long the last answer of an upload may take: some storages move the whole blob then."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FINAL_CODES = ("MANIFEST_", "BLOB_", "NAME_", "TAG_", "DIGEST_", "SIZE_", "UNSUPPORTED", "DENIED")
_SMALL_BODY = 64 * 1024
_NETWORK_ERRORS = (OSError, http.client.HTTPException)
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)

Scopes = frozenset[str]


class Authoriser(Protocol):
    """Puts credentials on requests; knows nothing of connections."""

    def headers(self, scopes: Scopes) -> Mapping[str, str]:
        """Headers for a request that needs `scopes`; may ask a token service."""
        ...

    def challenged(self, reply: Reply, scopes: Scopes, sent: Mapping[str, str]) -> bool:
        """After a 401 or 403: True to send the request again; may raise `AccessError` with the reason."""
        ...

    def first_contact(self) -> Any:
        """A context manager that lets one request through alone while nothing is known of the host yet."""
        ...


@dataclass(frozen=True)
class Dial:
    """How connections to an origin are made."""

    tls: TlsSettings = field(default_factory=TlsSettings)
    proxy_for: Callable[[Origin], Proxy | None] = lambda _: None
    connect_to: tuple[str, int] | None = None
    explain_tls: Callable[[Origin, TlsError], TlsError] | None = None
    """Adds what the server's certificate says to a trust failure (needs an X.509 parser)."""


@dataclass
class Reply:
    """A whole answer: status, headers, and the body up to the limit that was asked for."""

    method: str
    url: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes = b""

    def header_values(self, name: str) -> list[str]:
        """All values of a header that may be repeated."""
        return list(self.headers.get_all(name) or [])


class _Connection(http.client.HTTPConnection):
    """A connection to an origin: dials another address, through a proxy, or over TLS, as `Dial` says."""

    def __init__(self, origin: Origin, dial: Dial, own: bool) -> None:
        proxy = dial.proxy_for(origin)
        host, port = dial.connect_to if dial.connect_to and own else (origin.host, origin.port)
        super().__init__(proxy.host if proxy else host, proxy.port if proxy else port, timeout=CONNECT_SECONDS)
        self.origin, self.proxy, self._dial, self._own = origin, proxy, dial, own
        self.used = False
        login = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
        self.absolute_headers = login if proxy and not origin.is_tls else {}
        if proxy and origin.is_tls:
            self.set_tunnel(host, port, headers=login)

    def connect(self) -> None:
        super().connect()
        if self.origin.is_tls:
            settings = self._dial.tls
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
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed


class _Pool:
    """Idle connections of every origin a client met, last used first; and those in use, for cancelling."""

    def __init__(self, dial: Dial, own_origin: Origin) -> None:
        self._dial, self._own_origin = dial, own_origin
        self._idle: dict[Origin, list[_Connection]] = {}
        self._busy: set[_Connection] = set()
        self._lock = threading.Lock()

    def take(self, origin: Origin, fresh: bool = False) -> _Connection:
        with self._lock:
            idle = self._idle.get(origin)
            connection = idle.pop() if idle and not fresh else None
            if connection is None:
                connection = _Connection(origin, self._dial, own=origin == self._own_origin)
            self._busy.add(connection)
            return connection

    def give_back(self, connection: _Connection, reusable: bool) -> None:
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


class Stream:
    """An answer whose body is still to be read; closing it gives the connection back if the body is used up."""

    def __init__(self, client: Client, connection: _Connection, response: http.client.HTTPResponse, reply: Reply):
        self._client, self._connection, self._response, self.reply = client, connection, response, reply
        self._open = True

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes; 0 at the end. A break raises `TransportError`."""
        try:
            count = self._response.readinto(buffer)
        except _NETWORK_ERRORS as error:
            self.close(broken=True)
            raise self._client.failure(self._connection, error, f"reading from {self.reply.url}") from error
        return count

    def read_all(self, limit: int) -> bytes:
        """The rest of the body, at most `limit` bytes."""
        try:
            return self._response.read(limit)
        except _NETWORK_ERRORS as error:
            self.close(broken=True)
            raise self._client.failure(self._connection, error, f"reading from {self.reply.url}") from error

    def close(self, broken: bool = False) -> None:
        if self._open:
            self._open = False
            reusable = not broken and self._response.isclosed() and not self._response.will_close
            self._response.close()
            self._client.pool.give_back(self._connection, reusable)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Exchange:
    """A request whose body is pushed: `send()` as often as needed, then `finish()`."""

    def __init__(self, client: Client, connection: _Connection, method: str, url: str, chunked: bool) -> None:
        self._client, self._connection = client, connection
        self._method, self._url, self._chunked = method, url, chunked
        self._patience: float | None = None
        self._open = True

    def patience(self, seconds: float | None) -> None:
        """Bound how long the other side may take to accept what is sent; None for the ordinary bound."""
        if seconds != self._patience:
            self._patience = seconds
            self._connection.wait(self._client.answer_seconds if seconds is None else seconds)

    def send(self, data: memoryview | bytes) -> None:
        """Push some of the body. A broken connection raises `TransportError`, an early refusal `EarlyAnswer`."""
        if self._chunked:
            if not len(data):
                return  # an empty chunk would end the body
            frame = b"%x\r\n" % len(data)
            data = b"".join((frame, data, b"\r\n")) if len(data) < _SMALL_BODY else data
            if not isinstance(data, bytes):
                self._push(frame)
                self._push(data)
                self._push(b"\r\n")
                return
        self._push(data)

    def _push(self, data: memoryview | bytes) -> None:
        try:
            self._connection.sock.sendall(data)
        except _NETWORK_ERRORS as error:
            reply = self._early_answer()
            if reply is not None:
                raise EarlyAnswer(reply) from error
            raise self._client.failure(self._connection, error, f"sending to {self._url}") from error

    def _early_answer(self) -> Reply | None:
        # A server that refuses a body answers and closes while we still send; what it said is what matters.
        try:
            self._connection.wait(2.0)
            reply = self._client.read_reply(self._connection, self._method, self._url, ERROR_BODY_LIMIT, reuse=False)
        except _NETWORK_ERRORS:
            self.close()
            return None
        self._open = False
        return reply

    def finish(self, seconds: float = COMMIT_SECONDS) -> Reply:
        """End the body and wait for the answer."""
        if self._chunked:
            self._push(b"0\r\n\r\n")
        self._open = False
        self._connection.wait(seconds)
        try:
            return self._client.read_reply(self._connection, self._method, self._url, ERROR_BODY_LIMIT)
        except _NETWORK_ERRORS as error:
            self._client.pool.give_back(self._connection, reusable=False)
            raise self._client.failure(self._connection, error, f"sending to {self._url}") from error

    def close(self) -> None:
        """Drop the request; the connection can't be used again."""
        if self._open:
            self._open = False
            self._client.pool.give_back(self._connection, reusable=False)


class EarlyAnswer(RemoteError):
    """The server answered before it had the whole body."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.method} {reply.url} was answered {reply.status} before its body was sent")
        self.reply = reply


class Client:
    """All requests of a run to one registry.

    `retry_seconds` bounds how long one request may be tried again. `on_warning` gets each distinct text of a
    `Warning: 299` header once.
    """

    def __init__(
        self,
        origin: Origin,
        dial: Dial | None = None,
        *,
        authoriser: Authoriser | None = None,
        limiter: Limiter | None = None,
        cancel: Cancel | None = None,
        retry_seconds: float = 120.0,
        answer_seconds: float = ANSWER_SECONDS,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        self.origin = origin
        self.dial = dial or Dial()
        self.authoriser = authoriser
        self.limiter = limiter or Limiter()
        self.cancel = cancel or Cancel()
        self.retry_seconds = retry_seconds
        self.answer_seconds = answer_seconds
        self.pool = _Pool(self.dial, origin)
        self._on_warning = on_warning
        self._warned: set[str] = set()
        self._user_agent = _user_agent()
        self.cancel.on_set(self.pool.abort)

    def close(self) -> None:
        self.pool.close()

    def for_cleanup(self) -> Client:
        """A client for the last words of a run that was cancelled: fresh connections, short waits, no retries."""
        return Client(self.origin, self.dial, authoriser=self.authoriser, retry_seconds=0.0, answer_seconds=3.0)

    def url(self, path: str, base: str | None = None) -> str:
        """An absolute URL; a Location or Link is resolved against the URL of its request, its query untouched."""
        return urljoin(base or str(self.origin), path)

    # -- whole answers -------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        scopes: Scopes = frozenset(),
        limit: int = ERROR_BODY_LIMIT,
        retry: bool = True,
        base: str | None = None,
    ) -> Reply:
        """Send a request and read its answer, whatever its status; retries what may be retried.

        At most `limit` bytes of a good answer are read: a longer one is an error. Redirects are not followed.
        """
        with self.open(method, path, headers=headers, body=body, scopes=scopes, retry=retry, base=base) as stream:
            reply = stream.reply
            if not reply.body and method != "HEAD":
                reply.body = _read_capped(stream, limit)
            return reply

    # -- streamed answers ----------------------------------------------------------------------------------------

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        scopes: Scopes = frozenset(),
        retry: bool = True,
        base: str | None = None,
        follow: bool = False,
    ) -> Stream:
        """Send a request and hand back its answer with the body unread (a refusal's body is read, capped).

        With `follow`, redirects are followed, to other hosts without credentials (GET of blobs).
        """
        url = self.url(path, base)
        attempts = Attempts(self.retry_seconds, self.cancel)
        challenges = hops = 0
        while True:
            try:
                stream, sent = self._once(method, url, headers or {}, body, scopes)
            except TransportError as error:
                if retry and error.retryable and self._within(error, attempts) and attempts.again():
                    continue
                raise
            reply = stream.reply
            if follow and reply.status in _REDIRECTS and hops < 5 and reply.headers.get("Location"):
                hops += 1
                stream.close(broken=True)
                url = self.url(reply.headers["Location"], url)
                continue
            if reply.status in (401, 403) and challenges < 2 and self._answer_challenge(stream, scopes, sent):
                challenges += 1
                continue
            if reply.status in RETRY_STATUSES and self._try_again(stream, attempts, retry):
                continue
            return stream

    def _within(self, error: TransportError, attempts: Attempts) -> bool:
        # Nobody listening is rarely cured by waiting minutes; a service that is just starting is.
        return not isinstance(error.__cause__, ConnectionRefusedError) or attempts.count < 4

    def _answer_challenge(self, stream: Stream, scopes: Scopes, sent: Mapping[str, str]) -> bool:
        reply = stream.reply
        if self.authoriser is None or Origin.parse(reply.url) != self.origin:
            return False
        _read_refusal(stream)
        return self.authoriser.challenged(reply, scopes, sent)

    def _try_again(self, stream: Stream, attempts: Attempts, retry: bool) -> bool:
        reply = stream.reply
        _read_refusal(stream)
        after = retry_after_seconds(reply.headers)
        self.limiter.throttled(after or 0.0)
        if not retry or any(entry.code.startswith(_FINAL_CODES) for entry in diagnostics(reply.body)):
            return False
        return (reply.status != 500 or attempts.count < 6) and attempts.again(after)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, scopes: Scopes
    ) -> tuple[Stream, Mapping[str, str]]:
        with self._first_contact(url):
            sent = self._authorisation(url, scopes)
            self.cancel.sleep(self.limiter.delay())
            started = time.monotonic()
            stream = self._exchange(method, url, {**headers, **sent}, body)
            if stream.reply.status < 500 and stream.reply.status != 429:
                self.limiter.answered(time.monotonic() - started)
            return stream, sent

    def _first_contact(self, url: str) -> Any:
        if self.authoriser is None or not url.startswith(str(self.origin)):
            return _no_lock()
        return self.authoriser.first_contact()

    def _authorisation(self, url: str, scopes: Scopes) -> Mapping[str, str]:
        if self.authoriser is None or Origin.parse(url) != self.origin:
            return {}
        return self.authoriser.headers(scopes)

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Stream:
        fresh = False
        while True:
            self.cancel.check()
            connection = self.pool.take(Origin.parse(url), fresh)
            reused = connection.sock is not None
            try:
                self._send_head(connection, method, url, headers, len(body), body)
                return self._read_head(connection, method, url)
            except _NETWORK_ERRORS as error:
                self.pool.give_back(connection, reusable=False)
                if reused and isinstance(error, _STALE):
                    fresh = True  # the server closed an idle connection; that is no failure
                    continue
                raise self.failure(connection, error, f"{method} {url}") from error
            except CiRegistryError:
                self.pool.give_back(connection, reusable=False)
                raise

    # -- pushed bodies -------------------------------------------------------------------------------------------

    def begin(
        self, method: str, url: str, *, headers: Mapping[str, str], length: int | None, scopes: Scopes
    ) -> Exchange:
        """Start a request whose body is pushed; `length` in bytes, or None for a chunked body. Not retried here."""
        with self._first_contact(url):
            sent = self._authorisation(url, scopes)
        self.cancel.sleep(self.limiter.delay())
        connection = self.pool.take(Origin.parse(url), fresh=False)
        framing = {"Transfer-Encoding": "chunked"} if length is None else {}
        try:
            self._send_head(connection, method, url, {**headers, **sent, **framing}, length)
        except _NETWORK_ERRORS as error:
            self.pool.give_back(connection, reusable=False)
            raise self.failure(connection, error, f"{method} {url}") from error
        except CiRegistryError:
            self.pool.give_back(connection, reusable=False)
            raise
        return Exchange(self, connection, method, url, chunked=length is None)

    # -- one connection ------------------------------------------------------------------------------------------

    def _send_head(
        self,
        connection: _Connection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        length: int | None,
        body: bytes = b"",
    ) -> None:
        whole = connection.proxy is not None and not connection.origin.is_tls
        path = url if whole else url[len(str(connection.origin)) :] or "/"
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", connection.origin.netloc)
        connection.putheader("User-Agent", self._user_agent)
        if length is not None and (length or method in ("POST", "PUT", "PATCH")):
            connection.putheader("Content-Length", str(length))
        for name, value in (*headers.items(), *connection.absolute_headers.items()):
            connection.putheader(name, value)
        connection.endheaders(body or None)
        connection.wait(self.answer_seconds)

    def _read_head(self, connection: _Connection, method: str, url: str) -> Stream:
        response = connection.getresponse()
        reply = Reply(method, url, response.status, response.headers)
        self._note_warnings(reply)
        return Stream(self, connection, response, reply)

    def read_reply(self, connection: _Connection, method: str, url: str, limit: int, reuse: bool = True) -> Reply:
        """The whole answer to a pushed body."""
        stream = self._read_head(connection, method, url)
        stream.reply.body = stream.read_all(limit)
        if stream.reply.status in RETRY_STATUSES:
            self.limiter.throttled(retry_after_seconds(stream.reply.headers) or 0.0)
        stream.close(broken=not reuse)
        return stream.reply

    def _note_warnings(self, reply: Reply) -> None:
        for value in reply.header_values("Warning"):
            text = value.split('"')[1] if value.startswith("299") and value.count('"') >= 2 else ""
            if text and text not in self._warned and self._on_warning is not None:
                self._warned.add(text)
                self._on_warning(text)

    def failure(self, connection: _Connection, error: Exception, attempt: str) -> CiRegistryError:
        """A foreign network error as ours: the one place where these are translated."""
        self.cancel.check()
        origin = connection.origin
        if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
            failed = tls_failure(origin, error)
            explain = self.dial.explain_tls
            return explain(origin, failed) if explain and isinstance(failed, TlsError) else failed
        message, hint, retryable = _network_sentence(connection, error)
        failure = TransportError(f"{_without_query(attempt)} failed: {message}", hint=hint)
        failure.retryable = retryable
        failure.__cause__ = error
        return failure


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


def _read_capped(stream: Stream, limit: int) -> bytes:
    body = stream.read_all(limit + 1)
    if len(body) > limit and stream.reply.status < 300:
        stream.close(broken=True)
        raise RemoteError(f"{stream.reply.url} answered with more than the {limit} bytes such an answer may have")
    return body[:limit]


def _read_refusal(stream: Stream) -> None:
    reply = stream.reply
    reply.body = stream.read_all(ERROR_BODY_LIMIT) if reply.method != "HEAD" else b""
    stream.close()


def _network_sentence(connection: _Connection, error: Exception) -> tuple[str, str, bool]:
    where = f"{connection.host}:{connection.port}"
    via = f" (the proxy set by {connection.proxy.said_by})" if connection.proxy else ""
    text = str(error)
    if "Tunnel connection failed" in text:
        return _tunnel_sentence(connection, text)
    if isinstance(error, socket.gaierror):
        hint = f"check the name; if '{connection.host}' is a container's name, it only resolves inside its docker network"
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


def _tunnel_sentence(connection: _Connection, text: str) -> tuple[str, str, bool]:
    status = text.partition("failed: ")[2] or text
    said = f"the proxy {connection.proxy} refused to connect to {connection.origin.netloc} ({status})"
    if "407" in status:
        return said, "the proxy wants a login: write it as http://USER:PASSWORD@HOST:PORT in the variable", False
    hint = f"allow CONNECT to port {connection.origin.port} in the proxy (squid: acl SSL_ports), or set NO_PROXY"
    return said, hint, "50" in status


def _without_query(text: str) -> str:
    """An attempt's URL without its query, which may hold signatures and upload state."""
    return text.partition("?")[0]


def _user_agent() -> str:
    from .._version import __version__

    return f"ci-registry/{__version__}"

