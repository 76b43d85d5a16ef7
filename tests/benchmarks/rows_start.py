"""Rows about starting: what `--version` and `--help` cost, as multiples of an interpreter that does nothing."""

from __future__ import annotations

from .contestants import OURS, crane_copy, our_interpreter, ours
from .measuring import Bench, Command, Contestant, Trial
from .rows import Goal, Result, Row, ratio
from .rows_copy import fill, here
from .workload import load, plain_image

__all__ = ["ROWS"]

_RUNS = 11
_BARE = "bare interpreter"


def _start(bench: Bench) -> Result:
    contestants = [
        Contestant(_BARE, lambda _: [[our_interpreter(), "-c", "pass"]]),
        Contestant("--version", lambda _: [ours("--version")]),
        Contestant("--help", lambda _: [ours("--help")]),
        *here([Contestant("crane version", lambda _: [["crane", "version"]])]),
    ]
    series = bench.compare(contestants, runs=_RUNS)
    bare = series[_BARE].seconds
    return Result(
        series,
        [
            Goal("--version, in bare interpreters", 6, ratio(series["--version"].seconds, bare), "count"),
            Goal("--help, in bare interpreters", 6, ratio(series["--help"].seconds, bare), "count"),
        ],
    )


def _no_op(bench: Bench) -> Result:
    fill(bench, "plain", lambda url: load(url, "plain", iter([("v1", plain_image())])))

    def promote(trial: Trial) -> list[Command]:
        return [ours("promote", "plain:v1", "--from", trial.target("a"), "--to", trial.target("b"))]

    def copy(trial: Trial) -> list[Command]:
        return [ours("copy", f"{trial.target('a')}:plain:v1", f"{trial.target('b')}:plain:v1")]

    def crane(trial: Trial) -> list[Command]:
        return [crane_copy(f"{trial.host('a')}/plain:v1", f"{trial.host('b')}/plain:v1")]

    bench.once(promote)
    contestants = [
        Contestant(_BARE, lambda _: [[our_interpreter(), "-c", "pass"]]),
        Contestant(f"{OURS} promote", promote),
        Contestant(f"{OURS} copy", copy),
        *here([Contestant("crane", crane)]),
    ]
    series = bench.compare(contestants, runs=_RUNS)
    bare = series[_BARE].seconds
    return Result(
        series,
        [
            Goal("promote, in bare interpreters", 20, ratio(series[f"{OURS} promote"].seconds, bare), "count"),
            Goal("copy, in bare interpreters", 20, ratio(series[f"{OURS} copy"].seconds, bare), "count"),
        ],
    )


ROWS = [
    Row("start", "`--version`, `--help`", _start),
    Row("no-op", "no-op promote of one tag", _no_op),
]
