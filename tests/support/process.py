"""Starting other programs for a test: ports, readiness, logs, and an end in every case."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["ServerProcess", "ServerStartError", "find_program", "free_port", "temporary_directory", "wait_until"]

# Below Linux's ephemeral range (32768 and up), where an outgoing connection may sit on a port that just was free.
_PORTS = range(18000, 32000)
_held: list[int] = []  # descriptors whose locks keep our ports ours
_running: list[ServerProcess] = []


class ServerStartError(AssertionError):
    """A server did not start, or did not become ready; the message ends with its log."""


def free_port() -> int:
    """A port on 127.0.0.1 that nobody else among the test processes of this machine gets while this one lives."""
    locks = Path(tempfile.gettempdir()) / f"ci-registry-test-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(_PORTS, 500):
        if _claim(locks / str(port)):
            if _bindable(port):
                return port
            os.close(_held.pop())
    raise ServerStartError("no free port between 18000 and 32000")


def _claim(path: Path) -> bool:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_program(name: str) -> str:
    """The path of a program the tests need, looking in sbin too; a missing one fails the test."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin"
    found = shutil.which(name, path=path)
    if not found:
        raise ServerStartError(f"'{name}' is not installed; run 'make test-deps' as root")
    return found


def wait_until(ready: Callable[[], bool], what: str, timeout_seconds: float = 20) -> None:
    """Ask until `ready` says yes; raises `ServerStartError` after the time."""
    end = time.monotonic() + timeout_seconds
    pause = 0.005
    while not ready():
        if time.monotonic() > end:
            raise ServerStartError(f"{what}: not ready after {timeout_seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def temporary_directory(in_memory: bool = False) -> Path:
    """A private directory, removed at the end of the process at the latest; `in_memory` puts it on /dev/shm."""
    base = "/dev/shm" if in_memory and os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="ci-registry-test-", dir=base))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


class ServerProcess:
    """One program running in the background, its output in `log_path`.

    It runs in a process group of its own, which is ended by `stop`, at the end of the interpreter, and by the kernel
    when the thread that started it dies (so don't start servers from a thread of a pool). `user`: run as that one,
    where the tests are root; a program that changes its user itself would outlive a killed test process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.log_path = log_path
        identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user and os.getuid() == 0 else []
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", *identity, "--pdeathsig", "TERM", find_program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=directory,
                start_new_session=True,
            )
        _running.append(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_port(self, port: int, timeout_seconds: float = 20) -> None:
        """Return when something accepts connections there; raises `ServerStartError` with the log."""

        def accepts() -> bool:
            with socket.socket() as probe:
                probe.settimeout(1)
                return not self.alive or probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            wait_until(accepts, f"port {port}", timeout_seconds)
            if not self.alive:
                raise ServerStartError(f"{self._process.args!r} ended with {self._process.returncode}")
        except ServerStartError as error:
            self.stop()
            raise ServerStartError(f"{error}\n{self.log()[-3000:]}") from None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self, grace_seconds: float = 3) -> None:
        """End it: TERM to the group, then KILL. Harmless when repeated."""
        if self in _running:
            _running.remove(self)
        self._to_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        self._to_group(signal.SIGKILL)
        self._process.wait()

    def _to_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@atexit.register
def _stop_all() -> None:
    while _running:
        _running[-1].stop()
