"""jenkins check, login, logout, upsert-job, trigger, describe, credentials."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CheckFailedError, StorageError, UsageError
from .output import Answer
from .settings import Globals, command

if TYPE_CHECKING:
    from ..adapters.jenkins_server import JenkinsServer
    from ..ops.jenkins_login import Login
    from ..ops.jenkins_results import BuildReport, JenkinsReport
    from ..ops.job_xml import JobDefinition

__all__ = ["jenkins"]

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Read for real, say what would happen, write nothing.")
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the secret from standard input.")


@click.group("jenkins")
def jenkins() -> None:
    """Work with a Jenkins server: check it, define jobs, start builds and follow them."""


def _server(globals_: Globals) -> tuple[JenkinsServer, Login]:
    from ..adapters.keychain import Keychain
    from ..ops.jenkins_login import open_server

    return open_server(globals_.config, os.environ, Keychain())


@command(
    "check", schema="jenkins-check", examples=("ci-registry jenkins check", "ci-registry jenkins check --folder team")
)
@click.option("--folder", default="", metavar="NAME", help="Folder that jobs are to be made in.")
def check(globals_: Globals, folder: str) -> Answer:
    """Check address, version, login, crumb and permissions of the server, and say what is missing."""
    from ..ops.jobs import check as check_server

    server, login = _server(globals_)
    report = check_server(server, credential=login.source, folder=folder)
    error = None
    if report.problems:
        error = CheckFailedError(f"checking {server.url}: {report.problems[0]}", hint=_more(len(report.problems) - 1))
    return Answer(report, _check_text(report), error)


def _more(others: int) -> str:
    return f"{others} more problem{'s' if others > 1 else ''} above" if others else ""


def _check_text(report: JenkinsReport) -> str:
    facts = [
        ("server", f"{report.url}, Jenkins {report.version}"),
        ("user", report.username if report.authenticated else "nobody (anonymous)"),
        ("token from", report.credential),
        ("crumbs", "asked for" if report.crumbs else "not asked for"),
    ]
    lines = [f"{name + ':':<12}{value}" for name, value in facts]
    lines += [f"problem: {text}" for text in report.problems] + [f"note: {text}" for text in report.notes]
    return "\n".join(lines)


@command(
    "login",
    schema="jenkins-login",
    examples=('printf %s "$TOKEN" | ci-registry jenkins login -u ci --password-stdin',),
)
@click.option("-u", "--username", metavar="USER", help="Whose API token it is. [default: jenkins.username]")
@_STDIN
def login(globals_: Globals, username: str | None, password_stdin: bool) -> Answer:
    """Keep an API token in the keyring, once the server accepts it."""
    from ..adapters.jenkins_server import JenkinsServer
    from ..adapters.keychain import Keychain
    from ..errors import AccessError
    from ..ops.jenkins_login import server_settings, store_token
    from ..ops.jenkins_results import JenkinsLogin

    settings = server_settings(globals_.config, os.environ)
    username = username or settings.username
    if not username:
        raise UsageError("no user name was given", hint="give -u USER or `jenkins.username`")
    token = _secret("API token", password_stdin)
    server = JenkinsServer(settings.url, username, token, timeout_seconds=settings.timeout_seconds, ca=settings.ca)
    _version, identity = server.identity()
    if not identity.get("authenticated") or identity.get("anonymous"):
        raise AccessError(f"logging in to {settings.url} as {username}: the server took us for anonymous")
    where = store_token(settings.url, username, token, Keychain())
    report = JenkinsLogin(url=settings.url, username=username, kept_in=where)
    return Answer(report, f"logged in to {settings.url} as {username}; kept in {where}")


@command("logout", schema="jenkins-login", examples=("ci-registry jenkins logout",))
@click.option("-u", "--username", metavar="USER", help="Only that user's token.")
def logout(globals_: Globals, username: str | None) -> Answer:
    """Remove the token from the keyring."""
    from ..adapters.keychain import Keychain
    from ..ops.jenkins_login import forget_token, server_settings
    from ..ops.jenkins_results import JenkinsLogin

    settings = server_settings(globals_.config, os.environ)
    removed = forget_token(settings.url, username, Keychain())
    said = "removed the token for" if removed else "there was no token kept for"
    return Answer(JenkinsLogin(url=settings.url, username=username or "", kept_in=""), f"{said} {settings.url}")


def _secret(what: str, from_stdin: bool) -> str:
    from ..redaction import remember_secret

    if from_stdin:
        secret = sys.stdin.read(64 * 1024).rstrip("\r\n")
    elif sys.stdin.isatty():
        secret = click.prompt(what, hide_input=True, err=True)
    else:
        raise UsageError(f"no {what} was given", hint="give it on standard input with --password-stdin")
    if not secret:
        raise UsageError(f"standard input holds no {what}", hint="check the command that writes it")
    remember_secret(secret)
    return secret


# -- jobs --------------------------------------------------------------------------------------------------------


@command(
    "upsert-job",
    schema="jenkins-jobs",
    examples=(
        "ci-registry jenkins upsert-job team/promote --script pipelines/promote.Jenkinsfile --parameter IMAGE",
        "ci-registry jenkins upsert-job team/app --multibranch --repository https://git.example.org/app.git",
        "ci-registry jenkins upsert-job --from pipelines/jobs.yaml --dry-run",
        "ci-registry jenkins upsert-job --from pipelines/jobs.yaml --write pipelines/jobs",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--from", "jobs_file", type=click.Path(path_type=Path), help="Define the jobs in this YAML file.")
@click.option("--script", type=click.Path(path_type=Path), help="Jenkinsfile whose text goes into the job.")
@click.option("--repository", metavar="URL", help="Git repository that holds the Jenkinsfile.")
@click.option("--branch", default="main", show_default=True, help="Its branch.")
@click.option("--script-path", default="Jenkinsfile", show_default=True, help="Where the Jenkinsfile is in it.")
@click.option("--credentials", metavar="ID", help="Jenkins credential that clones it.")
@click.option("--multibranch", is_flag=True, help="One job for each branch and tag that has a Jenkinsfile.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME[=DEFAULT]", help="Declare a parameter.")
@click.option("--description", default="", help="Text of the job's page.")
@click.option("--schedule", metavar="CRON", help="When to start it, such as 'H 2 * * *'.")
@click.option("--write", "folder", type=click.Path(path_type=Path), help="Write NAME.xml here, and change no server.")
@_DRY_RUN
def upsert_job(
    globals_: Globals, names: tuple[str, ...], jobs_file: Path | None, folder: Path | None, dry_run: bool, **how: Any
) -> Answer:
    """Create jobs, and the folders above them, or change them to what is defined."""
    from ..ops.jobs import upsert_job as upsert

    jobs = _jobs_in(jobs_file, names) if jobs_file else [_one_job(names, **how)]
    if folder is not None:
        return _write_definitions(jobs, folder, dry_run)
    server, _login = _server(globals_)
    reports = [upsert(server, job, dry_run=dry_run) for job in jobs]
    would = "would be " if dry_run else ""
    lines = [f"folder {made} {would}created" for report in reports for made in report.folders]
    lines += [f"{report.url} {'' if report.outcome == 'unchanged' else would}{report.outcome}" for report in reports]
    return Answer(reports, "\n".join(lines))


def _jobs_in(file: Path, names: tuple[str, ...]) -> list[JobDefinition]:
    from ..ops.job_xml import read_jobs

    jobs = {job.name: job for job in read_jobs(file)}
    unknown = [name for name in names if name not in jobs]
    if unknown:
        raise UsageError(f"{file} defines no job {unknown[0]}", hint=f"it defines: {', '.join(jobs)}")
    return [job for name, job in jobs.items() if not names or name in names]


def _one_job(
    names: tuple[str, ...],
    *,
    script: Path | None,
    multibranch: bool,
    parameters: tuple[str, ...],
    **how: Any,
) -> JobDefinition:
    from ..ops.job_xml import JobDefinition, JobParameter

    if len(names) != 1:
        raise UsageError("one job is defined by options at a time", hint="give one NAME, or --from FILE")
    pairs = (each.partition("=") for each in parameters)
    return JobDefinition(
        name=names[0],
        kind="multibranch" if multibranch else "pipeline",
        script=str(script) if script else None,
        parameters=tuple(JobParameter(name=name, default=default) for name, _, default in pairs),
        **how,
    )


def _write_definitions(jobs: list[JobDefinition], folder: Path, dry_run: bool) -> Answer:
    from ..ops.jenkins_results import JobReport
    from ..ops.job_xml import config_xml

    reports = []
    for job in jobs:
        path = folder / f"{job.name.replace('/', '-')}.xml"
        content = config_xml(job)
        if not dry_run:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            except OSError as error:
                raise StorageError(f"writing job {job.name} to {path} failed: {error.strerror}") from error
        reports.append(JobReport(job=job.name, outcome="written", folders=[], url=str(path), dry_run=dry_run))
    return Answer(reports, "\n".join(report.url for report in reports))


# -- builds ------------------------------------------------------------------------------------------------------


@command(
    "trigger",
    schema="jenkins-build",
    examples=(
        "ci-registry jenkins trigger team/promote --parameter IMAGE=team/app:1.2 --wait",
        "ci-registry jenkins trigger team/app/main",
        "ci-registry jenkins trigger team/nightly --wait --timeout 7200 --stop-on-interrupt",
    ),
)
@click.argument("job")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Not for secrets.")
@click.option("--wait", is_flag=True, help="Follow the build; exit 0 if it succeeds, 9 if not.")
@click.option("--timeout", type=click.FloatRange(min=1), metavar="SECONDS", help="How long to wait for it.")
@click.option("--stop-on-interrupt", is_flag=True, help="Abort the build when this command is interrupted.")
def trigger(
    globals_: Globals,
    job: str,
    parameters: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    stop_on_interrupt: bool,
) -> Answer:
    """Start a build, once; with --wait its log is followed on stderr."""
    from ..ops.builds import build_error
    from ..ops.builds import trigger as start

    server, _login = _server(globals_)
    log = _Log(globals_)
    report = start(
        server,
        job,
        _pairs(parameters),
        cancel=globals_.cancel,
        wait=wait,
        stop_on_interrupt=stop_on_interrupt,
        timeout_seconds=timeout,
        say=globals_.output.say,
        on_text=log.write,
    )
    log.end()
    return Answer(report, _build_text(report), build_error(report))


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"'{text}' is not a parameter", hint="write NAME=VALUE")
        if name in pairs:
            raise UsageError(f"parameter {name} is given twice", hint="give it once")
        pairs[name] = value
    return pairs


class _Log:
    """A build's log on stderr, by whole lines, so that redaction sees each of them at once."""

    def __init__(self, globals_: Globals) -> None:
        self._say = globals_.output.say
        self._rest = ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            self._say(line)

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)


