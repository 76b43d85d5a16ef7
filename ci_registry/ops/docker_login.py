"""A private DOCKER_CONFIG in which docker, skopeo and buildah are logged in to several registries at once.

It holds no credential: for each registry it names `docker-credential-ci-registry`, which asks our chain whenever one of
those programs needs a login. The user's CLI plug-ins, contexts and proxies stay; their logins are left out, so that one
build's `docker logout` is nobody else's.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ..credentials.docker_config import docker_config_path, read_json_object, server_key
from ..credentials.helper import OURSELVES
from ..errors import StorageError

__all__ = ["DockerLoginReport", "write_private_config"]

_LOGINS = ("auths", "credsStore", "credHelpers")
_PROGRAMS = {f"docker-credential-{OURSELVES}": "ci_registry.cli.docker_credential", "ci-registry": "ci_registry"}
_LINKED = ("cli-plugins", "contexts", "buildx")


class DockerLoginReport(Struct, frozen=True, kw_only=True):
    """`docker-config`. `folder` is for DOCKER_CONFIG, `path` goes in front of PATH."""

    folder: str
    path: str
    hosts: list[str]


def write_private_config(folder: Path, hosts: Sequence[str], environ: Mapping[str, str]) -> DockerLoginReport:
    """Write `config.json` (0600) and our programs into `folder` (0700). `hosts` are `host[:port]`.

    Raises InputFileError when the user's own file can't be read, StorageError when ours can't be written.
    """
    users = docker_config_path(environ)
    document = _document(read_json_object(users) or {}, hosts)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        _write_private(folder / "config.json", json.dumps(document, indent="\t") + "\n", 0o600)
        _link(folder, users.parent)
        programs = folder / "bin"
        programs.mkdir(mode=0o700, exist_ok=True)
        for name, module in _PROGRAMS.items():
            _write_private(programs / name, _launcher(module), 0o700)
    except OSError as error:
        raise StorageError(f"writing the docker configuration in {folder} failed: {error.strerror}") from error
    return DockerLoginReport(folder=str(folder.resolve()), path=str(programs.resolve()), hosts=sorted(hosts))


def _document(users: Mapping[str, object], hosts: Sequence[str]) -> dict[str, object]:
    kept = {key: value for key, value in users.items() if key not in _LOGINS}
    helpers = users.get("credHelpers")
    others = dict(helpers) if isinstance(helpers, dict) else {}
    # docker asks for Docker Hub by a name of its own, skopeo and buildah by the host
    names = {key: OURSELVES for host in hosts for key in (host, server_key(host))}
    return {**kept, "credHelpers": {**others, **names}}


def _write_private(path: Path, content: str, mode: int) -> None:
    path.touch(mode=mode, exist_ok=True)
    path.chmod(mode)
    path.write_text(content, encoding="utf-8")


def _link(folder: Path, users: Path) -> None:
    for name in _LINKED:
        if (users / name).is_dir() and not (folder / name).exists():
            (folder / name).symlink_to((users / name).resolve())


def _launcher(module: str) -> str:
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n'
