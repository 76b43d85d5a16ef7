"""Credentials that were stored by request: in the keyring, or in Docker's configuration file.

This is what `login`, `logout` and `credentials set|rm` write to, and the link of the chain that reads the keyring.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..adapters.keychain import Entry, Keychain, KeychainUnavailable
from ..errors import AccessError, StorageError, UsageError
from ..model.ecr_hosts import ecr_host
from .chain import Credential, Lookup, NoAnswer, Unavailable, registry_key
from .docker_config import (
    DockerConfig,
    base64_text,
    docker_config_path,
    matching_keys,
    read_docker_config,
    read_json_object,
    server_key,
)
from .helper import OURSELVES, Helper, credential_of, protocol_pair

__all__ = ["DockerConfigStore", "KeyringProvider", "KeyringStore", "Store"]

_ECR_TOKEN_SECONDS = 12 * 3600
_OTHER_WAYS = (
    "use --docker-config, or environment variables (CI_REGISTRY_<TARGET>_USERNAME and CI_REGISTRY_<TARGET>_PASSWORD)"
)


class KeyringProvider:
    """The keyring as a link of the chain. `username_of` tells which user a target's configuration asks for."""

    name = "keyring"

    def __init__(self, keychain: Keychain, username_of: Callable[[str], str | None] = lambda _target: None) -> None:
        self._keychain = keychain
        self._username_of = username_of

    def find(self, request: Lookup) -> Credential | None:
        username = self._username_of(request.target) if request.target else None
        try:
            entry = self._keychain.read(request.host, username)
            backend = self._keychain.backend_name() if entry else ""
        except KeychainUnavailable as problem:
            raise Unavailable(problem.reason) from problem
        if entry is None:
            raise NoAnswer(f"no entry for {request.host}" + (f" and user {username}" if username else ""))
        if _is_expired_ecr_token(request.host, entry):
            raise NoAnswer(f"its entry for {request.host} is an Amazon ECR token older than 12 hours")
        return credential_of(entry.username, entry.secret, f"keyring ({backend})")


def _is_expired_ecr_token(host: str, entry: Entry) -> bool:
    if entry.username != "AWS" or entry.stored is None or ecr_host(host) is None:
        return False
    return time.time() - entry.stored > _ECR_TOKEN_SECONDS


class Store(Protocol):
    """A place that keeps credentials. `host` is `host[:port]`, `docker.io` for Docker Hub, or a registry's URL."""

    def save(self, host: str, credential: Credential) -> str:
        """Store it, in place of an earlier one; the answer says where, for a message."""
        ...

    def erase(self, host: str, username: str | None = None) -> bool:
        """Remove what is stored for a host, or only that of one user; False if there was nothing."""
        ...


class KeyringStore:
    """The keyring. Raises AccessError where there is none to use."""

    def __init__(self, keychain: Keychain) -> None:
        self._keychain = keychain

    def save(self, host: str, credential: Credential) -> str:
        host = registry_key(host)
        username, secret = _pair(host, credential)
        with _keyring_errors(f"storing the credential of {host} in the keyring"):
            self._keychain.write(host, username, secret)
            return f"keyring ({self._keychain.backend_name()})"

    def erase(self, host: str, username: str | None = None) -> bool:
        host = registry_key(host)
        with _keyring_errors(f"removing the credential of {host} from the keyring"):
            return bool(self._keychain.erase(host, username))

    def entries(self) -> dict[str, str]:
        """The user last stored for each host."""
        with _keyring_errors("listing the credentials in the keyring"):
            names = self._keychain.names()
        return {line.host: line.username for line in reversed(names)}


@contextmanager
def _keyring_errors(attempt: str) -> Iterator[None]:
    try:
        yield
    except KeychainUnavailable as problem:
        raise AccessError(f"{attempt} failed: {problem.reason}", hint=_OTHER_WAYS) from problem


