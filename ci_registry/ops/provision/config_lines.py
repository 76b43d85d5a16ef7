"""Lines for `ci-registry.yaml`: shown, or inserted as text so that comments and order stay as somebody wrote them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from ...errors import ConfigError, StorageError
from ..config import Config
from ..config.document import Document, read_document
from .plan import TargetLines

__all__ = ["Insertion", "insert_targets", "targets_text"]

_PATH_KEYS = ("ca", "client_cert", "client_key", "password_file", "path")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:@-]*")


class Insertion(Struct, frozen=True):
    """What became of the lines. `outcome`: inserted, unchanged, or refused, with the `reason`."""

    file: Path
    outcome: str
    reason: str = ""


def targets_text(targets: Mapping[str, TargetLines], base: Path, *, indent: str = "  ", heading: bool = True) -> str:
    """The lines below `targets:`; paths below `base` are made relative to it."""
    lines = ["targets:"] if heading else []
    for name, keys in targets.items():
        lines.append(f"{indent}{name}:")
        lines += [f"{indent * 2}{key}: {_scalar(_relative(key, value, base))}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def insert_targets(file: Path, targets: Mapping[str, TargetLines]) -> Insertion:
    """Put the targets into the file, and read it again: all else must mean what it meant before.

    A target that is there already is left alone, whether it is the same or not. Raises `ConfigError` for a file that
    is not a configuration, `StorageError` when it can't be written.
    """
    before = read_document(file) if file.exists() else Document({}, file)
    known = (before.data or {}).get("targets") or {} if isinstance(before.data or {}, dict) else {}
    there = [name for name in targets if name in known]
    if there:
        same = all(known[name] == _values(targets[name], file.parent) for name in there) and len(there) == len(targets)
        reason = "" if same else f"it has a target '{there[0]}' that says something else"
        return Insertion(file, "unchanged" if same else "refused", reason)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    changed = _with_lines(text, before, targets, file.parent)
    wanted = {**(before.data or {}), "targets": {**known, **{k: _values(v, file.parent) for k, v in targets.items()}}}
    return _replace(file, changed, wanted)


def _with_lines(text: str, document: Document, targets: Mapping[str, TargetLines], base: Path) -> str:
    if "targets" not in document.lines:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{targets_text(targets, base)}"
    lines = text.splitlines(keepends=True)
    at = document.lines["targets"]
    first = min((n for path, n in document.lines.items() if re.fullmatch(r"targets\.[^.]+", path)), default=0)
    indent = re.match(r" *", lines[first - 1]).group() if first > at else "  "  # type: ignore[union-attr]  # always fits
    new = targets_text(targets, base, indent=indent or "  ", heading=False)
    return "".join([*lines[:at], new, *lines[at:]])


def _replace(file: Path, changed: str, wanted: dict[str, Any]) -> Insertion:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(changed, encoding="utf-8")
        if file.exists():
            os.chmod(temporary, file.stat().st_mode & 0o777)
        reason = _difference(temporary, wanted)
        if reason:
            return Insertion(file, "refused", reason)
        os.replace(temporary, file)
    except OSError as error:
        raise StorageError(f"writing {file} failed: {error.strerror}", hint="check the folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Insertion(file, "inserted")


def _difference(temporary: Path, wanted: dict[str, Any]) -> str:
    """Why the changed file does not say what it is to say; "" when it does."""
    try:
        document = read_document(temporary)
        Config(document)
    except ConfigError as error:
        return f"with these lines it could not be read any more ({error.message.replace(temporary.name, '')})"
    return "" if document.data == wanted else "the lines would change something else in it"


def _values(keys: TargetLines, base: Path) -> dict[str, str]:
    return {key: _relative(key, value, base) for key, value in keys.items()}


def _relative(key: str, value: str, base: Path) -> str:
    """A path as seen from the file's folder, where it lies below it."""
    if key not in _PATH_KEYS:
        return value
    try:
        return str(Path(value).resolve().relative_to(base.resolve()))
    except ValueError:
        return value


def _scalar(text: str) -> str:
    """Plain where YAML takes it for a text and nothing else, in quotes otherwise."""
    plain = _PLAIN.fullmatch(text) and not re.fullmatch(r"[0-9._:-]+|(?i:true|false|yes|no|on|off|null)", text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
