"""The program's start and end: signals, the answer on stdout, exit codes, and the last sentence on stderr.

Kept apart from the commands so that `--version` costs no more than the interpreter itself.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import NoReturn

__all__ = ["main", "script"]

_COLLECT_EVERY = 50_000
"""New objects between two searches for cycles."""


def main(arguments: list[str] | None = None) -> int:
    """Run `ci-registry`; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        from .._version import __version__

        sys.stdout.write(f"ci-registry {__version__}\n")
        return 0
    if arguments[:1] == ["--arguments-from"]:
        from .step import run_from

        return run_from(arguments[1:])
    # What is imported and read stays until the end: looking through it, again and again, is a tenth of a short run.
    gc.set_threshold(_COLLECT_EVERY)
    from .main import run

    return run(arguments)


def script() -> NoReturn:
    """The console script: `main`, and then the end, without the interpreter taking itself apart.

    That frees, one by one, thousands of objects whose memory is about to be gone; it would be a twentieth of a short
    run. What was registered for the end of the process is called as ever.
    """
    code = main()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # the interpreter's own end says what is wrong
    os._exit(code)
