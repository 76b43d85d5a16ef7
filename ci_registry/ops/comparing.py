"""diff: what a promotion from one target to others would still have to bring."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.compare import Difference, Pair, compare
from ..engine.fan_out import Workers
from ..errors import CheckFailedError, CiRegistryError, UsageError
from ..model.reference import Reference
from .places import Places
from .results_history import DiffLine, DiffReport

__all__ = ["diff"]


def diff(
    places: Places, source: str, targets: Sequence[str], repositories: Sequence[str]
) -> tuple[DiffReport, CiRegistryError | None]:
    """Compare repositories, all of the source's unless some are named; the second part is the error of `--check`."""
    source, targets = source.removesuffix(":"), [name.removesuffix(":") for name in targets]
    opened = places.target(source)
    names = [_repository(text) for text in repositories] or opened.repositories()
    where = []
    pairs = []
    for target in targets:
        there = places.target(target)
        landed = {there.landing(name): name for name in names}
        for repository, name in landed.items():
            where.append((target, repository, name))
            pairs.append(Pair(opened.repository(name), there.repository(repository)))
        for repository in [] if repositories else _others(places, target, set(landed)):
            where.append((target, repository, ""))
            pairs.append(Pair(None, there.repository(repository)))
    found = compare(Workers(places.limiter, places.cancel), pairs)
    lines = [_line(*at, each) for at, differences in zip(where, found, strict=True) for each in differences]
    same = sum(1 for line in lines if line.state == "same")
    report = DiffReport(
        source=source, targets=list(targets), same=same, lines=[line for line in lines if line.state != "same"]
    )
    return report, _failure(report)


def _repository(text: str) -> str:
    reference = Reference.parse_bare(text)
    if reference.tag or reference.digest:
        raise UsageError(
            f"'{text}' names an image, and diff compares repositories", hint=f"write {reference.repository}"
        )
    return reference.repository


def _others(places: Places, target: str, landed: set[str]) -> list[str]:
    """What a target has besides; nothing is said of targets that can't list."""
    try:
        return [name for name in places.target(target).repositories() if name not in landed]
    except CiRegistryError as error:
        places.notify(f"{target} can't be searched for other repositories: {error.message}")
        return []


def _line(target: str, repository: str, name: str, difference: Difference) -> DiffLine:
    return DiffLine(
        state=difference.state,
        target=target,
        repository=repository,
        tag=difference.tag,
        source_repository=name or None,
        source_digest=difference.source,
        digest=difference.destination,
    )


def _failure(report: DiffReport) -> CiRegistryError | None:
    if not report.lines:
        return None
    counts = {
        state: sum(1 for line in report.lines if line.state == state) for state in ("missing", "different", "extra")
    }
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return CheckFailedError(
        f"comparing {report.source} with {', '.join(report.targets)} found differences: {said}",
        hint="promote what is missing",
    )
