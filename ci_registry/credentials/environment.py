"""Credentials that a target's configuration or its environment variables hold.

`CI_REGISTRY_<TARGET>_USERNAME`, `_PASSWORD`, `_PASSWORD_FILE`, `_TOKEN`, the target's name in capitals with `-`
as `_`. `_TOKEN` alone is sent as a bearer token as it is; beside a user name it is that user's password, and the
user name `<token>` makes it an identity token, as in Docker's helper protocol. For Amazon ECR's hosts `_PASSWORD`
and `_TOKEN` also take an authorisation token, base64 of `AWS:...`, and the user name defaults to `AWS`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from ..errors import ConfigError
from ..model.ecr_hosts import ecr_host
from ..redaction import remember_secret, shown
from .chain import Credential, Lookup, NoAnswer

__all__ = [
    "IDENTITY_TOKEN_USER",
    "EnvironmentProvider",
    "Explicit",
    "ExplicitProvider",
    "read_password_file",
    "variable_name",
]

IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - a marker, not a secret
"""The user name that marks a secret as an identity token (docker-credential-helpers)."""

_LARGEST_PASSWORD_FILE = 64 * 1024  # bytes; a bigger one is the wrong file


class Explicit(Struct, frozen=True):
    """What the configuration of one target says about its credential, with `${VAR}` already expanded."""

    username: str | None = None
    password: str | None = None
    password_file: Path | None = None

    def __repr__(self) -> str:
        return shown(self, "username", "password_file")


NO_EXPLICIT = Explicit()


class ExplicitProvider:
    """`username` with `password` or `password_file` of the target. `explicit` is asked only when a target is used.

    A `username` alone is no answer: the environment and the keyring take it as the user to look for.
    """

    name = "configuration"

    def __init__(self, explicit: Callable[[str], Explicit | None]) -> None:
        self._explicit = explicit

    def find(self, request: Lookup) -> Credential | None:
        given = _explicit_of(self._explicit, request)
        place = f"targets.{request.target}"
        if given.password is not None and given.password_file is not None:
            raise ConfigError(
                f"{place} has both password and password_file", path=f"{place}.password", hint="leave one of them out"
            )
        secret, source, path = given.password, f"{place}.password", f"{place}.password"
        if given.password_file is not None:
            path = f"{place}.password_file"
            secret, source = read_password_file(given.password_file, path), f"file {given.password_file} ({path})"
        if secret is None:
            raise NoAnswer(f"{place} has no password" if request.target else "not a configured target")
        if not secret:
            raise ConfigError(f"{path} is empty", path=path, hint="set the variable that it is made of")
        return _credential(request.host, given.username or "", secret, f"{source} in the configuration", path)


class EnvironmentProvider:
    """The environment variables of the target. A `username` of its configuration stands in for `_USERNAME`."""

    name = "environment"

    def __init__(
        self, environ: Mapping[str, str], explicit: Callable[[str], Explicit | None] = lambda _target: None
    ) -> None:
        self._environ = environ
        self._explicit = explicit

    def find(self, request: Lookup) -> Credential | None:
        if request.target is None:
            raise NoAnswer("not a configured target")
        names = {part: variable_name(request.target, part) for part in _PARTS}
        values = {part: self._environ.get(name, "").rstrip("\r\n") for part, name in names.items()}
        given = [part for part in _SECRET_PARTS if values[part]]
        if len(given) > 1:
            both = " and ".join(names[part] for part in given)
            raise ConfigError(f"{both} are both set", path=names[given[0]], hint="unset all but one of them")
        if not given:
            raise _nothing_set(names, values["USERNAME"], self._environ)
        username = values["USERNAME"] or _explicit_of(self._explicit, request).username or ""
        return _from_variable(request.host, username, given[0], names[given[0]], values[given[0]])


_SECRET_PARTS = ("PASSWORD", "PASSWORD_FILE", "TOKEN")
_PARTS = ("USERNAME", *_SECRET_PARTS)


def variable_name(target: str, part: str) -> str:
    """The environment variable of a target: `variable_name("my-dev", "PASSWORD")` is CI_REGISTRY_MY_DEV_PASSWORD."""
    return f"CI_REGISTRY_{target.upper().replace('-', '_')}_{part}"


def read_password_file(path: Path, place: str) -> str:
    """The password in a file, without the line end. `place` is the variable or key that named the file.

    Raises ConfigError if it can't be read, is empty, not text or larger than 64 KiB.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_PASSWORD_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"reading the password file {path} named by {place} failed: {reason}",
            path=place,
            hint=f"create the file, let this user read it, or change {place}",
        ) from error
    return _password_text(raw, f"the password file {path} named by {place}", place)


