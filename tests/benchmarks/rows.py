"""The words of a result: goals with what was found, and rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .measuring import Bench, Series

__all__ = ["Goal", "Result", "Row", "ratio", "time_ratio"]

_UNITS: dict[str, Callable[[float], str]] = {
    "ratio": lambda value: f"{value:.2f}" if value >= 0.1 else f"{value:.3f}",
    "seconds": lambda value: f"{value:.2f} s",
    "MiB": lambda value: f"{value:.0f} MiB",
    "count": lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}",
}


@dataclass(frozen=True)
class Goal:
    """Something to be reached: `value` is what was found, None where it could not be measured."""

    text: str
    limit: float
    value: float | None
    unit: str = "ratio"

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value <= self.limit

    @property
    def shown(self) -> str:
        """The value in its unit."""
        return "" if self.value is None else _UNITS[self.unit](self.value)

    @property
    def verdict(self) -> str:
        """`met`, by how much it falls short, or `not measured`."""
        if self.value is None:
            return "not measured"
        if self.value <= self.limit:
            return "met"
        return f"short by {100 * (self.value / self.limit - 1):.0f} %"


@dataclass
class Result:
    """What a row found. `curves` are lines to plot: name to (x, y) pairs."""

    series: dict[str, Series] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table of goals. `only_full`: part of `make bench-full` alone."""

    name: str
    title: str
    measure: Callable[[Bench], Result]
    only_full: bool = False


def ratio(value: float, other: float | None) -> float | None:
    return None if other is None or other == 0 else value / other


def time_ratio(series: Mapping[str, Series], ours: str, peer: str) -> float | None:
    """Our median wall time over that of a peer; None where the peer was not run."""
    return ratio(series[ours].seconds, series[peer].seconds) if peer in series else None
