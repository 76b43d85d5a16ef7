"""provision carried out: the folder written, containers started and stopped, and doctor asked until it is content."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...adapters.docker_containers import Container, ContainerEngine, Network
from ...adapters.keychain import Keychain
from ...errors import CiRegistryError, RemoteError, StorageError, UsageError
from ...transport.retry import Cancel
from ..config import Config
from ..doctor.examine import Question, examine
from ..doctor.findings import Finding
from ..places import Places
from .config_lines import insert_targets, targets_text
from .files import MARKER, PlannedFile, claim_folder, compare, remove_files, write_files
from .passwords import Login, find_login, keep_login
from .plan import Options, Provision
from .report import FileLine, ProvisionReport
from .roles import HAS_LOGIN, build

__all__ = ["Request", "bring_down", "bring_up"]

_PURGED = ("data", "spool", "certs", "auth", "etc")
_PAUSE_SECONDS = 0.5

Say = Callable[[str], None]


class Request(Struct, frozen=True):
    """What is to be done besides planning. `config_file` is where target lines go, `write_config` puts them there."""

    role: str
    options: Options
    config_file: Path
    start: bool = False
    dry_run: bool = False
    write_config: bool = False
    password_in_file: bool = False
    wait_seconds: float = 120.0


def bring_up(request: Request, environ: Mapping[str, str], cancel: Cancel, say: Say) -> ProvisionReport:
    """Write the folder, and start what it describes if that is asked for.

    Raises `UsageError` for a folder that is not ours,
    `ConflictError` for a container of the same name that is not, `RemoteError` when it does not come up.
    """
    claim_folder(request.options.folder, request.role)
    engine = ContainerEngine(environ)
    try:
        options = _with_gateway(request, engine, say)
        login = _login(request, options)
        provision = build(request.role, options, login)
        if request.dry_run:
            return _rehearsed(request, provision, login)
        files = write_files(options.folder, provision.files)
        kept = keep_login(login, _host(provision), options.folder, Keychain()) if login else None
        insertion = insert_targets(request.config_file, provision.targets) if request.write_config else None
        report = _report(request, provision, login, files, [])
        actions = _start(request, provision, login, engine, environ, cancel, say) if request.start else []
    finally:
        engine.close()
    notes = [*report.notes, *([f"{insertion.file}: {insertion.reason}"] if insertion and insertion.reason else [])]
    return msgspec.structs.replace(
        report,
        actions=actions,
        password_kept_in=kept,
        config=insertion.outcome if insertion else "",
        config_file=str(insertion.file) if insertion else None,
        notes=notes,
    )


def _with_gateway(request: Request, engine: ContainerEngine, say: Say) -> Options:
    """The network comes first, as this machine's address on it goes into certificates and lines."""
    options = request.options
    if request.role == "certs":
        return options
    known = _with_known_network(options)
    if not request.start or request.dry_run:
        return known
    network = engine.ensure_network(options.network, Network(known.gateway, known.subnet))
    say(f"docker network {options.network}: this machine is {network.gateway} there")
    return replace(options, gateway=network.gateway, subnet=network.subnet)


def _with_known_network(options: Options) -> Options:
    """The addresses of an earlier run with --up."""
    try:
        said = json.loads((options.folder / MARKER).read_bytes()).get("options", {})
    except (OSError, ValueError):
        return options
    if said.get("network") != options.network:
        return options
    return replace(options, gateway=str(said.get("gateway") or ""), subnet=str(said.get("subnet") or ""))


def _login(request: Request, options: Options) -> Login | None:
    if not HAS_LOGIN[request.role](options):
        return None
    host = f"{options.name}:{options.port}"
    return find_login(options.folder, host, options.username, Keychain(), in_file=request.password_in_file)


def _host(provision: Provision) -> str:
    return f"{provision.options.name}:{provision.options.port}"


# -- reports -----------------------------------------------------------------------------------------------------------


def _rehearsed(request: Request, provision: Provision, login: Login | None) -> ProvisionReport:
    files = {file.path: compare(provision.options.folder, file) for file in provision.files}
    actions = []
    if request.start:
        actions = [f"would create the docker network {provision.options.network} unless it exists"]
        actions += [f"would start the container {each.name} from {each.image}" for each in provision.containers]
    if request.write_config:
        actions.append(f"would insert the targets into {request.config_file}")
    return _report(request, provision, login, files, actions, show=True)


def _report(
    request: Request,
    provision: Provision,
    login: Login | None,
    outcomes: Mapping[str, Any],
    actions: list[str],
    *,
    show: bool = False,
) -> ProvisionReport:
    options = provision.options
    base = request.config_file.parent
    return ProvisionReport(
        role=provision.role,
        name=options.name,
        folder=str(options.folder),
        dry_run=request.dry_run,
        files=[_line(file, outcomes[file.path], show=show) for file in provision.files],
        actions=actions,
        targets=targets_text(provision.targets, base) if provision.targets else "",
        username=login.username if login else None,
        notes=list(provision.notes),
    )


