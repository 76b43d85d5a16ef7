"""Keyring backends for tests: one that works, in memory, and ones that fail in the ways real ones do."""

from __future__ import annotations

import threading
from typing import Any

from keyring.backend import KeyringBackend
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordDeleteError, PasswordSetError

__all__ = ["FAILURES", "FailingKeyring", "MemoryKeyring", "StuckKeyring"]


class MemoryKeyring(KeyringBackend):
    """Behaves as the Secret Service does, but for finding an entry without its user name."""

    priority = 0.5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError("No such password!")


class FailingKeyring(MemoryKeyring):
    """Raises the same for everything."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def get_password(self, service: str, username: str) -> str | None:
        raise self.error

    def set_password(self, service: str, username: str, password: str) -> None:
        raise self.error


class StuckKeyring(MemoryKeyring):
    """Waits for somebody to click in a window that never opens, until the test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.calls = 0

    def get_password(self, *_: Any) -> str | None:
        self.calls += 1
        self.release.wait(30)
        return None


FAILURES: list[tuple[BaseException, str]] = [
    (NoKeyringError("No recommended backend was available."), "no keyring backend on this machine"),
    (InitError("Failed to create the collection: Prompt dismissed.."), "its backend failed with InitError: Failed"),
    (KeyringLocked("Failed to unlock the collection!"), "it is locked: Failed to unlock the collection"),
    (PasswordSetError("Can't store password on keychain: (-25308, 'x')"), "its backend failed with PasswordSetError"),
    (RuntimeError("plug-in of somebody\nsecond line"), "its backend failed with RuntimeError: plug-in of somebody"),
    (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: [Errno 111] Connection refused"),
    (KeyError("HOME"), "its backend failed with KeyError"),
    (SystemExit(3), "its backend failed with SystemExit: 3"),
]
