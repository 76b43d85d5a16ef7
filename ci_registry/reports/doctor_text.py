"""What doctor found, as a tree with a verdict for each target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ops.doctor.findings import Cure, DoctorReport, Finding

__all__ = ["doctor_text"]

_MARKS = {"ok": "ok  ", "note": "note", "warning": "WARN", "error": "FAIL"}


def doctor_text(report: DoctorReport, *, verbose: bool = False) -> str:
    """Each target with its steps, then this machine. Cures follow what they cure."""
    lines: list[str] = []
    for check in report.targets:
        repository = f":{check.repository}" if check.repository else ""
        lines.append(f"{check.target}{repository} {f'({check.address}) ' if check.address else ''}{check.verdict}")
        lines += _branches(check.findings, verbose, check.skipped)
    lines.append(f"this machine: {report.machine.verdict}")
    lines += _branches(report.machine.findings, verbose, [])
    return "\n".join(lines)


def _branches(findings: Sequence[Finding], verbose: bool, skipped: Sequence[str]) -> Iterator[str]:
    for finding in findings:
        yield f"  {_MARKS[finding.severity]} {finding.step}: {finding.seen}"
        if finding.severity in ("warning", "error") or (verbose and finding.meaning):
            yield f"       means: {finding.meaning}"
            for number, cure in enumerate(finding.cures):
                yield from _cure(cure, "cure: " if number == 0 else "or:   ")
    if skipped:
        yield f"       not looked at after that: {', '.join(skipped)}"


def _cure(cure: Cure, word: str) -> Iterator[str]:
    heading = {
        "set": f"in ci-registry.yaml, {cure.where}:",
        "run": f"on {cure.where}:" if cure.where else "",
        "edit": f"in {cure.where}:",
        "do": "",
    }[cure.kind]
    if not heading and len(cure.lines) == 1:
        yield f"       {word}{cure.lines[0]}"
        return
    yield f"       {word}{heading}".rstrip()
    yield from (f"               {line}" for line in cure.lines)