def _pair(host: str, credential: Credential) -> tuple[str, str]:
    pair = protocol_pair(credential)
    if pair is None:
        raise UsageError(
            f"the credential for {host} from {credential.source} can't be stored",
            hint="give a user name and a password, or an identity token",
        )
    return pair


class DockerConfigStore:
    """Docker's `config.json`, as `docker login` writes it: through a helper where one is configured for the host.

    The file is replaced in one step under a lock, stays private (0600), and keeps every key we know nothing of.
    Raises InputFileError where it can't be understood, StorageError where it can't be written.
    """

    def __init__(self, environ: Mapping[str, str], path: Path | None = None) -> None:
        self._environ = environ
        self._path = path or docker_config_path(environ)

    def save(self, host: str, credential: Credential) -> str:
        host = registry_key(host)
        username, secret = _pair(host, credential)
        with self._changing() as document:
            helper = self._helper(host)
            if helper is not None:
                helper.store(server_key(host), username, secret)
            auths = document.setdefault("auths", {})
            auths[server_key(host)] = {} if helper else _entry(credential, username, secret)
        return helper.place if helper else str(self._path)

    def erase(self, host: str, username: str | None = None) -> bool:
        host = registry_key(host)
        with self._changing() as document:
            config = self._read()
            keys = [key for key in config.markers(Lookup(host)) if _is_of(config.auths[key], username)]
            helper = self._helper(host) if keys else None
            for key in keys:
                if helper is not None:
                    helper.erase(key)
                del document["auths"][key]
        return bool(keys)

    def _read(self) -> DockerConfig:
        return read_docker_config(self._path) or DockerConfig(self._path, {}, {}, "")

    def _helper(self, host: str) -> Helper | None:
        """The helper that Docker would use for this host, unless that is us."""
        config = self._read()
        key = next(iter(matching_keys(config.helpers, Lookup(host))), None)
        name = config.store if key is None else config.helpers[key]
        if not name or name == OURSELVES:
            return None
        setting = "credsStore" if key is None else "credHelpers"
        return Helper(name, f"{self._path}, {setting} '{name}'", self._environ)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The document for a change, written back if it changed."""
        with _locked(self._path):
            self._read()  # refuses what it does not understand before anything is changed
            document: dict[str, Any] = read_json_object(self._path) or {}
            before = json.dumps(document)
            yield document
            if json.dumps(document) != before:
                _replace(self._path, document)


def _entry(credential: Credential, username: str, secret: str) -> dict[str, str]:
    if credential.identity_token:
        auth = base64.b64encode(f"{credential.username}:".encode()).decode("ascii")
        return {**({"auth": auth} if credential.username else {}), "identitytoken": secret}
    return {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode("ascii")}


def _is_of(entry: Mapping[str, object], username: str | None) -> bool:
    auth = entry.get("auth")
    if username is None or not isinstance(auth, str) or not auth:
        return True  # who is behind an empty entry, only its helper knows
    text = base64_text(auth)
    return text is None or text.startswith(f"{username}:")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import filelock

    lock_path = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = filelock.FileLock(lock_path, timeout=10)
        lock.acquire()
    except filelock.Timeout as error:
        raise StorageError(
            f"changing {path} failed: another process has held {lock_path} for 10 seconds", hint="try again"
        ) from error
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, document: Mapping[str, object]) -> None:
    import tempfile

    real = Path(os.path.realpath(path))  # a link stays a link
    try:
        descriptor, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")  # mode 0600
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent="\t", ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
            _keep_owner(real, file.fileno())
        os.replace(temporary, real)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _not_written(path, error) from error


def _keep_owner(path: Path, descriptor: int) -> None:
    """root may change the file of somebody else, who must be able to read it afterwards."""
    if path.exists() and os.geteuid() == 0:
        status = path.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _not_written(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"writing {path} failed: {error.strerror}", hint="set DOCKER_CONFIG to a folder that this user may write"
    )
