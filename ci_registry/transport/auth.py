"""Authentication to a registry: challenges, and the flow from a challenge to a token, as logic without a socket.

Follows RFC 9110 section 11 for challenges and the distribution project's token specification (GET form) and OAuth2
form (POST). `token_flow` is a generator: it yields the request to send, is sent the reply, and returns the token.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from msgspec import Struct, field

from ..errors import AccessError, RemoteError
from ..redaction import remember_secret, shown
from .exchange import Reply
from .http import Scopes
from .origin import Origin
from .problem import diagnostics

if TYPE_CHECKING:
    from .challenge import Challenge

__all__ = [
    "Login",
    "RegistryAuthoriser",
    "Token",
    "TokenRequest",
    "token_flow",
]

CLIENT_ID = "ci_registry"
_TOKEN = re.compile(r"[!-~]+")
_DEFAULT_LIFETIME_SECONDS = 60


class Login(Protocol):
    """What authentication needs of a credential; see `credentials.chain.Credential`."""

    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def identity_token(self) -> str: ...
    @property
    def registry_token(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def is_anonymous(self) -> bool: ...


class TokenRequest(Struct, frozen=True):
    """A request to a token service."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        return shown(self, "method", "url")


class Token(Struct, frozen=True):
    """A bearer token with the moment (monotonic seconds) up to which it is used."""

    value: str
    scopes: Scopes
    usable_until: float

    def __repr__(self) -> str:
        return shown(self, "scopes", "usable_until")


def token_flow(
    challenge: Challenge, scopes: Scopes, login: Login, clock: Callable[[], float] = time.monotonic
) -> Generator[TokenRequest, Reply, Token]:
    """From a Bearer challenge to a token. Raises `AccessError` naming the credential's source when it is refused."""
    if login.registry_token:
        return Token(login.registry_token, scopes, float("inf"))
    reply = None
    if login.identity_token:
        reply = yield _oauth_request(challenge, scopes, login)
        if reply.status in (404, 405):
            reply = None
    if reply is None:
        reply = yield _get_request(challenge, scopes, login)
    return _read_token(reply, scopes, login, clock())


def _get_request(challenge: Challenge, scopes: Scopes, login: Login) -> TokenRequest:
    parameters = [("service", challenge.parameters["service"])] if challenge.parameters.get("service") else []
    parameters += [("scope", scope) for scope in _ordered(scopes)]
    parameters.append(("client_id", CLIENT_ID))
    headers = {}
    if not login.is_anonymous:
        parameters.append(("account", login.username))
        headers["Authorization"] = basic(login)
    return TokenRequest("GET", _with_query(challenge.parameters["realm"], parameters), headers)


def _oauth_request(challenge: Challenge, scopes: Scopes, login: Login) -> TokenRequest:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": login.identity_token,
        "service": challenge.parameters.get("service", ""),
        "scope": " ".join(_ordered(scopes)),
        "client_id": CLIENT_ID,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return TokenRequest("POST", challenge.parameters["realm"], headers, urlencode(form).encode())


def _ordered(scopes: Scopes) -> list[str]:
    # Some token services honour only the first scope: the one with push comes first.
    return sorted(scopes, key=lambda scope: (not scope.endswith("push"), scope))


def _with_query(realm: str, parameters: list[tuple[str, str]]) -> str:
    parts = urlsplit(realm)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *parameters], quote_via=quote, safe=":/,*")
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def _read_token(reply: Reply, scopes: Scopes, login: Login, now: float) -> Token:
    service = urlsplit(reply.url)
    where = f"{service.scheme}://{service.netloc}{service.path}"
    if reply.status in (400, 401, 403):
        message, hint = _refused_login(reply, where, login)
        raise AccessError(message, hint=hint)
    if reply.status != 200:
        said = "; ".join(map(str, diagnostics(reply.body)[:2]))
        raise RemoteError(
            f"asking the token service {where} for a token failed: it answered {reply.status} {said}".rstrip(),
            hint="run it again later",
        )
    try:
        document = json.loads(reply.body)
        value = document.get("token") or document.get("access_token")
        lifetime = float(document.get("expires_in") or _DEFAULT_LIFETIME_SECONDS)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteError(f"the token service {where} answered with something that is not a token") from error
    if not isinstance(value, str) or not value:
        raise RemoteError(f"the token service {where} answered without a token")
    if not _TOKEN.fullmatch(value):
        raise RemoteError(f"the token service {where} answered with a token that can't stand in a header")
    remember_secret(value)
    # Ten seconds early, or at 80 % for short ones: a token that ends while its request travels is refused.
    return Token(value, scopes, now + (lifetime - 10 if lifetime >= 50 else lifetime * 0.8))


