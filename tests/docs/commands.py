"""docs/commands.md, made from the help texts: `python -m tests.docs.commands` writes it, a test checks it."""

from __future__ import annotations

import click

from ci_registry.cli.main import cli
from tests.support.examples import ROOT

__all__ = ["DOCUMENT", "render"]

DOCUMENT = ROOT / "docs" / "commands.md"
_HEAD = """\
# Commands

The help of every command, as `ci-registry COMMAND --help` prints it. Made by `python -m tests.docs.commands`.
Completion: `eval "$(_CI_REGISTRY_COMPLETE=bash_source ci-registry)"`, and likewise for zsh and fish.
"""


def render() -> str:
    """The document's text."""
    return "\n".join([_HEAD, *_sections(cli, "ci-registry")])


def _sections(command: click.Command, words: str) -> list[str]:
    # The names of the help option are the group's setting, and click keeps the option that it made first.
    names = ["-h", "--help"]
    context = click.Context(
        command, info_name=words, terminal_width=100, max_content_width=100, help_option_names=names
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    found = [f"## {words}\n\n```text\n{text}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += _sections(inner, f"{words} {name}")
    return found


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
