"""The sections of the file, each entry checked by itself, so that one report can name everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from ...errors import ConfigError
from ...kinds.settings import KINDS, NexusTarget, TargetSettings
from .checks import check_texts
from .convert import convert, nearest
from .discovery import local_images
from .document import Document
from .rules import check_jenkins_rules, check_promotion_rules, check_target_rules
from .texts import check_secrets
from .types import JenkinsSettings, Promotion

__all__ = ["PROMOTION_NAME", "RESERVED_NAMES", "TARGET_NAME", "Table", "Tables", "read_tables"]

RESERVED_NAMES = frozenset(
    {"config", "docker", "docker-archive", "docker-daemon", "jenkins", "oci", "oci-archive", "output"}
)
TARGET_NAME = "[a-z][a-z0-9-]*"
PROMOTION_NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
_SECTIONS = ["targets", "promotions", "jenkins"]

T = TypeVar("T", bound=msgspec.Struct)


class Table(Struct, Generic[T], frozen=True):
    """One target, promotion or server: `data` as the file has it, `settings` with its variables not expanded."""

    path: str
    data: Mapping[str, Any]
    settings: T
    deep: Collection[str] = ()  # keys of addresses that may have a path


class Tables(Struct):
    """All entries of a file, the built-in targets after its own; `problems` in the order they were found."""

    targets: dict[str, Table[TargetSettings]] = field(default_factory=dict)
    built_in: list[str] = field(default_factory=list)
    promotions: dict[str, Table[Promotion]] = field(default_factory=dict)
    jenkins: Table[JenkinsSettings] | None = None
    problems: list[ConfigError] = field(default_factory=list)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep a `ConfigError` and go on."""
        try:
            yield
        except ConfigError as error:
            self.problems.append(error)


def read_tables(document: Document, environ: Mapping[str, str]) -> Tables:
    """Check a whole document; nothing is raised, see `Tables.problems`."""
    tables = Tables()
    sections = _sections(document, tables)
    targets, promotions = sections.get("targets", {}), sections.get("promotions", {})
    _read_targets(document, tables, targets)
    for name, data in _built_in_targets(environ).items():
        if name not in targets:
            tables.targets[name] = _read_target(document, name, data)
            tables.built_in.append(name)
    _read_promotions(document, tables, promotions, {*targets, *tables.built_in})
    if "jenkins" in sections:
        with tables.collecting():
            tables.jenkins = _read_jenkins(document, sections["jenkins"])
    return tables


def _sections(document: Document, tables: Tables) -> dict[str, Mapping[Any, Any]]:
    """The sections that hold something, each as a mapping; those that are wrong are left out."""
    found: dict[str, Mapping[Any, Any]] = {}
    with tables.collecting():
        for name, value in _mapping(document, "", {} if document.data is None else document.data).items():
            with tables.collecting():
                if name not in _SECTIONS:
                    raise _unknown_section(document, name)
                if value is not None:
                    found[name] = _mapping(document, name, value)
    return found


def _unknown_section(document: Document, name: object) -> ConfigError:
    guess = nearest(str(name), _SECTIONS)
    hint = f"did you mean `{guess}`?" if guess else f"known keys: {', '.join(_SECTIONS)}"
    return document.error(str(name), "is not a known key", hint=hint)


def _mapping(document: Document, path: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise document.error(path, "must be a mapping of keys to values", hint="write `key: value` lines")
    return value


def _read_targets(document: Document, tables: Tables, section: Mapping[Any, Any]) -> None:
    for name, data in section.items():
        with tables.collecting():
            tables.targets[name] = _read_target(document, _target_name(document, name), data)


def _target_name(document: Document, name: object) -> str:
    path = f"targets.{name}"
    if not isinstance(name, str) or not re.fullmatch(TARGET_NAME, name):
        raise document.error(
            path, "is not a name for a target", hint="use lower-case letters, digits and -, beginning with a letter"
        )
    if name in RESERVED_NAMES:
        raise document.error(
            path, "has a name that is reserved", hint=f"'{name}' means something else; take another name"
        )
    return name


def _built_in_targets(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    images = local_images(environ).replace("${", "$${")
    return {
        "local": {"kind": "oci-layout", "path": images},
        "dockerhub": {"kind": "dockerhub"},
        "ecr": {"kind": "ecr"},
    }


def _read_target(document: Document, name: str, data: Any) -> Table[TargetSettings]:
    path = f"targets.{name}"
    kind = KINDS[_kind(document, path, data)]
    deep = ("api", "endpoint_url", *(("url", "pull_url") if kind is NexusTarget else ()))
    table = _read_table(document, path, data, kind, name=name, deep=deep)
    check_target_rules(document, path, table.settings)
    return table


def _kind(document: Document, path: str, data: Any) -> str:
    kinds = list(KINDS)
    if not isinstance(data, Mapping):
        raise document.error(
            path, "must be a mapping of keys to values", hint=f"begin it with `kind:` {', '.join(kinds)}"
        )
    kind = data.get("kind")
    if kind is None:
        raise document.error(f"{path}.kind", "is missing", hint=f"it is one of {', '.join(kinds)}")
    if not isinstance(kind, str) or kind not in kinds:
        guess = nearest(str(kind), kinds)
        cure = f"did you mean `{guess}`? " if guess else ""
        raise document.error(
            f"{path}.kind", f"is not a known kind: '{kind}'", hint=f"{cure}it is one of {', '.join(kinds)}"
        )
    return kind


def _read_promotions(document: Document, tables: Tables, section: Mapping[Any, Any], targets: Collection[str]) -> None:
    for name, data in section.items():
        with tables.collecting():
            path = f"promotions.{name}"
            if not isinstance(name, str) or not re.fullmatch(PROMOTION_NAME, name):
                raise document.error(path, "is not a name for a promotion", hint="use letters, digits, - and _")
            table = _read_table(document, path, data, Promotion, name=name)
            check_promotion_rules(document, path, table.settings, targets, section)
            tables.promotions[name] = table


def _read_jenkins(document: Document, data: Any) -> Table[JenkinsSettings]:
    table = _read_table(document, "jenkins", data, JenkinsSettings, deep=("url",))
    check_jenkins_rules(document, "jenkins", table.settings)
    return table


def _read_table(
    document: Document, path: str, data: Any, kind: type[T], *, name: str = "", deep: Collection[str] = ()
) -> Table[T]:
    settings = convert(document, path, data, kind, name=name)
    check_secrets(document, path, data)
    check_texts(document, path, data, deep=deep)
    return Table(path, data, settings, deep)
