"""A receipt as a page of its own, readable with every style and script blocked, as Jenkins does with archived files."""

from __future__ import annotations

from ..engine.plan import reference_text
from ..engine.receipt import Receipt
from .promotion_text import receipt_summary, short

__all__ = ["receipt_page"]

_COLOURS = {"promoted": "#d7f0d7", "unchanged": "#eeeeee", "failed": "#f6cfcf", "put-back": "#f6cfcf"}
_WAITING = "#fdf1c9"


def receipt_page(receipt: Receipt) -> str:
    """The page. Colours are attributes of old, since a content security policy blocks style sheets in the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ci_registry.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    template = environment.get_template("receipt.html.j2")
    return template.render(
        receipt=receipt,
        summary=receipt_summary(receipt),
        colour=lambda outcome: _COLOURS.get(outcome, _WAITING),
        name=lambda line: reference_text(line.target, line.repository, line.tag, short(line.after)),
    )
