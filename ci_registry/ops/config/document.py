"""The YAML file as plain data with the line of every key, so that each message can say where.

YAML 1.1 through PyYAML's safe loader, with two rules of our own: a key may stand only once in a mapping, and the file
holds one document. Messages never quote the file's text, as a password could be on that line; and since the foreign
exceptions do, they are not kept as causes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ...errors import ConfigError

if TYPE_CHECKING:
    import yaml

__all__ = ["Document", "read_document"]

_LARGEST_BYTES = 4 << 20


class Document(Struct, frozen=True):
    """`data` as it stands in `file` (None: made in Python); `lines` maps dotted paths to line numbers from 1."""

    data: Any
    file: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def error(self, path: str, what: str, *, hint: str = "") -> ConfigError:
        """`what` continues the sentence that begins with the path, such as "is missing"."""
        return ConfigError(f"{self._where(path)}{path or 'the configuration'} {what}", path=path, hint=hint)

    def _where(self, path: str) -> str:
        if self.file is None:
            return ""
        while path and path not in self.lines:
            path = path.rpartition("[" if path.endswith("]") else ".")[0]
        return f"{self.file}, line {self.lines[path]}: " if path in self.lines else f"{self.file}: "


def read_document(file: Path) -> Document:
    """Read a file. Raises `ConfigError` when it can't be read or is not YAML, naming line and column."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"the configuration {file} can't be read: {error.strerror}", hint="check the path and its permissions"
        ) from error
    if len(raw) > _LARGEST_BYTES:
        raise ConfigError(f"the configuration {file} is larger than 4 MiB", hint="check that it is the right file")
    return _parse(file, _decode(file, raw))


def _decode(file: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}, line {line}: the text is not UTF-8 (byte 0x{raw[error.start]:02x})", hint="save it as UTF-8"
        ) from None


def _parse(file: Path, text: str) -> Document:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, file)
        lines = dict(_lines(file, node))
        return Document(_construct(file, loader, node), file, lines)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(file, text, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{file}, line {line}: a control character stands in the text", hint="remove it") from None
    finally:
        loader.dispose()


def _construct(file: Path, loader: Any, node: yaml.Node) -> object:
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError, AttributeError, RecursionError):
        # What PyYAML's constructors raise for 2024-13-40, `!!int x`, `!!bool x`, `!!timestamp x`, a bottomless file.
        raise ConfigError(
            f"{file}: a value is not what it looks like or its tag says, such as a date with a thirteenth month",
            hint="put texts that look like dates or numbers in quotes, and leave out tags (!!int)",
        ) from None


def _syntax_error(file: Path, text: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    parts = [_without_quotes(part) for part in (error.context, error.problem) if part]
    return ConfigError(
        f"{file}{where}: not valid YAML: {', '.join(parts)}",
        hint=_cure(text, error),
    )


def _cure(text: str, error: yaml.MarkedYAMLError) -> str:
    first, last = error.context_mark or error.problem_mark, error.problem_mark or error.context_mark
    around = text.splitlines()[first.line : last.line + 1] if first and last else []
    if any("${" in line for line in around):
        return "put ${NAME} in quotes where it stands inside { } or [ ]"
    return "check indentation, quotes and brackets there and in the line above"


def _without_quotes(problem: str) -> str:
    """PyYAML quotes tags and aliases, which could be a mistyped secret; `'<block end>'` and single characters stay."""
    return re.sub(r" '[^'<][^']+'", "", problem)


def _lines(file: Path, root: yaml.Node) -> Iterator[tuple[str, int]]:
    """Dotted path and line of every key; refuses keys that stand twice in one mapping."""
    import yaml

    seen: set[int] = set()
    waiting: list[tuple[str, yaml.Node]] = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, yaml.MappingNode) or id(node) in seen:
            continue
        seen.add(id(node))
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            dotted = f"{path}.{key.value}" if path else key.value
            if key.value in first:
                raise ConfigError(
                    f"{file}, line {line}: {dotted} is already set in line {first[key.value]}",
                    path=dotted,
                    hint="remove one of the two",
                )
            first[key.value] = line
            yield dotted, line
            waiting.append((dotted, value))
