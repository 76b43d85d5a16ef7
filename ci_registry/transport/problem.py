"""Answers that are refusals, made into errors: every shape of error body, and the sentence a person needs.

The envelope is `{"errors": [{"code", "message", "detail"}]}` (distribution-spec, "Error Codes"), but proxies answer in
HTML, old servers in plain text, and HEAD has no body at all; `detail` can be anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from ..errors import AccessError, CiRegistryError, ConflictError, IntegrityError, NotFoundError, RemoteError
from ..redaction import redact

__all__ = ["ERROR_BODY_LIMIT", "Answer", "Diagnostic", "diagnostics", "problem"]

ERROR_BODY_LIMIT = 64 * 1024
"""Bytes of an error body that are read; the rest is dropped."""

_PAGE_LIMIT = 8 * 1024


class Answer(Protocol):
    """What is needed of a reply to explain it."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Diagnostic(Struct, frozen=True):
    """One entry of the error envelope; `code` is "" when the body was no envelope."""

    code: str
    message: str
    detail: str = ""

    def __str__(self) -> str:
        words = [self.code, self.message if self.message.upper() != self.code else ""]
        text = " ".join(word for word in words if word)
        return f"{text} ({self.detail})" if self.detail and self.detail not in text else text


def diagnostics(body: bytes) -> list[Diagnostic]:
    """What an error body says, one entry at least unless it is empty."""
    text = body[:ERROR_BODY_LIMIT].decode("utf-8", "replace").strip()
    if not text:
        return []
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return [Diagnostic("", redact(_plain(text)))]
    found = [_diagnostic(entry) for entry in _entries(document)]
    return found or [Diagnostic("", redact(_plain(text)))]


def _entries(document: object) -> list[object]:
    if isinstance(document, Mapping):
        errors = document.get("errors")
        if isinstance(errors, list):
            return list(errors)
        if any(key in document for key in ("message", "error", "details", "code")):
            return [document]
    return []


def _diagnostic(entry: object) -> Diagnostic:
    if not isinstance(entry, Mapping):
        return Diagnostic("", redact(str(entry))[:300])
    message = entry.get("message") or entry.get("error_description") or entry.get("error") or entry.get("details") or ""
    return Diagnostic(str(entry.get("code") or ""), redact(str(message))[:500], redact(_detail(entry.get("detail"))))


def _detail(detail: Any) -> str:
    if detail in (None, "", {}, []):
        return ""
    if isinstance(detail, str):
        return detail[:300]
    if isinstance(detail, Mapping) and len(detail) == 1:
        return str(next(iter(detail.values())))[:300]
    return json.dumps(detail, sort_keys=True)[:300]


def _plain(text: str) -> str:
    """A proxy's HTML page as the one line that says something."""
    text = text[:_PAGE_LIMIT]
    if "<" not in text:
        return " ".join(text.split())[:300]
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    rest = re.sub(r"<(head|script|style)\b.*?</\1>|<[^>]+>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    words = " ".join(rest.split())
    heading = " ".join(title.group(1).split()) if title else ""
    repeated = heading and words.startswith(heading) and len(words) < len(heading) + 40
    return (heading if repeated else f"{heading} {words}").strip()[:300]


def problem(answer: Answer, attempt: str, *, hint: str = "") -> CiRegistryError:
    """The error for a reply that is not what was wanted.

    `attempt` reads like "pushing the manifest to docker.io/a/b:1"; `hint` wins over the general advice.
    """
    found = diagnostics(answer.body)
    said = "; ".join(str(entry) for entry in found[:3])
    came_back = f"the registry answered {answer.status}" + (f": {said}" if said else "")
    kind, advice = _classify(answer.status, found)
    return kind(f"{attempt} failed: {came_back}", hint=hint or advice)


_IMMUTABLE = ("immutable", "cannot be overwritten", "cannot be updated", "does not allow updating")
_Verdict = tuple[type[CiRegistryError], str]
_BY_CODE: dict[str, _Verdict] = {
    "DIGEST_INVALID": (IntegrityError, "the bytes changed on their way; run it again"),
    "MANIFEST_BLOB_UNKNOWN": (RemoteError, "a part of the image is gone from the registry; run it again to push it"),
    "NAME_UNKNOWN": (NotFoundError, "check the repository's name and that it exists in this registry"),
    "MANIFEST_UNKNOWN": (NotFoundError, "list the tags with `ci-registry list`"),
    "UNAUTHORIZED": (AccessError, "log in with `ci-registry login`, or see `ci-registry credentials explain`"),
    "DENIED": (AccessError, "check that this account may do this in this repository"),
    "UNSUPPORTED": (AccessError, "this registry does not allow it: it may be read-only or a pull-through cache"),
    "TOOMANYREQUESTS": (RemoteError, "wait, log in, or read through a mirror"),
}
_BY_STATUS: dict[int, _Verdict] = {
    401: _BY_CODE["UNAUTHORIZED"],
    403: _BY_CODE["DENIED"],
    404: (NotFoundError, "check the name, and that this address is a registry"),
    405: _BY_CODE["UNSUPPORTED"],
    409: (ConflictError, ""),
    412: (ConflictError, "the tag is immutable there; push under another tag"),
    413: (
        RemoteError,
        "a proxy limits the size of a request: set `client_max_body_size 0;` in nginx, or `chunk_bytes:` of the target",
    ),
    411: (RemoteError, "a proxy wants a Content-Length: set `chunk_bytes:` of the target"),
    429: _BY_CODE["TOOMANYREQUESTS"],
}


def _classify(status: int, found: list[Diagnostic]) -> _Verdict:
    text = " ".join(f"{entry.message} {entry.detail}" for entry in found).lower()
    if status == 400 and ("https server" in text or "https port" in text):
        return RemoteError, "that port speaks TLS: write the address with https://"
    if status in (400, 409, 412) and any(mark in text for mark in _IMMUTABLE):
        return ConflictError, "the tag is immutable there and holds another digest; push under another tag"
    for entry in found:
        if entry.code in _BY_CODE and status not in (401, 403, 413):
            return _BY_CODE[entry.code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return RemoteError, "run it again later; the registry's own log says more"
    return RemoteError, ""
