"""Step: what a registry can do beyond plain pushes and pulls."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import CiRegistryError
from ...transport.http import Client, Scopes
from .case import Case
from .catalog import find
from .findings import Finding, fine, note

__all__ = ["abilities"]

_NOBODY = f"sha256:{'0' * 64}"


def abilities(case: Case) -> Iterator[Finding]:
    """Referrers and limits by reading; mounts and deletion by trying, where that is allowed."""
    if not case.repository:
        return
    client = case.client(logged_in=True)
    scopes: Scopes = frozenset({f"repository:{case.wire_repository}:pull"})
    try:
        yield from _referrers(case, client, scopes)
        if case.may_write:
            yield from _mount(case, client)
            yield from _delete(case, client)
    except CiRegistryError as error:
        yield note("abilities", f"not all could be tried: {error.message}")


def _referrers(case: Case, client: Client, scopes: Scopes) -> Iterator[Finding]:
    """distribution-spec, "Listing Referrers": 200 with an empty index where nothing refers to it."""
    path = f"/v2/{case.wire_repository}/referrers/{_NOBODY}"
    reply = client.request("GET", path, scopes=scopes, retry=False, limit=1 << 20)
    if reply.status == 200:
        yield fine("abilities", "it has the referrers API")
    elif reply.status == 404:
        yield find("no-referrers", f"the referrers API answers {reply.status}", **case.values())


def _mount(case: Case, client: Client) -> Iterator[Finding]:
    """A blob that the repository has, mounted from itself: nothing is added."""
    if not case.tags or not case.repository:
        return
    source = case.target.repository(case.repository)
    config = source.manifest(source.resolve(case.tags[0])).config
    if config is None:
        return
    name = case.wire_repository
    scopes: Scopes = frozenset({f"repository:{name}:pull,push"})
    path = f"/v2/{name}/blobs/uploads/?mount={config.digest}&from={name}"
    reply = client.request("POST", path, scopes=scopes, retry=False)
    if reply.status == 201:
        yield fine("abilities", "blobs are mounted from one repository to another")
    elif reply.status == 202:
        client.request("DELETE", reply.headers.get("Location") or "", scopes=scopes, retry=False, base=reply.url)
        yield note("abilities", "blobs are not mounted: each repository gets its own upload")


def _delete(case: Case, client: Client) -> Iterator[Finding]:
    """Delete a manifest that can't exist."""
    name = case.wire_repository
    scopes: Scopes = frozenset({f"repository:{name}:pull,push,delete"})
    reply = client.request("DELETE", f"/v2/{name}/manifests/{_NOBODY}", scopes=scopes, retry=False)
    if reply.status == 405:
        yield find("no-delete", "deleting is answered 405", **case.values())
    elif reply.status in (401, 403):
        yield note("abilities", "this login may not delete")
    elif reply.status in (202, 400, 404):
        yield fine("abilities", "deletion is on")
