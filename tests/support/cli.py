"""The command line, run in this process: much cheaper than a new interpreter for each call."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

from ci_registry.cli.entry import main
from ci_registry.ops.schemas import schema_of

__all__ = ["Ran", "run_cli"]


@dataclass
class Ran:
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of stderr."""
        return self.err.rstrip("\n").rpartition("\n")[2]

    @property
    def document(self) -> dict[str, Any]:
        """The one document on stdout, checked against its published schema."""
        document: dict[str, Any] = json.loads(self.out)
        jsonschema.validate(document, schema_of(document["schema"]))
        return document

    @property
    def result(self) -> Any:
        return self.document["result"]


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: bytes = b"") -> Ran:
    """Run `ci-registry` with these arguments; stdout and stderr are no terminals."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        code = main(list(arguments))
    out.flush()
    err.flush()
    return Ran(code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "surrogateescape")
