"""Docker Hub's own API, for what its registry does not offer: which repositories a namespace has.

See docs.docker.com, "Docker Hub API": a login is exchanged for a bearer token, lists come in pages.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

from ..credentials.chain import Credential
from ..errors import AccessError, CiRegistryError, NotFoundError, RemoteError
from ..redaction import remember_secret
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.problem import diagnostics

__all__ = ["HUB_API", "HubApi"]

HUB_API = "https://hub.docker.com"
_PAGE = 100
_ANSWER_LIMIT = 4 * 1024 * 1024


class HubApi:
    """Questions to the Hub as one user, or as nobody where the credential is anonymous."""

    def __init__(self, client: Client, credential: Credential) -> None:
        self._client, self._credential = client, credential
        self._token = ""

    def repositories(self, namespace: str) -> list[str]:
        """`NAMESPACE/NAME` of each repository that this login may see, sorted.

        Raises `AccessError` when the login is refused, `NotFoundError` when there is no such namespace.
        """
        attempt = f"listing the repositories of '{namespace}' on Docker Hub"
        found: set[str] = set()
        path = f"/v2/namespaces/{quote(namespace, safe='')}/repositories?page_size={_PAGE}"
        seen: set[str] = set()
        while path:
            if path in seen:
                raise RemoteError(f"{attempt} failed: its pages go round in a circle")
            seen.add(path)
            page = self._get(path, attempt)
            found.update(f"{namespace}/{entry['name']}" for entry in _results(page) if "name" in entry)
            path = _path_of(page.get("next"))
        return sorted(found)

    def _get(self, path: str, attempt: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._log_in()}"} if not self._credential.is_anonymous else {}
        reply = self._client.request("GET", path, headers=headers, limit=_ANSWER_LIMIT)
        if reply.status == 404:
            raise NotFoundError(
                f"{attempt} failed: there is no such namespace", hint="check `namespace:` of the target"
            )
        return _object(reply, attempt, self._credential)

    def _log_in(self) -> str:
        if self._token:
            return self._token
        login = {"identifier": self._credential.username, "secret": self._credential.password}
        attempt = f"logging in to {self._client.origin} as '{self._credential.username}'"
        reply = self._client.request(
            "POST",
            "/v2/auth/token",
            headers={"Content-Type": "application/json"},
            body=json.dumps(login).encode(),
        )
        token = _object(reply, attempt, self._credential).get("access_token")
        if not isinstance(token, str) or not token:
            raise RemoteError(f"{attempt} failed: the answer holds no token")
        remember_secret(token)
        self._token = token
        return token


def _object(reply: Reply, attempt: str, credential: Credential) -> dict[str, Any]:
    if reply.status != 200:
        raise _refused(reply, attempt, credential)
    try:
        document = json.loads(reply.body)
    except ValueError as error:
        raise RemoteError(f"{attempt} failed: the answer is not JSON") from error
    return document if isinstance(document, dict) else {}


def _refused(reply: Reply, attempt: str, credential: Credential) -> CiRegistryError:
    said = "; ".join(str(entry) for entry in diagnostics(reply.body)[:2])
    came_back = f"it answered {reply.status}" + (f": {said}" if said else "")
    if reply.status in (401, 403):
        who = f"the login from {credential.source}" if not credential.is_anonymous else "nobody logged in"
        return AccessError(
            f"{attempt} failed for {who}: {came_back}",
            hint="where two-factor or single sign-on is on, use an access token as password",
        )
    return RemoteError(f"{attempt} failed: {came_back}", hint="run it again later")


def _results(page: dict[str, Any]) -> list[dict[str, Any]]:
    results = page.get("results")
    return [entry for entry in results if isinstance(entry, dict)] if isinstance(results, list) else []


def _path_of(url: object) -> str:
    """Path and query of the next page; its host is not followed."""
    if not isinstance(url, str) or not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
