"""Nexus set up through its REST API (help.sonatype.com, "REST API"): password, terms, realms, repositories.

Each step looks first and changes only what is not so yet.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import AccessError, CiRegistryError, RemoteError
from ...redaction import remember_secret
from ...transport.exchange import Reply
from ...transport.http import Client
from .nexus import CONNECTORS

__all__ = ["REALMS", "NexusSetup"]

_REST = "/service/rest/v1"
REALMS = ("NexusAuthenticatingRealm", "DockerToken")
_ANSWER_LIMIT = 4 * 1024 * 1024


class NexusSetup:
    """The steps, against a running Nexus. `first_password` reads what Nexus wrote for its administrator, "" if gone."""

    def __init__(self, client: Client, username: str, password: str, first_password: Callable[[], str]) -> None:
        self._client, self._username, self._password = client, username, password
        self._first_password = first_password
        self._sent = password

    def is_ready(self) -> bool:
        """Whether it has started, which takes minutes the first time."""
        try:
            return self._client.request("GET", f"{_REST}/status/writable", retry=False).status == 200
        except CiRegistryError:
            return False

    def run(self, *, accept_eula: bool, upstream: str) -> Iterator[str]:
        """Carry out all steps; gives a line for each that changed something."""
        yield from self._password_step()
        yield from self._eula_step(accept_eula)
        yield from self._realms_step()
        for kind, name, body in _repositories(upstream):
            yield from self._repository_step(kind, name, body)

    # -- steps ---------------------------------------------------------------------------------------------------

    def _password_step(self) -> Iterator[str]:
        if self._get("/security/realms/active", allowed=(401, 403)).status == 200:
            return
        first = self._first_password().strip()
        if not first:
            raise AccessError(
                f"logging in to {self._client.origin} as '{self._username}' failed, and its first password is gone",
                hint="store the right one: ci-registry credentials set TARGET -u admin --password-stdin",
            )
        remember_secret(first)
        self._sent = first
        path = f"/security/users/{self._username}/change-password"
        self._send("PUT", path, self._password.encode(), "text/plain", (204,))
        self._sent = self._password
        yield "replaced the first password of its administrator"

    def _eula_step(self, accept: bool) -> Iterator[str]:
        reply = self._get("/system/eula", allowed=(404,))
        if reply.status == 404 or not accept:
            return  # editions that ask for none, or a user who has not agreed
        terms = _object(reply)
        if not terms.get("accepted"):
            self._send_json("POST", "/system/eula", {**terms, "accepted": True}, (200, 204))
            yield "accepted its licence terms, as told"

    def _realms_step(self) -> Iterator[str]:
        active = json.loads(self._get("/security/realms/active").body)
        missing = [realm for realm in REALMS if realm not in active]
        if missing:
            self._send_json("PUT", "/security/realms/active", [*active, *missing], (204,))
            yield f"turned on {', '.join(missing)}"

    def _repository_step(self, kind: str, name: str, body: Mapping[str, Any]) -> Iterator[str]:
        path = f"/repositories/docker/{kind}"
        known = self._get(f"{path}/{name}", allowed=(404,))
        if known.status == 404:
            self._send_json("POST", path, body, (201,))
            yield f"created the {kind} repository {name}"
        elif not _says(_object(known), body):
            self._send_json("PUT", f"{path}/{name}", body, (204,))
            yield f"changed the {kind} repository {name}"

    # -- the wire ------------------------------------------------------------------------------------------------

    def _get(self, path: str, allowed: tuple[int, ...] = ()) -> Reply:
        reply = self._client.request("GET", f"{_REST}{path}", headers=self._headers(), limit=_ANSWER_LIMIT)
        return self._checked(reply, f"reading {path} of Nexus", (200, *allowed))

    def _send_json(self, method: str, path: str, body: object, wanted: tuple[int, ...]) -> None:
        self._send(method, path, json.dumps(body).encode(), "application/json", wanted)

    def _send(self, method: str, path: str, body: bytes, media_type: str, wanted: tuple[int, ...]) -> None:
        headers = {**self._headers(), "Content-Type": media_type}
        reply = self._client.request(method, f"{_REST}{path}", headers=headers, body=body)
        self._checked(reply, f"changing {path} of Nexus", wanted)

    def _checked(self, reply: Reply, attempt: str, wanted: tuple[int, ...]) -> Reply:
        if reply.status in wanted:
            return reply
        raise self._client.problem(reply, attempt)

    def _headers(self) -> dict[str, str]:
        value = base64.b64encode(f"{self._username}:{self._sent}".encode()).decode()
        remember_secret(value)
        return {"Authorization": f"Basic {value}"}


def _repositories(upstream: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and settings of what is made (REST API, "Repositories": docker hosted, proxy, group)."""
    hosted, proxy, group = CONNECTORS
    storage = {"blobStoreName": "default", "strictContentTypeValidation": True}
    hub = upstream == "https://registry-1.docker.io"
    return [
        (
            "hosted",
            hosted,
            {**_base(hosted), "storage": {**storage, "writePolicy": "ALLOW", "latestPolicy": False}},
        ),
        (
            "proxy",
            proxy,
            {
                **_base(proxy),
                "storage": storage,
                "proxy": {"remoteUrl": upstream, "contentMaxAge": 1440, "metadataMaxAge": 1440},
                "negativeCache": {"enabled": True, "timeToLive": 1440},
                "httpClient": {"blocked": False, "autoBlock": True},
                "dockerProxy": {"indexType": "HUB" if hub else "REGISTRY"},
            },
        ),
        ("group", group, {**_base(group), "storage": storage, "group": {"memberNames": [hosted, proxy]}}),
    ]


def _base(name: str) -> dict[str, Any]:
    docker = {"v1Enabled": False, "forceBasicAuth": True, "httpsPort": CONNECTORS[name]}
    return {"name": name, "online": True, "docker": docker}


def _says(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether everything that is wanted is so; Nexus adds keys of its own."""
    for key, value in wanted.items():
        found = known.get(key)
        if isinstance(value, Mapping):
            if not isinstance(found, Mapping) or not _says(found, value):
                return False
        elif found != value:
            return False
    return True


def _object(reply: Reply) -> dict[str, Any]:
    try:
        document = json.loads(reply.body)
    except ValueError as error:
        raise RemoteError(f"{reply.url} answered with something that is not JSON") from error
    return document if isinstance(document, dict) else {}
