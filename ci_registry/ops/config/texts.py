"""Texts in the configuration: `${VARIABLE}`, secrets that may be nothing else, and paths relative to the file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...errors import ConfigError
from .document import Document

__all__ = [
    "PATH_KEYS",
    "SECRET_KEYS",
    "check_secrets",
    "expand",
    "expand_user",
    "has_variable",
    "literal_secret",
    "map_texts",
    "unescape",
    "variables",
]

SECRET_KEYS = frozenset({"password", "token"})
PATH_KEYS = frozenset({"ca", "client_cert", "client_key", "lifecycle_policy", "password_file", "path", "token_file"})

_PIECE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_WHOLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def has_variable(text: object) -> bool:
    """Whether a value is a text with a `${VARIABLE}` in it."""
    return isinstance(text, str) and bool(variables(text))


def variables(text: str) -> list[str]:
    """The names of the variables in a text, in order."""
    return [piece["name"] for piece in _PIECE.finditer(text) if piece["name"]]


def unescape(text: str) -> str:
    """A text without variables as it is meant: `$${` is a plain `${`."""
    return text.replace("$${", "${")


def map_texts(data: Any, path: str, change: Callable[[str, str, str], str], key: str = "") -> Any:
    """Copy `data`, every text in it replaced by `change(path, key, text)`.

    `key` is the nearest key of the structure above the text; the keys below `create_repositories.tags` are the
    user's own words, so there it stays `tags`.
    """
    if isinstance(data, str):
        return change(path, key, data)
    if isinstance(data, Mapping):
        own_words = path.endswith(".create_repositories.tags")
        return {
            name: map_texts(value, f"{path}.{name}", change, key if own_words else str(name))
            for name, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [map_texts(value, f"{path}[{index}]", change, key) for index, value in enumerate(data)]
    return data


def check_secrets(document: Document, path: str, data: Any) -> None:
    """Refuse literal secrets and malformed variables. Never echoes a secret."""

    def check(at: str, key: str, text: str) -> str:
        if key in SECRET_KEYS and not _WHOLE.fullmatch(text):
            raise literal_secret(document, at)
        _check_variables(document, at, text)
        return text

    map_texts(data, path, check)


def literal_secret(document: Document, path: str) -> ConfigError:
    owner, _, key = path.rpartition(".")
    variable = re.sub(r"[^A-Z0-9]", "_", f"{owner.rpartition('.')[2]}_{key}".upper())
    return document.error(
        path,
        "is a literal secret, which must not stand in the file",
        hint=f"write `{key}: ${{{variable}}}` and set that variable, or name a file with `{key}_file:`",
    )


def _check_variables(document: Document, path: str, text: str) -> None:
    if any(piece[0] == "${" for piece in _PIECE.finditer(text)):
        raise document.error(
            path,
            "holds a ${ that begins no variable",
            hint="a variable is ${NAME}, of letters, digits and _, without a default; write $${ for a plain ${",
        )


def expand(document: Document, path: str, data: Any, environ: Mapping[str, str]) -> Any:
    """Copy `data` with the variables' values in it. Raises `ConfigError` for one that is not set."""

    def change(at: str, key: str, text: str) -> str:
        def value(piece: re.Match[str]) -> str:
            if not piece["name"]:
                return "${"
            found = _value(document, at, key, piece["name"], environ)
            # In an address with a login, what stands before the @ must not be able to end the login.
            return quote(found, safe="") if key == "proxy" and piece.end() <= text.rfind("@") else found

        return _PIECE.sub(value, text)

    return map_texts(data, path, change)


def _value(document: Document, path: str, key: str, name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise document.error(
            path, f"needs the variable {name}, which is not set", hint=f"set {name} in the environment"
        )
    if not value and key in SECRET_KEYS:
        raise document.error(path, f"needs the variable {name}, which is set but empty", hint=f"give {name} a value")
    return value


def expand_user(text: str, environ: Mapping[str, str]) -> Path:
    """A path with `~` made into the home folder of `environ`, or of the system's user database.

    Raises `ConfigError` where neither knows one, as in a container run under a foreign user number.
    """
    if environ.get("HOME") and (text == "~" or text.startswith("~/")):
        return Path(environ["HOME"], text[2:])
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ConfigError(f"the home folder that {text} begins with is not known", hint="set HOME in the environment")
    return Path(path)
