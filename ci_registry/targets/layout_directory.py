"""The directory of a layout: whether it is one that we understand, and making one (OCI image-spec, image-layout.md)."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from ..errors import CiRegistryError, InputFileError, NotFoundError, StorageError
from ..model.manifest import dump
from ..model.reference import check_repository
from .disk import TEMPORARY, create_file, disk_errors, make_directory, sync_directory
from .layout_index import EMPTY_INDEX

__all__ = ["LayoutDirectory", "layout_directory"]

_LAYOUT_FILE = dump({"imageLayoutVersion": "1.0.0"})
_LAYOUT_LIMIT = 64 * 1024


def layout_directory(root: Path, repository: str) -> Path:
    """Where a layout tree keeps a repository; raises `ReferenceSyntaxError` for what is no repository name."""
    # The last part can't be a repository's name, so that no repository lies inside another's layout.
    return root / check_repository(repository) / "_layout" if repository else root


class LayoutDirectory:
    """`name` is the place's name in messages. Nothing is made before `begin`."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self._name = path, name
        self._file = path / "oci-layout"
        self._checked = False

    def is_new(self) -> bool:
        return not self._checked and not os.path.exists(self._file)

    def check(self) -> None:
        """Raise `NotFoundError` when there is no layout, `InputFileError` when it is none that we understand."""
        if self._checked:
            return
        try:
            with disk_errors(f"reading {self._name}", self._file), self._file.open("rb") as file:
                content = file.read(_LAYOUT_LIMIT)
        except StorageError as error:
            raise self._no_layout(error) from error
        self._check_version(content)
        self._checked = True

    def _no_layout(self, error: StorageError) -> CiRegistryError:
        if isinstance(error.__cause__, NotADirectoryError):
            return InputFileError(
                f"{self._name} is not an OCI layout: {self.path} is not a directory",
                hint="write oci-archive:FILE for a layout in a tar file",
            )
        if not isinstance(error.__cause__, FileNotFoundError):
            return error
        if self._foreign_names():
            return InputFileError(f"{self._name} is not an OCI layout: {self.path} has no file oci-layout")
        return NotFoundError(f"{self._name} was not found: there is no layout in {self.path}")

    def _foreign_names(self) -> list[str]:
        """What lies in a directory without an oci-layout file, apart from what the first writer leaves on its way."""
        ours = {"index.json", "blobs"}
        try:
            with disk_errors(f"reading {self._name}", self.path), contextlib.suppress(FileNotFoundError):
                names = [path.name for path in self.path.iterdir()]
                return sorted(name for name in names if name not in ours and not name.startswith(TEMPORARY))
        except StorageError as error:
            if not isinstance(error.__cause__, NotADirectoryError):
                raise
        return []

    def _check_version(self, content: bytes) -> None:
        what = f"{self._name} is not an OCI layout"
        try:
            document = json.loads(content)
        except ValueError as error:
            raise InputFileError(f"{what}: {self._file} is not JSON") from error
        version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
        if not isinstance(version, str):
            raise InputFileError(f"{what}: {self._file} has no imageLayoutVersion")
        if version.partition(".")[0] != "1":
            raise InputFileError(f"{what} of a version that this program knows: {self._file} says {version}")

    def begin(self) -> None:
        """Make the layout unless it is there; raises `InputFileError` rather than mix it with other files."""
        with disk_errors(f"writing to {self._name}", self.path):
            make_directory(self.path)
            if not self._file.exists():
                self._make()
            make_directory(self.path / "blobs" / "sha256")
        self.check()

    def _make(self) -> None:
        foreign = self._foreign_names()
        # Another writer may have been quicker; then its oci-layout is what we see.
        if foreign and not self._file.exists():
            raise InputFileError(
                f"writing to {self._name} failed: {self.path} is not an OCI layout and holds other things, "
                f"{foreign[0]} for one",
                hint="name a new or an empty directory",
            )
        # What says that this is a layout comes last: who sees it finds the index.
        create_file(self.path / "index.json", EMPTY_INDEX)
        create_file(self._file, _LAYOUT_FILE)
        sync_directory(self.path)
