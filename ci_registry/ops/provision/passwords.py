"""The password of a provisioned registry: drawn once, kept in the keyring, or in a private file where there is none."""

from __future__ import annotations

import secrets
from pathlib import Path

from msgspec import Struct

from ...adapters.htpasswd import matches
from ...adapters.keychain import Keychain, KeychainUnavailable
from ...errors import StorageError
from ...redaction import remember_secret, shown

__all__ = ["PASSWORD_FILE", "Login", "find_login", "htpasswd_line", "keep_login"]

PASSWORD_FILE = "password"  # noqa: S105 - a file's name

_LENGTH_BYTES = 18


class Login(Struct, frozen=True):
    """A user of what is being provisioned. `in_file` says that the password is, or will be, in `PASSWORD_FILE`."""

    username: str
    password: str
    is_new: bool
    in_file: bool

    def __repr__(self) -> str:
        return shown(self, "username", "is_new", "in_file")


def find_login(folder: Path, host: str, username: str, keychain: Keychain, *, in_file: bool = False) -> Login:
    """The login made by an earlier run, else a new one. A keyring that can't be used means a file."""
    known = _from_file(folder / PASSWORD_FILE)
    if known:
        return _login(username, known, is_new=False, in_file=True)
    if in_file:
        return _login(username, _drawn(), is_new=True, in_file=True)
    try:
        entry = keychain.read(host, username)
        keychain.backend_name()
    except KeychainUnavailable:
        return _login(username, _drawn(), is_new=True, in_file=True)
    if entry is not None:
        return _login(username, entry.secret, is_new=False, in_file=False)
    return _login(username, _drawn(), is_new=True, in_file=False)


def keep_login(login: Login, host: str, folder: Path, keychain: Keychain) -> str:
    """Keep a new password in the keyring; answers where it is kept, for a message."""
    if login.in_file:
        return str(folder / PASSWORD_FILE)
    try:
        if login.is_new:
            keychain.write(host, login.username, login.password)
        return f"keyring ({keychain.backend_name()})"
    except KeychainUnavailable as error:
        raise StorageError(
            f"storing the password of {host} in the keyring failed: {error.reason}",
            hint="unlock the keyring, or use --password-file",
        ) from error


def htpasswd_line(path: Path, login: Login, make: str) -> bytes:
    """The file's one line; what an earlier run wrote stays, as each making draws another salt. `make`: bcrypt, apr1."""
    from ...adapters.htpasswd import apr1_line, bcrypt_line

    known = _from_file(path)
    if known.partition(":")[2].startswith("$apr1$" if make == "apr1" else "$2") and matches(
        known, login.username, login.password
    ):
        return f"{known}\n".encode()
    line = apr1_line if make == "apr1" else bcrypt_line
    return f"{line(login.username, login.password)}\n".encode()


def _login(username: str, password: str, *, is_new: bool, in_file: bool) -> Login:
    remember_secret(password)
    return Login(username, password, is_new, in_file)


def _drawn() -> str:
    return secrets.token_urlsafe(_LENGTH_BYTES)


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StorageError(f"reading {path} failed: {error.strerror}", hint="check its permissions") from error
