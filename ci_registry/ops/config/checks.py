"""What a type can't say about a single value: addresses, names, templates, patterns.

Each check is a function of one text that raises `Wrong`. A text with a variable in it is checked once the variable is
expanded; only a login inside an address is refused at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ...errors import ReferenceSyntaxError
from ...model.reference import check_repository, check_tag
from .document import Document
from .texts import has_variable, map_texts, unescape

__all__ = ["ADDRESS_KEYS", "check_texts", "plain_address", "plain_fingerprint"]

ADDRESS_KEYS = frozenset({"api", "endpoint_url", "mirror", "pull_url", "url"})

# Not compiled here: most runs need none of them.
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]"
_LOGIN_OF_VARIABLES = r"http://(?:[^:@/?#]*:)?(?:\$\{\w+\})+@[^@]*"
_COMPARISON = (
    r"(?:\*|(?:>=|<=|!=|==|[><=^~])?\s*v?\d+(?:\.(?:\d+|[xX*])){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)"
)
_VERSIONS = rf"\s*{_COMPARISON}(?:[\s,]+{_COMPARISON})*\s*"
_SAMPLE_NAMES = {"namespace": "n", "path": "p/q", "path_dashed": "p-q", "name": "q"}


class Wrong(Exception):  # noqa: N818 - never leaves this module
    """Why a text won't do: `what` continues "targets.dev.url ..."; a `secret` one must not be shown."""

    def __init__(self, what: str, hint: str = "", *, secret: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.secret = secret


def check_texts(document: Document, path: str, data: Any, *, deep: Collection[str] = (), expanded: Any = None) -> None:
    """Check every text in `data`, or in `expanded`, which is `data` with the variables' values in it.

    Addresses of the keys in `deep` may have a path. Raises `ConfigError` that shows the text as the file has it.
    """
    written: dict[str, str] = {}

    def remember(at: str, key: str, text: str) -> str:
        written[at] = text
        _raise_for(document, at, text, lambda: _check_login(key, text))
        return text

    def check(at: str, key: str, text: str) -> str:
        if expanded is not None or not has_variable(text):
            value = text if expanded is not None else unescape(text)
            _raise_for(document, at, written[at], lambda: _check_value(key, value, deep))
        return text

    map_texts(data, path, remember)
    map_texts(data if expanded is None else expanded, path, check)


def _raise_for(document: Document, path: str, text: str, check: Callable[[], None]) -> None:
    try:
        check()
    except Wrong as wrong:
        shown = "" if wrong.secret or not text else f": '{text}'"
        raise document.error(path, wrong.what + shown, hint=wrong.hint) from None


def _check_value(key: str, value: str, deep: Collection[str]) -> None:
    if key in deep:
        _address(value, path=True)
    elif key != "tags":  # AWS resource tags may well be empty
        _VALUES.get(key, _not_empty)(value)


def _check_login(key: str, text: str) -> None:
    """Refuse a user or password written into an address; a proxy's may be made of variables."""
    if "@" not in text or (key != "proxy" and key not in ADDRESS_KEYS):
        return
    if key == "proxy" and re.fullmatch(_LOGIN_OF_VARIABLES, text):
        return
    cure = "${PROXY_USER}:${PROXY_PASSWORD}@" if key == "proxy" else ""
    raise Wrong(
        "has a user or password in its address",
        f"write that part as {cure}" if cure else "use `username:` with `password: ${VARIABLE}` or `password_file:`",
        secret=True,
    )


def plain_address(value: str) -> str:
    """The address with scheme and host in lower case and without slashes at its end."""
    scheme, _, rest = value.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}".rstrip("/")


def plain_fingerprint(value: str) -> str:
    """The 64 hexadecimal digits of a fingerprint, as openssl (`SHA256 Fingerprint=AB:CD`) or docker write it."""
    text = value.strip().lower().rpartition("=")[2]
    return text.removeprefix("sha256:").replace(":", "")


def _address(value: str, *, path: bool = False, schemes: Collection[str] = ("http", "https")) -> None:
    _check_login("url", value)
    if "://" not in value:
        raise Wrong("has no http:// or https:// in front", "write http:// for plain HTTP or https:// for TLS")
    parts = _split(value)
    if parts.scheme not in schemes:
        raise Wrong(f"has the scheme {parts.scheme}://", f"use {' or '.join(f'{name}://' for name in schemes)}")
    if parts.query or parts.fragment or (parts.path.strip("/") and not path):
        raise Wrong("has something after the host", "leave it out; a repository belongs into the image's name")


