"""Questions to the REST API of Sonatype Nexus 3 (its own description is at `/service/rest/swagger.json`)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

from ..credentials.chain import Credential
from ..errors import AccessError, RemoteError
from ..transport.auth import basic
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.problem import diagnostics

__all__ = ["NexusApi"]

_ROOT = "/service/rest/v1"
_ANSWER_LIMIT = 8 * 1024 * 1024


class NexusApi:
    """One Nexus, asked as one user. `address` may have a context path, such as `https://host/nexus`."""

    def __init__(self, client: Client, address: str, credential: Credential) -> None:
        self._client, self._credential = client, credential
        self._context = urlsplit(address).path.rstrip("/")

    def status(self) -> int:
        """The HTTP status of the status page: 200, or 503 while it is starting."""
        return self._ask("/status").status

    def is_writable(self) -> bool:
        """Whether it takes any uploads at all now (not while its disk is full, or it is frozen)."""
        return self._ask("/status/writable").status == 200

    def eula_accepted(self) -> bool | None:
        """Whether the licence of the Community Edition was accepted; None where there is none to accept."""
        reply = self._ask("/system/eula")
        return None if reply.status == 404 else bool(self._object(reply, "the licence").get("accepted"))

    def active_realms(self) -> list[str]:
        """The security realms that are switched on, in order. Needs an administrator."""
        found = self._json(self._ask("/security/realms/active"), "the active realms")
        return [str(realm) for realm in found] if isinstance(found, list) else []

    def anonymous_enabled(self) -> bool:
        """Whether anybody may read without a login. Needs an administrator."""
        return bool(self._object(self._ask("/security/anonymous"), "anonymous access").get("enabled"))

    def repository(self, name: str) -> dict[str, Any] | None:
        """`name`, `format`, `type` (hosted, proxy, group) and `url` of a repository; None when there is none to see."""
        found = self._json(self._ask("/repositories"), "the repositories")
        entries = found if isinstance(found, list) else []
        return next((entry for entry in entries if isinstance(entry, dict) and entry.get("name") == name), None)

    def docker_settings(self, kind: str, name: str) -> dict[str, Any]:
        """All settings of a docker repository of type `kind`. Needs the right to administer it."""
        path = f"/repositories/docker/{kind}/{quote(name, safe='')}"
        return self._object(self._ask(path), f"the settings of repository '{name}'")

    def image_names(self, repository: str) -> list[str]:
        """The names of all images of a docker repository, sorted."""
        names: set[str] = set()
        seen: set[str] = set()
        token = ""
        while token not in seen:
            seen.add(token)
            more = f"&continuationToken={quote(token, safe='')}" if token else ""
            reply = self._ask(f"/components?repository={quote(repository, safe='')}{more}")
            page = self._object(reply, f"the components of repository '{repository}'")
            names.update(str(item["name"]) for item in page.get("items", []) if item.get("name"))
            token = str(page.get("continuationToken") or "")
        return sorted(names)

    # -- the wire ------------------------------------------------------------------------------------------------

    def _ask(self, path: str) -> Reply:
        headers = {"Accept": "application/json"}
        if not self._credential.is_anonymous:
            headers["Authorization"] = basic(self._credential)
        return self._client.request(
            "GET", f"{self._context}{_ROOT}{path}", headers=headers, limit=_ANSWER_LIMIT, retry=False
        )

    def _object(self, reply: Reply, what: str) -> dict[str, Any]:
        found = self._json(reply, what)
        return found if isinstance(found, dict) else {}

    def _json(self, reply: Reply, what: str) -> Any:
        attempt = f"asking Nexus at {self._client.origin} for {what}"
        if reply.status in (401, 403):
            user = self._credential.username or "nobody"
            raise AccessError(
                f"{attempt} failed: it answered {reply.status} to user '{user}'", hint="ask an administrator of Nexus"
            )
        if reply.status != 200:
            said = "; ".join(str(entry) for entry in diagnostics(reply.body)[:1])
            raise RemoteError(
                f"{attempt} failed: it answered {reply.status} {said}".rstrip(),
                hint="check `api:`: it is the address of the web interface",
            )
        try:
            return json.loads(reply.body)
        except ValueError as error:
            raise RemoteError(
                f"{attempt} failed: the answer is not JSON", hint="check `api:`: it is the address of the web interface"
            ) from error
