"""All that doctor can find: code, severity, meaning and cure of each, with {places} for what this case fills in.

The table in docs/doctor.md is made from this.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from msgspec import Struct

from .findings import Cure, CureKind, Finding, Severity

__all__ = ["Entry", "Remedy", "do", "edit", "entries", "find", "put", "run"]


class Remedy(Struct, frozen=True):
    """A cure with places still open. One whose places are not all filled in does not fit the case and is left out.

    A place may stand for several lines.
    """

    kind: CureKind
    lines: tuple[str, ...]
    where: str = ""

    def fill(self, values: dict[str, str]) -> Cure | None:
        try:
            lines = [part for line in self.lines for part in line.format_map(values).split("\n")]
            return Cure(kind=self.kind, lines=lines, where=self.where.format_map(values))
        except KeyError:
            return None


class Entry(Struct, frozen=True):
    """One thing that can be found. `exit` is the exit code of an error: 2, 3, 4 or 7."""

    code: str
    step: str
    severity: Severity
    title: str
    meaning: str
    remedies: tuple[Remedy, ...]
    exit: int = 0


def do(*lines: str) -> Remedy:
    return Remedy("do", lines)


def run(*lines: str, where: str = "") -> Remedy:
    return Remedy("run", lines, where)


def put(*lines: str) -> Remedy:
    """Keys of the target in ci-registry.yaml."""
    return Remedy("set", lines, "targets.{target}")


def edit(where: str, *lines: str) -> Remedy:
    return Remedy("edit", lines, where)


@cache
def entries() -> dict[str, Entry]:
    """Every entry by its code."""
    return {entry.code: entry for entry in _all()}


def _all() -> Iterator[Entry]:
    from . import catalog_connecting, catalog_kinds, catalog_login, catalog_machine, catalog_service, catalog_trust

    yield from catalog_connecting.ENTRIES
    yield from catalog_trust.ENTRIES
    yield from catalog_service.ENTRIES
    yield from catalog_login.ENTRIES
    yield from catalog_kinds.ENTRIES
    yield from catalog_machine.ENTRIES


def find(code: str, seen: str, **values: object) -> Finding:
    """A finding of this case. What `values` leaves open in a remedy drops that remedy; the meaning needs all of its."""
    entry = entries()[code]
    texts = {name: str(value) for name, value in values.items() if value not in (None, "")}
    filled = [cure for remedy in entry.remedies if (cure := remedy.fill(texts)) is not None]
    return Finding(
        step=entry.step,
        severity=entry.severity,
        seen=seen,
        code=code,
        meaning=entry.meaning.format_map(texts),
        cures=filled,
        exit=entry.exit,
    )
