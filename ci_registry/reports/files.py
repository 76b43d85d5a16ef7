"""A receipt written to files, in the forms that were asked for."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..engine.receipt import Receipt, dump_receipt
from ..ops.state import write_file
from ..redaction import redact

__all__ = ["write_reports"]


def write_reports(receipt: Receipt, json_file: Path | None, junit_file: Path | None, html_file: Path | None) -> None:
    """Write those that are named; raises `StorageError`."""
    if json_file is not None:
        _write(json_file, dump_receipt(receipt).decode(), "the receipt")
    if junit_file is not None:
        from .junit import junit_xml

        _write(junit_file, junit_xml(receipt), "the JUnit report")
    if html_file is not None:
        from .html import receipt_page

        _write(html_file, receipt_page(receipt), "the page")


def _write(path: Path, text: str, what: str) -> None:
    with contextlib.suppress(OSError):  # writing says better what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, redact(text).encode(), what)
