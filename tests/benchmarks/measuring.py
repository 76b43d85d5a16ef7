"""Running contestants in turn and keeping what each run took."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.docker_registry import AccessLogLine

from .servers import Servers

__all__ = ["Bench", "Contestant", "Run", "Series", "Traffic", "Trial"]

_LAUNCHER = Path(__file__).with_name("launch.py")
_LONGEST_SECONDS = 300

Command = Sequence[str]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Run:
    """One run: wall time, CPU time of all its processes, and the peak resident memory of the largest."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass
class Traffic:
    """What one run made a registry do: requests by kind, and bytes where a relay stood in between."""

    requests: dict[str, int] = field(default_factory=dict)
    bytes_up: int | None = None
    bytes_down: int | None = None

    @property
    def total(self) -> int:
        return sum(self.requests.values())


@dataclass(frozen=True)
class Trial:
    """One run to be made, by its number, which no other has, and the way by which registries are reached."""

    number: int
    way: str
    bench: Bench

    def host(self, server: str) -> str:
        """`HOST:PORT` of a registry on this trial's way."""
        return self.bench.servers[server].host(self.way)

    def target(self, server: str) -> str:
        """The name of the configured target for that registry on this trial's way."""
        return f"{self.way}-{server}"

    def configuration(self, *extra: str) -> str:
        """A configuration file of this trial alone, with lines of its own."""
        path = self.bench.folder / f"run{self.number}.yaml"
        path.write_text(self.bench.servers.configuration(extra), encoding="utf-8")
        return str(path)

    @property
    def fresh(self) -> str:
        """A repository prefix that nobody has used yet."""
        return f"run{self.number}"


@dataclass(frozen=True)
class Contestant:
    """A tool doing the work of a row; its name begins with its program's. `commands` are timed together.

    `runs` overrides the number of timed runs, for the slow ones.
    """

    name: str
    commands: Callable[[Trial], Sequence[Command]]
    runs: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """What has to be on PATH for it."""
        return self.name.replace(",", " ").split()[0]


@dataclass
class Series:
    """All timed runs of one contestant, and what the warm-up made the registries do."""

    runs: list[Run] = field(default_factory=list)
    traffic: dict[str, Traffic] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The median wall time."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(run.cpu_seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The largest resident memory of any run."""
        return max(run.peak_bytes for run in self.runs)

    @property
    def requests(self) -> int:
        return sum(traffic.total for traffic in self.traffic.values())


class MeasuringError(Exception):
    """A contestant failed at the work it was given."""


class Bench:
    """Registries, a folder to run in, and the number of runs."""

    def __init__(self, servers: Servers, folder: Path, runs: int) -> None:
        self.servers, self.folder, self.runs = servers, folder, runs
        self.filled: set[str] = set()
        """Repositories of registry `a` that were loaded."""
        folder.chmod(0o711)
        self.folder.joinpath("ci-registry.yaml").write_text(servers.configuration(), encoding="utf-8")

    def compare(
        self, contestants: Sequence[Contestant], way: str = "near", runs: int | None = None
    ) -> dict[str, Series]:
        """Run contestants in turn, A B A B. The warm-up goes through relays that count, and is not timed."""
        series = {contestant.name: Series() for contestant in contestants}
        most = {contestant.name: contestant.runs or runs or self.runs for contestant in contestants}
        for number in range(max(most.values()) + 1):
            for contestant in contestants:
                if number > most[contestant.name]:
                    continue
                mine = series[contestant.name]
                if number:
                    mine.runs.append(self.run(contestant, self.trial(way)))
                else:
                    mine.traffic = self.counted(contestant, self.trial("counted" if way == "near" else way))
        return series

    def once(self, commands: Callable[[Trial], Sequence[Command]]) -> None:
        """Run commands that are not measured, to prepare a row."""
        self.run(Contestant("prepare", commands), self.trial("near"))

    def trial(self, way: str) -> Trial:
        """A new trial on a way to the registries."""
        return Trial(next(_numbers), way, self)

    def run(self, contestant: Contestant, trial: Trial) -> Run:
        """Run a contestant once; raises `MeasuringError` with what it said when it fails."""
        commands = [list(command) for command in contestant.commands(trial)]
        with tempfile.TemporaryDirectory(prefix="home-", dir=self.folder) as home:
            os.chmod(home, 0o777)  # for a tool that runs as nobody
            result = self._launch(commands, {**_clean_environment(home), **contestant.environment})
        if result["status"] != 0:
            raise MeasuringError(f"{contestant.name} ended with {result['status']}: {commands}\n{result['output']}")
        return Run(result["seconds"], result["cpu_seconds"], result["peak_bytes"])

    def _launch(self, commands: Sequence[Command], environment: Mapping[str, str]) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(_LONGEST_SECONDS)],
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.folder,
            check=True,
            timeout=_LONGEST_SECONDS + 30,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def counted(self, contestant: Contestant, trial: Trial) -> dict[str, Traffic]:
        """What a run makes the registries do, by their names; for a trial through relays."""
        servers = {name: self.servers[name] for name in Servers.NAMES}
        reached = {name: server.ways[trial.way] for name, server in servers.items()}
        lines = {name: len(server.requests()) for name, server in servers.items()}
        before = {name: reach.counts() for name, reach in reached.items()}
        self.run(contestant, trial)
        found = {}
        for name, server in servers.items():
            after = reached[name].counts()
            traffic = Traffic(_by_kind(server.requests(lines[name])))
            traffic.bytes_up = after["up"] - before[name]["up"]
            traffic.bytes_down = after["down"] - before[name]["down"]
            if traffic.total:
                found[name] = traffic
        return found


def _by_kind(lines: Sequence[AccessLogLine]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for line in lines:
        kind = f"{line.method} {_resource(line.path)}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return dict(sorted(kinds.items()))


def _resource(path: str) -> str:
    """The part of a path that says what a request was for."""
    if "/manifests/sha256-" in path:
        return "referrers"  # the tag that stands in for the API where there is none
    for name in ("blobs/uploads", "blobs", "manifests", "tags/list", "referrers", "_catalog"):
        if f"/{name}" in path:
            return "mounts" if "mount=" in path else name
    return "/v2/"


def _clean_environment(home: str) -> dict[str, str]:
    """No logins, proxies, caches or settings of whoever runs this: what a fresh build agent has."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": home,
        "TMPDIR": home,
        "XDG_RUNTIME_DIR": home,
        "DOCKER_CONFIG": f"{home}/.docker",
        "REGISTRY_AUTH_FILE": f"{home}/auth.json",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "LANG": "C.UTF-8",
    }
