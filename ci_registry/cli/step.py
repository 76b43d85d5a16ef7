"""`ci-registry --arguments-from NAME`: a command line out of an environment variable.

A build script can then be one fixed text, and no value in it, a branch's name or an approver's answer, ever meets a
shell. The variable holds JSON, `{"arguments": ["push", "--target=dev", ...]}`.
"""

from __future__ import annotations

import json
import os

from ..errors import UsageError
from .output import Output

__all__ = ["run_from"]


def run_from(names: list[str]) -> int:
    """Run the command in the variable of that one name; returns the exit code."""
    from .main import run

    try:
        arguments = _arguments(names)
    except UsageError as error:
        output = Output()
        output.failed(error)
        output.last_words(error)
        return error.exit_code
    return run(arguments)


def _arguments(names: list[str]) -> list[str]:
    if len(names) != 1:
        raise UsageError("--arguments-from takes one name and nothing else", hint="name an environment variable")
    text = os.environ.pop(names[0], None)
    if text is None:
        raise UsageError(f"the environment variable {names[0]} is not set", hint='set it to {"arguments": [...]}')
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    arguments = document.get("arguments") if isinstance(document, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise UsageError(
            f"the environment variable {names[0]} is not a command line", hint='set it to {"arguments": [...]}'
        )
    return arguments
