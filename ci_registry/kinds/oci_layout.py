"""kind: oci-layout. A folder tree in which each repository is an ordinary OCI image layout."""

from __future__ import annotations

from pathlib import Path

from ..targets.layout import LayoutRepository
from ..targets.layout_tree import LayoutTree
from .naming import landing
from .settings import LayoutTarget

__all__ = ["LayoutKind"]


class LayoutKind:
    """Implements `kinds.base.OpenTarget` for a layout tree."""

    credential_host = ""

    def __init__(self, settings: LayoutTarget) -> None:
        self.settings = settings
        self._tree = LayoutTree(Path(settings.path), shown=settings.name)

    @property
    def name(self) -> str:
        return self.settings.name

    def landing(self, path: str) -> str:
        return landing(self.settings, path)

    def repository(self, name: str, *, writing: bool = False) -> LayoutRepository:  # noqa: ARG002 - the same for both
        return self._tree.repository(name)

    def repositories(self) -> list[str]:
        return self._tree.repositories()

    def prepare_repository(self, name: str) -> None:
        """A layout is made when its first blob is written."""

    def close(self) -> None:
        """Nothing is kept open."""
