"""provision registry, proxy, nexus, cache, certs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .output import Answer
from .settings import F, Globals, command

if TYPE_CHECKING:
    from ..ops.provision.plan import Options

__all__ = ["provision"]

_COMMON = (
    click.option("--name", help="Name of target, container and host. [default: by role]"),
    click.option("--folder", type=click.Path(file_okay=False), help="Folder to write. [default: ./NAME]"),
    click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. [default: by role]"),
    click.option("--dry-run", is_flag=True, help="Show files and actions; write and start nothing."),
    click.option("--write-config", is_flag=True, help="Insert the target into ci-registry.yaml."),
)
_CONTAINERS = (
    click.option("--up", is_flag=True, help="Start it as containers, and wait until doctor is content."),
    click.option("--down", is_flag=True, help="Remove the containers; images they keep stay."),
    click.option("--purge", is_flag=True, help="With --down: remove images and the folder too."),
    click.option("--network", default="ci-registry", show_default=True, help="Docker network to join."),
    click.option("--listen", multiple=True, metavar="ADDRESS", help="Publish there; else on this machine alone."),
    click.option("--image", default="", help="Image to use in place of the usual one."),
    click.option(
        "--wait", "wait_seconds", type=click.FloatRange(min=1), metavar="SECONDS", help="How long to wait with --up."
    ),
)
_CERTIFICATES = (
    click.option("--san", "sans", multiple=True, metavar="NAME", help="Another name or address for the certificate."),
    click.option(
        "--client",
        "clients",
        multiple=True,
        metavar="NAME",
        help="A client to make a certificate for. [default: client]",
    ),
    click.option(
        "--days", type=click.IntRange(1, 3650), default=397, show_default=True, help="How long they are good."
    ),
    click.option("--renew", is_flag=True, help="Make server's and clients' certificates anew; the CA stays."),
)
_USERS = (
    click.option("-u", "--username", help="User to make. [default: ci]"),
    click.option("--password-file", is_flag=True, help="Keep the password in FOLDER/password, not in the keyring."),
)


def _options(*groups: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


_AS_GIVEN = (
    "network",
    "tls",
    "mutual",
    "htpasswd",
    "days",
    "renew",
    "image",
    "upstream",
    "proxy_port",
    "pkcs12",
    "accept_eula",
)
"""What goes from the command line into `Options` as it is."""


@click.group("provision")
def provision() -> None:
    """Write a private registry, proxy, cache, Nexus or certificates as a folder, and start it with --up."""


@command(
    "certs",
    schema="provision",
    examples=(
        "ci-registry provision certs --san registry.example.org --client builder",
        "ci-registry provision certs --install certs.d --dry-run",
    ),
)
@_options(_COMMON, _CERTIFICATES)
@click.option("--pkcs12", is_flag=True, help="Also as PKCS#12 stores, for Java.")
@click.option("--install", type=click.Choice(["certs.d", "system"]), help="Make Docker, or this machine, trust the CA.")
def certs(globals_: Globals, install: str | None, **given: Any) -> Answer:
    """A CA of its own, and certificates for a server and for clients."""
    answer = _run(globals_, "certs", given)
    if install is not None:
        from ..ops.provision.installing import install_ca

        actions = install_ca(install, _plan("certs", given), dry_run=given["dry_run"])
        answer.text = "\n".join([answer.text, *actions])
        answer.result.actions.extend(actions)
    return answer


@command(
    "registry",
    schema="provision",
    examples=(
        "ci-registry provision registry --dry-run",
        "ci-registry provision registry --tls --mutual --htpasswd --up --write-config",
        "ci-registry provision registry --down --purge",
    ),
)
@_options(_COMMON, _CONTAINERS)
@click.option("--tls", is_flag=True, help="HTTPS with a CA of its own.")
@click.option("--mutual", is_flag=True, help="Demand a client certificate (with --tls).")
@click.option("--htpasswd", is_flag=True, help="Demand user and password.")
@_options(_CERTIFICATES, _USERS)
def registry(globals_: Globals, **given: Any) -> Answer:
    """A registry as a container: open, with TLS, mutual TLS, users and passwords."""
    return _run(globals_, "registry", given)


@command("proxy", schema="provision", examples=("ci-registry provision proxy --up --write-config",))
@_options(_COMMON, _CONTAINERS, _CERTIFICATES, _USERS)
def proxy(globals_: Globals, **given: Any) -> Answer:
    """nginx with TLS and a password in front of a registry."""
    return _run(globals_, "proxy", {**given, "tls": True, "htpasswd": True})


@command(
    "nexus",
    schema="provision",
    examples=("ci-registry provision nexus --dry-run", "ci-registry provision nexus --up --accept-eula --wait 600"),
)
@_options(_COMMON, _CONTAINERS, _CERTIFICATES, _USERS)
@click.option("--accept-eula", is_flag=True, help="Accept the licence terms of Nexus' Community Edition.")
@click.option("--upstream", default="https://registry-1.docker.io", show_default=True, help="What its proxy reads.")
def nexus(globals_: Globals, **given: Any) -> Answer:
    """Nexus 3 with docker repositories over HTTPS."""
    return _run(globals_, "nexus", {**given, "tls": True, "wait_seconds": given["wait_seconds"] or 600.0})


@command(
    "cache",
    schema="provision",
    examples=("ci-registry provision cache --up", "ci-registry provision cache --upstream https://ghcr.io"),
)
@_options(_COMMON, _CONTAINERS)
@click.option(
    "--upstream", default="https://registry-1.docker.io", show_default=True, help="What it pulls through from."
)
@click.option(
    "--proxy-port", type=click.IntRange(1, 65535), default=3128, show_default=True, help="Port of the squid beside it."
)
def cache(globals_: Globals, **given: Any) -> Answer:
    """A pull-through registry, and a squid with settings that suit registries."""
    return _run(globals_, "cache", given)


for each in (registry, proxy, nexus, cache, certs):
    provision.add_command(each)


def _run(globals_: Globals, role: str, given: dict[str, Any]) -> Answer:
    from ..ops.provision.running import Request, bring_down, bring_up
    from ..reports.provision_text import provision_text

    if given.get("up") and given.get("down"):
        raise UsageError("--up and --down at once", hint="give one of them")
    if given.get("purge") and not given.get("down"):
        raise UsageError("--purge removes what --down leaves", hint="add --down")
    request = Request(
        role,
        _plan(role, given),
        _config_file(globals_),
        start=bool(given.get("up")),
        dry_run=given["dry_run"],
        write_config=given["write_config"],
        password_in_file=bool(given.get("password_file")),
        wait_seconds=given.get("wait_seconds") or 120.0,
    )
    if given.get("down"):
        report = bring_down(request, os.environ, purge=given["purge"])
    else:
        report = bring_up(request, os.environ, globals_.cancel, globals_.output.say)
    return Answer(report, provision_text(report))


def _plan(role: str, given: dict[str, Any]) -> Options:
    from ..ops.provision.names import check_name
    from ..ops.provision.plan import Options
    from ..ops.provision.roles import DEFAULTS

    default = DEFAULTS[role]
    name = check_name(given["name"] or default.name)
    said = {key: given[key] for key in _AS_GIVEN if key in given}
    return Options(
        name=name,
        folder=Path(given["folder"] or name).absolute(),
        port=given["port"] or default.port,
        username=given.get("username") or default.username,
        clients=tuple(given.get("clients") or ("client",)),
        sans=tuple(given.get("sans") or ()),
        listen=tuple(given.get("listen") or ()),
        **said,
    )


def _config_file(globals_: Globals) -> Path:
    """The file in use, or the one that would be found first here."""
    from ..ops.config.discovery import FILE_NAME, find_file

    explicit = globals_.config_path
    if explicit is not None:
        return explicit.absolute()
    return find_file(None, os.environ, Path.cwd()) or Path.cwd() / FILE_NAME
