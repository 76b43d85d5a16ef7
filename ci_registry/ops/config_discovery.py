"""Where `ci-registry.yaml` is, and the folders that it and the embedded target have by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import ConfigError
from .config_texts import expand_user

__all__ = ["FILE_NAME", "SYSTEM_FILE", "find_file", "local_images"]

FILE_NAME = "ci-registry.yaml"
SYSTEM_FILE = Path("/etc/ci-registry/config.yaml")


def find_file(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file to use, or None. Raises `ConfigError` when one that was named does not exist."""
    if explicit is not None:
        return _named(cwd / expand_user(str(explicit), environ), "--config")
    if environ.get("CI_REGISTRY_CONFIG"):
        return _named(cwd / expand_user(environ["CI_REGISTRY_CONFIG"], environ), "CI_REGISTRY_CONFIG")
    places = [*(folder / FILE_NAME for folder in _folders(cwd)), _user_file(environ), SYSTEM_FILE]
    return next((file for file in places if file.is_file()), None)


def local_images(environ: Mapping[str, str]) -> Path:
    """The folder of the target `local`: below `$XDG_DATA_HOME` (XDG base directory specification)."""
    return _base(environ, "XDG_DATA_HOME", "~/.local/share") / "ci-registry" / "images"


def _named(file: Path, said_by: str) -> Path:
    if not file.exists():
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
    root = next((index for index, folder in enumerate(above) if (folder / ".git").exists()), 0)
    yield from above[: root + 1]


def _user_file(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_CONFIG_HOME", "~/.config") / "ci-registry" / "config.yaml"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """A base directory; the specification says to ignore relative ones."""
    said = Path(environ.get(variable, ""))
    return said if said.is_absolute() else expand_user(default, environ)
