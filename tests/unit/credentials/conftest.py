"""Secrets of one test must not be masked in the messages of the next."""

from __future__ import annotations

import pytest

from ci_registry import redaction


@pytest.fixture(autouse=True)
def _own_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_process", redaction.Redactor())
