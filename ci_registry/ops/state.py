"""Files beside a promotion: the plan, its journal, receipts.

The journal `PLAN.journal` holds one JSON document a line, private to its owner: upload sessions to go on with, and how
far each tag is. Lines are only added, so a process that is killed loses nothing that it had noted.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from ..engine.apply import now_text
from ..engine.plan import Plan, dump_plan, plan_digest, read_plan
from ..errors import ConflictError, IntegrityError, StorageError, UsageError
from ..model.descriptor import Descriptor, Digest
from ..targets.base import Location, Session

__all__ = ["MemoryJournal", "PlanJournal", "load_plan", "read_bytes", "save_plan", "write_file"]

VERSION = 1
_PLAN_LIMIT = 256 * 1024 * 1024


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file; raises `UsageError` when there is none, `StorageError` when it can't be read."""
    try:
        if path.stat().st_size > _PLAN_LIMIT:
            raise UsageError(f"reading {what} failed: {path} is far too big to be one")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"reading {what} failed: there is no file {path}", hint="check the path") from error
    except OSError as error:
        raise StorageError(f"reading {what} {path} failed: {error.strerror}") from error


def write_file(path: Path, content: bytes, what: str) -> None:
    """Write a file so that it is there whole or not at all."""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"writing {what} to {path} failed: {error.strerror}") from error


def save_plan(plan: Plan, path: Path) -> Digest:
    """Write a plan; returns its name, the sha256 of the file."""
    content = dump_plan(plan)
    write_file(path, content, "the plan")
    return plan_digest(content)


def load_plan(path: Path, expected: str | None = None) -> tuple[Plan, Digest]:
    """Read a plan and its name. Raises `IntegrityError` when it is not the one `expected`."""
    content = read_bytes(path, "the plan")
    digest = plan_digest(content)
    if expected is not None and Digest(expected) != digest:
        raise IntegrityError(
            f"{path} is not the plan that was expected: it is {digest}, and {Digest(expected)} was to be applied",
            hint="apply the file that was approved, or have this one approved",
        )
    return read_plan(content, str(path)), digest


class MemoryJournal:
    """For a promotion without a plan's file: nothing outlives the process."""

    def __init__(self) -> None:
        self.begun = now_text()
        self._states: dict[str, str] = {}

    def state(self, key: str) -> str:
        return self._states.get(key, "")

    def note(self, key: str, state: str) -> None:
        self._states[key] = state


class PlanJournal:
    """The journal beside a plan. Use it in a `with` block: it is locked meanwhile, against a second apply.

    `shared` is for shards, of which many run at the same time. A journal of another plan is set aside; `notes` says so.
    """

    def __init__(self, plan_path: Path, plan: Digest, *, fresh: bool = False, shared: bool = False) -> None:
        self.path = plan_path.with_name(plan_path.name + ".journal")
        self._plan, self._fresh, self._shared = str(plan), fresh, shared
        self._lock = threading.Lock()
        self._fd = -1
        self.begun = now_text()
        self.notes: list[str] = []
        self._states: dict[str, str] = {}
        self._sessions: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> PlanJournal:
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._claim()
            self._begin()
        except OSError as error:
            self._close()
            raise StorageError(f"opening the journal {self.path} failed: {error.strerror}") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _claim(self) -> None:
        kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"applying the plan was refused: another process is applying it ({self.path} is locked)",
                hint="wait for it, and apply again if it fails",
            ) from error

    def _begin(self) -> None:
        lines = self._read()
        header = lines[0] if lines else {}
        if lines and (header.get("journal") != VERSION or header.get("plan") != self._plan):
            self.notes.append(f"{self.path} was about another plan, and is begun anew")
            self._fresh = True
        if self._fresh and lines:
            os.ftruncate(self._fd, 0)
            lines = []
        if not lines:
            self._add({"journal": VERSION, "plan": self._plan, "begun": self.begun})
            return
        self._end_torn_line()
        self.begun = str(header.get("begun") or self.begun)
        for line in lines[1:]:
            self._take(line)

    def _read(self) -> list[dict[str, Any]]:
        with open(self.path, "rb") as file:
            content = file.read()
        lines = []
        for text in content.splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the last line of a process that was killed while it wrote
            if isinstance(line, dict):
                lines.append(line)
        return lines

    def _end_torn_line(self) -> None:
        """So that what is added now is not taken for the rest of a line that was never finished."""
        size = os.fstat(self._fd).st_size
        if os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def _take(self, line: dict[str, Any]) -> None:
        if "tag" in line:
            self._states[str(line["tag"])] = str(line.get("state"))
        elif "opened" in line:
            self._sessions[str(line["opened"])] = dict(line.get("session") or {})
        elif "closed" in line:
            self._sessions.pop(str(line["closed"]), None)

    def _add(self, line: dict[str, Any]) -> None:
        # One write for a line: what is written to a file that is only added to stays whole beside other writers, and
        # outlives this process without being forced to the disk.
        os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    # -- upload sessions -----------------------------------------------------------------------------------------

    def session(self, where: Location, descriptor: Descriptor) -> Session | None:
        with self._lock:
            return self._sessions.get(_upload(where, descriptor))

    def opened(self, where: Location, descriptor: Descriptor, session: Session) -> None:
        with self._lock:
            self._add({"opened": _upload(where, descriptor), "session": dict(session)})

    def closed(self, where: Location, descriptor: Descriptor) -> None:
        with self._lock:
            self._sessions.pop(_upload(where, descriptor), None)
            self._add({"closed": _upload(where, descriptor)})

    # -- tags ----------------------------------------------------------------------------------------------------

    def state(self, key: str) -> str:
        with self._lock:
            return self._states.get(key, "")

    def note(self, key: str, state: str) -> None:
        with self._lock:
            self._states[key] = state
            self._add({"tag": key, "state": state})

    def finish(self) -> None:
        """Nothing is left to go on with."""
        self.path.unlink(missing_ok=True)


def _upload(where: Location, descriptor: Descriptor) -> str:
    return f"{where.store} {where.repository} {descriptor.digest}"
