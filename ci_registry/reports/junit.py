"""A receipt as JUnit XML: a suite for each target, a case for each arrival there."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from ..engine.plan import reference_text
from ..engine.receipt import Receipt, ReceiptLine

__all__ = ["junit_xml"]

# Characters that XML 1.0 can't hold; a registry's message may have any.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SKIPPED = ("not-run", "content")


def junit_xml(receipt: Receipt) -> str:
    """The document. What was put back counts as failed, what was not done as skipped."""
    by_target: dict[str, list[tuple[str, ReceiptLine]]] = {}
    for edge in receipt.edges:
        for line in edge.arrivals:
            by_target.setdefault(line.target, []).append((edge.source, line))
    top = Xml.Element("testsuites", name=_clean(f"promotion {receipt.promotion or ''}".strip()))
    for target, lines in by_target.items():
        _suite(top, receipt, target, lines)
    Xml.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(top, encoding="unicode") + "\n"


def _suite(top: Xml.Element, receipt: Receipt, target: str, lines: list[tuple[str, ReceiptLine]]) -> None:
    failures = sum(1 for _, line in lines if _failure(line))
    skipped = sum(1 for _, line in lines if line.outcome in _SKIPPED)
    suite = Xml.SubElement(
        top,
        "testsuite",
        name=_clean(target),
        tests=str(len(lines)),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
        timestamp=receipt.started,
    )
    for source, line in lines:
        _case(suite, source, line)


def _case(suite: Xml.Element, source: str, line: ReceiptLine) -> None:
    name = reference_text(line.target, line.repository, line.tag, line.after)
    case = Xml.SubElement(suite, "testcase", classname=_clean(f"promotion.{line.target}"), name=_clean(name))
    failure = _failure(line)
    if failure:
        Xml.SubElement(case, "failure", message=_clean(failure), type=line.error.code if line.error else line.outcome)
    elif line.outcome in _SKIPPED:
        Xml.SubElement(case, "skipped", message=line.outcome)
    out = Xml.SubElement(case, "system-out")
    record = f", record {line.record}" if line.record else ""
    out.text = _clean(f"{source}: {line.outcome}, before {line.before or 'nothing'}, after {line.after}{record}")


def _failure(line: ReceiptLine) -> str:
    if line.error is not None:
        return line.error.message
    return f"put back to {line.before}" if line.outcome == "put-back" else ""


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)
