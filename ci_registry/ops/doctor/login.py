"""Step: which credential won and why, and whether the registry takes it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from ...credentials.chain import Credential
from ...errors import AccessError, CiRegistryError, RemoteError
from ...transport.auth import TokenRequest, basic, token_flow
from ...transport.challenge import Challenge, check_realm
from ...transport.exchange import Reply
from ...transport.origin import is_loopback
from ..logins import explain
from .case import Case
from .catalog import find
from .findings import Finding, fine, note
from .neighbours import wrong_htpasswd

__all__ = ["login", "who"]

_VARIABLE = re.compile(r"environment variable (\w+)")


def login(case: Case) -> Iterator[Finding]:
    """The chain, then the challenge."""
    yield from _lost(case)
    try:
        credential = case.target.credential(case.wire_repository or None)
    except CiRegistryError as error:
        broken = find("credential-broken", error.message, **case.values(hint=error.hint or "correct it"))
        yield msgspec.structs.replace(broken, exit=error.exit_code)
        return
    if case.challenge is None:
        yield fine("login", "no login is asked for")
        return
    if not credential.is_anonymous and not case.origin.is_tls and not is_loopback(case.origin.host):
        seen = f"the target is {case.origin}"
        yield find("credential-in-the-clear", seen, **case.values(source=credential.source))
    if case.challenge.scheme == "bearer":
        yield from _bearer(case, case.challenge, credential)
    else:
        yield from _basic(case, credential)


def _lost(case: Case) -> Iterator[Finding]:
    for answer in explain(case.places, case.target, case.wire_repository or None):
        if answer.outcome == "won":
            yield note("login", f"the credential is that of {answer.provider}: {answer.detail}")
        elif answer.outcome == "lost":
            yield note("login", f"{answer.provider} has one too, but comes later: {answer.detail}")
        elif answer.outcome == "unavailable":
            yield note("login", f"{answer.provider} could not be asked: {answer.detail}")


def who(credential: Credential) -> str:
    """Whom a registry sees, for a sentence."""
    if credential.is_anonymous:
        return "nobody (no login)"
    return f"user '{credential.username}'" if credential.username else "a token"


def _basic(case: Case, credential: Credential) -> Iterator[Finding]:
    if credential.is_anonymous:
        seen = f"{case.netloc} asks for user and password; {credential.source}"
        yield find("no-credential", seen, **case.values())
        return
    headers = {"Authorization": basic(credential)}
    reply = case.client(logged_in=False).request("GET", "/v2/", headers=headers, retry=False)
    if reply.status in (401, 403):
        yield _refused(case, credential, reply)
    else:
        yield fine("login", f"{who(credential)} is let in")


def _refused(case: Case, credential: Credential, reply: Reply | None, seen: str = "") -> Finding:
    variable = _VARIABLE.search(credential.source)
    values = case.values(
        user=credential.username or "TOKEN",
        source=credential.source,
        variable=variable[1] if variable else None,
    )
    seen = seen or f"{case.netloc} answered {reply.status if reply else 401} to {who(credential)}"
    if reply is not None and b"token has expired" in reply.body:
        return find("ecr-expired-token", seen, **values)
    wrong = wrong_htpasswd(case.surroundings.neighbours, case.dialled, case.origin.host)
    if wrong is not None:
        more = {"file": wrong.file, "container": wrong.container, "users": ", ".join(wrong.users)}
        return find("htpasswd-not-bcrypt", seen, **{**values, **more, "where": "the machine of the registry"})
    return find("wrong-password", seen, **values)


def _bearer(case: Case, challenge: Challenge, credential: Credential) -> Iterator[Finding]:
    realm = challenge.parameters.get("realm", "")
    try:
        check_realm(realm, case.origin)
    except RemoteError as error:
        yield find("token-realm-refused", error.message, **case.values(realm=realm))
        return
    try:
        token, lifetime = _token(case, challenge, credential)
    except AccessError as error:
        if credential.is_anonymous:
            yield find("no-credential", error.message, **case.values())
        else:
            yield _refused(case, credential, None, error.message)
        return
    except CiRegistryError as error:
        yield find("token-service-unreachable", error.message, **case.values(realm=realm))
        return
    headers = {"Authorization": f"Bearer {token}"}
    reply = case.client(logged_in=False).request("GET", "/v2/", headers=headers, retry=False)
    if reply.status == 200:
        yield fine("login", f"{who(credential)} gets a token, good for {lifetime} seconds")
    elif credential.is_anonymous:
        yield find("no-credential", f"{case.netloc} lets nobody in without a login", **case.values())
    else:
        yield find("token-not-accepted", f"{case.netloc} answered {reply.status} to the token", **case.values())


def _token(case: Case, challenge: Challenge, credential: Credential) -> tuple[str, int]:
    """The token and how many seconds it lives."""
    endpoint = replace(case.endpoint, retry_seconds=0.0, _client=None, _lock=threading.Lock())
    service = check_realm(challenge.parameters["realm"], case.origin)
    replies: list[Reply] = []

    def send(request: TokenRequest) -> Reply:
        replies.append(endpoint.send_token_request(request, service))
        return replies[-1]

    flow = token_flow(challenge, frozenset(), credential)
    try:
        request = next(flow)
        while True:
            request = flow.send(send(request))
    except StopIteration as done:
        return done.value.value, _lifetime(replies)


def _lifetime(replies: list[Reply]) -> int:
    """`expires_in`, 60 where the service does not say (distribution, "Token Authentication Specification")."""
    try:
        return int(json.loads(replies[-1].body).get("expires_in") or 60) if replies else 0
    except (ValueError, TypeError, AttributeError):
        return 60
