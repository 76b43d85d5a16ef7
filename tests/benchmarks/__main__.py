"""`python -m tests.benchmarks [--full] [--rows NAME,...] [--runs N] [--output DIR]`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.support.process import temporary_directory

from . import report, rows_copy, rows_daemon, rows_promote, rows_start, rows_tags
from .contestants import our_program, present_peers
from .measuring import Bench
from .rows import Result, Row
from .servers import Servers

ROWS: list[Row] = [*rows_copy.ROWS, *rows_promote.ROWS, *rows_tags.ROWS, *rows_daemon.ROWS, *rows_start.ROWS]


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it where it belongs. Falling short of a goal is no failure."""
    given = _parse(arguments)
    rows = _chosen(given.rows, given.full)
    results: dict[str, Result] = {}
    with Servers() as servers:
        _say(f"measured: {our_program()}")
        _say(f"registries: {servers.program} {servers.version}, storage on /dev/shm")
        for name, version in present_peers().items():
            _say(f"{name}: {version or 'not on PATH, so not measured'}")
        bench = Bench(servers, temporary_directory(), given.runs)
        for row in rows:
            results[row.name] = _measure(row, bench)
        about = report.about(servers, given.runs)
    print(report.table(rows, results))
    if given.output is not None:
        report.write(given.output, rows, results, about)
        _say(f"written to {given.output}")
    return 0


def _measure(row: Row, bench: Bench) -> Result:
    started = time.monotonic()
    _say(f"\n== {row.title} ({row.name})")
    result = row.measure(bench)
    for line in report.details(result):
        _say(line)
    _say(f"({time.monotonic() - started:.0f} s)")
    return result


def _chosen(names: str, full: bool) -> list[Row]:
    known = {row.name: row for row in ROWS}
    if names:
        unknown = sorted(set(names.split(",")) - set(known))
        if unknown:
            raise SystemExit(f"no such rows: {', '.join(unknown)}; there are: {', '.join(known)}")
        return [known[name] for name in names.split(",")]
    return [row for row in ROWS if full or not row.only_full]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure against other tools.")
    parser.add_argument("--full", action="store_true", help="also the rows that take long")
    parser.add_argument("--rows", default="", metavar="NAME,...", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each contestant (default 5)")
    parser.add_argument("--output", type=Path, help="write bench.json, the table and plots into this folder")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
