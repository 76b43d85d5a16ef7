"""Credentials in Docker's and Podman's configuration files.

`config.json` of `$DOCKER_CONFIG` (default `~/.docker`) and Podman's `auth.json` share one shape: `credHelpers` names a
helper program for a host, `credsStore` one for all hosts, `auths` holds the credentials themselves or, as an empty
object, marks a host whose credential a helper keeps. See docker-login(1) and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from ..errors import CiRegistryError, InputFileError
from ..model.reference import DOCKER_HUB
from ..redaction import shown
from .chain import Credential, Lookup, NoAnswer, Outcome, Skipped, Unavailable, registry_key
from .helper import OURSELVES, Helper, credential_of, inside_helper

__all__ = [
    "HUB_KEY",
    "DockerConfig",
    "DockerConfigProvider",
    "base64_text",
    "config_paths",
    "docker_config_path",
    "matching_keys",
    "read_docker_config",
    "read_json_object",
    "server_key",
]

HUB_KEY = "https://index.docker.io/v1/"
"""The name under which Docker keeps the credential of Docker Hub."""


def docker_config_path(environ: Mapping[str, str]) -> Path:
    """Docker's own file, which need not exist."""
    folder = environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else _home(environ) / ".docker") / "config.json"


def config_paths(environ: Mapping[str, str]) -> list[Path]:
    """All files to look into, in order; those that an environment variable names come first."""
    named: list[Path] = []
    default: list[Path] = []
    (named if environ.get("DOCKER_CONFIG") else default).append(docker_config_path(environ))
    if environ.get("REGISTRY_AUTH_FILE"):
        named.append(Path(environ["REGISTRY_AUTH_FILE"]))
    else:
        config_home = environ.get("XDG_CONFIG_HOME") or str(_home(environ) / ".config")
        folders = [environ.get("XDG_RUNTIME_DIR"), config_home]
        default += [Path(folder, "containers", "auth.json") for folder in folders if folder]
    return named + default


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or os.path.expanduser("~"))


class DockerConfig(Struct, frozen=True):
    """The parts of one file that say something about credentials."""

    path: Path
    auths: Mapping[str, Mapping[str, object]]
    helpers: Mapping[str, str]
    store: str

    def __repr__(self) -> str:
        return shown(self, "path", "helpers", "store")

    def markers(self, lookup: Lookup) -> list[str]:
        """The keys of `auths` that stand for the whole host, best first, as they are written."""
        return [key for key in matching_keys(self.auths, lookup) if not _path_of(key)]


def read_docker_config(path: Path) -> DockerConfig | None:
    """Read one file; None if there is none. Raises InputFileError if it can't be read or understood."""
    document = read_json_object(path)
    if document is None:
        return None
    auths = _section(document, "auths", path)
    for key, entry in auths.items():
        if not isinstance(entry, dict):
            raise _bad(path, f"auths '{key}' is not an object")
    helpers = _section(document, "credHelpers", path)
    store = document.get("credsStore") or ""
    for key, name in [*helpers.items(), ("credsStore", store)]:
        if not isinstance(name, str):
            raise _bad(path, f"the helper of '{key}' is not a string")
    return DockerConfig(path, auths, helpers, str(store))  # type: ignore[arg-type] # checked above


