"""An apply that is killed with SIGKILL at any request, and applied again, ends as an undisturbed one does.

The points are drawn from a seed, which is part of each test's name: eight of them, or `KILL_POINTS`, as in
`make trust`; `KILL_SEED` draws others. They are spread over the parts of an apply.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.cli import Ran, run_cli
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Exchange, Reply
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.skopeo import skopeo

SEED = int(os.environ.get("KILL_SEED", "20240611"))
POINTS = int(os.environ.get("KILL_POINTS", "8"))
EDGES = 40
REPOSITORIES = 2
BIG_BYTES = 3 << 20
RECORD_TYPE = "application/vnd.ci-registry.promotion.v1+json"
PARTS = ("open upload", "manifests", "tags", "after the last tag")


@dataclass(frozen=True)
class Point:
    """Kill at the `nth` request of a part at one server; `served`: the request is carried out before."""

    number: int
    part: str
    server: str
    nth: int
    served: bool

    def __str__(self) -> str:
        return f"seed {SEED}, {self.number}: {self.part} {self.nth} at {self.server}"


def points() -> list[Point]:
    chance = random.Random(SEED)
    ranges = {"open upload": (1, 2), "manifests": (1, EDGES), "tags": (2, EDGES - 1)}
    found = []
    for number in range(POINTS):
        part = PARTS[number % len(PARTS)]
        # A destination gets each image's manifest by digest, then the tags, and then a record for each.
        first, last = ranges.get(part, (EDGES + 1, 2 * EDGES))
        nth, server = chance.randint(first, last), chance.choice(["east", "west"])
        found.append(Point(number, part, server, nth, chance.random() < 0.5))
    return found


@cache
def images() -> dict[str, BuiltImage]:
    """The images of the plan by `REPOSITORY:TAG`; two have a layer that is worth going on with."""
    builder = ImageBuilder(SEED)
    shared = [builder.layer(2000) for _ in range(3)]
    own = [builder.layer(BIG_BYTES if number < 2 else 500, opaque=True) for number in range(EDGES)]
    return {
        f"app{number % REPOSITORIES}:v{number}": builder.image([layer], shared=shared)
        for number, layer in enumerate(own)
    }


@dataclass
class World:
    folder: Path
    dev: FakeRegistry
    east: FakeRegistry
    west: FakeRegistry
    ci: Callable[[str], Ran]

    def server(self, name: str) -> FakeRegistry:
        return self.east if name == "east" else self.west

    def apply_in_a_process(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ci_registry", "apply", "p.plan"]
        with (self.folder / "killed.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    with FakeRegistry() as dev, FakeRegistry() as east, FakeRegistry() as west:
        for name, image in images().items():
            repository, _, tag = name.partition(":")
            dev.load(image, repository, tag)
        servers = {"dev": dev, "east": east, "west": west}
        lines = [
            f'  {name}: {{kind: registry, url: "{server.url}", retry_seconds: 5}}' for name, server in servers.items()
        ]
        tmp_path.joinpath("ci-registry.yaml").write_text("\n".join(["targets:", *lines, ""]))
        made = World(tmp_path, dev, east, west, lambda text: run_cli(monkeypatch, *shlex.split(text)))
        planned = made.ci(f"plan {' '.join(images())} --from dev --to east --to west --save p.plan")
        assert planned.code == 0, planned.err
        yield made


@pytest.mark.parametrize("point", points(), ids=str)
def test_killed_and_applied_again(world: World, point: Point) -> None:
    kill(world, point)
    journal = world.folder / "p.plan.journal"
    assert journal.stat().st_mode & 0o777 == 0o600
    for server in (world.dev, world.east, world.west):
        server.clear()

    again = world.ci("apply p.plan --output json")
    assert again.code == 0, again.err
    assert {line["outcome"] for edge in again.result["receipt"]["edges"] for line in edge["arrivals"]} <= {
        "promoted",
        "unchanged",
    }
    assert not journal.exists()
    if point.part == "open upload":
        went_on = world.server(point.server).matching("GET", "/blobs/uploads/", 204)
        assert went_on, "the upload was begun anew"
    for server in (world.east, world.west):
        assert_as_undisturbed(world.folder, server)
        server.clear()
    assert "nothing to do" in world.ci("apply p.plan").err
    assert not [each for server in (world.east, world.west) for each in server.requests if each.method == "PUT"]


def kill(world: World, point: Point) -> None:
    """Apply, and kill the process when its request comes."""
    started: list[subprocess.Popen[bytes]] = []

    def act(exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
        if point.part == "open upload":
            if (exchange.content_length or 0) < BIG_BYTES:
                return proceed()
            exchange.break_after = random.Random(point.number).randint(1 << 19, BIG_BYTES - 1)
        try:
            return proceed() if point.served or point.part == "open upload" else None
        finally:
            started[0].send_signal(signal.SIGKILL)

    if point.part == "open upload":
        world.server(point.server).script("PUT", "/blobs/uploads/", act, times=None)
    else:
        what = "/manifests/v" if point.part == "tags" else "/manifests/sha256:"
        world.server(point.server).script("PUT", what, act, nth=point.nth)
    started.append(world.apply_in_a_process())
    started[0].wait(60)
    assert started[0].returncode == -signal.SIGKILL, (world.folder / "killed.log").read_text()


def assert_as_undisturbed(folder: Path, server: FakeRegistry) -> None:
    """Every image is there whole, as skopeo reads it, under its tag and no other; and each has its one record."""
    for number in range(REPOSITORIES):
        repository = f"app{number}"
        expected = {
            name.partition(":")[2]: image for name, image in images().items() if name.startswith(f"{repository}:")
        }
        into = folder / f"{server.port}-{repository}"
        into.mkdir()
        source = f"{server.host}/{repository}"
        skopeo("sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", source, str(into))
        found = {path.name.partition(":")[2]: path for path in into.iterdir()}
        assert found.keys() == expected.keys()
        for tag, image in expected.items():
            assert (found[tag] / "manifest.json").read_bytes() == image.content
            entries = server.repository(repository).referrers(image.digest)
            assert [entry["artifactType"] for entry in entries] == [RECORD_TYPE], tag
