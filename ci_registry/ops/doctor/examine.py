"""The whole examination: every target at once, each step only when the one before holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ...errors import CiRegistryError, Interrupted, UsageError
from ...kinds.base import OpenTarget
from ...kinds.plain import PlainRegistry
from ..places import Places
from .abilities import abilities
from .case import Case
from .catalog import find
from .connecting import configuration, daemon, names, tcp
from .findings import DoctorReport, Finding, MachineCheck, TargetCheck, fine, worst_exit
from .kinds import limits, nexus
from .login import login
from .machine import CERTS_D, machine
from .reading import reading
from .rights import pull, push
from .service import clock, service
from .speaking import protocol
from .surroundings import Surroundings
from .trust import tls

__all__ = ["STEPS", "Question", "ask", "examine", "report_error"]

Step = Callable[[Case], Iterator[Finding]]

STEPS: tuple[Step, ...] = (
    configuration,
    names,
    daemon,
    tcp,
    protocol,
    tls,
    service,
    clock,
    nexus,
    login,
    limits,
    pull,
    push,
    abilities,
    reading,
)
"""In the order in which they are taken; an error ends it."""

_AT_ONCE = 16


class Question(msgspec.Struct, frozen=True):
    """A target to examine, and a repository of it to try."""

    target: str
    repository: str | None = None


def ask(places: Places, texts: Sequence[str]) -> list[Question]:
    """What a command line asks for: `TARGET[:REPO]`; nothing means every target of the file.

    Raises `NotFoundError` or `UsageError` for what is neither.
    """
    if not texts:
        built_in = set(places.config.effective()["built_in"])
        return [Question(name) for name in places.config.targets if name not in built_in]
    return [_question(places, text) for text in texts]


def _question(places: Places, text: str) -> Question:
    if text.removesuffix(":") in places.config.targets:
        return Question(text.removesuffix(":"))
    if ":" not in text:
        places.target(text)  # raises with the nearest names
    place = places.parse(text)
    if place.transport != "target":
        raise UsageError(f"'{text}' is no target", hint="write TARGET or TARGET:REPOSITORY")
    return Question(place.where, place.repository)


def examine(
    places: Places,
    questions: Sequence[Question],
    *,
    dry_run: bool,
    patience_seconds: float = 5.0,
    certs_d: Path = CERTS_D,
) -> DoctorReport:
    """All of it. Only what is our own mistake raises; everything found is in the report."""
    surroundings = Surroundings(places.environ)

    def one(question: Question) -> TargetCheck:
        return _examine_one(places, question, surroundings, dry_run=dry_run, patience_seconds=patience_seconds)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            own = pool.submit(machine, surroundings, certs_d)
            checks = list(pool.map(one, questions))
            found = own.result()
    finally:
        surroundings.close()
    return DoctorReport(targets=checks, machine=MachineCheck(verdict=_verdict(found, "fit for use"), findings=found))


def _examine_one(
    places: Places, question: Question, surroundings: Surroundings, *, dry_run: bool, patience_seconds: float
) -> TargetCheck:
    try:
        target = places.target(question.target)
        if not isinstance(target, PlainRegistry):
            return _folder(question, target)
        address = str(target.origin)
        case = Case(
            question.target,
            target,
            surroundings,
            places,
            question.repository,
            may_write=not dry_run,
            patience_seconds=patience_seconds,
            config_file=places.config.path,
        )
    except CiRegistryError as error:
        found = find("target-unusable", error.message, target=question.target, hint=error.hint or "correct it")
        # An AWS login that fails ends the same way, with the exit code that a push would end with.
        found = msgspec.structs.replace(found, exit=error.exit_code)
        return _check(question, "", [found], [step.__name__ for step in STEPS[1:]])
    try:
        findings, skipped = _steps(case)
    finally:
        case.close()
    return _check(question, address, findings, skipped)


def _steps(case: Case) -> tuple[list[Finding], list[str]]:
    findings: list[Finding] = []
    for number, step in enumerate(STEPS):
        case.places.cancel.check()
        try:
            findings += step(case)
        except Interrupted:
            raise
        except CiRegistryError as error:
            # A step knows the errors of its own questions; a connection may still break in the middle of one.
            findings.append(
                msgspec.structs.replace(find("dropped", error.message, **case.values()), step=step.__name__)
            )
        if worst_exit(findings):
            return findings, [later.__name__ for later in STEPS[number + 1 :]]
    return findings, []


def _folder(question: Question, target: OpenTarget) -> TargetCheck:
    """A tree of layouts: whether it can be read and written."""
    path = str(getattr(target.settings, "path", ""))
    try:
        count = len(target.repositories())
    except CiRegistryError as error:
        found = find("target-unusable", error.message, target=question.target, hint=error.hint or "correct it")
        return _check(question, path, [msgspec.structs.replace(found, exit=error.exit_code)], [])
    return _check(question, path, [fine("configuration", f"a folder with {count} repositories")], [])


def _check(question: Question, address: str, findings: list[Finding], skipped: list[str]) -> TargetCheck:
    return TargetCheck(
        target=question.target,
        address=address,
        repository=question.repository,
        verdict=_verdict(findings, "all is well"),
        findings=findings,
        skipped=skipped,
    )


def _verdict(findings: Sequence[Finding], good: str) -> str:
    """One line."""
    from .catalog import entries

    worst = next((each for each in findings if each.severity == "error"), None)
    if worst is not None:
        return f"does not work: {entries()[worst.code].title}"
    warnings = [each for each in findings if each.severity == "warning"]
    if not warnings:
        return good
    more = f", and {len(warnings) - 1} more" if len(warnings) > 1 else ""
    return f"works, with a warning: {entries()[warnings[0].code].title}{more}"


def report_error(report: DoctorReport) -> CiRegistryError | None:
    """The error that a run with this report ends with; None when there are only warnings."""
    from ...errors import AccessError, NotFoundError, RemoteError

    checks = [(check.target, check.findings) for check in report.targets] + [("this machine", report.machine.findings)]
    code = worst_exit(finding for _, findings in checks for finding in findings)
    kinds_of_error = {2: UsageError, 3: AccessError, 4: NotFoundError, 7: RemoteError}
    for where, findings in checks:
        for finding in findings:
            if code and finding.severity == "error" and finding.exit == code:
                bad = sum(worst_exit(each) > 0 for _, each in checks)
                more = f" ({bad - 1} more with errors)" if bad > 1 else ""
                hint = "; ".join(finding.cures[0].lines) if finding.cures else ""
                kind = kinds_of_error.get(code, RemoteError)
                return kind(f"{where}: {finding.seen}: {finding.meaning}{more}", hint=hint and f"the cure: {hint}")
    return None
