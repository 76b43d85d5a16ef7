"""This machine: container or not, docker, its configuration, keyring, space, proxies, Jenkins."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from ...adapters.keychain import Keychain, KeychainUnavailable
from ...credentials.chain import registry_key
from ...credentials.docker_config import DockerConfig, config_paths, read_docker_config
from ...errors import CiRegistryError
from ...model.ecr_hosts import ecr_host
from .catalog import find
from .findings import Finding, fine, note
from .surroundings import Surroundings

__all__ = ["CERTS_D", "machine"]

CERTS_D = Path("/etc/docker/certs.d")
_LITTLE_BYTES = 2 << 30
_JENKINS = ("JOB_NAME", "BUILD_NUMBER", "NODE_NAME", "WORKSPACE", "CHANGE_ID")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def machine(surroundings: Surroundings, certs_d: Path = CERTS_D) -> list[Finding]:
    """Everything that is looked at, in the order to show it."""
    environ = surroundings.environ
    looks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _place(surroundings),
        lambda: _docker(surroundings),
        lambda: _certs_d(certs_d),
        lambda: _docker_config(dict(environ)),
        _keyring,
        lambda: _space(dict(environ)),
        lambda: _proxies(dict(environ)),
        lambda: _jenkins(dict(environ)),
    ]
    return [finding for look in looks for finding in look()]


def _place(surroundings: Surroundings) -> Iterator[Finding]:
    kind = surroundings.container
    name = socket.gethostname()
    if not kind:
        yield fine("place", f"not in a container: {name}, and localhost is this machine")
        return
    addresses = ", ".join(_addresses(name)) or "no address"
    yield note("place", f"inside a container ({kind}): {name} with {addresses}; localhost is this container alone")
    if "127.0.0.11" in _text(Path("/etc/resolv.conf")):
        yield note("place", "on a user-defined docker network: other containers there are known by their names")


def _addresses(name: str) -> list[str]:
    try:
        return list(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(name, None)))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _docker(surroundings: Surroundings) -> Iterator[Finding]:
    facts = surroundings.daemon
    if facts is None:
        problem = surroundings.daemon_problem
        yield find("docker-unreachable", problem.message if problem else "no docker daemon answers")
        return
    kind = "rootless docker" if facts.is_rootless else "docker"
    yield fine("docker", f"{kind} {facts.version} answers at {surroundings.daemon_address}")
    if facts.insecure_registries:
        yield note("docker", f"it goes without verification to {', '.join(facts.insecure_registries)}")
    if facts.mirrors:
        yield note("docker", f"it reads Docker Hub through {', '.join(facts.mirrors)}")
    for scheme, value in facts.proxies.items():
        yield note("docker", f"its own {scheme} proxy setting is {value}; that of this shell does not count for it")


def _certs_d(folder: Path) -> Iterator[Finding]:
    """Docker's rules: *.crt is a CA, NAME.cert with NAME.key a client's pair (docs.docker.com, "Verify repository
    client with certificates")."""
    hosts = sorted(each for each in folder.iterdir() if each.is_dir()) if _readable(folder) else []
    for host in hosts:
        if not _readable(host):
            yield note("certs.d", f"{host} can't be read by this user")
            continue
        yield from _certs_of(host)


def _certs_of(host: Path) -> Iterator[Finding]:
    stems = {path.stem for path in host.glob("*.key")}
    wrong = [stem for stem in sorted(stems) if (host / f"{stem}.crt").exists() and not (host / f"{stem}.cert").exists()]
    for stem in wrong:
        file = host / f"{stem}.crt"
        yield find("certs-d-wrong-suffix", f"{file} lies beside {stem}.key", file=file, right=host / f"{stem}.cert")
    if not wrong:
        held = ", ".join(sorted(path.name for path in host.iterdir())) or "nothing"
        yield fine("certs.d", f"for {host.name}: {held}")


def _readable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


def _docker_config(environ: dict[str, str]) -> Iterator[Finding]:
    for path in config_paths(environ):
        try:
            config = read_docker_config(path)
        except CiRegistryError as error:
            yield find("docker-config-broken", error.message, hint=error.hint)
            continue
        if config is not None:
            yield from _entries(config)


def _entries(config: DockerConfig) -> Iterator[Finding]:
    by_host: dict[str, list[str]] = defaultdict(list)
    for key in config.auths:
        by_host[registry_key(key)].append(key)
    for host, keys in sorted(by_host.items()):
        if len(keys) > 1:
            listed = " and ".join(sorted(keys))
            yield find("docker-config-doubled", f"{config.path} has {listed}", keys=listed, host=host)
        elif ecr_host(host) is not None and config.auths[keys[0]].get("auth"):
            yield find("docker-config-stale", f"{config.path} has a token for {host}", key=keys[0], host=host)
    mode = config.path.stat().st_mode & 0o777
    if mode & 0o044 and any(entry.get("auth") for entry in config.auths.values()):
        yield find("docker-config-open", f"{config.path} has mode {mode:o}", file=config.path, mode=f"{mode:o}")
    helpers = [f"credsStore {config.store}"] if config.store else []
    helpers += [f"{name} for {host}" for host, name in config.helpers.items()]
    said = f"; helpers: {', '.join(helpers)}" if helpers else ""
    yield fine("docker config", f"{config.path} knows {len(by_host)} registries{said}")


def _keyring() -> Iterator[Finding]:
    try:
        yield fine("keyring", f"{Keychain(time_limit_seconds=5).backend_name()} can be used")
    except KeychainUnavailable as problem:
        yield find("keyring-unavailable", f"the keyring can't be used: {problem.reason}")


def _space(environ: dict[str, str]) -> Iterator[Finding]:
    folder = environ.get("WORKSPACE_TMP") or tempfile.gettempdir()
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = 0
    text = f"{free / 1e9:.1f} GB"
    if free < _LITTLE_BYTES:
        yield find("spool-space", f"{text} free in {folder}", folder=folder, free=text)
    else:
        yield fine("space", f"{text} free in {folder}, where archives from standard input are spooled")


def _proxies(environ: dict[str, str]) -> Iterator[Finding]:
    from ...redaction import redact

    for lower in _PROXIES:
        name = lower if environ.get(lower) else lower.upper()
        if not environ.get(name):
            continue
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            yield find("proxy-ignored", "HTTP_PROXY and REQUEST_METHOD are both set")
        else:
            yield note("proxy", f"{name} is {redact(environ[name])}")


def _jenkins(environ: dict[str, str]) -> Iterator[Finding]:
    said = [f"{name}={environ[name]}" for name in _JENKINS if environ.get(name)]
    if environ.get("JENKINS_URL"):
        yield note("jenkins", f"in a build of {environ['JENKINS_URL']}: {', '.join(said) or 'no job is named'}")
