"""Paths and refusals of the scriptable registry (distribution-spec, "Endpoints" and "Error Codes")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote

from .http_server import Exchange, Reply

__all__ = ["Refusal", "Route", "check_digest", "is_digest", "is_tag", "parse_route"]

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_ROUTE = re.compile(r"/v2/(.+)/(manifests|blobs/uploads|blobs|tags|referrers)/([^/]*)")
_KINDS = {
    "manifests": "manifest",
    "blobs/uploads": "upload",
    "blobs": "blob",
    "tags": "tags",
    "referrers": "referrers",
}


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """An answer with an error envelope; raised anywhere in a handler."""

    def __init__(
        self, status: int, code: str, message: str, detail: object = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self._body = {"errors": [{"code": code, "message": message, "detail": detail}]}
        self._headers = headers or {}

    def reply(self) -> Reply:
        headers = {"Content-Type": "application/json; charset=utf-8", **self._headers}
        return Reply(self.status, headers, json.dumps(self._body).encode())


@dataclass(frozen=True)
class Route:
    """What a path means: kind (ping, catalog, manifest, blob, upload, tags, referrers), repository, last part."""

    kind: str
    name: str = ""
    reference: str = ""


def parse_route(exchange: Exchange) -> Route:
    """Understand a path, or raise the refusal for one that is no endpoint."""
    if exchange.path == "/v2/":
        return Route("ping")
    if exchange.path == "/v2/_catalog":
        return Route("catalog")
    found = _ROUTE.fullmatch(exchange.path)
    if not found:
        # A missing final slash is redirected, as distribution does; a POST doesn't survive that.
        if exchange.path == "/v2" or exchange.path.endswith("/blobs/uploads"):
            raise Refusal(301, "UNKNOWN", "moved", headers={"Location": exchange.path + "/"})
        raise Refusal(404, "UNSUPPORTED", f"{exchange.path} is not an endpoint")
    name, kind, reference = found.groups()
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise Refusal(400, "NAME_INVALID", "invalid repository name", name)
    return Route(_KINDS[kind], name, unquote(reference))


def is_digest(text: str) -> bool:
    return bool(_DIGEST.fullmatch(text))


def is_tag(text: str) -> bool:
    return bool(_TAG.fullmatch(text))


def check_digest(text: str | None) -> str:
    """The digest, or the refusal for a missing or malformed one."""
    if text is None or not is_digest(text):
        raise Refusal(400, "DIGEST_INVALID", "provided digest is malformed", text)
    return text