def _line(file: PlannedFile, outcome: str, *, show: bool) -> FileLine:
    is_text = not file.is_secret and b"BEGIN CERTIFICATE" not in file.content
    text = file.content.decode() if show and is_text else None
    return FileLine(path=file.path, outcome=outcome, mode=f"{file.mode:04o}", content=text)


# -- containers --------------------------------------------------------------------------------------------------------


def _start(
    request: Request,
    provision: Provision,
    login: Login | None,
    engine: ContainerEngine,
    environ: Mapping[str, str],
    cancel: Cancel,
    say: Say,
) -> list[str]:
    actions = []
    for folder in provision.data:
        _make_folder(provision.options.folder / folder, 200 if provision.role == "nexus" else None)
    for container in provision.containers:
        outcome = engine.run(container)
        actions.append(f"{outcome}: container {container.name} from {container.image}")
        say(actions[-1])
    if provision.role == "nexus" and login is not None:
        from .nexus_start import set_up

        actions += set_up(provision, login, engine, request.wait_seconds, say)
    _until_content(request, provision, engine, environ, cancel)
    say("doctor is content")
    return actions


def _make_folder(path: Path, owner: int | None) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner, owner)
    except OSError as error:
        raise StorageError(
            f"creating {path} failed: {error.strerror}", hint="check the folder's permissions"
        ) from error


def _until_content(
    request: Request, provision: Provision, engine: ContainerEngine, environ: Mapping[str, str], cancel: Cancel
) -> None:
    """Ask doctor again and again; a container that ends meanwhile ends the waiting too."""
    end = time.monotonic() + request.wait_seconds
    while True:
        findings = _errors(provision, environ, cancel)
        waiting = [each for each in provision.containers if not _is_up(each, engine)]
        if not findings and not waiting:
            return
        ended = [each.name for each in waiting if engine.state(each.name) == "ended"]
        if ended or time.monotonic() > end:
            raise _not_up(provision, findings, waiting, ended, engine)
        cancel.sleep(_PAUSE_SECONDS)


def _errors(provision: Provision, environ: Mapping[str, str], cancel: Cancel) -> list[Finding]:
    """What doctor has against the new targets, whatever else the configuration holds."""
    places = Places(Config({"targets": dict(provision.targets)}, environ=environ), environ, cancel)
    try:
        report = examine(places, [Question(name) for name in provision.targets], dry_run=True)
    finally:
        places.close()
    return [each for check in report.targets for each in check.findings if each.severity == "error"]


def _is_up(container: Container, engine: ContainerEngine) -> bool:
    """Whether it stays up and all its ports accept connections."""
    if engine.state(container.name) != "steady":
        return False
    places = [(address, port.host) for port in container.ports for address in port.addresses]
    return all(_accepts("127.0.0.1" if address == "0.0.0.0" else address, port) for address, port in places)  # noqa: S104


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 2).close()
    except OSError:
        return False
    return True


def _not_up(
    provision: Provision,
    findings: list[Finding],
    waiting: list[Container],
    ended: list[str],
    engine: ContainerEngine,
) -> CiRegistryError:
    name = next(iter([*ended, *(each.name for each in waiting)]), provision.containers[-1].name)
    log = " ".join(engine.log(name, 3).split())[-300:]
    state = f"doctor is not content ({findings[0].seen})" if findings else f"the container {name} does not stay up"
    state = f"the container {name} ended" if ended else state
    return RemoteError(
        f"starting {provision.role} '{provision.options.name}' failed: {state}; its log ends with: {log}",
        hint=f"see `docker logs {name}`, and run the same command again",
    )


def bring_down(request: Request, environ: Mapping[str, str], *, purge: bool) -> ProvisionReport:
    """Remove the containers, and with `purge` their data and the folder. The network goes when it is empty."""
    options = request.options
    claim_folder(options.folder, request.role)
    if not (options.folder / MARKER).exists():
        raise UsageError(
            f"there is nothing of `ci-registry provision {request.role}` in {options.folder}",
            hint="name it with --folder",
        )
    login = Login(options.username, "", is_new=False, in_file=False) if HAS_LOGIN[request.role](options) else None
    provision = build(request.role, _with_known_network(options), login)
    actions = []
    if provision.containers:
        actions = _remove(request, provision, environ)
    files = []
    if purge:
        names = [*(file.path for file in provision.files), "password"]
        gone = names if request.dry_run else remove_files(options.folder, names, _PURGED)
        files = [FileLine(path=name, outcome="removed", mode="") for name in gone]
    return ProvisionReport(
        role=request.role,
        name=options.name,
        folder=str(options.folder),
        dry_run=request.dry_run,
        files=files,
        actions=actions,
        targets="",
    )


def _remove(request: Request, provision: Provision, environ: Mapping[str, str]) -> list[str]:
    if request.dry_run:
        return [f"would remove the container {each.name}" for each in provision.containers]
    engine = ContainerEngine(environ)
    try:
        gone = [f"removed the container {each.name}" for each in provision.containers if engine.remove(each.name)]
        if engine.remove_network(provision.options.network):
            gone.append(f"removed the docker network {provision.options.network}")
        return gone
    finally:
        engine.close()
