"""Steps: what answers to /v2/, and what its clock says."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from ...errors import CiRegistryError, TlsError
from ...kinds.explain import is_page
from ...transport.challenge import parse_challenges
from ...transport.exchange import Reply
from .case import Case
from .catalog import find
from .findings import Finding, fine
from .trust import client_certificate, is_about_client

__all__ = ["clock", "server_name", "service"]

_LOGIN_WORDS = ("sign in", "log in", "login", "password", "single sign", "sso")
_LOGIN_PATHS = re.compile(r"/(login|signin|sign_in|auth|oauth2?|sso|saml|realms)\b", re.IGNORECASE)
_SKEW_SECONDS = 60  # what token servers commonly forgive


def service(case: Case) -> Iterator[Finding]:
    """`GET /v2/` without a login (distribution-spec, "Endpoints", end-1)."""
    try:
        reply = case.client(logged_in=False).request("GET", "/v2/", retry=False)
    except TlsError as error:
        cause = error.__cause__
        about_client = isinstance(cause, ssl.SSLError) and is_about_client(cause)
        yield client_certificate(case, str(cause)) if about_client else _broken(case, error)
        return
    except CiRegistryError as error:
        yield _broken(case, error)
        return
    case.reply = reply
    yield _read(case, reply)


def _broken(case: Case, error: CiRegistryError) -> Finding:
    return find("dropped", error.message, **case.values())


def _read(case: Case, reply: Reply) -> Finding:
    if reply.status == 200 and not is_page(reply):
        return fine("service", f"{_path(reply)} answers 200: no login is needed to look around")
    if reply.status == 401:
        return _challenged(case, reply)
    seen = f"{_path(reply)} was answered {reply.status}{_by(reply)}"
    if 300 <= reply.status < 400:
        return _redirected(case, reply, seen)
    if reply.status == 429:
        wait = f"{reply.headers.get('Retry-After')} seconds" if reply.headers.get("Retry-After") else "some minutes"
        return find("throttled", seen, **case.values(wait=wait))
    if reply.status in (502, 503, 504):
        return find("backend-down", seen, **case.values(server=server_name(reply)))
    if reply.status >= 500:
        return find("server-error", seen, **case.values())
    return _something_else(case, reply, seen)


def _path(reply: Reply) -> str:
    return urlsplit(reply.url).path


def _by(reply: Reply) -> str:
    kind = " with a web page" if is_page(reply) else ""
    server = server_name(reply)
    return f"{kind} by {server}" if server != "a proxy" else kind


def server_name(reply: Reply) -> str:
    """Who says that it answers; "a proxy" for who does not say."""
    return re.sub(r"[^ -~]", "", reply.headers.get("Server") or "")[:40].strip() or "a proxy"


def _challenged(case: Case, reply: Reply) -> Finding:
    challenges = parse_challenges(reply.header_values("WWW-Authenticate"))
    known = [each for each in challenges if each.scheme in ("basic", "bearer")]
    if not known:
        seen = f"{_path(reply)} was answered 401{_by(reply)}, with no way to log in"
        return find("no-challenge", seen, **case.values(url=f"{case.origin}/v2/"))
    case.challenge = min(known, key=lambda each: each.scheme != "bearer")
    realm = case.challenge.parameters.get("realm", "")
    asks = "user and password" if case.challenge.scheme == "basic" else f"a token of {realm}"
    return fine("service", f"{_path(reply)} answers 401 and asks for {asks}")


def _redirected(case: Case, reply: Reply, seen: str) -> Finding:
    location = urljoin(reply.url, reply.headers.get("Location") or "")
    parts = urlsplit(location)
    seen = f"{seen}, to {parts.scheme}://{parts.netloc}{parts.path}"
    if _LOGIN_PATHS.search(parts.path):
        return find("login-page", seen, **case.values())
    if parts.hostname and parts.hostname != case.origin.host:
        return find("captive-portal", seen, **case.values(other=f"{parts.scheme}://{parts.netloc}"))
    return find("not-a-registry", seen, **case.values(url=f"{case.origin}/v2/"))


def _something_else(case: Case, reply: Reply, seen: str) -> Finding:
    text = reply.body.decode("utf-8", "replace").lower()
    if server_name(reply).startswith("Nexus/") or "nexus repository" in text:
        repository = getattr(case.target.settings, "nexus_repository", None)
        values = case.values(api=str(case.origin), connector=_connector(case), nexus_repository=repository)
        return find("nexus-ui-port", seen, **values)
    if reply.status == 200 and any(word in text for word in _LOGIN_WORDS):
        return find("login-page", seen, **case.values())
    return find("not-a-registry", seen, **case.values(url=f"{case.origin}/v2/"))


def _connector(case: Case) -> str | None:
    """The address of the connector, if Nexus may be asked."""
    from ...kinds.nexus_api import NexusApi

    name = getattr(case.target.settings, "nexus_repository", None)
    if not name:
        return None
    try:
        api = NexusApi(case.client(logged_in=False), str(case.origin), case.target.credential())
        entry = api.repository(name) or {}
        docker = api.docker_settings(str(entry.get("type")), name).get("docker") or {}
    except CiRegistryError:
        return None
    ports = [(scheme, docker.get(f"{scheme}Port")) for scheme in ("https", "http")]
    return next((f"{scheme}://{case.origin.host}:{port}" for scheme, port in ports if port), None)


def clock(case: Case) -> Iterator[Finding]:
    """The Date header against this machine's clock."""
    said = (case.reply.headers.get("Date") if case.reply else None) or ""
    try:
        theirs = parsedate_to_datetime(said)
    except (ValueError, TypeError):
        return
    seconds = round((datetime.now(timezone.utc) - theirs).total_seconds())
    if abs(seconds) > _SKEW_SECONDS:
        ahead = "ahead of" if seconds > 0 else "behind"
        seen = f"this clock is {abs(seconds)} seconds {ahead} that of {case.netloc}"
        yield find("clock-skew", seen, **case.values(seconds=abs(seconds)))
    else:
        yield fine("clock", f"the clocks agree within {_SKEW_SECONDS} seconds")
