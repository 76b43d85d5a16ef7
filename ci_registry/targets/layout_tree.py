"""A tree of layouts: repository `team/app` is the OCI layout in `ROOT/team/app/_layout`."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CiRegistryError, InputFileError
from ..model.reference import check_repository
from .disk import disk_errors
from .layout import LayoutRepository

__all__ = ["LayoutTree"]


class LayoutTree:
    """All layouts below `root`; `shown` is the name that people know the tree by."""

    def __init__(self, root: Path, *, shown: str = "") -> None:
        self.root, self.shown = root, shown

    def repository(self, name: str) -> LayoutRepository:
        """One repository, which need not exist yet; raises `ReferenceSyntaxError` for a name that can't be one."""
        return LayoutRepository(self.root, check_repository(name), shown=self.shown)

    def repositories(self) -> list[str]:
        """The names of all layouts, sorted; none when there is no such directory."""
        what = f"listing {self.shown or self.root}"
        if not os.path.lexists(self.root):
            return []
        if os.path.isfile(self.root):
            raise InputFileError(f"{what} failed: {self.root} is not a directory")
        found = []
        with disk_errors(what, self.root):
            for path, directories, _ in os.walk(self.root, onerror=_raise):
                if "_layout" in directories:
                    directories.remove("_layout")
                    if os.path.exists(f"{path}/_layout/oci-layout"):
                        found.append(os.path.relpath(path, self.root))
        return sorted(name for name in found if _is_name(name))


def _is_name(name: str) -> bool:
    try:
        check_repository(name)
    except CiRegistryError:
        return False
    return True


def _raise(error: OSError) -> None:
    raise error