def _split(value: str) -> SplitResult:
    """The parts of an address; host and port are checked."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise Wrong("has a host or port that is not valid", "write it as https://HOST:PORT") from None
    host = parts.netloc.removesuffix(f":{port}")
    if re.search(r"\s", value) or not re.fullmatch(_HOST, host) or port == 0:
        raise Wrong("has a host or port that is not valid", "write it as https://HOST:PORT")
    return parts


def _proxy(value: str) -> None:
    """An empty text means no proxy at all. The login was checked before variables were expanded."""
    if not value:
        return
    scheme, separator, rest = value.partition("://")
    if scheme != "http" or not separator:
        raise Wrong(
            "is not an http:// address",
            "write http://HOST:PORT, for https targets too: they are tunnelled",
            secret=True,
        )
    try:
        _address(f"http://{rest.rpartition('@')[2]}")
    except Wrong as wrong:
        raise Wrong(wrong.what, "write it as http://HOST:PORT", secret=True) from None


def _connect_to(value: str) -> None:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(_HOST, host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise Wrong("is not HOST:PORT", "write it like 10.0.0.7:5000 or [::1]:5000, without http://")


def _fingerprint(value: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", plain_fingerprint(value)):
        raise Wrong(
            "is not the sha256 of a certificate (64 hexadecimal digits)",
            "take it from `openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE`",
        )


def _namespace(value: str) -> None:
    try:
        check_repository(value)
    except ReferenceSyntaxError as error:
        raise Wrong("is not a valid beginning of a repository name", error.hint) from None


def _repository(value: str) -> None:
    text = _fill(value, _SAMPLE_NAMES)
    try:
        check_repository(text)
    except ReferenceSyntaxError as error:
        raise Wrong("does not make a valid repository name", error.hint) from None


def _rename(value: str) -> None:
    text = _fill(value, {"tag": "1"})
    try:
        check_tag(text)
    except ReferenceSyntaxError as error:
        raise Wrong("does not make a valid tag", error.hint) from None


def _fill(template: str, sample: Mapping[str, str]) -> str:
    """Fill in a template, whose fields may only be those of the sample."""
    from string import Formatter

    cure = f"use {', '.join(f'{{{name}}}' for name in sample)}"
    try:
        pieces = list(Formatter().parse(template))
    except ValueError:
        raise Wrong("has a { or } without its partner", cure) from None
    for _, name, form, conversion in pieces:
        if name is not None and (name not in sample or form or conversion):
            raise Wrong(f"has the unknown field {{{name}}}", cure)
    return template.format_map(sample)


def _regex(value: str) -> None:
    _not_empty(value)
    try:
        re.compile(value)
    except re.error as error:
        raise Wrong(f"is not a regular expression ({error.msg} at character {(error.pos or 0) + 1})") from None


def _semver(value: str) -> None:
    if not all(re.fullmatch(_VERSIONS, part) for part in value.split("||")):
        raise Wrong("is not a range of versions", "write it like '>=1.0 <2', '^1.2', '~1.4' or '1.x || 2.x'")


def _platform(value: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?", value):
        raise Wrong("is not a platform", "write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64/v8")


def _account(value: str) -> None:
    if not re.fullmatch(r"[0-9]{12}", value):
        raise Wrong("is not an AWS account number (twelve digits)")


def _region(value: str) -> None:
    if not re.fullmatch(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]+", value):
        raise Wrong("is not an AWS region", "write it like eu-west-1")


def _role(value: str) -> None:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+", value):
        raise Wrong("is not the ARN of a role", "write it like arn:aws:iam::123456789012:role/NAME")


def _not_empty(value: str) -> None:
    if not value.strip():
        raise Wrong("is empty", "give it a value or leave the key out")


_VALUES: dict[str, Callable[[str], None]] = {
    "account": _account,
    "connect_to": _connect_to,
    "fingerprint": _fingerprint,
    "namespace": _namespace,
    "proxy": _proxy,
    "regex": _regex,
    "region": _region,
    "rename": _rename,
    "repository": _repository,
    "require_platforms": _platform,
    "role_arn": _role,
    "semver": _semver,
    **dict.fromkeys(ADDRESS_KEYS, _address),
}
