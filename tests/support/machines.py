"""A machine as a desktop or a build agent is one: a home folder, and a keyring or none.

The keyring is gnome-keyring as the Secret Service, on a D-Bus of its own and without a screen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "secret_service", "session_bus"]

ROOT = Path(__file__).parents[2]


@dataclass
class Machine:
    """Where programs run: a home folder, and the address of a D-Bus or none."""

    home: Path
    bus: str | None = None

    @classmethod
    def at(cls, home: Path) -> Machine:
        """A machine without a D-Bus."""
        (home / "run").mkdir(mode=0o700)
        return cls(home)

    @property
    def environ(self) -> dict[str, str]:
        bus = {"DBUS_SESSION_BUS_ADDRESS": self.bus} if self.bus else {}
        home = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "LC_ALL": "C.UTF-8"}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **home, **bus}

    def run(self, *arguments: str, request: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env={**self.environ, **environ},
            input=request,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def helper(self, action: str, request: str = "") -> tuple[int, str, str]:
        done = self.run("-m", "ci_registry.cli.docker_credential", action, request=request)
        return done.returncode, done.stdout, done.stderr


@contextmanager
def session_bus(headless: Machine) -> Iterator[Machine]:
    """The machine with a D-Bus of its own; everything that it or the test starts on it is gone afterwards."""
    process = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"],
        env=headless.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("unix:")
        yield Machine(headless.home, address)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        assert process.stdout
        process.stdout.close()


@contextmanager
def secret_service(machine: Machine, *options: str, password: bytes = b"") -> Iterator[None]:
    """gnome-keyring-daemon on the machine's bus; a password for `--unlock` goes to its stdin."""
    process = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--components=secrets", *options],
        env=machine.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdin
        process.stdin.write(password)
        process.stdin.close()
        _wait_for_owner(machine, "org.freedesktop.secrets")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_owner(machine: Machine, name: str) -> None:
    ask = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
    for _ in range(200):
        done = subprocess.run(
            [*ask, "org.freedesktop.DBus.NameHasOwner", f"string:{name}"],
            env=machine.environ,
            capture_output=True,
            text=True,
            timeout=10,
        )
        if "boolean true" in done.stdout:
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody took the name {name}: {done.stdout}{done.stderr}")