def read_json_object(path: Path) -> dict[str, object] | None:
    """The JSON object in a file; None if there is no such file. Raises InputFileError otherwise."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputFileError(
            f"reading {path} failed: {error.strerror}", hint="let this user read it, or set DOCKER_CONFIG"
        ) from error
    document, problem = _parse(content)
    if document is None:
        raise _bad(path, problem)
    return document


def _parse(content: bytes) -> tuple[dict[str, object] | None, str]:
    # words instead of an exception, which would carry the file's content along
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return None, f"it is not JSON (line {error.lineno}, column {error.colno})"
    except UnicodeDecodeError:
        return None, "it is not UTF-8 text"
    return (document, "") if isinstance(document, dict) else (None, "it is not a JSON object")


def _section(document: Mapping[str, object], name: str, path: Path) -> dict[str, object]:
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _bad(path, f"'{name}' is not an object")
    return section


def _bad(path: Path, problem: str) -> InputFileError:
    return InputFileError(
        f"reading the credentials in {path} failed: {problem}",
        hint="correct that file, or move it away and log in again",
    )


def matching_keys(keys: Iterable[str], lookup: Lookup) -> list[str]:
    """The keys that stand for this lookup, best first.

    A longer repository prefix beats a shorter one (containers-auth.json(5)), then the host as it is beats one in a
    URL, which beats one with its scheme's own port written out.
    """
    ranked = [(rank, key) for key in keys if (rank := _rank(key, lookup)) is not None]
    return [key for _, key in sorted(ranked, key=lambda pair: pair[0], reverse=True)]


def _rank(key: str, lookup: Lookup) -> tuple[int, int] | None:
    """How specific and how close a key is; None if it stands for something else."""
    path = _path_of(key)
    if path and not f"{lookup.repository or ''}/".startswith(f"{path}/"):
        return None
    closeness = _closeness(key, lookup.host)
    return (len(path.split("/")) if path else 0, closeness) if closeness else None


def _closeness(key: str, host: str) -> int:
    if host == DOCKER_HUB and key == HUB_KEY:
        return 5
    bare = key.rpartition("://")[2].partition("/")[0].lower()
    if bare == host:
        return 4 if key == host or _path_of(key) else 3
    if registry_key(key) == host:
        return 2
    return 1 if _without_default_port(bare) == _without_default_port(host) else 0


def _without_default_port(host: str) -> str:
    return host.removesuffix(":443").removesuffix(":80")


def _path_of(key: str) -> str:
    """The repository prefix in a key such as `host/team`; "" where the path belongs to a URL or API version."""
    if "://" in key:
        return ""
    path = key.partition("/")[2].strip("/")
    return "" if path in ("v1", "v2") else path


def server_key(host: str) -> str:
    """The name of a registry in `auths` and in the helper protocol, as Docker writes it."""
    return HUB_KEY if host == DOCKER_HUB else host


class DockerConfigProvider:
    """Looks into each file for a helper, then for the credential itself; asks each helper once per host.

    A helper that fails is an error where the file says that it keeps this host's credential; a general `credsStore`
    that fails for a host it may know nothing of is only unavailable.
    """

    name = "docker config"
    remember = "repository"

    def __init__(self, environ: Mapping[str, str], *, helper_seconds: float = 10.0) -> None:
        self._environ = environ
        self._helper_seconds = helper_seconds
        self._lock = threading.Lock()
        self._files: list[DockerConfig] | None = None
        self._asked: dict[tuple[str, str], Credential | CiRegistryError | None] = {}

    def find(self, request: Lookup) -> Credential | None:
        """Raises InputFileError for a broken file, ConfigError or AccessError for a broken helper."""
        with self._lock:
            notes: list[NoAnswer] = []
            for file in self._read_files():
                found = self._from_helper(file, request, notes) or _from_auths(file, request)
                if found is not None:
                    return found
        raise _sum_up(notes, f"no entry for {request.host} in {self._places()}")

    def part(self, request: Lookup) -> str:
        """The beginning of the repository's name that a file has an entry for, such as `team` of `host/team`."""
        try:
            with self._lock:
                files = self._read_files()
        except InputFileError:
            return ""  # whoever needs a credential is told
        keys = [key for file in files for key in matching_keys([*file.auths, *file.helpers], request)]
        return max(map(_path_of, keys), key=len, default="")

    def _places(self) -> str:
        paths = [str(file.path) for file in self._files or []]
        return ", ".join(paths) or f"{docker_config_path(self._environ)}, which does not exist"

    def _read_files(self) -> list[DockerConfig]:
        if self._files is None:
            read = [read_docker_config(path) for path in config_paths(self._environ)]
            self._files = [file for file in read if file is not None]
        return self._files

    def _from_helper(self, file: DockerConfig, request: Lookup, notes: list[NoAnswer]) -> Credential | None:
        for helper, certain in self._helpers(file, request):
            if helper.name == OURSELVES or inside_helper(self._environ):
                notes.append(Skipped(f"{helper.place} is not asked, as that would come back here"))
                continue
            try:
                found = self._ask(helper, file, request)
            except CiRegistryError as error:
                if certain:
                    raise
                notes.append(Unavailable(error.message))
                continue
            if found is not None:
                return found
            notes.append(NoAnswer(f"{helper.place} has nothing for {request.host}"))
        return None

    def _helpers(self, file: DockerConfig, request: Lookup) -> list[tuple[Helper, bool]]:
        """Helpers to ask, and whether the file says that this one keeps the host's credential."""
        key = next(iter(matching_keys(file.helpers, request)), None)
        if key is not None and file.helpers[key] != OURSELVES:
            return [(self._helper(file.helpers[key], f"{file.path}, credHelpers '{key}'"), True)]
        helpers = [] if key is None else [(self._helper(OURSELVES, f"{file.path}, credHelpers '{key}'"), False)]
        if file.store:
            certain = any(not file.auths[key] for key in file.markers(request))
            helpers.append((self._helper(file.store, f"{file.path}, credsStore '{file.store}'"), certain))
        return helpers

    def _helper(self, name: str, place: str) -> Helper:
        return Helper(name, place, self._environ, self._helper_seconds)

    def _ask(self, helper: Helper, file: DockerConfig, request: Lookup) -> Credential | None:
        servers = dict.fromkeys([*file.markers(request), server_key(request.host)])
        return next((found for server in servers if (found := self._ask_once(helper, server)) is not None), None)

    def _ask_once(self, helper: Helper, server: str) -> Credential | None:
        key = (helper.name, server)
        if key not in self._asked:
            try:
                self._asked[key] = helper.get(server)
            except CiRegistryError as error:
                self._asked[key] = error
        answer = self._asked[key]
        if isinstance(answer, CiRegistryError):
            raise answer
        return answer


