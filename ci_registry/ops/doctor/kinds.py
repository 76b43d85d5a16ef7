"""Steps: what a kind of registry tells about itself beyond the registry API."""

from __future__ import annotations

import json
from collections.abc import Iterator

from msgspec.structs import replace

from ...errors import CiRegistryError
from ...kinds.dockerhub import DockerHub
from ...kinds.findings import Finding as KindFinding
from ...kinds.nexus import Nexus
from ...kinds.quota import Quota, read_quota
from ...transport.http import Scopes
from .case import Case
from .catalog import find
from .findings import Finding, fine, note

__all__ = ["limits", "nexus"]

_NEXUS_CODES = {
    "status": "nexus-starting",
    "eula": "nexus-eula",
    "realms": "nexus-realm",
    "write-policy": "nexus-read-only",
}
_PREVIEW = "ratelimitpreview/test"
_FEW = 0.1  # of the limit


def limits(case: Case) -> Iterator[Finding]:
    """How many pulls are left: Docker Hub is asked, others may have said so in an answer."""
    if isinstance(case.target, DockerHub):
        yield from _hub(case)
    elif quota := case.target.quota():
        yield note("limits", str(quota))


def nexus(case: Case) -> Iterator[Finding]:
    """By its REST API, and before the login: some of it makes logins fail."""
    if not isinstance(case.target, Nexus):
        return
    try:
        checks = case.target.checks()
    except CiRegistryError as error:
        checks = [KindFinding("status", "unknown", error.message, error.hint)]
    for check in checks:
        yield _of_nexus(case, check)


def _of_nexus(case: Case, check: KindFinding) -> Finding:
    if check.level == "ok":
        return fine("nexus", check.message)
    settings = case.target.settings
    api = str(getattr(settings, "api", None) or "").rstrip("/")
    values = case.values(
        hint=check.cure or "ask an administrator of Nexus",
        api=api,
        nexus_repository=getattr(settings, "nexus_repository", None),
        user=_user(case),
        realms=json.dumps(_realms(case)),
    )
    if check.level == "note":
        return note("nexus", f"{check.message}; {check.cure}" if check.cure else check.message)
    code = _NEXUS_CODES.get(check.about, "nexus-repository") if check.level == "problem" else "nexus-unknown"
    return find(code, check.message, **values)


def _user(case: Case) -> str:
    try:
        return case.target.credential().username or "admin"
    except CiRegistryError:
        return "admin"


def _realms(case: Case) -> list[str]:
    """What is to be active: what is, and the realm that is missing."""
    from ...kinds.nexus_api import NexusApi

    target = case.target
    assert isinstance(target, Nexus)  # noqa: S101 - only asked for one
    endpoint = target._api_endpoint()
    try:
        active = NexusApi(endpoint.client, str(endpoint.origin), target.credential()).active_realms()
    except CiRegistryError:
        active = ["NexusAuthenticatingRealm"]
    finally:
        endpoint.close()
    return [*active, *(realm for realm in ["DockerToken"] if realm not in active)]


def _hub(case: Case) -> Iterator[Finding]:
    """docs.docker.com, "Usage and limits": a HEAD of this repository is not counted and tells the limits."""
    scopes: Scopes = frozenset({f"repository:{_PREVIEW}:pull"})
    client = case.client(logged_in=True)
    try:
        reply = client.request("HEAD", f"/v2/{_PREVIEW}/manifests/latest", scopes=scopes, retry=False)
    except CiRegistryError as error:
        yield note("hub", f"the limits could not be asked for: {error.message}")
        return
    quota = read_quota(reply.headers)
    if reply.status == 429:
        quota = replace(quota, remaining=0) if quota else Quota(0, 0, 0)
    if quota is None:
        yield fine("hub", "no limit to pulls is stated")
    elif quota.remaining <= quota.limit * _FEW:
        yield find("hub-rate-limit", str(quota), **case.values())
    else:
        yield fine("hub", str(quota))
