"""Examples in documents: the fenced `sh` blocks of a Markdown file, and a shell in which they can be run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "blocks", "launcher", "run_script"]

ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = {"ci-registry": "ci_registry", "docker-credential-ci-registry": "ci_registry.cli.docker_credential"}
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str = "sh") -> list[str]:
    """The fenced blocks of one language, in order."""
    return [text for name, text in _FENCE.findall(document.read_text(encoding="utf-8")) if name == language]


def launcher(folder: Path) -> Path:
    """A folder to put first on PATH, in which the programs of this checkout are."""
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, module in _PROGRAMS.items():
        program = programs / name
        call = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m {module} "$@"'
        program.write_text(f"#!/bin/sh\n{call}\n", encoding="utf-8")
        program.chmod(0o755)
    return programs


def run_script(script: str, folder: Path, programs: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run shell lines in a folder; the first that fails ends it."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
