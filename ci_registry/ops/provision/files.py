"""A folder as a plan: which files it is to hold, what of that is there already, and writing the rest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ...errors import StorageError, UsageError
from ...redaction import shown

__all__ = ["MARKER", "Outcome", "PlannedFile", "claim_folder", "compare", "marker_file", "remove_files", "write_files"]

MARKER = "provision.json"
"""The file that says a folder is ours, and what it was made from."""

Outcome = Literal["created", "changed", "unchanged"]


class PlannedFile(Struct, frozen=True):
    """A file of the folder; `path` is relative to it. What is `is_secret` is never shown and gets mode 0600."""

    path: str
    content: bytes
    is_secret: bool = False
    owner: int | None = None
    """The user id that a container reads it as, where that is not root; it is set when root writes the folder."""
    is_open: bool = False
    """Readable for everybody all the same: a password's hash that a server's unprivileged worker must read."""

    def __repr__(self) -> str:
        return shown(self, "path", "is_secret", "owner", "is_open")

    @property
    def mode(self) -> int:
        return 0o600 if self.is_secret and not self.is_open else 0o644


def marker_file(role: str, name: str, said: dict[str, object]) -> PlannedFile:
    """The folder's own description, with the options that made it."""
    document = {"made_by": "ci-registry provision", "role": role, "name": name, "options": said}
    return PlannedFile(MARKER, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())


def claim_folder(folder: Path, role: str) -> None:
    """Refuse a folder that holds something else. Raises `UsageError`."""
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return
        said = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError):
        said = {}
    if said.get("made_by") != "ci-registry provision":
        raise UsageError(
            f"the folder {folder} exists and was not made by `ci-registry provision`, so nothing is written there",
            hint="name another with --folder",
        )
    if said.get("role") != role:
        raise UsageError(
            f"the folder {folder} was made by `ci-registry provision {said.get('role')}`, not for {role}",
            hint="name another with --folder",
        )


def compare(folder: Path, file: PlannedFile) -> Outcome:
    """What writing the file would do."""
    path = folder / file.path
    try:
        if not path.exists():
            return "created"
        same = path.read_bytes() == file.content and path.stat().st_mode & 0o777 == file.mode
    except OSError as error:
        raise _failed("reading", path, error) from error
    return "unchanged" if same else "changed"


def write_files(folder: Path, files: Iterable[PlannedFile]) -> dict[str, Outcome]:
    """Write what is missing or different, each file in one step; answers what was done to each."""
    return {file.path: _write(folder, file) for file in files}


def _write(folder: Path, file: PlannedFile) -> Outcome:
    outcome = compare(folder, file)
    path = folder / file.path
    if outcome != "unchanged":
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, file)
        except OSError as error:
            raise _failed("writing", path, error) from error
    return outcome


def _replace(path: Path, file: PlannedFile) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.content)
            os.fchmod(stream.fileno(), file.mode)
            if file.owner is not None and os.geteuid() == 0:
                os.fchown(stream.fileno(), file.owner, file.owner)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def remove_files(folder: Path, files: Iterable[str], folders: Iterable[str] = ()) -> list[str]:
    """Remove these files and whole sub-folders, then what is empty; answers what was there."""
    gone = []
    try:
        for name in folders:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
                gone.append(f"{name}/")
        for name in files:
            if (folder / name).exists():
                (folder / name).unlink()
                gone.append(name)
        _remove_empty(folder)
    except OSError as error:
        raise _failed("removing", folder, error) from error
    return gone


def _remove_empty(folder: Path) -> None:
    if not folder.is_dir():
        return
    for below in sorted(folder.rglob("*"), reverse=True):
        if below.is_dir() and not any(below.iterdir()):
            below.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def _failed(action: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"{action} {path} failed: {error.strerror or error}", hint="check the folder's permissions")
