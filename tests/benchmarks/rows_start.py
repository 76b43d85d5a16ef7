"""Rows about starting: what `--version` and `--help` cost, as multiples of an interpreter that does nothing."""

from __future__ import annotations

import sys

from .contestants import OURS, crane_copy, ours
from .measuring import Bench, Contestant
from .rows import Goal, Result, Row, ratio
from .rows_copy import fill, here
from .workload import load, plain_image

__all__ = ["ROWS"]

_RUNS = 11
_BARE = "bare interpreter"


def _start(bench: Bench) -> Result:
    contestants = [
        Contestant(_BARE, lambda _: [[sys.executable, "-c", "pass"]]),
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
    source, destination = "plain:v1", "no-op/plain:v1"
    contestants = here(
        [
            Contestant(OURS, lambda t: [ours("copy", f"{t.target('a')}:{source}", f"{t.target('b')}:{destination}")]),
            Contestant("crane", lambda t: [crane_copy(f"{t.host('a')}/{source}", f"{t.host('b')}/{destination}")]),
        ]
    )
    bench.once(lambda t: [ours("copy", f"{t.target('a')}:{source}", f"{t.target('b')}:{destination}")])
    bare = Contestant(_BARE, lambda _: [[sys.executable, "-c", "pass"]])
    series = bench.compare([bare, *contestants], runs=_RUNS)
    return Result(
        series,
        [Goal("time, in bare interpreters", 20, ratio(series[OURS].seconds, series[_BARE].seconds), "count")],
    )


ROWS = [
    Row("start", "`--version`, `--help`", _start),
    Row("no-op", "copy of one tag, nothing to do", _no_op),
]
