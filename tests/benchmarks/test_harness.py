"""The benchmarks' own parts: what they say of what was found, the relay, the launcher. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry
from tests.support.process import ServerProcess, free_port
from tests.support.wire import Wire

from . import report
from .__main__ import ROWS, main
from .measuring import Contestant, Run, Series, Traffic
from .rows import Goal, Result, Row, time_ratio
from .servers import ROOT, Reach
from .workload import big_image, many_tags, same_parts


@pytest.mark.parametrize(
    "goal,shown,verdict",
    [
        (Goal("time", 0.9, 0.75), "0.75", "met"),
        (Goal("time", 0.06, 0.0341), "0.034", "met"),
        (Goal("time", 0.9, 0.9), "0.90", "met"),
        (Goal("time", 0.5, 0.75), "0.75", "short by 50 %"),
        (Goal("time", 0.5, None), "", "not measured"),
        (Goal("memory", 48, 31.4, "MiB"), "31 MiB", "met"),
        (Goal("requests", 100, 100, "count"), "100", "met"),
        (Goal("time", 4, 3.456, "seconds"), "3.46 s", "met"),
    ],
)
def test_a_goal_says_what_was_found(goal: Goal, shown: str, verdict: str) -> None:
    assert (goal.shown, goal.verdict) == (shown, verdict)


def test_a_peer_that_was_not_run_gives_no_ratio() -> None:
    series = {"ours": Series([Run(1.0, 0.1, 1), Run(3.0, 0.1, 1), Run(2.0, 0.1, 1)])}
    assert time_ratio(series, "ours", "theirs") is None
    series["theirs"] = Series([Run(4.0, 0.1, 1)])
    assert time_ratio(series, "ours", "theirs") == 0.5


def test_the_report(tmp_path: Path) -> None:
    series = Series([Run(0.5, 0.25, 30 << 20)], {"a": Traffic({"GET manifests": 3}, 10, 20)})
    result = Result({"ours": series}, [Goal("time, of x's", 1, 0.5), Goal("time, of y's", 1, None)], ["a note"])
    result.curves = {"seconds by tags": [(100.0, 0.5), (200.0, 1.0)]}
    rows = [Row("row", "the <work>", lambda _: result)]
    where = dict.fromkeys(("date", "machine", "system", "python", "registries"), "-") | {"peers": {"y": None}}
    report.write(tmp_path, rows, {"row": result}, where)
    assert json.loads((tmp_path / "bench.json").read_text())["rows"][0]["contestants"]["ours"]["median_seconds"] == 0.5
    table = (tmp_path / "table.md").read_text()
    for words in ("| the <work> | time, of x's <= 1.00 | 0.50 | met |", "not measured", "a note", "y (not measured)"):
        assert words in table
    for name in ("ratios.svg", "row-seconds.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert "  ours" in "\n".join(report.details(result))


def test_the_relay_counts_what_passes(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        port, control = free_port(), free_port()
        command = [sys.executable, "-m", "tests.benchmarks.relay", str(port), str(registry.port), str(control), "1"]
        relay = ServerProcess(command, tmp_path / "relay.log", directory=ROOT)
        try:
            relay.wait_for_port(port)
            relay.wait_for_port(control)
            reach = Reach(port, control)
            before = reach.counts()
            with Wire(f"http://{reach.host}") as wire:
                assert wire.request("PUT", "/v2/app/manifests/x", b"a" * 100_000).status in (400, 404)
            after = reach.counts()
        finally:
            relay.stop()
    assert after["connections"] - before["connections"] == 1
    assert 100_000 < after["up"] - before["up"] < 101_000
    assert 0 < after["down"] - before["down"] < 10_000


@pytest.mark.parametrize(
    "commands,status,output",
    [([["echo", "one"], ["echo", "two"]], 0, "one\ntwo\n"), ([["false"], ["echo", "never"]], 1, "")],
)
def test_the_launcher(commands: list[list[str]], status: int, output: str) -> None:
    launcher = ROOT / "tests/benchmarks/launch.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher), "20"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert (found["status"], found["output"]) == (status, output)
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 0


def test_images_are_what_their_names_say() -> None:
    big = big_image(layers=2, layer_bytes=100_000)
    for digest, blob in big.streamed.items():
        assert blob.digest() == digest
        assert b"".join(blob.chunks()).startswith(b"\x1f\x8b")
    tagged = [image for _, image in many_tags(3)]
    assert len({digest for image in tagged for digest in image.blobs}) == 4 + 3 * 2
    parts = [image for _, image in same_parts(3)]
    assert len({image.digest for image in parts}) == 3
    assert len({digest for image in parts for digest in image.blobs}) == 5


def test_rows_have_names_of_their_own_and_unknown_ones_are_refused() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    with pytest.raises(SystemExit, match="no such rows: nothing; there are: image"):
        main(["--rows", "nothing"])


def test_the_program_is_the_first_word_of_a_contestant() -> None:
    assert [Contestant(name, lambda _: []).program for name in ("crane -a", "crane, 3 runs", "skopeo")] == [
        "crane",
        "crane",
        "skopeo",
    ]
