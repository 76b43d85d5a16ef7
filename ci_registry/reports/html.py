"""A receipt as a page of its own, readable with every style and script blocked, as Jenkins does with archived files."""

from __future__ import annotations

import re

from ..engine.plan import reference_text
from ..engine.receipt import Receipt
from .promotion_text import OUTCOME_WORDS, receipt_summary, short

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
    environment.filters["breakable"] = _breakable
    template = environment.get_template("receipt.html.j2")
    return template.render(
        receipt=receipt,
        summary=receipt_summary(receipt),
        colour=lambda outcome: _COLOURS.get(outcome, _WAITING),
        words=OUTCOME_WORDS,
        name=lambda line: reference_text(line.target, line.repository, line.tag, short(line.after)),
    )


def _breakable(text: str) -> object:
    """Escaped text that a narrow page may break after each mark, and within a digest."""
    from markupsafe import Markup, escape

    pieces = re.findall(r"[0-9a-f]{16}(?=[0-9a-f]{16})|[^/:@.-]*[/:@.-]|.+?(?=[0-9a-f]{32}|[/:@.-]|$)", text, re.DOTALL)
    return Markup("<wbr>").join(escape(piece) for piece in pieces)
