"""A strict stand-in for Docker Hub: its token service, names, pull limits and API, in front of a real docker-registry.

What the real Hub refuses is refused here: names that have not exactly two parts, the catalog, deletion; and a
manifest GET counts as a pull where a HEAD does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .docker_registry import DockerRegistry
from .front import Front, error_reply
from .http_server import Exchange, HttpServer, Reply
from .process import free_port
from .token_server import TokenServer

__all__ = ["FakeHub"]

PULL_LIMIT_TEXT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_REPOSITORY = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers)/")


class FakeHub:
    """`accounts` are passwords or tokens by user; `permissions` as for `TokenServer`. A context manager.

    `url` is the registry (registry-1.docker.io), `api` the Hub's API (hub.docker.com).
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        permissions: Mapping[str, Mapping[str, str]] | None = None,
        limit: int | None = 100,
    ) -> None:
        public = {"library/*": "pull", "ratelimitpreview/test": "pull"}
        everybody = {user: {f"{user}/*": "pull,push", **public} for user in accounts}
        self.tokens = TokenServer(accounts, permissions or everybody, public)
        self.backend = DockerRegistry(token=self.tokens, in_memory=True, delete=False)
        self.front = Front(self.backend.url, self._answer)
        self.url, self.host = self.front.url, self.front.host
        self.limit, self.pulls = limit, 0
        self.abused = False
        self.retry_after: str | None = None
        self.accounts = dict(accounts)
        self.listed: dict[str, list[str]] = {}
        self._api = HttpServer(self._answer_api, free_port())
        self.api = self._api.url

    def __enter__(self) -> FakeHub:
        return self

    def __exit__(self, *error: object) -> None:
        self._api.stop()
        self.front.stop()
        self.backend.stop()
        self.tokens.stop()
        assert self._api.failures == []

    # -- the registry --------------------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange) -> Reply:
        if self.abused:
            return Reply(429, {"Content-Type": "text/plain", **self._wait()}, b"Too Many Requests\n")
        if exchange.path == "/v2/_catalog":
            challenge = f'Bearer realm="{self.tokens.realm}",service="test-registry",error="insufficient_scope"'
            return error_reply(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})
        repository = _REPOSITORY.match(exchange.path)
        if repository and repository[1].count("/") != 1:
            raise AssertionError(f"asked for {repository[1]}, which is no name on Docker Hub")
        if exchange.method == "DELETE" and "/uploads/" not in exchange.path:
            return error_reply(405, "UNSUPPORTED", "The operation is unsupported.")
        if _MANIFEST.fullmatch(exchange.path) and exchange.method in ("GET", "HEAD"):
            return self._manifest(exchange)
        return self.front.forward(exchange)

    def _manifest(self, exchange: Exchange) -> Reply:
        if exchange.path == "/v2/ratelimitpreview/test/manifests/latest":
            reply = self.front.forward(exchange)
            reply = reply if reply.status == 401 else Reply(200, {"Content-Type": "application/json"}, b"")
        elif exchange.method == "GET" and self.limit is not None and self.pulls >= self.limit:
            return error_reply(429, "TOOMANYREQUESTS", PULL_LIMIT_TEXT, **self._limits(), **self._wait())
        else:
            reply = self.front.forward(exchange)
            self.pulls += exchange.method == "GET" and reply.status == 200
        if reply.status == 200:
            reply.headers.update(self._limits())
        return reply

    def _limits(self) -> dict[str, str]:
        if self.limit is None:
            return {}
        left = max(0, self.limit - self.pulls)
        return {
            "ratelimit-limit": f"{self.limit};w=21600",
            "ratelimit-remaining": f"{left};w=21600",
            "docker-ratelimit-source": "192.0.2.7",
        }

    def _wait(self) -> dict[str, str]:
        return {"Retry-After": self.retry_after} if self.retry_after else {}

    # -- the Hub's own API ---------------------------------------------------------------------------------------

    def _answer_api(self, exchange: Exchange) -> Reply:
        if (exchange.method, exchange.path) == ("POST", "/v2/auth/token"):
            login = json.loads(exchange.body())
            known = self.accounts.get(login["identifier"]) == login["secret"]
            return (
                _json(200, {"access_token": f"jwt-of-{login['identifier']}"})
                if known
                else _json(401, {"detail": "Incorrect authentication credentials"})
            )
        match = re.fullmatch(r"/v2/namespaces/([^/]+)/repositories", exchange.path)
        if exchange.method != "GET" or match is None:
            return _json(404, {"message": "object not found"})
        return self._listing(exchange, match[1])

    def _listing(self, exchange: Exchange, namespace: str) -> Reply:
        user = exchange.headers.get("authorization", "").removeprefix("Bearer jwt-of-")
        if namespace not in self.listed:
            return _json(404, {"message": "object not found"})
        names: Sequence[str] = [
            name for name in self.listed[namespace] if user == namespace or not name.startswith("private")
        ]
        size, page = min(int(exchange.argument("page_size") or 10), 100), int(exchange.argument("page") or 1)
        size = min(size, 2)  # so that a handful of names makes several pages
        results = [{"name": name, "namespace": namespace} for name in names[(page - 1) * size : page * size]]
        more = f"{self.api}{exchange.path}?page={page + 1}&page_size={size}" if page * size < len(names) else None
        return _json(200, {"count": len(names), "next": more, "previous": None, "results": results})


def _json(status: int, document: Any) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
