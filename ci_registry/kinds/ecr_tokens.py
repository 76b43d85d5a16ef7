"""Registry tokens of Amazon ECR: asked for when needed, kept in memory, renewed before they end or when refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone

from ..adapters.aws import Aws, RegistryToken
from ..credentials.chain import Credential, Lookup, NoAnswer, Unavailable, registry_key
from ..errors import AccessError
from ..transport.auth import Login, RegistryAuthoriser, TokenRequest
from ..transport.exchange import Reply
from ..transport.http import Scopes
from ..transport.origin import Origin

__all__ = ["EcrAuthoriser", "EcrTokens", "has_expired"]

RENEW_BEFORE_END = timedelta(minutes=15)


class EcrTokens:
    """The link of the credential chain that asks boto3. It answers for one registry host alone."""

    name = "boto3"
    remember = "never"  # it keeps and renews its tokens itself

    def __init__(
        self,
        aws: Aws,
        host: Callable[[], str],
        *,
        optional: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """`optional`: without any AWS keys there is no answer, where otherwise that is an error (public registries)."""
        self._aws, self._host, self._optional, self._now = aws, host, optional, now
        self._lock = threading.Lock()
        self._token: RegistryToken | None = None

    def find(self, request: Lookup) -> Credential:
        if request.host != registry_key(self._host()):
            raise NoAnswer(f"{request.host} is not the registry of this target")
        if self._optional and self._token is None and not self._aws.has_credentials():
            raise Unavailable("no AWS credentials were found")
        token = self.current()
        return Credential("AWS", token.password, source=f"an Amazon ECR token by {token.identity}")

    def current(self) -> RegistryToken:
        """A token that is good for at least a quarter of an hour. Raises as `Aws.registry_token` does."""
        with self._lock:
            token = self._token
            if token is None or token.expires_at - RENEW_BEFORE_END <= self._now():
                token = self._token = self._aws.registry_token()
            return token

    def issued(self, credential: Login) -> bool:
        """Whether a credential is the token that is kept here."""
        token = self._token
        return token is not None and credential.username == "AWS" and credential.password == token.password

    def forget(self) -> None:
        """Ask for a new token next time."""
        with self._lock:
            self._token = None


def has_expired(reply: Reply) -> bool:
    """Whether ECR refused a token for its age, which it says in words only."""
    return reply.status in (400, 401, 403) and b"authorization token has expired" in reply.body.lower()


class EcrAuthoriser(RegistryAuthoriser):
    """Gets a new token, once, when ECR says that the old one has ended."""

    def __init__(
        self,
        origin: Origin,
        find_login: Callable[[], Login],
        send: Callable[[TokenRequest, Origin], Reply],
        tokens: EcrTokens,
    ) -> None:
        hint = "check account and region in the host name, and that this identity may use that registry"
        super().__init__(origin, find_login, send, refused_hint=hint)
        self._issuer = tokens

    def challenged(self, reply: Reply, scopes: Scopes, sent: Mapping[str, str]) -> bool:
        if not self._has_expired(reply, sent):
            return super().challenged(reply, scopes, sent)
        login = self.login()
        if not self._issuer.issued(login):
            raise AccessError(
                f"{reply.url.partition('/v2/')[0]} refused user '{login.username}' from {login.source}: that token has "
                "expired, 12 hours after it was made",
                hint="remove it, so that boto3 is asked for one, or put a new one there",
            )
        self._issuer.forget()
        return True

    def _has_expired(self, reply: Reply, sent: Mapping[str, str]) -> bool:
        if reply.method != "HEAD" or reply.status != 403 or "Authorization" not in sent:
            return has_expired(reply)
        # The refusal of a HEAD has no words; the same login elsewhere gets them.
        ping = TokenRequest("GET", f"{self._origin}/v2/", {"Authorization": sent["Authorization"]})
        return has_expired(self._send(ping, self._origin))
