"""Masks secrets in text that is about to leave the process: log lines, messages, error bodies.

Two nets. Secrets that the process has seen are masked wherever they stand, also in the forms in which text
carries them: base64 (at each of its three alignments), URL-encoded, escaped for JSON, Python and HTML. And
whatever looks like a secret by its place is masked unseen: `Authorization` headers, the user part of a URL,
signatures and tokens in query strings and in JSON.

Nothing here imports the rest of the project, so every layer may use it.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Redactor", "redact", "remember_secret", "shown"]

MASK = "***"
_SHORTEST_SECRET = 4  # characters; masking anything shorter would only garble the text
_SHORT_SECRET = 8  # below this a secret is masked only where it stands alone, or it would eat digests and names

_ALONE_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_ALONE_AFTER = r"(?![A-Za-z0-9])"

_QUERY_KEYS = (
    "_state|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|X-Goog-Signature|X-Goog-Credential|Signature|sig"
    "|Policy|Key-Pair-Id|token|access_token|refresh_token|password|client_secret"
)
_JSON_KEYS = "token|access_token|refresh_token|identitytoken|registrytoken|auth|password|secret|authorizationToken"
_SCHEMES = "basic|bearer|digest|negotiate|aws4-hmac-sha256"
# For each: one of these is in any text that the expression fits (in lower case), the expression, and what it becomes.
# `re` compiles an expression when it is first used: most runs say nothing that has a secret's place.
_BY_PLACE = (
    # `Authorization: Basic xyz`, also as the entry of a dict
    (
        ("authorization",),
        rf"""(?i)(authorization['"]?\s*[:=]\s*b?['"]?(?:{_SCHEMES})\s+)[^\s'",]+""",
        rf"\1{MASK}",
    ),
    (("x-registry-auth",), r"""(?i)(x-registry-auth['"]?\s*[:=]\s*b?['"]?)[^\s'",]+""", rf"\1{MASK}"),
    # a scheme followed by something that is no word: prose such as "basic authentication" stays
    (
        ("basic", "bearer"),
        r"\b((?i:basic|bearer)\s+)(?=[a-z+/._~-]*[0-9A-Z])[A-Za-z0-9+/._~-]{16,}=*",
        rf"\1{MASK}",
    ),
    # the user part of a URL, but for the words that our own hints have in its place
    (("@",), r"(?i)(\b[a-z][a-z0-9+.-]*://)(?!(?-i:USER:PASSWORD)@)[^\s/?#@'\"]+@", rf"\1{MASK}@"),
    (("=",), rf"(?i)((?:[?&;]|,\s*)(?:{_QUERY_KEYS})=)[^\s&;,#'\"<>]+", rf"\1{MASK}"),
    (('"',), rf'(?i)("(?:{_JSON_KEYS})"\s*:\s*")(?:[^"\\]|\\.)+"', rf'\1{MASK}"'),
)


class Redactor:
    """Remembers secrets and masks them. Safe to use from several threads.

    A run may see hundreds of tokens of a kilobyte each, so they are looked for as plain text; an expression is made
    only of one that was found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._patterns: dict[str, str] = {}
        self._known: tuple[tuple[str, str], ...] = ()

    def remember(self, secret: str) -> None:
        """Mask `secret` from now on. Secrets shorter than four characters are ignored."""
        if len(secret) < _SHORTEST_SECRET:
            return
        with self._lock:
            before = len(self._patterns)
            self._patterns.update(_patterns(secret))
            if len(self._patterns) != before:
                self._known = tuple(sorted(self._patterns.items(), key=lambda item: len(item[1]), reverse=True))

    def redact(self, text: str) -> str:
        """The text with every secret replaced by `***`."""
        for form, expression in self._known:
            if form in text:
                text = re.sub(expression, MASK, text)
        # Of ASCII alone: other letters are taken for some of these too where case does not count, as the long s is.
        lower = text.lower() if text.isascii() else None
        for marks, expression, replacement in _BY_PLACE:
            if lower is None or any(mark in lower for mark in marks):
                text = re.sub(expression, replacement, text)
        return text


def _patterns(secret: str) -> Iterator[tuple[str, str]]:
    """Each form in which text may carry the secret, and the regular expression for what of the text is masked then."""
    before, after = (_ALONE_BEFORE, _ALONE_AFTER) if len(secret) < _SHORT_SECRET else ("", "")
    for form in _plain_forms(secret):
        yield form, f"{before}{re.escape(form)}{after}"
    for fragment in _base64_fragments(secret.encode("utf-8", "surrogateescape")):
        yield fragment, f"[A-Za-z0-9+/_-]?{re.escape(fragment)}[A-Za-z0-9+/_-]{{0,2}}={{0,2}}"


def _plain_forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    quoted = quote(raw, safe="")
    html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        secret,
        quoted,
        re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted),
        quote(raw),
        quote_plus(raw),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html,
        html.replace('"', "&quot;").replace("'", "&#x27;"),
        html.replace('"', "&#34;").replace("'", "&#39;"),
    }


def _base64_fragments(raw: bytes) -> Iterator[str]:
    """The characters that base64 yields for these bytes whatever stands before and after them.

    Base64 maps three bytes to four characters, so what comes out depends on the offset modulo three:
    `base64(user:password)` does not contain `base64(password)`.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode("ascii")
        first = -(-offset * 8 // 6)
        last = (offset + len(raw)) * 8 // 6
        fragment = encoded[first:last]
        if len(fragment) >= _SHORTEST_SECRET:
            yield fragment
            yield fragment.translate(str.maketrans("+/", "-_"))


_process = Redactor()


def remember_secret(secret: str) -> None:
    """Mask `secret` in everything that `redact` sees from now on, for the life of this process."""
    _process.remember(secret)


def shown(value: object, *names: str) -> str:
    """The `repr` of a value that holds secrets: these of its fields, and no others."""
    fields = ", ".join(f"{name}={getattr(value, name)!r}" for name in names)
    return f"{type(value).__name__}({fields})"


def redact(text: str) -> str:
    """The text with the secrets of this process, and whatever looks like one by its place, masked."""
    return _process.redact(text)
