"""Steps: may we read the repository, may we write to it, and does what we write arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urljoin

from ...credentials.chain import Credential
from ...errors import AccessError, CiRegistryError
from ...kinds.ecr import EcrRegistry
from ...transport.exchange import EarlyAnswerError, Reply
from ...transport.http import Client, Scopes
from ...transport.origin import Origin
from ...transport.problem import diagnostics
from .case import Case
from .catalog import find
from .ecr import missing_repository, no_permission
from .findings import Finding, fine, note
from .login import who
from .service import server_name

__all__ = ["pull", "push"]

_TRIAL_BYTES = (1 << 20) + (64 << 10)  # just more than nginx lets through by default


def pull(case: Case) -> Iterator[Finding]:
    """List tags, which needs the right to pull."""
    if not case.repository:
        return
    scopes: Scopes = frozenset({f"repository:{case.wire_repository}:pull"})
    try:
        reply = case.client(logged_in=True).request(
            "GET", f"/v2/{case.wire_repository}/tags/list?n=2", scopes=scopes, limit=1 << 20, retry=False
        )
    except AccessError as error:
        yield find("pull-denied", error.message, **case.values(who=_who(case)))
        return
    except CiRegistryError as error:
        yield find("server-error", error.message, **case.values())
        return
    yield _may_read(case, reply)


def _may_read(case: Case, reply: Reply) -> Finding:
    if reply.status == 200:
        case.tags = _tags(reply)
        return fine("pull", f"{case.wire_repository} can be read, and has {'tags' if case.tags else 'no tags'}")
    seen = f"listing the tags of {case.wire_repository} was answered {_said(reply)}"
    if reply.status == 404:
        missing = missing_repository(case, seen) if isinstance(case.target, EcrRegistry) else None
        return missing or find("repository-empty", seen, **case.values())
    if reply.status == 429:
        return find("throttled", seen, **case.values(wait="some minutes"))
    if reply.status in (401, 403):
        return _denied(case, reply, "pull", seen)
    return find("server-error", seen, **case.values())


def _tags(reply: Reply) -> list[str]:
    try:
        found = json.loads(reply.body).get("tags") or []
    except (ValueError, AttributeError):
        return []
    return [str(tag) for tag in found]


def _denied(case: Case, reply: Reply, action: str, seen: str) -> Finding:
    """Who refused: the token that lacks the right, Amazon's rules, or the registry."""
    if b"not authorized to perform" in reply.body:
        return no_permission(case, reply, seen)
    values = case.values(who=_who(case), action=action)
    if "insufficient_scope" in (reply.headers.get("WWW-Authenticate") or ""):
        return find("token-without-rights", seen, **values)
    return find(f"{action}-denied", seen, **values)


def _who(case: Case) -> str:
    try:
        credential: Credential = case.target.credential(case.wire_repository or None)
    except CiRegistryError:
        return "this login"
    return who(credential)


def _said(reply: Reply) -> str:
    said = "; ".join(str(each) for each in diagnostics(reply.body)[:2])
    return f"{reply.status}: {said}" if said else str(reply.status)


def push(case: Case) -> Iterator[Finding]:
    """Open an upload, send a little more than proxies let through by default, and cancel it."""
    if not case.repository or not case.may_write:
        return
    client = case.client(logged_in=True)
    scopes: Scopes = frozenset({f"repository:{case.wire_repository}:pull,push"})
    try:
        opened = client.request("POST", f"/v2/{case.wire_repository}/blobs/uploads/", scopes=scopes, retry=False)
        if opened.status != 202:
            yield _not_opened(case, opened)
            return
        yield from _continued(case, client, scopes, opened)
    except AccessError as error:
        yield find("push-denied", error.message, **case.values(who=_who(case)))
    except CiRegistryError as error:
        yield find("upload-failed", error.message, **case.values())


def _not_opened(case: Case, reply: Reply) -> Finding:
    seen = f"opening an upload to {case.wire_repository} was answered {_said(reply)}"
    codes = {entry.code for entry in diagnostics(reply.body)}
    if reply.status == 405 or "UNSUPPORTED" in codes:
        return find("read-only", seen, **case.values())
    if reply.status in (401, 403):
        return _denied(case, reply, "push", seen)
    missing = missing_repository(case, seen) if reply.status == 404 and isinstance(case.target, EcrRegistry) else None
    return missing or find("upload-failed", seen, **case.values())


def _continued(case: Case, client: Client, scopes: Scopes, opened: Reply) -> Iterator[Finding]:
    location = urljoin(opened.url, opened.headers.get("Location") or "")
    moved = _moved(case, location)
    if moved is not None:
        yield moved
        return
    if opened.headers.get("OCI-Chunk-Min-Length"):
        yield note("push", f"chunks of an upload must have {opened.headers['OCI-Chunk-Min-Length']} bytes at least")
    reply = _send(client, scopes, location)
    location = urljoin(location, reply.headers.get("Location") or location)
    if reply.status == 413:
        # Whoever refused it may not have passed on the Location: the session is still at the first one.
        yield find("body-limit", f"{_TRIAL_BYTES} bytes were answered 413", **_limit_values(case, reply))
    elif reply.status not in (202, 204):
        yield find("upload-failed", f"sending {_TRIAL_BYTES} bytes was answered {_said(reply)}", **case.values())
    else:
        yield fine("push", f"an upload to {case.wire_repository} can be opened and takes {_TRIAL_BYTES} bytes")
    cancelled = client.request("DELETE", location, scopes=scopes, retry=False)
    if cancelled.status not in (202, 204, 404):
        yield find("upload-not-cancelled", f"cancelling the upload was answered {cancelled.status}", **case.values())


def _limit_values(case: Case, reply: Reply) -> dict[str, object]:
    return case.values(server=server_name(reply), size=_TRIAL_BYTES)


def _send(client: Client, scopes: Scopes, location: str) -> Reply:
    headers = {"Content-Type": "application/octet-stream", "Content-Range": f"0-{_TRIAL_BYTES - 1}"}
    exchange = client.begin("PATCH", location, headers=headers, length=_TRIAL_BYTES, scopes=scopes)
    try:
        exchange.send(bytes(_TRIAL_BYTES))
        return exchange.finish()
    except EarlyAnswerError as early:
        return early.reply
    finally:
        exchange.close()


def _moved(case: Case, location: str) -> Finding | None:
    """Where the registry wants the upload continued: only the place that it was begun at is right."""
    try:
        there = Origin.parse(location)
    except CiRegistryError:
        return find("upload-failed", "the upload's Location is no address", **case.values())
    if there == case.origin:
        return None
    seen = f"the upload is to be continued at {there}"
    if there.host != case.origin.host:
        return None  # another host may be meant so
    same_port = there.port == case.origin.port or there.netloc == case.origin.host == case.netloc
    code = "wrong-forwarded-proto" if there.scheme != case.origin.scheme and same_port else "wrong-host"
    return find(code, seen, **case.values(location=there))
