"""Rows about promotions: what they cost beside a copy, and plans of very many tags."""

from __future__ import annotations

from .contestants import OURS, ours
from .measuring import Bench, Command, Contestant, Traffic, Trial
from .rows import Goal, Result, Row
from .rows_copy import TAGS, fill
from .workload import load, many_tags, same_parts

__all__ = ["ROWS"]

MANY = 1000
_COPY = f"{OURS} copy"
_PROMOTE = f"{OURS} promote"
# A record is a statement (an upload is opened and written) and a manifest that refers to the promoted one.
_RECORD_REQUESTS = 3


def _bulk(trial: Trial, repository: str, to: str, namespace: str) -> str:
    """A configuration with the promotion `bench` of all tags of a repository."""
    images = f"repositories: {{glob: {repository}}}, tags: {{glob: '*'}}"
    return trial.configuration(
        f"  there: {{kind: registry, url: 'http://{trial.host(to)}', namespace: {namespace}}}",
        "promotions:",
        f"  bench: {{from: {trial.target('a')}, to: [there], {images}}}",
    )


def _promotion(bench: Bench) -> Result:
    repository = f"tags{TAGS}"
    fill(bench, repository, lambda url: load(url, repository, many_tags(TAGS)))

    def promote(trial: Trial) -> list[Command]:
        return [ours("--config", _bulk(trial, repository, "b", trial.fresh), "promote", "--promotion", "bench")]

    def copy(trial: Trial) -> list[Command]:
        places = f"{trial.target('a')}:{repository}", f"{trial.target('b')}:{trial.fresh}/{repository}"
        return [ours("copy", "--all-tags", *places)]

    series = bench.compare([Contestant(_PROMOTE, promote), Contestant(_COPY, copy)])
    promoted, copied = series[_PROMOTE].traffic, series[_COPY].traffic
    records = _for_records(promoted["b"])
    more_written = promoted["b"].total - records - copied["b"].total
    return Result(
        series,
        [
            Goal("requests to the source beyond a copy's", 5, promoted["a"].total - copied["a"].total, "count"),
            Goal("requests to the target a tag, beyond a copy's, without records", 2.05, more_written / TAGS, "count"),
        ],
        [
            f"records: {records} requests, {records / TAGS:.1f} a tag",
            f"with records it takes {series[_PROMOTE].seconds / series[_COPY].seconds:.2f} of a copy's time",
        ],
    )


def _for_records(traffic: Traffic) -> int:
    referrers = sum(count for kind, count in traffic.requests.items() if "referrers" in kind)
    return referrers + _RECORD_REQUESTS * TAGS


def _plan(bench: Bench) -> Result:
    repository, at = f"parts{MANY}", "other"
    fill(bench, repository, lambda url: load(url, repository, same_parts(MANY)))
    # The same tags on other images at the target: each has to be asked for.
    load(bench.servers["b"].registry.url, f"{at}/{repository}", same_parts(MANY, seed=5))

    def plan(trial: Trial) -> list[Command]:
        config = _bulk(trial, repository, "b", at)
        return [ours("--config", config, "plan", "--promotion", "bench", "--save", f"{trial.fresh}.plan")]

    series = bench.compare([Contestant(OURS, plan)], way="far")
    return Result(
        series,
        [
            Goal("requests an edge", 3, series[OURS].requests / MANY, "count"),
            Goal("time", 4, series[OURS].seconds, "seconds"),
        ],
    )


ROWS = [
    Row("promote", f"promote of {TAGS} tags", _promotion),
    Row("plan", f"plan of {MANY} tags, 5 shared blobs, round trips of 40 ms", _plan),
]