def _sum_up(notes: list[NoAnswer], otherwise: str) -> NoAnswer:
    """One NoAnswer out of all, of the kind that matters most."""
    if not notes:
        return NoAnswer(otherwise)
    order: list[Outcome] = ["unavailable", "skipped", "no answer"]
    kind = min((type(note) for note in notes), key=lambda kind: order.index(kind.outcome))
    return kind("; ".join(note.reason for note in notes))


def _from_auths(file: DockerConfig, request: Lookup) -> Credential | None:
    for key in matching_keys(file.auths, request):
        found = _credential(file.path, key, file.auths[key])
        if found is not None:
            return found
    return None


def _credential(path: Path, key: str, entry: Mapping[str, object]) -> Credential | None:
    """What an entry of `auths` holds; None for the empty object that only marks a host."""
    texts = {name: entry.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise _bad(path, f"a value of auths '{key}' is not a string")
    auth, username, password, identity, registry = (str(text) for text in texts.values())
    source = f"{path}, auths '{key}'"
    if auth:
        username, password = _decode_auth(auth, path, key, complete=not (identity or registry))
    if identity or registry:
        return Credential(username, "", identity_token=identity, registry_token=registry, source=source)
    return credential_of(username, password, source) if username and password else None


def _decode_auth(auth: str, path: Path, key: str, *, complete: bool) -> tuple[str, str]:
    """User name and password out of `auth`; beside a token (`complete` false) the password is left empty."""
    text = base64_text(auth)
    username, colon, password = (text or "").partition(":")
    password = password.rstrip("\0")
    if not colon or (complete and not (username and password)):
        raise _bad(path, f"'auth' of auths '{key}' is not base64 of user:password")
    return username, password


def base64_text(text: str) -> str | None:
    """The text behind base64; None, where an exception would carry the secret along, if it is none."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
