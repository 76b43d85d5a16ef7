"""What doctor finds, as data: the shape of a finding, of a cure, and of the whole report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

__all__ = ["Cure", "DoctorReport", "Finding", "MachineCheck", "Severity", "TargetCheck", "fine", "note", "worst_exit"]

Severity = Literal["ok", "note", "warning", "error"]
CureKind = Literal["set", "run", "edit", "do"]


class Cure(Struct, frozen=True, kw_only=True):
    """One step of a cure.

    `set`: `lines` are keys for the part `where` of ci-registry.yaml. `run`: shell commands, on this machine unless
    `where` names another. `edit`: lines for the file that `where` describes. `do`: words.
    """

    kind: CureKind
    lines: list[str]
    where: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """`code` is a stable word, "" where all is well; `exit` the exit code it stands for if it is an error.

    Where there are several cures, the first is the one to try.
    """

    step: str
    severity: Severity
    seen: str
    code: str = ""
    meaning: str = ""
    cures: list[Cure] = []
    exit: int = 0


class TargetCheck(Struct, frozen=True, kw_only=True):
    """One target, and a repository of it. `skipped` are the steps that could not be taken after an error."""

    target: str
    address: str
    repository: str | None
    verdict: str
    findings: list[Finding]
    skipped: list[str] = []


class MachineCheck(Struct, frozen=True, kw_only=True):
    """This machine."""

    verdict: str
    findings: list[Finding]


class DoctorReport(Struct, frozen=True, kw_only=True):
    """`doctor`."""

    targets: list[TargetCheck]
    machine: MachineCheck


def fine(step: str, seen: str) -> Finding:
    """Something that was looked at and is well."""
    return Finding(step=step, severity="ok", seen=seen)


def note(step: str, seen: str) -> Finding:
    """A fact worth knowing, neither good nor bad."""
    return Finding(step=step, severity="note", seen=seen)


def worst_exit(findings: Iterable[Finding]) -> int:
    """0 without errors, else the code of the worst one in the order 2, 3, 4, 7."""
    return min((finding.exit for finding in findings if finding.severity == "error"), default=0)
