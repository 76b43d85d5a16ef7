"""`docker-credential-ci-registry`: Docker's credential helper protocol, answered by our credential chain.

With `"credHelpers": {"HOST": "ci-registry"}` or `"credsStore": "ci-registry"` in Docker's configuration, docker,
skopeo and buildah find the credentials that `ci-registry` itself would use. An answer or an error message is one line
on stdout and the exit status 0 or 1, as https://github.com/docker/docker-credential-helpers has it; nothing is logged.
"""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from .._version import __version__
from ..credentials.chain import Chain, Credential, Lookup, registry_key
from ..credentials.docker_config import server_key
from ..credentials.environment import EnvironmentProvider, Explicit, ExplicitProvider
from ..credentials.helper import NOT_FOUND, credential_of, protocol_pair
from ..errors import AccessError, CiRegistryError, ConfigError, UsageError
from ..model.reference import DOCKER_HUB
from ..redaction import redact

if TYPE_CHECKING:
    from ..credentials.stored import KeyringStore
    from ..ops.config import Config

__all__ = ["HelperStore", "main", "serve"]

PROGRAM = "docker-credential-ci-registry"
_USAGE = f"Usage: {PROGRAM} <store|get|erase|list|version>"
_LARGEST_REQUEST = 1024 * 1024  # characters


class HelperStore(Protocol):
    """Where `store`, `erase` and `list` go."""

    def save(self, host: str, credential: Credential) -> str: ...

    def erase(self, host: str, username: str | None = None) -> bool: ...

    def entries(self) -> Mapping[str, str]:
        """User names by host."""
        ...


def serve(action: str, stdin: TextIO, stdout: TextIO, lookup: Callable[[str], Credential], store: HelperStore) -> int:
    """Carry out one action of the protocol; the answer is the exit status.

    `lookup` gives the credential for a host (`host[:port]`, `docker.io` for Docker Hub) or an anonymous one.
    """
    try:
        answer = _answer(action, stdin, lookup, store)
    except CiRegistryError as error:
        stdout.write(f"{redact(error.sentence())}\n")
        return 1
    except _ProtocolError as error:
        stdout.write(f"{error}\n")
        return 1
    stdout.write(answer)
    return 0


class _ProtocolError(Exception):
    """A message that the protocol fixes word for word."""


def _answer(action: str, stdin: TextIO, lookup: Callable[[str], Credential], store: HelperStore) -> str:
    if action == "get":
        return _get(_server(stdin), lookup)
    if action == "store":
        _store(stdin, store)
        return ""
    if action == "erase":
        store.erase(registry_key(_server(stdin)))
        return ""
    if action == "list":
        return _line({server_key(host): user for host, user in store.entries().items()})
    if action == "version":
        return f"{PROGRAM} (ci-registry) {__version__}\n"
    raise _ProtocolError(f"Unknown credential action `{action}`")


def _get(server: str, lookup: Callable[[str], Credential]) -> str:
    credential = lookup(registry_key(server))
    if credential.is_anonymous:
        raise _ProtocolError(NOT_FOUND)
    pair = protocol_pair(credential)
    if pair is None:
        raise UsageError(
            f"the credential for {server} from {credential.source} is a bearer token, "
            "which the credential helper protocol can't carry",
            hint="give a user name and a password instead",
        )
    return _line({"ServerURL": server, "Username": pair[0], "Secret": pair[1]})


def _store(stdin: TextIO, store: HelperStore) -> None:
    fields = _fields(stdin.read(_LARGEST_REQUEST))
    if not fields.get("ServerURL"):
        raise _ProtocolError("no credentials server URL")
    if not fields.get("Username"):
        raise _ProtocolError("no credentials username")
    secret = fields.get("Secret", "")
    if not secret:
        raise UsageError(f"the credential for {fields['ServerURL']} has no Secret", hint="give a password")
    store.save(registry_key(fields["ServerURL"]), credential_of(fields["Username"], secret, "standard input"))


def _fields(text: str) -> dict[str, str]:
    # what arrived is never quoted: it holds the secret
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise UsageError(
            "reading the credential to store failed: standard input is not a JSON object of strings",
            hint='give {"ServerURL": ..., "Username": ..., "Secret": ...}',
        )
    return fields


def _server(stdin: TextIO) -> str:
    server = stdin.read(_LARGEST_REQUEST).strip()
    if not server:
        raise _ProtocolError("no credentials server URL")
    return server


def _line(answer: Mapping[str, str]) -> str:
    return json.dumps(answer, separators=(",", ":")) + "\n"


class _OurCredentials:
    """The chain over the configured targets, and the keyring behind `store`; nothing is read before it is asked for."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder

    def lookup(self, host: str) -> Credential:
        from ..ops.host_credential import host_credential
        from ..ops.places import Places

        places = Places(self._config, self._environ)
        try:
            return host_credential(places, host)
        finally:
            places.close()

    def save(self, host: str, credential: Credential) -> str:
        return self._keyring().save(host, credential)

    def erase(self, host: str, username: str | None = None) -> bool:
        return self._keyring().erase(host, username)

    def entries(self) -> dict[str, str]:
        """What the keyring holds, and over it what configuration and environment give to the targets."""
        return {**self._stored(), **self._given()}

    def _stored(self) -> dict[str, str]:
        try:
            return self._keyring().entries()
        except AccessError:
            return {}  # no keyring on this machine: nothing is stored

    def _given(self) -> dict[str, str]:
        """Only what `get` would give as well: docker build asks for everything listed, and fails with the first."""
        found: dict[str, set[tuple[str, str]]] = {}
        for target, host in self._hosts.items():
            pair = self._given_to(target, host)
            if pair is not None:
                found.setdefault(host, set()).add(pair)
        return {host: pairs.pop()[0] for host, pairs in found.items() if len(pairs) == 1}

    def _given_to(self, target: str, host: str) -> tuple[str, str] | None:
        chain = Chain([ExplicitProvider(self._explicit), EnvironmentProvider(self._environ, self._explicit)])
        try:
            return protocol_pair(chain.find(Lookup(host, target=target)))
        except ConfigError:
            return None  # whoever uses that target is told what is wrong

    def _keyring(self) -> KeyringStore:
        from ..adapters.keychain import Keychain
        from ..credentials.stored import KeyringStore

        return KeyringStore(Keychain())

    @functools.cached_property
    def _config(self) -> Config:
        from ..ops.config import load

        return load(None, self._environ, self._folder)

    @functools.cached_property
    def _hosts(self) -> dict[str, str]:
        """The registry host of each target that says which it is."""
        hosts = {name: registry_key(url) for name, url in self._config.addresses(self._environ).items()}
        hub = [name for name, settings in self._config.targets.items() if settings.kind == "dockerhub"]
        return {**dict.fromkeys(hub, DOCKER_HUB), **hosts}

    def _explicit(self, target: str) -> Explicit:
        from ..ops.logins import explicit_of

        return explicit_of(self._config.target(target, self._environ))


def main() -> int:
    """Entry point of the program; the answer is its exit status."""
    if len(sys.argv) != 2 or sys.argv[1] in ("--help", "-h"):
        sys.stdout.write(f"{_USAGE}\n")
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 1
    ours = _OurCredentials(os.environ, Path.cwd())
    action = "version" if sys.argv[1] in ("--version", "-v") else sys.argv[1]
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
    return serve(action, stdin, sys.stdout, ours.lookup, ours)


if __name__ == "__main__":
    sys.exit(main())
