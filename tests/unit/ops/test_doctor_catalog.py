"""The catalogue of findings: complete, consistent, and documented with the test that makes each happen."""

from __future__ import annotations

import re
import string

import pytest

from ci_registry.ops.doctor.catalog import Entry, Remedy, entries, find
from ci_registry.ops.doctor.findings import Cure, DoctorReport, Finding, MachineCheck, TargetCheck, worst_exit
from ci_registry.reports.doctor_text import doctor_text
from tests.support.findings_table import DOCUMENT, producers, table_text


def test_every_finding_has_a_test_that_makes_it_happen() -> None:
    assert set(producers()) == set(entries())


def test_the_table_in_the_documentation_is_current() -> None:
    assert DOCUMENT.read_text() == table_text(), "run `python -m tests.support.findings_table`"


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.code)
def test_entries_are_consistent(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", entry.code)
    assert (entry.severity == "error") == (entry.exit in (2, 3, 4, 7))
    assert entry.exit in (0, 2, 3, 4, 7)
    assert entry.remedies or entry.severity == "note"
    for remedy in entry.remedies:
        for line in (*remedy.lines, remedy.where):
            list(string.Formatter().parse(line))  # braces that don't fit raise


def test_a_remedy_with_open_places_does_not_fit_the_case() -> None:
    assert Remedy("do", ("see {file}",)).fill({}) is None
    filled = Remedy("set", ("{lines}",), "targets.{target}").fill({"lines": "a: 1\nb: 2", "target": "dev"})
    assert filled == Cure(kind="set", lines=["a: 1", "b: 2"], where="targets.dev")


def test_the_worst_error_is_the_smallest_code() -> None:
    def error(code: int) -> Finding:
        return Finding(step="s", severity="error", seen="x", exit=code)

    assert worst_exit([error(7), error(3), error(4)]) == 3
    assert worst_exit([Finding(step="s", severity="warning", seen="x")]) == 0


def test_cures_are_shown_as_what_to_type_and_where() -> None:
    finding = find("refused", "connecting failed", target="dev", host="h", port=5, where="h:5")
    means = "h:5 answered that no program has that port open: the registry is not running, or is on another port"
    check = TargetCheck(target="dev", address="http://h:5", repository=None, verdict="down", findings=[finding])
    text = doctor_text(DoctorReport(targets=[check], machine=MachineCheck(verdict="fit for use", findings=[])))
    assert text.splitlines() == [
        "dev (http://h:5) down",
        "  FAIL tcp: connecting failed",
        f"       means: {means}",
        "       cure: start the registry, or correct `url:` of target dev",
        "       or:   on the machine of h:",
        "               ss -ltn 'sport = :5'",
        "this machine: fit for use",
    ]
