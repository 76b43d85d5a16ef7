"""A scriptable registry: strict about the OCI distribution-spec 1.1, counting everything, misbehaving on demand.

    with FakeRegistry() as registry:
        registry.load(images.image(), "app", "1")
        registry.script("GET", "/blobs/", actions.break_download(100))
        ...
        assert registry.count("PUT", "/manifests/") == 1

What it does and how is in its attributes, which may be changed while it runs. Failures of its own handlers are raised
when it stops.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import fake_actions as actions
from .certificates import KeyPair
from .fake_auth import FakeAuth
from .fake_protocol import Protocol
from .fake_route import Refusal, parse_route
from .fake_store import Repository, Store
from .http_server import Exchange, HttpServer, Reply
from .images import BuiltImage
from .process import free_port
from .token_server import Permissions, TokenRequest

__all__ = ["FakeRegistry", "Request", "Rule", "actions"]


@dataclass(frozen=True)
class Request:
    """One request that was answered; `status` is 0 where the connection was closed instead.

    `path` includes the query. `request_bytes` and `response_bytes` are body bytes received and sent; `headers` are
    the request's, names in lower case. `storage` tells requests to the second origin (`FakeRegistry.storage_url`).
    """

    method: str
    path: str
    status: int
    request_bytes: int
    response_bytes: int
    headers: Mapping[str, str] = field(repr=False)
    storage: bool = False


@dataclass
class Rule:
    """A line of the script: from the `nth` matching request on, `times` times (None: for ever). `seen` counts all."""

    method: str
    pattern: re.Pattern[str]
    action: actions.Action
    nth: int
    times: int | None
    seen: int = 0
    fired: int = 0

    def take(self, exchange: Exchange) -> bool:
        """Count a request that fits; whether the action is due."""
        if self.method not in ("*", exchange.method) or not self.pattern.search(exchange.target):
            return False
        self.seen += 1
        due = self.seen >= self.nth and (self.times is None or self.fired < self.times)
        self.fired += due
        return due


class FakeRegistry(Protocol):
    """The registry with its servers. `auth` is "none", "basic" or "bearer"; see `Protocol` for the behaviour switches.

    `users` maps names to passwords, `permissions` users to what they may do (default everything), `anonymous` is what
    nobody may do (None: a login is needed); see `TokenService`. The token endpoint is `URL/token`, its requests are in
    `token_requests`. `capacity`: above so many requests at once the answer is 429. `latency_seconds` is added to each
    request. `tls` serves HTTPS.
    """

    def __init__(
        self,
        auth: str = "none",
        users: Mapping[str, str] | None = None,
        permissions: Mapping[str, Permissions] | None = None,
        anonymous: Permissions | None = None,
        token_lifetime_seconds: float = 300,
        tls: KeyPair | None = None,
        latency_seconds: float = 0,
    ) -> None:
        super().__init__(Store())
        self.requests: list[Request] = []
        self.max_in_flight = 0
        self.capacity: int | None = None
        self.latency_seconds = latency_seconds
        self._in_flight = 0
        self._rules: list[Rule] = []
        self._count_lock = threading.Lock()
        context = tls.server_context() if tls else None
        self._server = HttpServer(self._serve, free_port(), context, self._finished)
        self._storage = HttpServer(self._serve_storage, free_port(), context, self._storage_finished)
        self.port = self._server.port
        self.host = f"127.0.0.1:{self.port}"
        self.url = self._server.url
        self.storage_url = self._storage.url
        self.tokens = FakeAuth(auth, f"{self.url}/token", users, permissions, anonymous, token_lifetime_seconds)

    def __enter__(self) -> FakeRegistry:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.stop(quiet=kind is not None)

    def stop(self, quiet: bool = False) -> None:
        """Stop both servers; raises the first exception of a handler, unless `quiet`."""
        self._server.stop()
        self._storage.stop()
        failures = self._server.failures + self._storage.failures
        if failures and not quiet:
            raise AssertionError(f"the fake registry failed: {failures[0]!r}") from failures[0]

    def script(self, method: str, path_regex: str, action: actions.Action, nth: int = 1, times: int | None = 1) -> Rule:
        """Misbehave: from the `nth` request on whose method is `method` ("*": any) and in whose path and query the
        expression is found, `times` times. The first rule that is due wins."""
        rule = Rule(method, re.compile(path_regex), action, nth, times)
        with self._count_lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget requests and script; content stays."""
        with self._count_lock:
            self.requests.clear()
            self._rules.clear()
            self.max_in_flight = 0

    def count(self, method: str, path_regex: str = "", status: int | None = None) -> int:
        """How many requests had that method ("*": any), path and status."""
        return len(self.matching(method, path_regex, status))

    def matching(self, method: str, path_regex: str = "", status: int | None = None) -> list[Request]:
        """The requests with that method ("*": any), path and status, in the order they ended."""
        with self._count_lock:
            found = list(self.requests)
        return [
            request
            for request in found
            if method in ("*", request.method)
            and re.search(path_regex, request.path)
            and status in (None, request.status)
        ]

    @property
    def token_requests(self) -> list[TokenRequest]:
        return self.tokens.service.requests

    @property
    def open_sessions(self) -> int:
        """Uploads begun and neither finished nor cancelled."""
        return len(self.store.sessions)

    def load(self, image: BuiltImage, repository: str, tag: str | None = None) -> None:
        """Put an image here with its referrers and signatures, without any request."""
        self.store.load(image, repository, tag, self.referrers_api)

    def repository(self, name: str) -> Repository:
        """What a repository holds; for tests to look at and to damage."""
        return self.store.repository(name)

    def expire_tokens(self) -> None:
        """From now on, every token issued so far is refused."""
        self.tokens.expire()

    def close_connections(self) -> None:
        """Close all connections, as a server does that restarts or tires of idle ones."""
        self._server.close_connections()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._server.connections

    def _serve(self, exchange: Exchange) -> Reply | None:
        with self._count_lock:
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
            full = self.capacity is not None and self._in_flight > self.capacity
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        if full:
            return Refusal(429, "TOOMANYREQUESTS", "slow down").reply()
        return self._scripted(exchange, lambda: self._good(exchange))

    def _serve_storage(self, exchange: Exchange) -> Reply | None:
        return self._scripted(exchange, lambda: self.storage(exchange))

    def _scripted(self, exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
        with self._count_lock:
            rule = next((rule for rule in self._rules if rule.take(exchange)), None)
        return rule.action(exchange, proceed) if rule else proceed()

    def _good(self, exchange: Exchange) -> Reply:
        if exchange.path == "/token":
            return self.tokens.service.answer(exchange)
        try:
            route = parse_route(exchange)
            self.tokens.check(exchange, route)
            reply = self.handle(exchange, route)
        except Refusal as refusal:
            reply = refusal.reply()
        reply.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        if self.warnings:
            reply.headers["Warning"] = ", ".join(f'299 - "{text}"' for text in self.warnings)
        return reply

    def _finished(self, exchange: Exchange, reply: Reply | None, sent: int) -> None:
        with self._count_lock:
            self._in_flight -= 1
            self.requests.append(_record(exchange, reply, sent, storage=False))

    def _storage_finished(self, exchange: Exchange, reply: Reply | None, sent: int) -> None:
        with self._count_lock:
            self.requests.append(_record(exchange, reply, sent, storage=True))


def _record(exchange: Exchange, reply: Reply | None, sent: int, storage: bool) -> Request:
    status = reply.status if reply else 0
    return Request(
        exchange.method, exchange.target, status, exchange.body_bytes, sent, exchange.headers, storage=storage
    )
