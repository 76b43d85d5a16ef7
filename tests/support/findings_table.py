"""docs/doctor.md: the table of findings, from the catalogue and from the tests that make each of them happen.

python -m tests.support.findings_table     writes it anew
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ci_registry.ops.doctor.catalog import Entry, Remedy, entries

__all__ = ["DOCUMENT", "producers", "table_text"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/doctor.md"
_MARK = "<!-- From here on made by `python -m tests.support.findings_table`. -->\n"


def producers() -> dict[str, str]:
    """The test of each code, as FILE::NAME."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "tests/integration").glob("test_doctor_*.py")):
        for code, name in _marked(ast.parse(file.read_text())):
            assert code not in found, f"{code} has two tests"
            found[code] = f"{file.relative_to(ROOT)}::{name}"
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "produces":
                yield from ((str(ast.literal_eval(argument)), node.name) for argument in mark.args)


def table_text() -> str:
    """The whole document: its introduction as it stands in the file, and the tables."""
    introduction = DOCUMENT.read_text().partition(_MARK)[0]
    return introduction + _MARK + "\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    tests = producers()
    for step in dict.fromkeys(entry.step for entry in entries().values()):
        yield f"\n## {step}\n\n| finding | what is the matter | first cure | made to happen by |\n|---|---|---|---|"
        yield from (_row(entry, tests[entry.code]) for entry in entries().values() if entry.step == step)


def _row(entry: Entry, test: str) -> str:
    weight = entry.severity if entry.severity != "error" else f"error, exit {entry.exit}"
    cells = [f"`{entry.code}` ({weight})", entry.title, _cure(entry), f"`{test.removeprefix('tests/integration/')}`"]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cure(entry: Entry) -> str:
    if not entry.remedies:
        return "none is needed"
    first: Remedy = entry.remedies[0]
    lines = "; ".join(line.replace("{{", "{").replace("}}", "}") for line in first.lines)
    where = {"set": "ci-registry.yaml: ", "edit": f"{first.where}: ", "run": "", "do": ""}[first.kind]
    return f"{where}{lines}" if first.kind == "do" else f"{where}`{lines}`"


if __name__ == "__main__":
    DOCUMENT.write_text(table_text())
