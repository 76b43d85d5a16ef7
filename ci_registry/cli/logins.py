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
    from ..kinds.base import OpenTarget

__all__ = ["credentials", "login", "logout"]

_LARGEST_PASSWORD = 64 * 1024  # bytes
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
def login(globals_: Globals, target: str, username: str | None, password_stdin: bool, docker_config: bool) -> Answer:
    """Log in to a target or host; once the registry accepts the credential it is kept in the keyring."""
    from ..ops.logins import find_target, log_in, open_store
    from ..ops.results import LoginReport

    places, said = globals_.places, globals_.output
    opened = find_target(places, target)
    user, credential = _read_credential(opened, username, password_stdin)
    kept = log_in(places, opened, credential, open_store(places, docker_config))
    host = opened.credential_host
    if not kept.asked:
        said.warn(f"{host} did not ask for a login, so the credential was not checked")
    for remark in kept.remarks:
        said.warn(remark)
    report = LoginReport(target=opened.name, host=host, username=user, kept_in=kept.where, checked=kept.asked)
    return Answer(report, f"logged in to {host} as {user}; kept in {kept.where}")


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
    examples=(
        "ci-registry credentials explain dev",
        "ci-registry credentials explain dev:team/app",
        "ci-registry credentials explain registry.example.org",
    ),
)
@click.argument("target")
def explain(globals_: Globals, target: str) -> Answer:
    """List each link of the credential chain: what it found, and why it won or lost. Never shows a secret."""
    from ..ops.logins import explain as explain_chain
    from ..ops.logins import find_repository
    from ..ops.results import ChainLink, ChainReport
    from ..reports.text import chain_text

    opened, repository = find_repository(globals_.places, target)
    answers = explain_chain(globals_.places, opened, repository)
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
    from ..ops.logins import find_target, keep, open_store
    from ..ops.results import LoginReport

    places = globals_.places
    opened = find_target(places, target)
    user, credential = _read_credential(opened, username, password_stdin)
    kept = keep(places, opened, credential, open_store(places, docker_config))
    for remark in kept.remarks:
        globals_.output.warn(remark)
    report = LoginReport(target=opened.name, host=opened.credential_host, username=user, kept_in=kept.where)
    return Answer(report, f"kept the credential of {report.host} in {kept.where}")


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
    report = LoginReport(target=opened.name, host=opened.credential_host, username=username, removed=removed)
    where = "docker's configuration" if docker_config else "the keyring"
    if removed:
        return Answer(report, f"removed the credential of {report.host} from {where}")
    return Answer(report, f"there was no credential of {report.host} in {where}")


# -- asking --------------------------------------------------------------------------------------------------------


def _read_credential(target: OpenTarget, username: str | None, from_stdin: bool) -> tuple[str, Credential]:
    """The user's name and the credential, asked for only on a terminal."""
    from ..credentials.helper import credential_of

    username = username or target.settings.username or _ask("User name: ", hidden=False, option="-u USER")
    if ":" in username:
        # RFC 7617: the registry would take what follows the colon for the beginning of the password
        raise UsageError("a user name can't have a ':' in it", hint="give the password with --password-stdin")
    secret = _password_from_stdin() if from_stdin else _ask("Password: ", hidden=True, option="--password-stdin")
    if not secret:
        raise UsageError("the password is empty", hint="check what is written to standard input")
    return username, credential_of(username, secret, "this login")


def _password_from_stdin() -> str:
    raw = sys.stdin.buffer.read(_LARGEST_PASSWORD + 1) if sys.stdin else b""
    if len(raw) > _LARGEST_PASSWORD:
        raise UsageError("the password on standard input is larger than 64 KiB", hint="write the password alone to it")
    text = _utf8(raw)
    if text is None:
        raise UsageError("the password on standard input is not UTF-8 text", hint="check what is written to it")
    return text.removesuffix("\n").removesuffix("\r")


def _utf8(raw: bytes) -> str | None:
    # None instead of an exception, which would carry the password along
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _ask(prompt: str, *, hidden: bool, option: str) -> str:
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(f"there is no terminal to ask for the {prompt.lower().rstrip(': ')}", hint=f"give {option}")
    return str(click.prompt(prompt.rstrip(": "), hide_input=hidden, err=True))


for each in (explain, set_command, remove):
    credentials.add_command(each)
