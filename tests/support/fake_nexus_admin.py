"""The parts of Nexus' REST API that change something, strict about what its documentation asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .certificates import KeyPair
from .fake_nexus import FakeNexus
from .http_server import Exchange, Reply

__all__ = ["FakeNexusAdmin"]

_JSON = {"Content-Type": "application/json"}
_REALMS = {"NexusAuthenticatingRealm", "NexusAuthorizingRealm", "DockerToken", "NpmToken", "LdapRealm"}
_WANTED: Mapping[str, Mapping[str, set[str]]] = {
    "hosted": {"storage": {"blobStoreName", "strictContentTypeValidation", "writePolicy"}},
    "proxy": {
        "storage": {"blobStoreName", "strictContentTypeValidation"},
        "proxy": {"remoteUrl", "contentMaxAge", "metadataMaxAge"},
        "negativeCache": {"enabled", "timeToLive"},
        "httpClient": {"blocked", "autoBlock"},
        "dockerProxy": {"indexType"},
    },
    "group": {"storage": {"blobStoreName", "strictContentTypeValidation"}, "group": {"memberNames"}},
}


class FakeNexusAdmin(FakeNexus):
    """`fresh`: it has no docker repository but those that are made; else there is `name`.

    `made` holds the docker repositories by (type, name), `changes` the requests that changed something, in order.
    """

    def __init__(self, password: str, tls: KeyPair) -> None:
        super().__init__({"admin": (password, "admin")}, tls)
        self.fresh = False
        self.made: dict[tuple[str, str], dict[str, Any]] = {}
        self.changes: list[str] = []

    def _rest(self, exchange: Exchange, path: str) -> Reply:
        admin = self._basic(exchange.headers.get("authorization", "")) == "admin"
        parts = path.strip("/").split("/")
        if parts[:2] == ["repositories", "docker"]:
            return self._repository(exchange, parts[2:]) if admin else Reply(401)
        if exchange.method == "GET":
            return super()._rest(exchange, path)
        if not admin:
            return Reply(401)
        self.changes.append(f"{exchange.method} {path}")
        return self._change(exchange, path)

    def _change(self, exchange: Exchange, path: str) -> Reply:
        if path == "/security/users/admin/change-password" and exchange.method == "PUT":
            assert exchange.headers["content-type"] == "text/plain"
            self.users["admin"] = (exchange.body().decode(), "admin")
            return Reply(204)
        assert exchange.headers["content-type"] == "application/json"
        said = json.loads(exchange.body())
        if path == "/system/eula" and exchange.method == "POST":
            assert said["disclaimer"], "the terms are sent back as they were given"
            self.eula = said["accepted"]
            return Reply(204)
        if path == "/security/realms/active" and exchange.method == "PUT":
            if not set(said) <= _REALMS:
                return Reply(400, _JSON, b'[{"id":"realms","message":"unknown realm"}]')
            self.realms = said
            return Reply(204)
        raise AssertionError(f"{exchange.method} {path} is not in the documentation")

    def _repository(self, exchange: Exchange, parts: list[str]) -> Reply:
        kind, name = parts[0], parts[1] if len(parts) > 1 else ""
        if exchange.method == "GET" and kind == self.kind and name == self.name and not self.fresh:
            return Reply(200, _JSON, json.dumps(self.settings).encode())
        if exchange.method == "GET":
            known = self.made.get((kind, name))
            return Reply(200, _JSON, json.dumps({**known, "url": "added by Nexus"}).encode()) if known else Reply(404)
        self.changes.append(f"{exchange.method} {exchange.path}")
        said = json.loads(exchange.body())
        problem = self._problem(kind, said)
        if problem:
            return Reply(400, _JSON, json.dumps([{"id": problem, "message": "may not be so"}]).encode())
        self.made[kind, said["name"]] = said
        return Reply(201 if exchange.method == "POST" else 204)

    def _problem(self, kind: str, said: dict[str, Any]) -> str:
        """Which key is wrong, "" if none: all that are required, ports used once, members that exist."""
        required = {"name", "online", "docker", *_WANTED[kind]}
        missing = required - set(said)
        missing |= {f"{part}.{key}" for part, keys in _WANTED[kind].items() for key in keys - set(said.get(part) or {})}
        missing |= {f"docker.{key}" for key in {"v1Enabled", "forceBasicAuth"} - set(said.get("docker") or {})}
        if missing:
            return min(missing)
        ports = [each["docker"].get("httpsPort") for key, each in self.made.items() if key != (kind, said["name"])]
        if said["docker"].get("httpsPort") in ports:
            return "docker.httpsPort"
        members = (said.get("group") or {}).get("memberNames", [])
        return "" if all(any(name == each for _, name in self.made) for each in members) else "group.memberNames"
