"""A token service: the server side of distribution's Bearer flow (distribution, docs/spec/auth/token.md and oauth.md).

`TokenService` decides and answers; `TokenServer` serves it over HTTP with JWTs that the real registry accepts, and
the scriptable registry serves it on its own port with opaque tokens.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from .http_server import Exchange, HttpServer, Reply
from .process import free_port, temporary_directory

__all__ = ["Access", "TokenRequest", "TokenServer", "TokenService", "parse_basic"]

Permissions = Mapping[str, str]
"""Repository pattern (fnmatch) to actions, comma separated: `{"team/*": "pull,push"}`; the first that fits counts."""
EVERYTHING: Permissions = {"*": "pull,push,delete,*"}


@dataclass(frozen=True)
class Access:
    """One entry of what a token allows."""

    kind: str
    name: str
    actions: tuple[str, ...]

    @classmethod
    def parse(cls, scope: str) -> Access:
        # A name may hold a colon, so the kind is cut off from the left and the actions from the right.
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        return cls(kind, name, tuple(action for action in actions.split(",") if action))


@dataclass(frozen=True)
class TokenRequest:
    """What one client asked: `grant` is "" for the GET form; `status` is what it got."""

    method: str
    account: str
    scopes: tuple[str, ...]
    grant: str
    status: int
    parameters: Mapping[str, str] = field(repr=False)


@dataclass
class TokenService:
    """Users with passwords and permissions; grants the intersection of what is asked and what is permitted.

    `encode` turns (account, access, lifetime in seconds) into a token. `anonymous` is None where a login is needed.
    `state_lifetime=False` leaves `expires_in` out of the answer, as old servers do. `field_name` is the member the
    token is in (`token` or `access_token`). `refuse_post` answers 404 to the OAuth2 form.
    """

    encode: Callable[[str, Sequence[Access], float], str]
    users: dict[str, str] = field(default_factory=dict)
    permissions: dict[str, Permissions] = field(default_factory=dict)
    anonymous: Permissions | None = None
    lifetime_seconds: float = 300
    state_lifetime: bool = True
    field_name: str = "token"
    refuse_post: bool = False
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    requests: list[TokenRequest] = field(default_factory=list)
    failures: list[Reply] = field(default_factory=list)
    """Replies given, one each, before any real answer: put 503s here to test retries."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_refresh_token(self, user: str) -> str:
        """An identity token for a user, as `docker login` to a token server would get it."""
        token = f"refresh-{secrets.token_hex(16)}"
        self.refresh_tokens[token] = user
        return token

    def answer(self, exchange: Exchange) -> Reply:
        """Handle one request to the realm."""
        post = exchange.method == "POST"
        pairs = parse_qsl(exchange.body().decode()) if post else exchange.query
        parameters = dict(pairs)
        scopes = tuple(scope for key, value in pairs if key == "scope" for scope in value.split())
        account = self._post_account(parameters) if post else self._get_account(exchange)
        reply = self._reply(post, account, scopes, parameters)
        request = TokenRequest(
            exchange.method, account or "", scopes, parameters.get("grant_type", ""), reply.status, parameters
        )
        with self._lock:
            self.requests.append(request)
        return reply

    def _reply(self, post: bool, account: str | None, scopes: Sequence[str], parameters: Mapping[str, str]) -> Reply:
        with self._lock:
            if self.failures:
                return self.failures.pop(0)
        if post and self.refuse_post:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        if account is None:
            body = {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
            return Reply(401, {"Content-Type": "application/json"}, json.dumps(body).encode())
        granted = [access for scope in scopes if (access := self.grant(account, scope)).actions]
        return self._token_reply(post, account, granted, parameters)

    def grant(self, account: str, scope: str) -> Access:
        """What of a scope an account ("" for nobody) may have."""
        asked = Access.parse(scope)
        table = self.permissions.get(account, EVERYTHING) if account else self.anonymous or {}
        allowed = next((actions for pattern, actions in table.items() if fnmatchcase(asked.name, pattern)), "")
        return Access(asked.kind, asked.name, tuple(a for a in asked.actions if a in allowed.split(",")))

    def _token_reply(self, post: bool, account: str, granted: list[Access], parameters: Mapping[str, str]) -> Reply:
        token = self.encode(account, granted, self.lifetime_seconds)
        body: dict[str, Any] = {"access_token" if post else self.field_name: token}
        if self.state_lifetime:
            body["expires_in"] = int(self.lifetime_seconds)
            body["issued_at"] = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        if account and "offline" in (parameters.get("access_type"), parameters.get("offline_token") and "offline"):
            body["refresh_token"] = self.add_refresh_token(account)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _get_account(self, exchange: Exchange) -> str | None:
        login = parse_basic(exchange.headers.get("authorization", ""))
        if login is None:
            return None if self.anonymous is None else ""
        return login[0] if self.users.get(login[0]) == login[1] else None

    def _post_account(self, parameters: Mapping[str, str]) -> str | None:
        if parameters.get("grant_type") == "refresh_token":
            return self.refresh_tokens.get(parameters.get("refresh_token", ""))
        user = parameters.get("username", "")
        known = parameters.get("grant_type") == "password" and user in self.users
        return user if known and self.users[user] == parameters.get("password") else None


class TokenServer:
    """The service over HTTP with RS256 JWTs and an x5c header, for a real registry's `auth: token`.

    Give `DockerRegistry(token=server)`; `issuer` and `audience` can be set wrong to test a registry's refusal.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        permissions: Mapping[str, Permissions] | None = None,
        anonymous: Permissions | None = None,
        lifetime_seconds: float = 300,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.issuer = "test-issuer"
        self.audience = "test-registry"
        self._key, self._certificate = _signing_pair()
        self.bundle = _write_bundle(self._certificate)
        self.service = TokenService(
            self._jwt, dict(users or {}), dict(permissions or {}), anonymous, lifetime_seconds=lifetime_seconds
        )
        self._server = HttpServer(self.service.answer, free_port(), context)
        self.realm = f"{self._server.url}/token"

    def __enter__(self) -> TokenServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop()

    @property
    def requests(self) -> list[TokenRequest]:
        """What clients asked so far, oldest first."""
        return self.service.requests

    def _jwt(self, account: str, granted: Sequence[Access], lifetime_seconds: float) -> str:
        import jwt

        now = time.time()
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": account,
            "exp": int(now + lifetime_seconds),
            "nbf": int(now) - 10,
            "iat": int(now),
            "jti": secrets.token_hex(8),
            "access": [{"type": a.kind, "name": a.name, "actions": list(a.actions)} for a in granted],
        }
        chain = [base64.b64encode(_der(self._certificate)).decode()]
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"x5c": chain})


def parse_basic(header: str) -> tuple[str, str] | None:
    """User and password of a Basic header, or None for any other."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    user, _, password = base64.b64decode(value).decode().partition(":")
    return user, password


def _signing_pair() -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token signer")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _der(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    der: bytes = certificate.public_bytes(Encoding.DER)
    return der


def _write_bundle(certificate: Any) -> Path:
    from cryptography.hazmat.primitives.serialization import Encoding

    path = temporary_directory() / "token-signer.crt"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path
