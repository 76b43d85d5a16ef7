"""login, logout, credentials."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from .output import Answer
from .settings import Globals, command

if TYPE_CHECKING:
    from ..credentials.chain import Credential

__all__ = ["credentials", "login", "logout"]

_LARGEST_PASSWORD = 64 * 1024
_USER = click.option("-u", "--username", metavar="USER", help="User name; for an identity token, '<token>'.")
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
_DOCKER = click.option("--docker-config", is_flag=True, help="Keep it in docker's configuration file instead.")


@command(
    "login",
    examples=(
        "ci-registry login dev -u ci",
        'printf %s "$TOKEN" | ci-registry login registry.example.org -u ci --password-stdin',
        "ci-registry login hub -u ci --docker-config",
    ),
)
@click.argument("target")
@_USER
@_STDIN
@_DOCKER
def login(
    globals_: Globals, target: str, username: str | None, password_stdin: bool, docker_config: bool
) -> Answer:
    """Log in to a target or host; once the registry accepts the credential it is kept in the keyring."""
    from ..ops.logins import find_target, log_in, open_store
    from ..ops.results import LoginReport

    places = globals_.places
    opened = find_target(places, target)
    credential = _read_credential(username, password_stdin)
    where, asked = log_in(places, opened, credential, open_store(places, docker_config))
    if not asked:
        globals_.output.warn(f"{opened.credential_host} did not ask for a login, so the credential was not checked")
    report = LoginReport(
        target=opened.name, host=opened.credential_host, username=credential.username, kept_in=where
    )
    return Answer(report, f"logged in to {report.host} as {credential.username}; kept in {where}")


@command("logout", schema="login", examples=("ci-registry logout dev", "ci-registry logout registry.example.org"))
@click.argument("target")
@_USER
@_DOCKER
def logout(globals_: Globals, target: str, username: str | None, docker_config: bool) -> Answer:
    """Forget the credential that login kept."""
    return _forget(globals_, target, username, docker_config)


@click.group("credentials")
def credentials() -> None:
    """Explain, set or remove credentials."""


@command(
    "explain",
    schema="credentials",
    examples=("ci-registry credentials explain dev", "ci-registry credentials explain registry.example.org"),
)
@click.argument("target")
def explain(globals_: Globals, target: str) -> Answer:
    """List each link of the credential chain: what it found, and why it won or lost. Never shows a secret."""
    from ..ops.logins import explain as explain_chain
    from ..ops.logins import find_target
    from ..ops.results import ChainLink, ChainReport
    from ..reports.text import chain_text

    name, _, repository = target.partition(":")
    if name not in globals_.config.targets:
        name, repository = target, ""
    opened = find_target(globals_.places, name)
    answers = explain_chain(globals_.places, opened, repository or None)
    links = [ChainLink(source=each.provider, outcome=each.outcome, detail=each.detail) for each in answers]
    report = ChainReport(target=opened.name, host=opened.credential_host, links=links)
    return Answer(report, chain_text(report))


@command(
    "set",
    schema="login",
    examples=('printf %s "$TOKEN" | ci-registry credentials set prod -u ci --password-stdin',),
)
@click.argument("target")
@_USER
@_STDIN
@_DOCKER
def set_command(
    globals_: Globals, target: str, username: str | None, password_stdin: bool, docker_config: bool
) -> Answer:
    """Keep a credential without asking the registry about it."""
    from ..ops.logins import find_target, open_store
    from ..ops.results import LoginReport

    opened = find_target(globals_.places, target)
    credential = _read_credential(username, password_stdin)
    where = open_store(globals_.places, docker_config).save(opened.credential_host, credential)
    report = LoginReport(
        target=opened.name, host=opened.credential_host, username=credential.username, kept_in=where
    )
    return Answer(report, f"kept the credential of {report.host} in {where}")


@command("rm", schema="login", examples=("ci-registry credentials rm prod",))
@click.argument("target")
@_USER
@_DOCKER
def remove(globals_: Globals, target: str, username: str | None, docker_config: bool) -> Answer:
    """Remove a kept credential."""
    return _forget(globals_, target, username, docker_config)


def _forget(globals_: Globals, target: str, username: str | None, docker_config: bool) -> Answer:
    from ..ops.logins import find_target, log_out, open_store
    from ..ops.results import LoginReport

    opened = find_target(globals_.places, target)
    removed = log_out(opened, open_store(globals_.places, docker_config), username)
    report = LoginReport(target=opened.name, host=opened.credential_host, username=username, kept_in="")
    said = "removed the credential of" if removed else "there was no credential kept for"
    return Answer(report, f"{said} {report.host}")


def _read_credential(username: str | None, from_stdin: bool) -> Credential:
    """The user and password, asked for only on a terminal."""
    from ..credentials.helper import credential_of

    if username is None:
        username = _ask("User name: ", hidden=False, option="-u USER")
    secret = _password_from_stdin() if from_stdin else _ask("Password: ", hidden=True, option="--password-stdin")
    if not secret:
        raise UsageError("the password is empty", hint="check what is written to standard input")
    return credential_of(username, secret, "this login")


def _password_from_stdin() -> str:
    text = sys.stdin.read(_LARGEST_PASSWORD)
    return text.removesuffix("\n").removesuffix("\r")


def _ask(prompt: str, *, hidden: bool, option: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask for {prompt.lower().rstrip(': ')}", hint=f"give {option}")
    return str(click.prompt(prompt.rstrip(": "), hide_input=hidden, err=True))


for each in (explain, set_command, remove):
    credentials.add_command(each)
