"""The program's start and end: signals, the answer on stdout, exit codes, and the last sentence on stderr.

Kept apart from the commands so that `--version` costs no more than the interpreter itself.
"""

from __future__ import annotations

import atexit
import gc
import sys

__all__ = ["main"]

_COLLECT_EVERY = 50_000
"""New objects between two searches for cycles."""


def main(arguments: list[str] | None = None) -> int:
    """Run `ci-registry`; returns the exit code. The console script passes it to `sys.exit`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        from .._version import __version__

        sys.stdout.write(f"ci-registry {__version__}\n")
        return 0
    if arguments[:1] == ["--arguments-from"]:
        from .step import run_from

        return run_from(arguments[1:])
    # What is imported and read stays until the end: looking through it, again and again and once more when the
    # interpreter ends, is a fifth of a short run.
    gc.set_threshold(_COLLECT_EVERY)
    atexit.register(gc.freeze)
    from .main import run

    return run(arguments)
