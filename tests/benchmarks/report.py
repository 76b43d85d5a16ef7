"""What was found, as lines to read while it runs, as a Markdown table, and as JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .contestants import present_peers
from .measuring import Series, Traffic
from .rows import Goal, Result, Row
from .servers import ONE_WAY_MS, Servers

__all__ = ["about", "details", "table", "write"]

_MIB = 1024 * 1024


def about(servers: Servers, runs: int) -> dict[str, Any]:
    """Where and with what a measurement was made."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "registries": f"{servers.program} {servers.version}",
        "peers": present_peers(),
        "round_trip_ms": 2 * ONE_WAY_MS,
        "runs": runs,
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def details(result: Result) -> Iterator[str]:
    """The contestants of one row, one line each, and its goals."""
    for name, series in result.series.items():
        yield f"  {name:24} {_times(series)}  {_traffic(series)}"
    yield from (f"  {note}" for note in result.notes)
    yield from (f"  {goal.text}: {goal.shown} (goal {_limit(goal)}): {goal.verdict}" for goal in result.goals)


def _times(series: Series) -> str:
    seconds = [run.seconds for run in series.runs]
    spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
    peak = f"{series.peak_bytes / _MIB:.0f} MiB"
    return f"{series.seconds:7.2f} s ({spread:>11}, {len(seconds)} runs)  cpu {series.cpu_seconds:6.2f} s  {peak:>8}"


def _traffic(series: Series) -> str:
    parts = []
    for name, traffic in series.traffic.items():
        bytes_ = f", {(traffic.bytes_down or 0) / _MIB:.1f} MiB down, {(traffic.bytes_up or 0) / _MIB:.1f} up"
        parts.append(f"{name}: {traffic.total} requests{bytes_}")
    return "; ".join(parts)


def _limit(goal: Goal) -> str:
    return "<= " + Goal("", goal.limit, goal.limit, goal.unit).shown


def table(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """Every goal with what was found, in Markdown."""
    lines = ["| work | goal | found | verdict |", "|---|---|---|---|"]
    for row in rows:
        for number, goal in enumerate(results[row.name].goals):
            title = row.title if number == 0 else ""
            lines.append(f"| {title} | {goal.text} {_limit(goal)} | {goal.shown} | {goal.verdict} |")
    return "\n".join(lines)


def _contestants(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    lines = [
        "| work | tool | median | from - to | CPU | peak memory | requests |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        for number, (name, series) in enumerate(results[row.name].series.items()):
            seconds = [run.seconds for run in series.runs]
            lines.append(
                f"| {row.title if number == 0 else ''} | {name} | {statistics.median(seconds):.3f} s "
                f"| {min(seconds):.3f} - {max(seconds):.3f} | {series.cpu_seconds:.2f} s "
                f"| {series.peak_bytes / _MIB:.0f} MiB | {series.requests or ''} |"
            )
    return "\n".join(lines)


def write(folder: Path, rows: Sequence[Row], results: Mapping[str, Result], where: Mapping[str, Any]) -> None:
    """`bench.json`, `table.md` and the plots."""
    from .plots import plots

    folder.mkdir(parents=True, exist_ok=True)
    document = {"about": where, "rows": [_row_json(row, results[row.name]) for row in rows]}
    folder.joinpath("bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = [_heading(where), table(rows, results), "", _contestants(rows, results), "", *_notes(rows, results)]
    folder.joinpath("table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    for name, svg in plots(rows, results).items():
        folder.joinpath(name).write_text(svg, encoding="utf-8")


def _heading(where: Mapping[str, Any]) -> str:
    peers = ", ".join(f"{name} {version or '(not measured)'}" for name, version in where["peers"].items())
    return (
        f"# Measured on {where['date']}\n\n{where['machine']}; {where['system']}; Python {where['python']}; "
        f"registries: {where['registries']}, storage in memory. {peers}.\n"
    )


def _notes(rows: Sequence[Row], results: Mapping[str, Result]) -> list[str]:
    return [f"- {row.title}: {note}" for row in rows for note in results[row.name].notes]


def _row_json(row: Row, result: Result) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "goals": [
            {"text": goal.text, "limit": goal.limit, "found": goal.value, "unit": goal.unit, "verdict": goal.verdict}
            for goal in result.goals
        ],
        "contestants": {name: _series_json(series) for name, series in result.series.items()},
        "notes": result.notes,
        "curves": result.curves,
    }


def _series_json(series: Series) -> dict[str, Any]:
    return {
        "median_seconds": round(series.seconds, 4),
        "seconds": [round(run.seconds, 4) for run in series.runs],
        "cpu_seconds": round(series.cpu_seconds, 3),
        "peak_bytes": series.peak_bytes,
        "traffic": {name: _traffic_json(traffic) for name, traffic in series.traffic.items()},
    }


def _traffic_json(traffic: Traffic) -> dict[str, Any]:
    return {"requests": traffic.requests, "bytes_up": traffic.bytes_up, "bytes_down": traffic.bytes_down}
