"""The command reference says what the program says."""

from .commands import DOCUMENT, render


def test_the_command_reference_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "run: python -m tests.docs.commands"
