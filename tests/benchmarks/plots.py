"""Plots as SVG, drawn by hand: bars of what was found against its goal, and curves over the number of tags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .rows import Goal, Result, Row

__all__ = ["plots"]

_WIDTH, _LABEL, _BAR = 860, 430, 330
_LINE = 20
_MET, _SHORT = "#2e7d32", "#c62828"
_LINE_COLOUR = "#1565c0"
_STYLE = "font-family='sans-serif' font-size='12'"


def plots(rows: Sequence[Row], results: Mapping[str, Result]) -> dict[str, str]:
    """File names and their SVG."""
    drawn = {"ratios.svg": _ratios(rows, results)}
    for row in rows:
        for name, points in results[row.name].curves.items():
            drawn[f"{row.name}-{name.partition(' ')[0]}.svg"] = _curve(name, points)
    return drawn


# -- bars ------------------------------------------------------------------------------------------------------------


def _ratios(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """A bar for each goal, as long as what was found is of what is allowed; the line is the goal."""
    bars = [(row, goal) for row in rows for goal in results[row.name].goals if goal.value is not None]
    shapes = [_text(4, 16, "Found, as a part of what the goal allows (the line; shorter is better)", bold=True)]
    for number, (row, goal) in enumerate(bars):
        shapes.append(_bar(row, goal, 30 + number * _LINE))
    height = 40 + len(bars) * _LINE
    at = _LABEL + _BAR / 2
    shapes.append(f"<line x1='{at}' x2='{at}' y1='26' y2='{height - 8}' stroke='#333'/>")
    return _svg(height, shapes)


def _bar(row: Row, goal: Goal, top: float) -> str:
    share = (goal.value or 0.0) / goal.limit if goal.limit else (0.0 if goal.met else 2.0)
    length = max(1.0, min(share, 2.0) * _BAR / 2)
    colour = _MET if goal.met else _SHORT
    label = _text(_LABEL - 6, top + 13, f"{row.name}: {goal.text}", anchor="end")
    bar = f"<rect x='{_LABEL}' y='{top + 2}' width='{length:.1f}' height='{_LINE - 6}' fill='{colour}'/>"
    return label + bar + _text(_LABEL + _BAR + 8, top + 13, goal.shown)


# -- curves ----------------------------------------------------------------------------------------------------------

_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 70, 40, 720, 300


def _curve(name: str, points: Sequence[tuple[float, float]]) -> str:
    """One line through (x, y) points over a zero-based grid."""
    most_x, most_y = max(x for x, _ in points), _round_up(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / most_x * _PLOT_WIDTH, _TOP + _PLOT_HEIGHT * (1 - y / most_y)

    shapes = [_text(4, 18, name, bold=True)]
    for step in range(5):
        value = most_y * step / 4
        _, height = place(0, value)
        shapes.append(
            f"<line x1='{_LEFT}' x2='{_LEFT + _PLOT_WIDTH}' y1='{height:.1f}' y2='{height:.1f}' stroke='#ddd'/>"
        )
        shapes.append(_text(_LEFT - 6, height + 4, f"{value:g}", anchor="end"))
    placed = [place(x, y) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    shapes.append(f"<polyline points='{path}' fill='none' stroke='{_LINE_COLOUR}' stroke-width='2'/>")
    for (x, y), (tags, value) in zip(placed, points, strict=True):
        shapes.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{_LINE_COLOUR}'/>")
        shapes.append(_text(x, y - 8, f"{value:.3g}", anchor="end"))
        shapes.append(_text(x, _TOP + _PLOT_HEIGHT + 18, f"{tags:g}", anchor="middle"))
    return _svg(_TOP + _PLOT_HEIGHT + 40, shapes)


def _round_up(value: float) -> float:
    """The next number that reads well on an axis."""
    if value <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in (1, 2, 4, 5, 8, 10) if value <= step * scale)


# -- SVG -------------------------------------------------------------------------------------------------------------


def _text(x: float, y: float, text: str, anchor: str = "start", bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'{weight}>{escape(text)}</text>"


def _svg(height: float, shapes: Sequence[str]) -> str:
    size = f"width='{_WIDTH}' height='{height:.0f}' viewBox='0 0 {_WIDTH} {height:.0f}'"
    background = "<rect width='100%' height='100%' fill='white'/>"
    inside = "\n".join([background, *shapes])
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {_STYLE}>\n{inside}\n</svg>\n"
