"""The configuration: found, read, checked as far as possible, and expanded when a target is used.

    config = load(None, os.environ, Path.cwd())
    target = config.target("dev")        # a RegistryTarget, ready for use
    Config({"targets": {"dev": {"kind": "registry", "url": "http://localhost:5000"}}})

Everything is checked when it is loaded but what hangs on a `${VARIABLE}`; that is checked when `target()`,
`promotion()` or `jenkins_server()` expands it, so that a build needs only the variables of what it uses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from ...errors import ConfigError, NotFoundError
from ...kinds.settings import (
    CreateRepositories,
    EcrTarget,
    HubTarget,
    LayoutTarget,
    NexusTarget,
    RegistryTarget,
    TargetSettings,
)
from ...redaction import remember_secret
from .checks import ADDRESS_KEYS, check_texts, plain_address, plain_fingerprint
from .convert import convert
from .discovery import find_file
from .document import Document, read_document
from .rules import check_jenkins_rules, check_promotion_rules, check_target_rules, target_notes
from .tables import RESERVED_NAMES, Table, read_tables
from .texts import PATH_KEYS, SECRET_KEYS, expand, expand_user, has_variable, map_texts
from .types import JenkinsSettings, Policies, Promotion, RepositorySelector, TagSelector

__all__ = [
    "RESERVED_NAMES",
    "Config",
    "CreateRepositories",
    "EcrTarget",
    "HubTarget",
    "JenkinsSettings",
    "LayoutTarget",
    "NexusTarget",
    "Policies",
    "Promotion",
    "RegistryTarget",
    "RepositorySelector",
    "TagSelector",
    "TargetSettings",
    "load",
    "problems",
]

T = TypeVar("T", bound=msgspec.Struct)


def load(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Config:
    """Find and read the configuration; without any file there are the built-in targets.

    Raises `ConfigError` when the file named by `path` or `$CI_REGISTRY_CONFIG` is missing, or the file found is wrong.
    """
    file = find_file(path, environ, cwd)
    return Config(read_document(file) if file else None, environ=environ)


def problems(path: Path | None, environ: Mapping[str, str], cwd: Path) -> list[ConfigError]:
    """Everything that is wrong with the file that `load` would use, not only the first."""
    try:
        file = find_file(path, environ, cwd)
        return read_tables(read_document(file) if file else Document(None), environ).problems
    except ConfigError as error:
        return [error]


class Config:
    """A configuration in which all that can be checked without variables is right.

    `source` has the shape of the file; relative paths in it are relative to the file's folder, else to the current
    one. `targets`, `promotions` and `jenkins` are for looking around: paths are as written, texts hold `${VARIABLE}`,
    and where a variable stands for a number or truth value there is any one. Use what `target()` returns.
    """

    def __init__(
        self, source: Document | Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self._document = source if isinstance(source, Document) else Document(source)
        self._environ = os.environ if environ is None else environ
        self._tables = read_tables(self._document, self._environ)
        if self._tables.problems:
            raise self._tables.problems[0]

    @property
    def path(self) -> Path | None:
        """The file it came from."""
        return self._document.file

    @property
    def targets(self) -> Mapping[str, TargetSettings]:
        """Every target, those of the file first, then the built-in ones that it does not redefine."""
        return MappingProxyType({name: table.settings for name, table in self._tables.targets.items()})

    @property
    def promotions(self) -> Mapping[str, Promotion]:
        return MappingProxyType({name: table.settings for name, table in self._tables.promotions.items()})

    @property
    def jenkins(self) -> JenkinsSettings | None:
        return self._tables.jenkins.settings if self._tables.jenkins else None

    def target(self, name: str, environ: Mapping[str, str] | None = None) -> TargetSettings:
        """A target ready for use. Raises `NotFoundError`, or `ConfigError` for a variable that is not set or wrong."""
        table = self._tables.targets.get(name)
        if table is None:
            raise _not_found("target", name, self._tables.targets)
        settings = self._expanded(table, environ)
        check_target_rules(self._document, table.path, settings)
        return settings

    def promotion(self, name: str, environ: Mapping[str, str] | None = None) -> Promotion:
        """A promotion with its variables expanded. Raises as `target` does."""
        table = self._tables.promotions.get(name)
        if table is None:
            raise _not_found("promotion", name, self._tables.promotions)
        settings = self._expanded(table, environ)
        check_promotion_rules(self._document, table.path, settings, self._tables.targets, self._tables.promotions)
        return settings

    def jenkins_server(self, environ: Mapping[str, str] | None = None) -> JenkinsSettings | None:
        """The Jenkins server with its variables expanded, or None where the file names none."""
        table = self._tables.jenkins
        if table is None:
            return None
        settings = self._expanded(table, environ)
        check_jenkins_rules(self._document, table.path, settings)
        return settings

    def addresses(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Names and `url`s of the targets that have one; those whose variables are not set are left out."""
        found: dict[str, str] = {}
        for name, table in self._tables.targets.items():
            url = table.data.get("url")
            if url is not None and (address := self._address(table, url, environ)):
                found[name] = address
        return found

    def effective(self) -> dict[str, Any]:
        """Plain data for `config show`: defaults filled in, paths absolute, `${VARIABLE}` as it stands in the file."""
        tables = self._tables
        return {
            "file": str(self.path) if self.path else None,
            "built_in": [name for name in tables.targets if name in tables.built_in],
            "targets": {name: self._shown(table) for name, table in tables.targets.items()},
            "promotions": {name: self._shown(table) for name, table in tables.promotions.items()},
            "jenkins": self._shown(tables.jenkins) if tables.jenkins else None,
        }

    def notes(self) -> list[str]:
        """Remarks on what is allowed but probably not meant, for `config validate` and `doctor`."""
        return [
            note
            for table in self._tables.targets.values()
            for note in target_notes(table.path, table.settings, table.data)
        ]

    def _expanded(self, table: Table[T], environ: Mapping[str, str] | None) -> T:
        values = expand(self._document, table.path, table.data, self._environ if environ is None else environ)
        check_texts(self._document, table.path, table.data, deep=table.deep, expanded=values)
        settings = convert(
            self._document,
            table.path,
            table.data,
            type(table.settings),
            name=getattr(table.settings, "name", ""),
            expanded=map_texts(values, table.path, self._normalised),
        )
        for secret in (getattr(settings, key, None) for key in SECRET_KEYS):
            remember_secret(secret or "")
        return settings

    def _address(self, table: Table[Any], url: str, environ: Mapping[str, str] | None) -> str:
        """The expanded `url`, or "" when that can't be had now; whoever uses the target is told why."""
        said = {"url": url}
        try:
            found = expand(self._document, table.path, said, self._environ if environ is None else environ)
            check_texts(self._document, table.path, said, deep=table.deep, expanded=found)
        except ConfigError:
            return ""
        return plain_address(found["url"])

    def _shown(self, table: Table[Any]) -> dict[str, Any]:
        defaults = {key: value for key, value in msgspec.to_builtins(table.settings).items() if value is not None}
        defaults.pop("name", None)
        return dict(map_texts(_merged(defaults, table.data), table.path, self._shown_text))

    def _shown_text(self, path: str, key: str, text: str) -> str:
        """The normal form, or the text itself while a variable or the home folder in it is not known."""
        with contextlib.suppress(ConfigError):
            return text if has_variable(text) else self._normalised(path, key, text)
        return text

    def _normalised(self, _path: str, key: str, text: str) -> str:
        if key in PATH_KEYS:
            folder = self.path.parent if self.path else Path()
            return os.path.abspath(folder / expand_user(text, self._environ))
        if key in ADDRESS_KEYS:
            return plain_address(text)
        return plain_fingerprint(text) if key == "fingerprint" else text


def _merged(defaults: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, and the defaults where it says nothing; nested mappings are merged likewise."""
    merged = dict(defaults)
    for key, value in said.items():
        below = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merged({name: item for name, item in below.items() if item is not None}, value)
        elif value is not None:
            merged[key] = value
    return merged


def _not_found(what: str, name: str, known: Collection[str]) -> NotFoundError:
    import difflib

    guesses = difflib.get_close_matches(name, known, 3, 0.6)
    if guesses:
        hint = "did you mean " + " or ".join(f"'{guess}'" for guess in guesses) + "?"
    else:
        hint = f"configured: {', '.join(known) or 'none'}"
    return NotFoundError(f"there is no {what} '{name}' in the configuration", hint=hint)
