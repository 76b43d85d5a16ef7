"""Where files of a user lie (XDG Base Directory specification): one rule on every system, which needs no library."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path

__all__ = ["base_folder", "cache_file", "state_file"]

_DEFAULTS = {
    "XDG_CACHE_HOME": "~/.cache",
    "XDG_CONFIG_HOME": "~/.config",
    "XDG_DATA_HOME": "~/.local/share",
    "XDG_STATE_HOME": "~/.local/state",
}


def base_folder(variable: str, environ: Mapping[str, str]) -> str:
    """A base directory, `~` not expanded; the specification says to ignore relative ones."""
    said = environ.get(variable, "")
    return said if said.startswith("/") else _DEFAULTS[variable]


def cache_file(name: str, environ: Mapping[str, str]) -> Path:
    """A file of ours that may be lost at any time."""
    return _file("XDG_CACHE_HOME", name, environ)


def state_file(name: str, environ: Mapping[str, str]) -> Path:
    """A file of ours that is kept between runs."""
    return _file("XDG_STATE_HOME", name, environ)


def _file(variable: str, name: str, environ: Mapping[str, str]) -> Path:
    return Path(os.path.expanduser(base_folder(variable, environ)), "ci-registry", name)
