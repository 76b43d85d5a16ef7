"""Credential helper programs for tests: small shell scripts in a folder that is put on PATH."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["helper_environ", "write_helper"]


def write_helper(folder: Path, name: str, script: str) -> Path:
    """Write `docker-credential-NAME`; in the script `$1` is the action, stdin the request."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def helper_environ(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which helpers of the folder are found and no configuration of this machine is."""
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), **more}
