"""HTTP/1.1 to one registry: a pool of connections, push-style bodies, retries, redirects, limits.

Built on http.client, driven by hand so that a body can be pushed chunk by chunk while another connection is read
(docs/decisions/0001-transport.md). One `Client` serves one registry; it may be used from any number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urljoin

from ..errors import AccessError, CiRegistryError, Interrupted, RemoteError, TransportError
from .connection import NETWORK_ERRORS, STALE, Connection, Dial, Pool, network_failure, proxy_refusal
from .exchange import Exchange, Reply, Stream
from .limiter import Limiter
from .origin import Origin
from .problem import ERROR_BODY_LIMIT, diagnostics, problem
from .retry import RETRY_STATUSES, Attempts, Cancel, retry_after_seconds

__all__ = ["Authoriser", "Client", "Scopes"]

ANSWER_SECONDS = 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 5
_FINAL_CODES = ("MANIFEST_", "BLOB_", "NAME_", "TAG_", "DIGEST_", "SIZE_", "UNSUPPORTED", "DENIED")

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

    def explain(self, failed: AccessError) -> AccessError:
        """Add whose credential it was that may not do this."""
        ...


class Client:
    """All requests of a run to one registry.

    `retry_seconds` bounds how long one request may be tried again; a 429 that names no time is not tried again where
    `retries_throttled` is false. `on_warning` gets each distinct text of a `Warning: 299` header once, `on_reply` every
    answer. `explain` adds to a refusal what is special about this kind of registry. `prefix` is the path below which
    the registry has its `/v2/`.
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
        on_reply: Callable[[Reply], None] | None = None,
        explain: Callable[[Reply, CiRegistryError], CiRegistryError] | None = None,
        retries_throttled: bool = True,
        prefix: str = "",
    ) -> None:
        self.origin = origin
        self.dial = dial or Dial()
        self.authoriser = authoriser
        self.limiter = limiter or Limiter()
        self.cancel = cancel or Cancel()
        self.retry_seconds = retry_seconds
        self.answer_seconds = answer_seconds
        self.pool = Pool(self.dial, origin)
        self._on_warning, self._on_reply, self._explain = on_warning, on_reply, explain
        self._retries_throttled, self._prefix = retries_throttled, prefix
        self._warned: set[str] = set()
        self._user_agent = _user_agent()
        self.cancel.on_set(self.pool.abort)

    def close(self) -> None:
        self.pool.close()

    def for_cleanup(self) -> Client:
        """A client for the last words of a run that was cancelled: fresh connections, short waits, no retries."""
        return Client(
            self.origin,
            self.dial,
            authoriser=self.authoriser,
            retry_seconds=0.0,
            answer_seconds=3.0,
            prefix=self._prefix,
        )

    def url(self, path: str, base: str | None = None) -> str:
        """An absolute URL; a Location or Link is resolved against the URL of its request, its query untouched."""
        url = urljoin(base or str(self.origin), path)
        if self._prefix and url.startswith(f"{self.origin}/v2/"):
            # Nexus names its own paths without the one it was reached by.
            return f"{self.origin}{self._prefix}{url[len(str(self.origin)) :]}"
        return url

    def problem(self, reply: Reply, attempt: str, *, hint: str = "") -> CiRegistryError:
        """The error for a reply that is not what was wanted, with what login and kind of registry add to it.

        `attempt` reads like "pushing the manifest to docker.io/a/b:1".
        """
        answer = self._spoken(reply)
        failed = problem(answer, attempt, hint=hint)
        if isinstance(failed, AccessError) and self.authoriser is not None:
            failed = self.authoriser.explain(failed)
        return self._explain(answer, failed) if self._explain else failed

    def _spoken(self, reply: Reply) -> Reply:
        """The refusal of a HEAD has no words: the same GET says why."""
        if reply.method != "HEAD" or reply.status in (401, 404):
            return reply
        try:
            spoken = self.request("GET", reply.url, retry=False)
        except Interrupted:
            raise
        except CiRegistryError:
            return reply
        return spoken if spoken.status == reply.status else reply

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
        first_url, renewed = url, False
        while True:
            try:
                stream, sent = self._once(method, url, headers or {}, body, scopes)
            except TransportError as error:
                if retry and error.retryable and self._within(error, attempts) and attempts.again():
                    continue
                raise
            reply = stream.reply
            if follow and reply.status in _REDIRECTS and hops < _HOPS and reply.headers.get("Location"):
                hops += 1
                stream.close(broken=True)
                url = self.url(reply.headers["Location"], url)
                continue
            if reply.status in (401, 403) and challenges < 2 and self._answer_challenge(stream, scopes, sent):
                challenges += 1
                continue
            if reply.status == 403 and hops and not renewed and Origin.parse(url) != self.origin:
                # A signed address that ended before it was used: the registry gives another.
                stream.close(broken=True)
                renewed, hops, url = True, 0, first_url
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
        if after is None and reply.status == 429 and not self._retries_throttled:
            return False
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
            except NETWORK_ERRORS as error:
                self.pool.give_back(connection, reusable=False)
                if reused and isinstance(error, STALE):
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
        except NETWORK_ERRORS as error:
            self.pool.give_back(connection, reusable=False)
            raise self.failure(connection, error, f"{method} {url}") from error
        except CiRegistryError:
            self.pool.give_back(connection, reusable=False)
            raise
        return Exchange(self, connection, method, url, chunked=length is None)

    # -- one connection ------------------------------------------------------------------------------------------

    def _send_head(
        self,
        connection: Connection,
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

    def _read_head(self, connection: Connection, method: str, url: str) -> Stream:
        response = connection.getresponse()
        reply = Reply(method, url, response.status, response.headers)
        refused = proxy_refusal(connection, reply.status, reply.headers)
        if refused is not None:
            raise refused
        self._note_warnings(reply)
        if self._on_reply is not None and connection.origin == self.origin:
            self._on_reply(reply)
        return Stream(self, connection, response, reply)

    def read_reply(self, connection: Connection, method: str, url: str, limit: int, reuse: bool = True) -> Reply:
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

    def failure(self, connection: Connection, error: Exception, attempt: str) -> CiRegistryError:
        """A foreign network error as ours; `Interrupted` when it is us who broke the connection."""
        self.cancel.check()
        return network_failure(connection, error, attempt)


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


def _user_agent() -> str:
    from .._version import __version__

    return f"ci-registry/{__version__}"