def _refused_login(reply: Reply, where: str, login: Login) -> tuple[str, str]:
    said = "; ".join(map(str, diagnostics(reply.body)[:2]))
    came_back = f"it answered {reply.status}" + (f": {said}" if said else "")
    if login.is_anonymous:
        message = f"asking the token service {where} for a token without a login ({login.source}) failed: {came_back}"
        return message, "log in with `ci-registry login`"
    who = f"user '{login.username}'" if login.username else "a token"
    message = f"the token service {where} refused {who} from {login.source}: {came_back}"
    return message, "correct that credential; where two-factor or single sign-on is on, use an access token"


def basic(login: Login) -> str:
    """The value of an Authorization header of the Basic kind."""
    pair = f"{login.username}:{login.password or login.identity_token}"
    value = base64.b64encode(pair.encode()).decode()
    remember_secret(value)
    return f"Basic {value}"


class RegistryAuthoriser:
    """Puts the right Authorization on each request to one registry (implements `transport.http.Authoriser`).

    `find_login` is asked when the registry first wants to know who calls; `send` carries a `TokenRequest` to its
    service. Tokens are cached by scope set, and one worker asks for a token while the others wait for it.

    A login is shown by one worker alone until it was accepted once, and never again once it was refused: accounts get
    locked after a few wrong passwords.
    """

    def __init__(
        self,
        origin: Origin,
        find_login: Callable[[], Login],
        send: Callable[[TokenRequest, Origin], Reply],
        clock: Callable[[], float] = time.monotonic,
        *,
        refused_hint: str = "correct the password there; a registry's own htpasswd file must hold bcrypt entries",
    ) -> None:
        self._origin, self._find_login, self._send, self._clock = origin, find_login, send, clock
        self._refused_hint = refused_hint
        self._answered = self._proven = False
        self._challenge: Challenge | None = None
        self._contact = threading.Lock()
        self._token_lock = threading.Lock()
        self._asking: dict[Scopes, threading.Lock] = {}
        self._tokens: dict[Scopes, Token] = {}
        self._extra: dict[Scopes, Scopes] = {}
        self._denied: set[Scopes] = set()
        self._refused: tuple[Login, AccessError] | None = None

    @property
    def challenge(self) -> Challenge | None:
        """The challenge that the registry gave, once it gave one."""
        return self._challenge

    def login(self) -> Login:
        return self._find_login()

    @contextmanager
    def first_contact(self) -> Iterator[None]:
        """Requests go one by one until the registry answered, and accepted the login where it wants one."""
        if not self.is_known:
            with self._contact:
                if not self.is_known:  # else it became known while this one waited, and nobody has to wait for it
                    yield
                    return
        yield

    @property
    def is_known(self) -> bool:
        """Whether nobody has to wait for a first contact any more."""
        return self._proven or (self._answered and self._challenge is None)

    def accepted(self, sent: Mapping[str, str]) -> None:
        """The registry answered a request, with these headers or without any, and not with 401."""
        self._answered = True
        self._proven = self._proven or "Authorization" in sent

    def headers(self, scopes: Scopes) -> Mapping[str, str]:
        challenge = self._challenge
        if challenge is None:
            return {}
        login = self.login()
        if self._refused is not None and self._refused[0] == login:
            error = self._refused[1]
            raise AccessError(error.message, hint=error.hint)
        if challenge.scheme == "basic":
            return {} if login.is_anonymous else {"Authorization": basic(login)}
        return {"Authorization": f"Bearer {self._token(scopes, login).value}"}

    def _token(self, scopes: Scopes, login: Login) -> Token:
        wanted = self._extra.get(scopes, scopes)
        token = self._kept(wanted)
        if token is not None:
            return token
        with self._token_lock:
            lock = self._asking.setdefault(wanted if self._proven else frozenset(), threading.Lock())
        with lock:
            token = self._kept(wanted)
            if token is None:
                token = self._ask_token(wanted, login)
                with self._token_lock:
                    self._tokens[wanted] = token
            return token

    def _kept(self, wanted: Scopes) -> Token | None:
        """A token for these scopes, or more, that is still good."""
        with self._token_lock:
            now = self._clock()
            fits = (token for known, token in self._tokens.items() if known >= wanted and token.usable_until > now)
            return next(fits, None)

    def _ask_token(self, scopes: Scopes, login: Login) -> Token:
        assert self._challenge is not None  # noqa: S101 - only reached after a challenge
        from .challenge import check_realm

        service = check_realm(self._challenge.parameters["realm"], self._origin)
        flow = token_flow(self._challenge, scopes, login, self._clock)
        reply: Reply | None = None
        try:
            request = next(flow)
            while True:
                reply = self._send(request, service)
                request = flow.send(reply)
        except StopIteration as done:
            token: Token = done.value
            return token
        except AccessError as error:
            if reply is not None and reply.status == 401 and not login.is_anonymous:
                self._refused = (login, error)
            raise

    def challenged(self, reply: Reply, scopes: Scopes, sent: Mapping[str, str]) -> bool:
        """Learn from a 401. True when another try makes sense; raises `AccessError` when the credential is refused."""
        if reply.status != 401:
            return False
        from .challenge import parse_challenges, preferred

        challenge = preferred(parse_challenges(reply.header_values("WWW-Authenticate")))
        if challenge is None:
            return False
        self._challenge = challenge
        if challenge.scheme == "basic":
            return self._basic_refused(sent)
        return self._is_worth_another_token(scopes, challenge, sent)

    def _basic_refused(self, sent: Mapping[str, str]) -> bool:
        login = self.login()
        if login.is_anonymous:
            raise AccessError(
                f"{self._origin} wants a user name and password, and no credential was found for it ({login.source})",
                hint=f"log in with `ci-registry login {self._origin.netloc}` or see `ci-registry credentials explain`",
            )
        if sent.get("Authorization") != basic(login):
            return True
        refused = AccessError(
            f"{self._origin} refused user '{login.username}' from {login.source} (401)", hint=self._refused_hint
        )
        if not self._proven:
            self._refused = (login, refused)
        raise refused

    def explain(self, failed: AccessError) -> AccessError:
        """Whose credential may not do this: the denial of a right names the login it was denied to."""
        login = self.login()
        if login.is_anonymous:
            said, hint = f"nobody was logged in: {login.source}", "log in with `ci-registry login`"
        else:
            who = f"user '{login.username}'" if login.username else "a token"
            said = f"asked as {who} from {login.source}"
            hint = "give this account the right to do that, or use another one"
        return AccessError(f"{failed.message} ({said})", hint=hint)

    def _is_worth_another_token(self, scopes: Scopes, challenge: Challenge, sent: Mapping[str, str]) -> bool:
        """Drop the refused token. A token service grants what is permitted of what is asked and says so to nobody: a
        scope that a fresh token does not hold either is denied."""
        if not sent.get("Authorization"):
            return True
        refused = sent["Authorization"].removeprefix("Bearer ")
        with self._token_lock:
            if challenge.parameters.get("error") == "insufficient_scope":
                had = self._extra.get(scopes, scopes)
                wanted = had | {_in_order(scope) for scope in challenge.parameters.get("scope", "").split()}
                if wanted == had and wanted in self._denied:
                    return False  # the token is kept: others that are denied too need not ask for one
                self._extra[scopes] = wanted
                self._denied.add(wanted)
            self._tokens = {known: token for known, token in self._tokens.items() if token.value != refused}
            return True


def _in_order(scope: str) -> str:
    """A scope with its actions as we write them: registries name them in any order."""
    name, _, actions = scope.rpartition(":")
    return f"{name}:{','.join(sorted(actions.split(',')))}"