def _password_text(raw: bytes, what: str, place: str) -> str:
    if len(raw) > _LARGEST_PASSWORD_FILE:
        raise ConfigError(f"{what} is larger than 64 KiB", path=place, hint=f"{place} probably names the wrong file")
    text = _utf8(raw)
    if text is None:
        raise ConfigError(f"{what} is not UTF-8 text", path=place, hint=f"{place} probably names the wrong file")
    text = text.rstrip("\r\n")
    if not text.strip():
        raise ConfigError(f"{what} is empty", path=place, hint="write the password into it")
    return text


def _utf8(raw: bytes) -> str | None:
    # None instead of an exception, which would carry the file's bytes along
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _explicit_of(explicit: Callable[[str], Explicit | None], request: Lookup) -> Explicit:
    return (explicit(request.target) if request.target else None) or NO_EXPLICIT


def _nothing_set(names: Mapping[str, str], username: str, environ: Mapping[str, str]) -> Exception:
    if username:
        return ConfigError(
            f"{names['USERNAME']} is set, but neither {names['PASSWORD']} nor {names['PASSWORD_FILE']} is",
            path=names["USERNAME"],
            hint=f"set {names['PASSWORD']}, or unset {names['USERNAME']}",
        )
    empty = [name for name in names.values() if name in environ]
    if empty:
        return NoAnswer(f"{' and '.join(empty)} {'are' if len(empty) > 1 else 'is'} set but empty")
    return NoAnswer(f"{names['PASSWORD']}, {names['PASSWORD_FILE']} and {names['TOKEN']} are not set")


def _from_variable(host: str, username: str, part: str, name: str, value: str) -> Credential:
    source = f"environment variable {name}"
    if part == "PASSWORD_FILE":
        return _credential(
            host, username, read_password_file(Path(value).expanduser(), name), f"file {value}, {source}", name
        )
    if part == "TOKEN":
        value = value.strip()
        if not username and ecr_host(host) is None:
            return Credential("", "", registry_token=value, source=source)
    return _credential(host, username, value, source, name)


def _credential(host: str, username: str, secret: str, source: str, place: str) -> Credential:
    """A credential out of a user name and a secret, in whichever of the documented forms the secret comes."""
    remember_secret(secret)
    if ecr_host(host) is not None:
        username, secret = _decode_ecr(secret) or (username or "AWS", secret)
    if not username:
        raise ConfigError(
            f"{place} is set for {host}, but no user name is",
            path=place,
            hint="set `username` of the target or its _USERNAME variable",
        )
    if username == IDENTITY_TOKEN_USER:
        return Credential("", "", identity_token=secret, source=source)
    if ":" in username:
        # RFC 7617: the registry would take what follows the colon for the beginning of the password
        raise ConfigError(f"the user name that goes with {place} has a ':' in it", path=place, hint="remove it")
    return Credential(username, secret, source=source)


def _decode_ecr(secret: str) -> tuple[str, str] | None:
    """User and password of an ECR authorisation token, base64 of `AWS:...`; None if it is something else."""
    try:
        text = base64.b64decode("".join(secret.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon and username == "AWS" and password else None
