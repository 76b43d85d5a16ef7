"""What the package imports, read from its source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Import", "files", "imports"]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ci_registry"


@dataclass(frozen=True)
class Import:
    """One import: in `module`, of `name`. `lazy`: inside a function; `for_types`: under TYPE_CHECKING."""

    module: str
    name: str
    lazy: bool
    for_types: bool


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports() -> tuple[Import, ...]:
    """All imports of the package; relative ones with their full name."""
    return tuple(each for path in files() for each in _imports_of(path))


def _imports_of(path: Path) -> Iterator[Import]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return _walk(ast.parse(path.read_text()), module, list(parts[:-1]), lazy=False, for_types=False)


def _walk(node: ast.AST, module: str, folder: list[str], lazy: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typed = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, lazy, for_types)
        elif isinstance(child, ast.ImportFrom):
            for name in _names(child, folder):
                yield Import(module, name, lazy, for_types)
        else:
            yield from _walk(child, module, folder, inside, typed)


def _names(node: ast.ImportFrom, folder: list[str]) -> list[str]:
    base = folder[: len(folder) - node.level + 1] if node.level else []
    if node.module:
        return [".".join([*base, *node.module.split(".")])]
    return [".".join([*base, alias.name]) for alias in node.names]
