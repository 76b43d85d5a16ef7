"""A strict stand-in for Sonatype Nexus 3: REST API, web interface and connectors, in front of a real docker-registry.

Requests that the real one would not understand fail the test, or are refused as it refuses them. Upload addresses are
named without the path that Nexus was reached by, as it does.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .certificates import KeyPair
from .docker_registry import DockerRegistry
from .front import Front, error_reply
from .http_server import Exchange, Reply
from .token_server import parse_basic

__all__ = ["FakeNexus"]

_SERVER = {"Server": "Nexus/3.84.0-03 (COMMUNITY)"}
_PAGE = b"<!DOCTYPE html><html><head><title>Nexus Repository Manager</title></head><body>404 Not Found</body></html>"
_REST = "/service/rest/v1"
_UPLOAD = re.compile(r"/v2/[^?]+/blobs/uploads/")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")

Rights = Literal["admin", "write", "read"]


class FakeNexus:
    """One docker repository, `name`. Attributes may be changed by a test at any time. A context manager.

    `url` is the web interface, the REST API and the paths; `http` and `https` are the connectors. `users` are
    (password, rights) by name. `mounts`: what a mount request gets: "works", "ignored" (202) or "lies" (201, and
    nothing happens).
    """

    def __init__(self, users: Mapping[str, tuple[str, Rights]], tls: KeyPair, name: str = "docker-hosted") -> None:
        self.users, self.name = dict(users), name
        self.kind = "hosted"
        self.state: Literal["up", "starting", "frozen"] = "up"
        self.eula: bool | None = True
        self.realms = ["NexusAuthenticatingRealm", "DockerToken"]
        self.anonymous = False
        self.mounts: Literal["works", "ignored", "lies"] = "works"
        self.tokens: dict[str, str] = {}
        self.backend = DockerRegistry(in_memory=True, relative_urls=True)
        self.main = Front(self.backend.url, self._main)
        self._connector = Front(self.backend.url, self._docker)
        self._secure = Front(self.backend.url, self._docker, tls.server_context())
        self.url, self.http, self.https = self.main.url, self._connector.url, self._secure.url
        self.settings: dict[str, Any] = {
            "name": name,
            "online": True,
            "storage": {
                "blobStoreName": "default",
                "strictContentTypeValidation": True,
                "writePolicy": "ALLOW",
                "latestPolicy": False,
            },
            "docker": {
                "v1Enabled": False,
                "forceBasicAuth": True,
                "httpPort": self._connector.port,
                "httpsPort": self._secure.port,
                "pathEnabled": False,
            },
        }

    def __enter__(self) -> FakeNexus:
        return self

    def __exit__(self, *error: object) -> None:
        for front in (self.main, self._connector, self._secure):
            front.stop()
        self.backend.stop()

    @property
    def docker(self) -> dict[str, Any]:
        """The docker part of the repository's settings."""
        found: dict[str, Any] = self.settings["docker"]
        return found

    @property
    def storage(self) -> dict[str, Any]:
        found: dict[str, Any] = self.settings["storage"]
        return found

    def count(self, method: str, part: str = "") -> int:
        """How many requests to any of its ports had that method and a path in which the text is found."""
        return sum(front.count(method, part) for front in (self.main, self._connector, self._secure))

    def forget(self) -> None:
        """Begin to count anew."""
        for front in (self.main, self._connector, self._secure):
            front.seen.clear()

    # -- the main port -------------------------------------------------------------------------------------------

    def _main(self, exchange: Exchange) -> Reply:
        reply = self._main_answer(exchange)
        reply.headers.update(_SERVER)
        return reply

    def _main_answer(self, exchange: Exchange) -> Reply:
        path = exchange.path
        if path.startswith(f"{_REST}/"):
            return self._rest(exchange, path[len(_REST) :])
        if self.state == "starting":
            return Reply(503, {"Content-Type": "text/html"}, _PAGE)
        prefix = f"/repository/{self.name}"
        if path.startswith(f"{prefix}/v2/"):
            return self._docker(exchange, exchange.target[len(prefix) :])
        if self.docker["pathEnabled"] and path == "/v2/":
            return self._docker(exchange)
        if self.docker["pathEnabled"] and path.startswith(f"/v2/{self.name}/"):
            return self._by_first_part(exchange)
        return Reply(404, {"Content-Type": "text/html"}, _PAGE)

    def _by_first_part(self, exchange: Exchange) -> Reply:
        first = f"/v2/{self.name}/"
        reply = self._docker(exchange, f"/v2/{exchange.target[len(first) :]}")
        if "Location" in reply.headers:
            reply.headers["Location"] = reply.headers["Location"].replace("/v2/", first, 1)
        return reply

    # -- the registry --------------------------------------------------------------------------------------------

    def _docker(self, exchange: Exchange, target: str | None = None) -> Reply:
        target = target or exchange.target
        if exchange.path.endswith("/v2/token"):
            return self._token(exchange)
        rights = self._rights(exchange)
        if rights is None:
            return self._login_wanted(exchange)
        if self.eula is False:
            return error_reply(403, "DENIED", "You must accept the End User License Agreement before using this.")
        writing = exchange.method in ("POST", "PUT", "PATCH", "DELETE")
        if writing and rights == "read":
            return error_reply(403, "DENIED", "access to the requested resource is not authorized")
        refused = self._policy(exchange.method, target) if writing else None
        return refused or self._mounting(exchange, target)

    def _policy(self, method: str, target: str) -> Reply | None:
        if self.kind != "hosted":
            return error_reply(403, "DENIED", "Deploying to groups is a PRO-licensed feature")
        if self.storage["writePolicy"] == "DENY":
            return _upload_invalid(f"Repository is read only: {self.name}")
        manifest = _MANIFEST.fullmatch(target)
        exempt = self.storage["latestPolicy"] and manifest and manifest[2] == "latest"
        once = method == "PUT" and manifest and self.storage["writePolicy"] == "ALLOW_ONCE" and not exempt
        if once and self._has(target):
            return _upload_invalid(f"Repository does not allow updating assets: {self.name}")
        return None

    def _has(self, target: str) -> bool:
        from .images import MANIFEST_ACCEPT
        from .wire import Wire

        with Wire(self.backend.url) as wire:
            return wire.request("HEAD", target, headers={"Accept": MANIFEST_ACCEPT}).status == 200

    def _mounting(self, exchange: Exchange, target: str) -> Reply:
        mount = exchange.argument("mount")
        if not mount or self.mounts == "works" or not _UPLOAD.match(target):
            return self.main.forward(exchange, target, {"authorization": None})
        if self.mounts == "lies":
            return Reply(
                201, {"Location": f"{target.partition('/uploads/')[0]}/{mount}", "Docker-Content-Digest": mount}
            )
        return self.main.forward(exchange, target.partition("?")[0], {"authorization": None})

    # -- who it is -----------------------------------------------------------------------------------------------

    def _rights(self, exchange: Exchange) -> Rights | None:
        """What the caller may do; None to ask for a login."""
        header = exchange.headers.get("authorization", "")
        if header.startswith("Bearer ") and "DockerToken" in self.realms:
            user = self.tokens.get(header.removeprefix("Bearer "))
            return None if user is None else self.users[user][1] if user else "read"
        return self._basic(header)

    def _basic(self, header: str) -> Rights | None:
        login = parse_basic(header)
        known = self.users.get(login[0]) if login else None
        return known[1] if login and known and known[0] == login[1] else None

    def _login_wanted(self, exchange: Exchange) -> Reply:
        challenge = 'BASIC realm="Sonatype Nexus Repository Manager"'
        if not self.docker["forceBasicAuth"]:
            scheme = "https" if exchange.headers["host"] == self._secure.host else "http"
            realm = f"{scheme}://{exchange.headers['host']}/v2/token"
            challenge = f'Bearer realm="{realm}",service="{realm}"'
        message = "access to the requested resource is not authorized"
        return error_reply(401, "UNAUTHORIZED", message, **{"WWW-Authenticate": challenge})

    def _token(self, exchange: Exchange) -> Reply:
        header = exchange.headers.get("authorization", "")
        login = parse_basic(header)
        if "DockerToken" not in self.realms or (login and self._basic(header) is None) or not (login or self.anonymous):
            return error_reply(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
        token = f"DockerToken.{secrets.token_hex(12)}"
        self.tokens[token] = login[0] if login else ""
        return _json(200, {"token": token})

    # -- the REST API --------------------------------------------------------------------------------------------

    def _rest(self, exchange: Exchange, path: str) -> Reply:
        if exchange.method != "GET":
            raise AssertionError(f"{exchange.method} {path}: only questions are expected")
        if path == "/status":
            return Reply(503 if self.state == "starting" else 200)
        if path == "/status/writable":
            return Reply(200 if self.state == "up" else 503)
        return self._rest_for(self._basic(exchange.headers.get("authorization", "")), exchange, path)

    def _rest_for(self, rights: Rights | None, exchange: Exchange, path: str) -> Reply:
        if path == "/system/eula":
            found = {"accepted": self.eula, "disclaimer": "Use of Sonatype Nexus Repository ..."}
            return _json(200, found) if self.eula is not None else Reply(404)
        if path == "/repositories":
            entry = {
                "name": self.name,
                "format": "docker",
                "type": self.kind,
                "url": f"{self.url}/repository/{self.name}",
            }
            return _json(
                200, [entry, {"name": "maven-releases", "format": "maven2", "type": "hosted"}] if rights else []
            )
        if path == "/components" and exchange.argument("repository") == self.name:
            return self._components(exchange)
        answers: dict[str, Callable[[], Any]] = {
            f"/repositories/docker/{self.kind}/{self.name}": lambda: self.settings,
            "/security/realms/active": lambda: self.realms,
            "/security/anonymous": lambda: {"enabled": self.anonymous, "userId": "anonymous"},
        }
        if path not in answers:
            return Reply(404, {"Content-Type": "text/html"}, _PAGE)
        return _json(200, answers[path]()) if rights == "admin" else Reply(403 if rights else 401)

    def _components(self, exchange: Exchange) -> Reply:
        """Two to a page, so that there are several pages."""
        from .wire import Wire

        with Wire(self.backend.url) as wire:
            names = wire.expect(200, "GET", "/v2/_catalog").json()["repositories"] or []
        token = exchange.argument("continuationToken")
        start = int(base64.b64decode(token)) if token else 0
        items = [{"name": name, "version": "1", "format": "docker"} for name in names[start : start + 2]]
        more = base64.b64encode(str(start + 2).encode()).decode() if start + 2 < len(names) else None
        return _json(200, {"items": items, "continuationToken": more})


def _upload_invalid(detail: str) -> Reply:
    error = {"code": "BLOB_UPLOAD_INVALID", "message": "blob upload invalid", "detail": detail}
    return _json(400, {"errors": [error]})


def _json(status: int, document: Any) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
