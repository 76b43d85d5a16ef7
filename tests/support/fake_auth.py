"""Authentication of the scriptable registry: Basic, or Bearer with opaque tokens of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence

from .fake_route import Refusal, Route
from .http_server import Exchange
from .token_server import Access, Permissions, TokenService, parse_basic

__all__ = ["FakeAuth"]


class FakeAuth:
    """`mode` is "none", "basic" or "bearer" and may be changed at any time."""

    def __init__(
        self,
        mode: str,
        realm: str,
        users: Mapping[str, str] | None,
        permissions: Mapping[str, Permissions] | None,
        anonymous: Permissions | None,
        lifetime_seconds: float,
    ) -> None:
        self.mode = mode
        self.realm = realm
        self.service_name = "fake-registry"
        self.service = TokenService(
            self._encode, dict(users or {}), dict(permissions or {}), anonymous, lifetime_seconds=lifetime_seconds
        )
        self._issued: dict[str, tuple[Sequence[Access], float]] = {}
        self._lock = threading.Lock()

    def expire(self) -> None:
        """Every token issued so far is refused from now on."""
        with self._lock:
            self._issued = dict.fromkeys(self._issued, ((), 0.0))

    def check(self, exchange: Exchange, route: Route) -> None:
        """Raise the 401 with its challenge unless the request is allowed."""
        if self.mode == "basic":
            self._check_basic(exchange)
        elif self.mode == "bearer":
            self._check_bearer(exchange, wanted(exchange, route))

    def _check_basic(self, exchange: Exchange) -> None:
        login = parse_basic(exchange.headers.get("authorization", ""))
        if login is None or self.service.users.get(login[0]) != login[1]:
            raise _unauthorized('Basic realm="fake"')

    def _check_bearer(self, exchange: Exchange, needed: Sequence[Access]) -> None:
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        challenge = f'Bearer realm="{self.realm}",service="{self.service_name}"'
        if needed:
            challenge += f',scope="{" ".join(_scope(access) for access in needed)}"'
        if scheme.lower() != "bearer":
            raise _unauthorized(challenge)
        with self._lock:
            held, expires = self._issued.get(token, ((), 0.0))
        if expires < time.monotonic():
            raise _unauthorized(challenge + ',error="invalid_token"')
        if not all(_covered(access, held) for access in needed):
            raise _unauthorized(challenge + ',error="insufficient_scope"')

    def _encode(self, account: str, granted: Sequence[Access], lifetime_seconds: float) -> str:
        token = f"opaque.{account}.{secrets.token_urlsafe(12)}"
        with self._lock:
            self._issued[token] = (granted, time.monotonic() + lifetime_seconds)
        return token


def wanted(exchange: Exchange, route: Route) -> list[Access]:
    """The access a request needs; none for the ping."""
    if route.kind == "catalog":
        return [Access("registry", "catalog", ("*",))]
    if not route.name:
        return []
    if exchange.method == "DELETE" and route.kind != "upload":
        return [Access("repository", route.name, ("delete",))]
    if exchange.method in ("GET", "HEAD") and route.kind != "upload":
        return [Access("repository", route.name, ("pull",))]
    needed = [Access("repository", route.name, ("pull", "push"))]
    source = exchange.argument("from")
    if source and source != route.name:
        needed.append(Access("repository", source, ("pull",)))
    return needed


def _covered(needed: Access, held: Sequence[Access]) -> bool:
    actions = {action for a in held if (a.kind, a.name) == (needed.kind, needed.name) for action in a.actions}
    return actions.issuperset(needed.actions)


def _scope(access: Access) -> str:
    return f"{access.kind}:{access.name}:{','.join(access.actions)}"


def _unauthorized(challenge: str) -> Refusal:
    return Refusal(401, "UNAUTHORIZED", "authentication required", headers={"WWW-Authenticate": challenge})
