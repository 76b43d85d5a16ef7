"""The operating system's keyring, through the `keyring` package; the only module that imports it.

A keyring is the least dependable thing a build agent has: none installed, no D-Bus, locked with nobody there to
unlock it, a backend plug-in that raises whatever it likes or waits for a window that never opens. So every
operation runs in a thread with a time limit, and all of this comes back as one `KeychainUnavailable` with its
reason in words.

A keyring can't list what it holds, so the hosts are kept in an entry of their own, the index.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from ..redaction import redact, shown
from ..user_folders import state_file

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["Entry", "Keychain", "KeychainUnavailable", "StoredName"]

T = TypeVar("T")

_SERVICE = "ci-registry"
_INDEX_USER = "index"
_NO_BACKENDS = ("keyring.backends.fail", "keyring.backends.null")


class KeychainUnavailable(Exception):  # noqa: N818 - on a build agent this is the normal case
    """The keyring can't be used here and now; `reason` says why, in words and without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoredName(Struct, frozen=True):
    """One line of the index. `stored` is when it was written, in seconds since 1970."""

    host: str
    username: str
    stored: float


class Entry(Struct, frozen=True):
    """A secret and the user it belongs to. `stored` is None where the entry was not written by us."""

    username: str
    secret: str
    stored: float | None = None

    def __repr__(self) -> str:
        return shown(self, "username", "stored")


class Keychain:
    """Secrets by registry host (`host[:port]`) and user name, under the service `ci-registry:HOST`.

    A backend that once exceeded the time limit is not asked again in this process. Every method raises
    `KeychainUnavailable`. Safe to use from several threads.
    """

    def __init__(self, *, time_limit_seconds: float = 10.0, lock_file: Path | None = None) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._lock_file = lock_file
        self._lock = threading.Lock()
        self._given_up = ""

    def backend_name(self) -> str:
        """Which keyring this is, such as "SecretService"."""
        return self._limited(_name_of)

    def read(self, host: str, username: str | None = None) -> Entry | None:
        """The entry of that user, or without a user the one written last; None if there is none."""
        return self._limited(lambda backend: _read(backend, host, username))

    def write(self, host: str, username: str, secret: str) -> None:
        """Store a secret, in place of an earlier one of the same user."""

        def work(backend: KeyringBackend) -> None:
            with self._index(backend) as index:
                index[:] = [StoredName(host, username, time.time()), *_without(index, host, username)]
            backend.set_password(_service(host), username, secret)

        self._limited(work)

    def erase(self, host: str, username: str | None = None) -> list[str]:
        """Remove the entry of that user, or without a user all of the host; the users that had one."""

        def work(backend: KeyringBackend) -> list[str]:
            with self._index(backend) as index:
                erased = _erase(backend, host, username, index)
                index[:] = _without(index, host, username)
            return erased

        return self._limited(work)

    def names(self) -> list[StoredName]:
        """What was stored, the newest first."""
        return self._limited(_read_index)

    @contextmanager
    def _index(self, backend: KeyringBackend) -> Iterator[list[StoredName]]:
        """The index for a change, under a lock between processes; written back if it changed."""
        with self._process_lock():
            index = _read_index(backend)
            before = list(index)
            yield index
            if index != before:
                lines = [[line.host, line.username, line.stored] for line in index]
                backend.set_password(_SERVICE, _INDEX_USER, json.dumps({"version": 1, "entries": lines}))

    @contextmanager
    def _process_lock(self) -> Iterator[None]:
        import filelock

        path = self._lock_file or state_file("keyring.lock", os.environ)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = filelock.FileLock(path, timeout=self._time_limit_seconds / 2)
            lock.acquire()
        except filelock.Timeout as error:
            raise KeychainUnavailable(f"another process holds its lock {path}") from error
        except OSError as error:
            raise KeychainUnavailable(f"its lock {path} can't be made: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def _limited(self, work: Callable[[KeyringBackend], T]) -> T:
        """Run `work` on the backend in a thread; whatever goes wrong becomes `KeychainUnavailable`."""
        with self._lock:
            if self._given_up:
                raise KeychainUnavailable(self._given_up)
            call = _Call(work)
            thread = threading.Thread(target=call.run, name="keyring", daemon=True)
            thread.start()
            thread.join(self._time_limit_seconds)
            if thread.is_alive():
                self._given_up = f"it did not answer within {self._time_limit_seconds:g} seconds (locked, or no D-Bus?)"
                raise KeychainUnavailable(self._given_up)
            return call.result()


class _Call(Generic[T]):
    """One operation and what came of it."""

    def __init__(self, work: Callable[[KeyringBackend], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._results.append(self._work(_backend()))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - backends are anybody's plug-ins and raise anything
            self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise KeychainUnavailable(_reason(self._error)) from self._error
        return self._results[0]


def _backend() -> KeyringBackend:
    # a plug-in that can't be loaded is logged with its traceback, which nobody asked for
    import logging  # 2 ms that a run without a keyring can do without

    log = logging.getLogger("keyring")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    import keyring

    backend = keyring.get_keyring()
    if type(backend).__module__ in _NO_BACKENDS:
        raise KeychainUnavailable("no keyring backend on this machine")
    return backend


def _name_of(backend: KeyringBackend) -> str:
    kind = type(backend)
    return kind.__module__.rpartition(".")[2] if kind.__name__ == "Keyring" else kind.__name__


def _reason(error: BaseException) -> str:
    from keyring.errors import KeyringLocked, NoKeyringError

    if isinstance(error, KeychainUnavailable):
        return error.reason
    if isinstance(error, NoKeyringError):
        return "no keyring backend on this machine"
    lines = redact(str(error)).strip().splitlines()
    said = f": {lines[0][:200].rstrip(' .!')}" if lines else ""
    if isinstance(error, KeyringLocked):
        return f"it is locked{said}"
    return f"its backend failed with {type(error).__name__}{said}"


def _service(host: str) -> str:
    return f"{_SERVICE}:{host}"


def _without(index: list[StoredName], host: str, username: str | None) -> list[StoredName]:
    return [line for line in index if line.host != host or username not in (None, line.username)]


def _read(backend: KeyringBackend, host: str, username: str | None) -> Entry | None:
    index = [line for line in _read_index(backend) if line.host == host]
    stored = {line.username: line.stored for line in index}
    for name in [username] if username else stored:
        secret = backend.get_password(_service(host), name)
        if secret:
            return Entry(name, secret, stored.get(name))
    # written by somebody else, such as `keyring set ci-registry:HOST USER`; not every backend can find it
    found = None if username else backend.get_credential(_service(host), None)
    return Entry(found.username, found.password) if found and found.username and found.password else None


def _erase(backend: KeyringBackend, host: str, username: str | None, index: list[StoredName]) -> list[str]:
    from keyring.errors import PasswordDeleteError

    names = [username] if username else [line.username for line in index if line.host == host]
    if not names and (found := _read(backend, host, None)):
        names = [found.username]
    erased = []
    for name in names:
        try:
            backend.delete_password(_service(host), name)
        except PasswordDeleteError:
            if backend.get_password(_service(host), name) is not None:
                raise
            continue  # it was not there
        erased.append(name)
    return erased


def _read_index(backend: KeyringBackend) -> list[StoredName]:
    text = backend.get_password(_SERVICE, _INDEX_USER)
    try:
        entries = json.loads(text or '{"entries": []}')["entries"]
        return [StoredName(str(host), str(username), float(stored)) for host, username, stored in entries]
    except (ValueError, KeyError, TypeError):
        return []  # not ours or damaged: what it listed can still be read by naming the user
