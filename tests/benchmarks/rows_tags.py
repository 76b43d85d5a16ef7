"""Rows about many tags: a hundred on one digest, and how time, requests and memory grow with their number."""

from __future__ import annotations

import sys

from .contestants import OURS, ours
from .measuring import Bench, Command, Contestant, Trial
from .rows import Goal, Result, Row, time_ratio
from .rows_copy import fill, here
from .workload import MIB, load, many_tags, plain_image

__all__ = ["ROWS"]

NEW_TAGS = 100
SIZES = (100, 200, 400, 800, 1600)

# The same work with python-dxf's API: one manifest read, and written under each tag.
_DXF = """
import sys, dxf
repository = dxf.DXF(sys.argv[1], sys.argv[2], insecure=True)
manifest = repository.get_manifest("v1")
for tag in sys.argv[3:]:
    repository.set_manifest(tag, manifest)
"""


def _hundred(bench: Bench) -> Result:
    image = plain_image()

    def new_tags(trial: Trial) -> list[str]:
        return [f"{trial.fresh}-{number}" for number in range(NEW_TAGS)]

    def crane(trial: Trial) -> list[Command]:
        return [["crane", "tag", f"{trial.host('a')}/plain:v1", tag] for tag in new_tags(trial)]

    def oras(trial: Trial) -> list[Command]:
        return [["oras", "tag", "--plain-http", f"{trial.host('a')}/plain:v1", *new_tags(trial)]]

    def dxf(trial: Trial) -> list[Command]:
        return [[sys.executable, "-c", _DXF, trial.host("a"), "plain", *new_tags(trial)]]

    fill(bench, "plain", lambda url: load(url, "plain", iter([("v1", image)])))
    contestants = here(
        [
            Contestant(OURS, lambda trial: [ours("tag", f"{trial.target('a')}:plain:v1", *new_tags(trial))]),
            Contestant("crane tag, 100 runs", crane),
            Contestant("oras tag", oras),
            Contestant("python-dxf", dxf),
        ]
    )
    series = bench.compare(contestants)
    requests = series[OURS].traffic["a"].requests
    return Result(
        series,
        [
            Goal("manifests read", 1, requests.get("GET manifests", 0), "count"),
            Goal("manifests written", NEW_TAGS, requests.get("PUT manifests", 0), "count"),
            Goal("time, of oras tag's", 1.0, time_ratio(series, OURS, "oras tag")),
            Goal("time, of python-dxf's", 1.0, time_ratio(series, OURS, "python-dxf")),
        ],
    )


def _scale(bench: Bench) -> Result:
    result = Result()
    seconds, requests, memory = [], [], []
    for count in SIZES:
        repository = f"tags{count}"
        fill(bench, repository, lambda url, name=repository, n=count: load(url, name, many_tags(n)))  # type: ignore[misc]

        def copy(trial: Trial, repository: str = repository) -> list[Command]:
            destination = f"{trial.target('b')}:{trial.fresh}/{repository}"
            return [ours("copy", "--all-tags", f"{trial.target('a')}:{repository}", destination)]

        series = bench.compare([Contestant(OURS, copy)], runs=1 if count > SIZES[1] else 2)[OURS]
        result.series[f"{OURS}, {count} tags"] = series
        seconds.append((float(count), series.seconds))
        requests.append((float(count), float(series.requests)))
        memory.append((float(count), series.peak_bytes / MIB))
    result.curves = {"seconds by tags": seconds, "requests by tags": requests, "MiB resident by tags": memory}
    result.goals = [
        Goal(f"time a tag at {SIZES[-1]} tags, of that at {SIZES[1]}", 1.1, _growth(seconds)),
        Goal(f"requests a tag at {SIZES[-1]} tags, of those at {SIZES[1]}", 1.0, _growth(requests)),
        Goal(f"memory at {SIZES[-1]} tags, of that at {SIZES[1]}", 1.25, memory[-1][1] / memory[1][1]),
    ]
    return result


def _growth(points: list[tuple[float, float]]) -> float:
    """The last point's value per tag, of the second's (the first has too much start-up in it)."""
    (few, some), (many, most) = points[1], points[-1]
    return (most / many) / (some / few)


ROWS = [
    Row("hundred", "100 tags on one digest", _hundred),
    Row("scale", "100 to 1600 tags", _scale),
]
