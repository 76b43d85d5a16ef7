"""HTTP/1.1 to one registry: a pool of connections, push-style bodies, retries, redirects, limits.

Driven by hand, so that a body can be pushed chunk by chunk while another connection is read
(docs/decisions/0001-transport-writer-scheduler.md). One `Client` serves one registry, from any number of threads.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol
from urllib.parse import urljoin

from ..errors import AccessError, CiRegistryError, Interrupted, RemoteError, TransportError, UsageError
from ..redaction import redact
from .connection import NETWORK_ERRORS, Connection, Dial, Pool, is_stale, network_failure, proxy_refusal
from .exchange import Exchange, Reply, Stream
from .limiter import Limiter
from .origin import Origin, normal_url
from .problem import ERROR_BODY_LIMIT, diagnostics, problem
from .retry import RETRY_STATUSES, Attempts, Cancel, retry_after_seconds

__all__ = ["Authoriser", "Client", "Scopes"]

ANSWER_SECONDS = 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 5
_CHALLENGES = 2
_AT_ONCE = nullcontext()
_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')
_PLAIN_PATH = re.compile(r"/v2/[A-Za-z0-9._:@/?=&%+-]*")
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

    def accepted(self, sent: Mapping[str, str]) -> None:
        """A request with these headers was not turned away for who sent it."""
        ...

    @property
    def is_known(self) -> bool:
        """Whether no request has to wait for a first contact."""
        ...

    def first_contact(self) -> Any:
        """A context manager that lets requests through one by one until the host and the login are known."""
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
        self.cancel = Cancel() if cancel is None else cancel  # one that is not set is false
        self.retry_seconds = retry_seconds
        self.answer_seconds = answer_seconds
        self.pool = Pool(self.dial, origin)
        self._on_warning, self._on_reply, self._explain = on_warning, on_reply, explain
        self._retries_throttled, self._prefix = retries_throttled, prefix
        self._warned: set[str] = set()
        self._warned_lock = threading.Lock()
        self._user_agent = _user_agent()
        self._own, self._root = f"{origin}/", f"{origin}{prefix}"
        self.cancel.on_set(self.pool.abort)

    def close(self) -> None:
        self.cancel.forget(self.pool.abort)
        self.pool.close()

    def for_cleanup(self) -> Client:
        """A client for the last words of a run that was cancelled: fresh connections, short waits, few retries."""
        return Client(
            self.origin,
            self.dial,
            authoriser=self.authoriser,
            retry_seconds=2.0,
            answer_seconds=3.0,
            prefix=self._prefix,
        )

    def url(self, path: str, base: str | None = None) -> str:
        """An absolute URL; a Location or Link is resolved against the URL of its request, its query untouched."""
        if base is None and _PLAIN_PATH.fullmatch(path) and ".." not in path:
            return self._root + path  # nearly all of them; the long way takes a tenth of a request's time
        try:
            url = normal_url(urljoin(base or str(self.origin), path))
        except (UsageError, ValueError) as error:
            raise RemoteError(f"{self.origin} names the address '{path[:200]}', which can't be asked") from error
        if self._prefix and url.startswith(f"{self._own}v2/"):
            # Nexus names its own paths without the one it was reached by.
            return f"{self._root}/{url[len(self._own) :]}"
        return url

    def origin_of(self, url: str) -> Origin:
        """Where an absolute URL, which begins as its origin is written, speaks to."""
        return self.origin if url.startswith(self._own) else Origin.parse(url)

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

    # -- whole and streamed answers ------------------------------------------------------------------------------

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
        follow: bool = False,
    ) -> Reply:
        """Send a request and read its answer, whatever its status; retries what may be retried.

        A good answer of more than `limit` bytes is an error. For `follow` see `open`.
        """
        return self._answer(method, self.url(path, base), headers or {}, body, scopes, retry, follow, limit).reply

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        scopes: Scopes = frozenset(),
        follow: bool = False,
    ) -> Stream:
        """Send a request and hand back its answer with the body unread (that of a refusal is read, capped).

        With `follow`, redirects are followed, to other hosts without credentials.
        """
        return self._answer(method, self.url(path), headers or {}, b"", scopes, True, follow, None)

    def _answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        scopes: Scopes,
        retry: bool,
        follow: bool,
        limit: int | None,
    ) -> Stream:
        """An answer after all retries, challenges and redirects; whole if there is a `limit`."""
        attempts = Attempts(self.retry_seconds, self.cancel)
        challenges = hops = 0
        first_url, renewed = url, False
        while True:
            try:
                stream, again = self._once(method, url, headers, body, scopes, challenges < _CHALLENGES)
                reply = stream.reply
                if limit is not None and reply.status < 300:
                    stream.read_whole(limit)
            except TransportError as error:
                if retry and error.retryable and self._within(error, attempts) and attempts.again():
                    continue
                raise
            if again:
                challenges += 1
            elif follow and reply.status in _REDIRECTS and hops < _HOPS and reply.headers.get("Location"):
                hops += 1
                url = self.url(reply.headers["Location"], url)
            elif reply.status == 403 and hops and not renewed and not url.startswith(self._own):
                # A signed address that ended before it was used: the registry gives another.
                renewed, hops, url = True, 0, first_url
            elif reply.status not in RETRY_STATUSES or not self._try_again(reply, attempts, retry):
                return stream

    def _within(self, error: TransportError, attempts: Attempts) -> bool:
        # Nobody listening is rarely cured by waiting minutes; a service that is just starting is.
        return not isinstance(error.__cause__, ConnectionRefusedError) or attempts.count < 4

    def _try_again(self, reply: Reply, attempts: Attempts, retry: bool) -> bool:
        after = retry_after_seconds(reply.headers)
        self._throttled(after)
        if after is None and reply.status == 429 and not self._retries_throttled:
            return False
        if not retry or any(entry.code.startswith(_FINAL_CODES) for entry in diagnostics(reply.body)):
            return False
        return (reply.status != 500 or attempts.count < 6) and attempts.again(after)

    def _throttled(self, after: float | None) -> None:
        # A pause that is longer than anybody waits ends this request; the others are to find out for themselves.
        self.limiter.throttled(after if after is not None and after <= self.retry_seconds else 0.0)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, scopes: Scopes, may_ask: bool
    ) -> tuple[Stream, bool]:
        """One answer, and whether to ask again with another authorisation."""
        authoriser = self._authoriser_for(url)
        with _AT_ONCE if authoriser is None or authoriser.is_known else authoriser.first_contact():
            sent = authoriser.headers(scopes) if authoriser else {}
            self.cancel.sleep(self.limiter.delay())
            started = time.monotonic()
            stream = self._exchange(method, url, {**headers, **sent}, body)
            if stream.reply.status < 500 and stream.reply.status != 429:
                self.limiter.answered(time.monotonic() - started, method, stream.rounds)
            if stream.reply.status >= 300:
                stream.read_refusal()
            return stream, authoriser is not None and self._challenged(stream.reply, scopes, sent, may_ask)

    def _authoriser_for(self, url: str) -> Authoriser | None:
        """Nobody but the registry itself is shown a credential."""
        return self.authoriser if url.startswith(self._own) else None

    def _challenged(self, reply: Reply, scopes: Scopes, sent: Mapping[str, str], may_ask: bool) -> bool:
        assert self.authoriser is not None  # noqa: S101 - asked only where there is one
        if reply.status in (401, 403) and may_ask and self.authoriser.challenged(reply, scopes, sent):
            return True
        if reply.status != 401:
            self.authoriser.accepted(sent)
        return False

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Stream:
        try:
            return self._exchange_once(method, url, headers, body)
        except _StaleError:
            return self._exchange_once(method, url, headers, body, fresh=True)

    def _exchange_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, fresh: bool = False
    ) -> Stream:
        # A POST opens an upload, and only its answer says where to cancel that: it is not cut off.
        with _Connected(self, method, url, fresh, may_break=method != "POST") as connection:
            self._send_head(connection, method, url, headers, len(body), body)
            return self._read_head(connection, method, url)

    # -- pushed bodies -------------------------------------------------------------------------------------------

    def begin(
        self, method: str, url: str, *, headers: Mapping[str, str], length: int | None, scopes: Scopes
    ) -> Exchange:
        """Start a request whose body is pushed; `length` in bytes, or None for a chunked body. Not retried here."""
        authoriser = self._authoriser_for(url)
        sent = authoriser.headers(scopes) if authoriser else {}
        framing = {"Transfer-Encoding": "chunked"} if length is None else {}
        self.cancel.sleep(self.limiter.delay())
        try:
            return self._begin_once(method, url, {**headers, **sent, **framing}, length, sent)
        except _StaleError:
            return self._begin_once(method, url, {**headers, **sent, **framing}, length, sent, fresh=True)

    def _begin_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        length: int | None,
        sent: Mapping[str, str],
        fresh: bool = False,
    ) -> Exchange:
        with _Connected(self, method, url, fresh) as connection:
            self._send_head(connection, method, url, headers, length)
            return Exchange(self, connection, method, url, length is None, sent)

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
        path = url if whole else url[len(connection.root) :] or "/"
        fields = [("User-Agent", self._user_agent), *headers.items(), *connection.absolute_headers.items()]
        if length is not None and (length or method in ("POST", "PUT", "PATCH")):
            fields.append(("Content-Length", str(length)))
        connection.request(method, path, fields, body)
        connection.wait(self.answer_seconds)
        if connection.may_break:
            self.cancel.check()  # it may have connected after all the others were cut off

    def _read_head(self, connection: Connection, method: str, url: str) -> Stream:
        response = connection.answer(method)
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
            self._throttled(retry_after_seconds(stream.reply.headers))
        stream.close(broken=not reuse)
        return stream.reply

    def _note_warnings(self, reply: Reply) -> None:
        texts = [text for value in reply.header_values("Warning") for text in _WARNING.findall(value)]
        if not texts or self._on_warning is None:
            return
        with self._warned_lock:
            fresh = [text for text in dict.fromkeys(texts) if text not in self._warned]
            self._warned.update(fresh)
        for text in fresh:
            self._on_warning(redact(text))

    def failure(self, connection: Connection, error: Exception, attempt: str) -> CiRegistryError:
        """A foreign network error as ours; `Interrupted` when it is us who broke the connection."""
        self.cancel.check()
        return network_failure(connection, error, attempt)


class _Connected:
    """A connection for one exchange, given back when something goes wrong on it.

    Written out, as each request has one: `contextmanager` takes three times as long.
    """

    __slots__ = ("_attempt", "_client", "_connection", "_reused")

    def __init__(self, client: Client, method: str, url: str, fresh: bool, may_break: bool = True) -> None:
        client.cancel.check()
        self._client, self._attempt = client, f"{method} {url}"
        self._connection = client.pool.take(client.origin_of(url), fresh, may_break)
        self._reused = self._connection.sock is not None

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        client, connection = self._client, self._connection
        client.pool.give_back(connection, reusable=False)
        if not isinstance(error, NETWORK_ERRORS):
            return
        if self._reused and is_stale(connection, error) and not client.cancel:
            raise _StaleError from error
        raise client.failure(connection, error, self._attempt) from error


class _StaleError(Exception):
    """A kept connection turned out to have been closed by the server: no failure, but a reason for a new one."""


def _user_agent() -> str:
    from .._version import __version__

    return f"ci-registry/{__version__}"