def _build_text(report: BuildReport) -> str:
    if report.build is None:
        return f"{report.url} queued as item {report.queue}"
    return f"{report.url} {report.result or 'running'}"


@command(
    "describe",
    schema="jenkins-build",
    examples=(
        "ci-registry jenkins describe team/app 17 --description 'promoted 1.2 to production'",
        "ci-registry jenkins describe --display-name '#17 app 1.2'",
    ),
)
@click.argument("job", required=False)
@click.argument("build", required=False, type=int)
@click.option("--description", help="The build's description.")
@click.option("--display-name", help="The build's name in lists.")
def describe(
    globals_: Globals, job: str | None, build: int | None, description: str | None, display_name: str | None
) -> Answer:
    """Set the description or display name of a build; inside a build, of that one."""
    from ..ops.jobs import describe as set_description

    if description is None and display_name is None:
        raise UsageError("nothing to set was given", hint="give --description or --display-name")
    if job is None:
        job, build = os.environ.get("JOB_NAME"), int(os.environ.get("BUILD_NUMBER") or 0)
    if not job or not build:
        raise UsageError("no build was named", hint="write JOB BUILD; only inside a build they are known")
    server, _login = _server(globals_)
    report = set_description(server, job, build, display_name=display_name, description=description)
    return Answer(report, f"{report.url} described")


