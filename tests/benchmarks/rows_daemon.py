"""Rows about images of the docker daemon: the first push, one changed layer, and nothing to do."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.dockerd import Dockerd

from .contestants import OURS, ours
from .measuring import Bench, Command, Contestant, Series, Trial
from .rows import Goal, Result, Row, time_ratio
from .workload import MIB

__all__ = ["ROWS"]

LAYERS = 3
LAYER_BYTES = 100 * MIB
ROUNDS = 5
UNCHANGED_RUNS = 3
"""In each round: these take a tenth of a second and less, so three in all would say little."""
_BLOCK_PARTS = 64


def _half_compressible(size: int, seed: int) -> bytes:
    """Text in words of uneven frequency, and random bytes, so that gzip makes a half of it."""
    source = random.Random(seed)
    words = [bytes(source.choices(b"abcdefghijklmnopqrstuvwxyz", k=source.randint(3, 10))) for _ in range(10_000)]
    weights = [1 / (number + 3) for number in range(len(words))]
    parts = [b" ".join(source.choices(words, weights, k=2500)) + source.randbytes(3000) for _ in range(_BLOCK_PARTS)]
    block = b"".join(parts)
    return b"".join(number.to_bytes(8, "big") + block[8:] for number in range(size // len(block) + 1))[:size]


class _Agent:
    """A build agent with a daemon of its own; what our tool remembers of earlier pushes stays on it."""

    def __init__(self, bench: Bench, dockerd: Dockerd) -> None:
        self._bench, self._dockerd = bench, dockerd
        home = bench.folder / "agent"
        home.mkdir(exist_ok=True)
        self._environment = {"DOCKER_HOST": dockerd.host, "HOME": str(home)}
        self.series: dict[str, Series] = {}

    def build(self, tag: str, seeds: list[int]) -> None:
        """An image whose layers' contents follow from the seeds."""
        layers = [{f"file{place}": _half_compressible(LAYER_BYTES, seed)} for place, seed in enumerate(seeds)]
        self._dockerd.build(tag, layers)

    def take(self, name: str, trial: Trial, command: Command) -> None:
        """Run a command and keep what it took; the first round is not kept, and its requests are counted."""
        contestant = Contestant(name, lambda _: [command], environment=self._environment)
        series = self.series.setdefault(name, Series())
        if trial.way == "counted":
            series.traffic = self._bench.counted(contestant, trial)
        else:
            series.runs.append(self._bench.run(contestant, trial))

    def ours(self, tag: str, trial: Trial) -> list[str]:
        return ours("push", tag, "--to", trial.target("b"), "--repository", f"{trial.fresh}/ours", "--tag", "1")

    def theirs(self, tag: str, trial: Trial) -> list[str]:
        name = f"{trial.host('b')}/{trial.fresh}/theirs:1"
        self._dockerd.run("tag", tag, name)
        return ["docker", "push", "-q", name]


def _round(agent: _Agent, number: int, trial: Trial) -> None:
    """Everything once, on content that nobody has seen."""
    seeds = [number * 10 + layer for layer in range(LAYERS)]
    image, changed = f"app:{number}", f"changed:{number}"
    agent.build(image, seeds)
    agent.take(f"{OURS} first", trial, agent.ours(image, trial))
    agent.take("docker push first", trial, agent.theirs(image, trial))
    for _ in range(UNCHANGED_RUNS):
        agent.take(f"{OURS} unchanged", trial, agent.ours(image, trial))
        agent.take("docker push unchanged", trial, agent.theirs(image, trial))
    agent.build(changed, [*seeds[:-1], number * 10 + LAYERS])
    agent.take("docker save changed", trial, ["sh", "-c", 'docker save "$0" > /dev/null', changed])
    agent.take(f"{OURS} changed", trial, agent.ours(changed, trial))


@contextmanager
def _dockerd() -> Iterator[Dockerd | None]:
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in ("docker", "dockerd")):
        yield None
        return
    with Dockerd() as dockerd:
        yield dockerd


def _daemon(bench: Bench) -> Result:
    with _dockerd() as dockerd:
        if dockerd is None:
            return Result(goals=_goals({}), notes=["dockerd is not here, or this user may not start one"])
        agent = _Agent(bench, dockerd)
        for number in range(ROUNDS + 1):
            _round(agent, number, bench.trial("near" if number else "counted"))
    return Result(agent.series, _goals(agent.series))


def _goals(series: dict[str, Series]) -> list[Goal]:
    compared = [
        ("first push, of docker push's", 0.5, "first", "docker push first"),
        ("one changed layer, of docker save's", 1.3, "changed", "docker save changed"),
        ("unchanged, of docker push's", 5.0, "unchanged", "docker push unchanged"),
    ]
    return [Goal(text, limit, time_ratio(series, f"{OURS} {mine}", theirs)) for text, limit, mine, theirs in compared]


ROWS = [Row("daemon", f"an image of the docker daemon, {LAYERS} layers of {LAYER_BYTES // MIB} MiB", _daemon)]
