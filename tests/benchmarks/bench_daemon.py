"""Pushing images of the docker daemon, compared with `docker push` and `docker save` in the same run.

    python -m tests.benchmarks.bench_daemon [--mebibytes 100] [--rounds 3]

Three layers that compress to about a half, a docker-registry on /dev/shm, a dockerd of its own. Each figure is the
best of some rounds; our side is the whole command, from the start of the interpreter. Goals: first push at most 0.5
of `docker push`; one changed layer at most 1.3 of `docker save`; unchanged at most 5 of `docker push`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.docker_registry import DockerRegistry
from tests.support.dockerd import Dockerd

__all__ = ["main"]

# The command itself, and then the most memory that it held.
_PUSH = """
import sys
from ci_registry.cli.entry import main
try:
    main()
finally:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024, file=sys.stderr)
"""


def half_compressible(size: int, seed: int) -> bytes:
    """Text in words of uneven frequency, and random bytes, so that gzip makes a half of it."""
    source = random.Random(seed)
    words = [bytes(source.choices(b"abcdefghijklmnopqrstuvwxyz", k=source.randint(3, 10))) for _ in range(10_000)]
    weights = [1 / (number + 3) for number in range(len(words))]
    parts = [b" ".join(source.choices(words, weights, k=2500)) + source.randbytes(3000) for _ in range(64)]
    block = b"".join(parts)
    return b"".join(number.to_bytes(8, "big") + block[8:] for number in range(size // len(block) + 1))[:size]


class Bench:
    def __init__(self, dockerd: Dockerd, registry: DockerRegistry, scratch: Path, size: int) -> None:
        self.dockerd, self.registry, self.scratch, self.size = dockerd, registry, scratch, size
        self.layers = [{"data": half_compressible(size, seed)} for seed in range(3)]
        self.config = scratch / "ci-registry.yaml"
        self.config.write_text(f"targets:\n  dev: {{kind: registry, url: '{registry.url}'}}\n")

    def build(self, tag: str) -> None:
        files = [{f"file{number}": layer["data"]} for number, layer in enumerate(self.layers)]
        self.dockerd.build(tag, files)

    def docker_push(self, tag: str, repository: str) -> float:
        name = f"{self.registry.host}/{repository}:1"
        self.dockerd.run("tag", tag, name)
        return timed(lambda: self.dockerd.run("push", name, timeout_seconds=300))

    def docker_save(self, tag: str) -> float:
        def save() -> None:
            with Path(os.devnull).open("wb") as null:
                environment = {**os.environ, "DOCKER_HOST": self.dockerd.host}
                subprocess.run(["docker", "save", tag], stdout=null, env=environment, check=True)

        return timed(save)

    def push(self, tag: str, repository: str) -> tuple[float, str]:
        """`ci-registry push`; the seconds, and what it said last: its peak memory in MiB."""
        arguments = ["--config", str(self.config), "push", tag, "--target", "dev", "--repository", repository]
        environment = {**os.environ, "DOCKER_HOST": self.dockerd.host, "HOME": str(self.scratch), "XDG_CACHE_HOME": ""}
        out: list[str] = []

        def run() -> None:
            command = [sys.executable, "-c", _PUSH, *arguments, "--tag", "1"]
            result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            out.append(result.stderr.splitlines()[-1])

        return timed(run), out[0]


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(bench: Bench, rounds: int) -> list[tuple[str, float, float, float]]:
    """Rows of (what, ours, theirs, goal as a ratio); every round has content of its own."""
    first, push, save, changed, again, push_again = ([] for _ in range(6))
    for number in range(rounds):
        bench.layers = [{"data": half_compressible(bench.size, number * 10 + seed)} for seed in range(3)]
        bench.build(f"app:{number}")
        first.append(report("first push", *bench.push(f"app:{number}", f"ours/{number}")))
        push.append(bench.docker_push(f"app:{number}", f"theirs/{number}"))
        again.append(report("unchanged", *bench.push(f"app:{number}", f"ours/{number}")))
        push_again.append(bench.docker_push(f"app:{number}", f"theirs/{number}"))
        bench.layers[2] = {"data": half_compressible(bench.size, number * 10 + 5)}
        bench.build(f"changed:{number}")
        save.append(bench.docker_save(f"changed:{number}"))
        changed.append(report("one changed layer", *bench.push(f"changed:{number}", f"ours/{number}")))
    return [
        ("first push / docker push", min(first), min(push), 0.5),
        ("one changed layer / docker save", min(changed), min(save), 1.3),
        ("unchanged / docker push unchanged", min(again), min(push_again), 5.0),
    ]


def report(what: str, seconds: float, mebibytes: str) -> float:
    print(f"  {what}: {seconds:.2f} s, {mebibytes} MiB resident", file=sys.stderr)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=100, help="size of each of the three layers")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as scratch,
        DockerRegistry(in_memory=True) as registry,
        Dockerd() as dockerd,
    ):
        rows = measure(Bench(dockerd, registry, Path(scratch), options.mebibytes << 20), options.rounds)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    for what, ours, theirs, goal in rows:
        met = "met" if ours <= goal * theirs else "MISSED"
        print(f"{what}: {ours:.2f} s / {theirs:.2f} s = {ours / theirs:.2f} (goal {goal}, {met})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