# -- credentials -------------------------------------------------------------------------------------------------


@click.group("credentials")
def credentials() -> None:
    """Keep credentials in a folder of Jenkins, for the jobs in it."""


@command(
    "set",
    schema="jenkins-credentials",
    examples=('printf %s "$PASSWORD" | ci-registry jenkins credentials set team dev-registry -u ci --password-stdin',),
)
@click.argument("folder")
@click.argument("name", metavar="ID")
@click.option("-u", "--username", metavar="USER", help="User name; without it the secret is kept as a secret text.")
@click.option("--description", default="", help="Shown in Jenkins beside the id.")
@_STDIN
def set_command(
    globals_: Globals, folder: str, name: str, username: str | None, description: str, password_stdin: bool
) -> Answer:
    """Create or change a credential."""
    from ..ops.jobs import put_credential

    server, _login = _server(globals_)
    secret = _secret("secret", password_stdin)
    report = put_credential(server, folder, name, username=username, secret=secret, description=description)
    return Answer(report, f"credential {name} in {folder} {report.outcome}")


@command("list", schema="jenkins-credentials", examples=("ci-registry jenkins credentials list team",))
@click.argument("folder")
def list_command(globals_: Globals, folder: str) -> Answer:
    """List the ids of a folder's credentials."""
    from ..ops.jenkins_results import CredentialReport

    ids = _server(globals_)[0].credential_ids(folder)
    return Answer(CredentialReport(folder=folder, outcome="listed", ids=ids), "\n".join(ids))


@command("rm", schema="jenkins-credentials", examples=("ci-registry jenkins credentials rm team dev-registry",))
@click.argument("folder")
@click.argument("name", metavar="ID")
def remove(globals_: Globals, folder: str, name: str) -> Answer:
    """Remove a credential."""
    from ..ops.jenkins_results import CredentialReport

    _server(globals_)[0].delete_credential(folder, name)
    report = CredentialReport(folder=folder, outcome="deleted", ids=[name])
    return Answer(report, f"credential {name} in {folder} deleted")


for each in (set_command, list_command, remove):
    credentials.add_command(each)
for each in (check, login, logout, upsert_job, trigger, describe, credentials):
    jenkins.add_command(each)
