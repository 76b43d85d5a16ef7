"""A small HTTP client for the tests, deliberately independent of the code under test.

It speaks HTTP/1.1 over http.client with one kept-alive connection, answers Basic and Bearer challenges, and follows
redirects of GET without credentials.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

__all__ = ["Answer", "Wire", "WireError"]

Body = bytes | Iterable[bytes] | None
_CHALLENGE_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class WireError(AssertionError):
    """An answer with another status than the test's own traffic needs."""


@dataclass(frozen=True)
class Answer:
    """A whole reply; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """Requests to one origin; `login` is (user, password)."""

    def __init__(
        self,
        base_url: str,
        login: tuple[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        timeout_seconds: float = 30,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._login = login
        self._context = context
        self._timeout = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._authorization: dict[str, str] = {}

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(self, method: str, url: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One call, whole body read. `url` is absolute or a path. Logs in on a 401, once."""
        answer = self._once(method, url, body, headers or {})
        if answer.status == 401 and self._answer_challenge(answer.headers.get("www-authenticate", "")):
            answer = self._once(method, url, body, headers or {})
        if answer.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
            with Wire(urljoin(answer.url, answer.headers["location"]), context=self._context) as other:
                return other.request(method, other.base_url, headers=headers)
        return answer

    def expect(
        self,
        status: int | tuple[int, ...],
        method: str,
        url: str,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Like `request`, raising `WireError` for any other status."""
        answer = self.request(method, url, body, headers)
        wanted = status if isinstance(status, tuple) else (status,)
        if answer.status not in wanted:
            raise WireError(f"{method} {url}: {answer.status} instead of {wanted}: {answer.body[:300]!r}")
        return answer

    def stream(self, url: str, piece_bytes: int = 1 << 20) -> Iterator[bytes]:
        """The body of a GET in pieces, whatever its size; raises `WireError` unless 200."""
        probe = self._probe(url)
        if probe.status not in (200, 206, 416):
            raise WireError(f"GET {url}: {probe.status}: {probe.body[:300]!r}")
        connection, reply = self._send("GET", probe.url, None, self._headers_for(probe.url))
        try:
            if reply.status != 200:
                raise WireError(f"GET {url}: {reply.status}")
            while piece := reply.read(piece_bytes):
                yield piece
        finally:
            connection.close()

    def _probe(self, url: str, tries: int = 3) -> Answer:
        """Where the blob is, after redirects. docker-registry as a cache says 500 now and then while it stores one."""
        for left in reversed(range(tries)):
            probe = self.request("GET", url, headers={"Range": "bytes=0-0"})
            if probe.status != 500 or not left:
                break
            time.sleep(0.2)
        return probe

    def _once(self, method: str, url: str, body: Body, headers: Mapping[str, str]) -> Answer:
        full = urljoin(self.base_url + "/", url)
        sent = {**self._headers_for(full), **headers}
        fresh = self._connection is None
        try:
            connection, reply = self._send(method, full, body, sent)
            content = reply.read()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            if fresh or not (body is None or isinstance(body, bytes)):
                raise
            connection, reply = self._send(method, full, body, sent)
            content = reply.read()
        if connection is not self._connection:
            connection.close()
        return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, content, full)

    def _send(
        self, method: str, url: str, body: Body, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(url)
        connection = self._connect(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body, headers=dict(headers))
        return connection, connection.getresponse()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        own = _origin(url) == _origin(self.base_url)
        if own and self._connection is not None:
            return self._connection
        parts = urlsplit(url)
        assert parts.hostname
        connection = (
            http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self._timeout, context=self._context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._timeout)
        )
        if own:
            self._connection = connection
        return connection

    def _headers_for(self, url: str) -> dict[str, str]:
        return dict(self._authorization) if _origin(url) == _origin(self.base_url) else {}

    def _answer_challenge(self, challenge: str) -> bool:
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic" and self._login and not self._authorization:
            self._authorization = {"Authorization": _basic(self._login)}
            return True
        if scheme == "bearer":
            self._authorization = {"Authorization": f"Bearer {self._token(challenge)}"}
            return True
        return False

    def _token(self, challenge: str) -> str:
        parameters = dict(_CHALLENGE_PARAMETER.findall(challenge))
        query = [("service", parameters.get("service", ""))]
        query += [("scope", scope) for scope in parameters.get("scope", "").split()]
        url = parameters["realm"] + "?" + urlencode(query)
        with Wire(url, context=self._context) as realm:
            headers = {"Authorization": _basic(self._login)} if self._login else {}
            return str(realm.expect(200, "GET", url, headers=headers).json()["token"])


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
