"""The registries of a benchmark, and the ways to reach them: directly, through a counting relay, and far away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.support.docker_registry import AccessLogLine, DockerRegistry
from tests.support.process import ServerProcess, find_program, free_port, temporary_directory

__all__ = ["ONE_WAY_MS", "WAYS", "Reach", "Server", "Servers", "registry_program"]

ROOT = Path(__file__).resolve().parents[2]
ONE_WAY_MS = 20.0
WAYS = {"near": None, "counted": 0.0, "far": ONE_WAY_MS}
"""Ways to a registry, with what their relay adds in each direction in ms; None: no relay."""


def registry_program() -> tuple[str, str]:
    """The registry to measure with, and its version: `registry` (distribution 3) when on PATH, else Debian's."""
    program = "registry" if shutil.which("registry") else "docker-registry"
    said = subprocess.run([find_program(program), "--version"], capture_output=True, text=True, check=True, timeout=20)
    return program, " ".join(said.stdout.split()[1:])


class _MemoryRegistry(DockerRegistry):
    """A registry with storage on /dev/shm that logs requests and errors, and nothing else."""

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(in_memory=True, extra={"log": {"level": "error"}})


@dataclass(frozen=True)
class Reach:
    """One way to a registry: its relay, if any, and the ports."""

    port: int
    control: int = 0
    process: ServerProcess | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """Bytes and connections that the relay saw so far."""
        with socket.create_connection(("127.0.0.1", self.control), timeout=10) as connection:
            text = b"".join(iter(lambda: connection.recv(4096), b""))
        counts: dict[str, int] = json.loads(text)
        return counts


class Server:
    """A registry and the relays in front of it."""

    def __init__(self, program: str, directory: Path) -> None:
        self.registry = _MemoryRegistry(program)
        self._directory = directory
        self.ways = {way: self._reach(way, delay) for way, delay in WAYS.items()}

    def _reach(self, way: str, delay: float | None) -> Reach:
        if delay is None:
            return Reach(self.registry.port)
        port, control = free_port(), free_port()
        numbers = [str(number) for number in (port, self.registry.port, control, delay)]
        command = [sys.executable, "-m", "tests.benchmarks.relay", *numbers]
        log = self._directory / f"relay-{self.registry.port}-{way}.log"
        process = ServerProcess(command, log, directory=ROOT)
        process.wait_for_port(port)
        return Reach(port, control, process)

    def host(self, way: str) -> str:
        return self.ways[way].host

    def requests(self, since: int = 0) -> list[AccessLogLine]:
        """What the registry's access log says, from line `since` on."""
        return self.registry.requests(since)

    def stop(self) -> None:
        for reach in self.ways.values():
            if reach.process is not None:
                reach.process.stop()
        self.registry.stop()


class Servers:
    """The registries `a` to `d` of a benchmark: `a` is what is copied from. A context manager."""

    NAMES = "abcd"

    def __init__(self) -> None:
        self.program, self.version = registry_program()
        directory = temporary_directory()
        self._servers: dict[str, Server] = {}
        for name in self.NAMES:
            self._servers[name] = Server(self.program, directory)

    def __getitem__(self, name: str) -> Server:
        return self._servers[name]

    def configuration(self, extra: Sequence[str] = ()) -> str:
        """A ci-registry.yaml with a target for each way to each registry, named `near-a` and so on."""
        lines = ["targets:"]
        for way in WAYS:
            for name, server in self._servers.items():
                lines.append(f"  {way}-{name}: {{kind: registry, url: 'http://{server.host(way)}'}}")
        return "\n".join([*lines, *extra, ""])

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for server in self._servers.values():
            server.stop()
