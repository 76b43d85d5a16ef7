"""Where `ci-registry.yaml` is, and the folders that it and the embedded target have by default."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import ConfigError
from ...user_folders import base_folder
from .texts import expand_user

__all__ = ["FILE_NAME", "SYSTEM_FILE", "find_file", "local_images"]

FILE_NAME = "ci-registry.yaml"
SYSTEM_FILE = Path("/etc/ci-registry/config.yaml")


def find_file(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file to use, or None. Raises `ConfigError` when one that was named does not exist."""
    if explicit is not None:
        return _named(cwd / expand_user(str(explicit), environ), "--config")
    if environ.get("CI_REGISTRY_CONFIG"):
        return _named(cwd / expand_user(environ["CI_REGISTRY_CONFIG"], environ), "CI_REGISTRY_CONFIG")
    places = [*(folder / FILE_NAME for folder in _folders(cwd)), *_user_files(environ), SYSTEM_FILE]
    # Not Path.is_file(), which raises where a folder above may not be entered, such as somebody else's home.
    return next((file for file in places if os.path.isfile(file)), None)


def local_images(environ: Mapping[str, str]) -> str:
    """The folder of the target `local`: below `$XDG_DATA_HOME` (XDG base directory specification), `~` not expanded."""
    return f"{base_folder('XDG_DATA_HOME', environ)}/ci-registry/images"


def _named(file: Path, said_by: str) -> Path:
    if not os.path.lexists(file):
        raise ConfigError(
            f"the configuration {file}, which {said_by} names, does not exist",
            hint="correct the path, or write a first one with `ci-registry init`",
        )
    return file


def _folders(cwd: Path) -> Iterator[Path]:
    """This folder and those above it up to the repository's root; outside a repository only this one.

    Anybody may write into a folder such as /tmp, so above a repository nothing is picked up.
    """
    above = [cwd, *cwd.parents]
    root = next((index for index, folder in enumerate(above) if os.path.exists(folder / ".git")), 0)
    yield from above[: root + 1]


def _user_files(environ: Mapping[str, str]) -> list[Path]:
    """The user's own file; none where the user has no home."""
    with contextlib.suppress(ConfigError):
        return [expand_user(f"{base_folder('XDG_CONFIG_HOME', environ)}/ci-registry/config.yaml", environ)]
    return []
