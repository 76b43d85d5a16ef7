"""A Jenkins server from outside: is it usable, jobs defined, builds described, credentials kept in folders."""

from __future__ import annotations

from collections.abc import Mapping

from ..adapters.jenkins_answers import JobInfo, job_path
from ..adapters.jenkins_server import JenkinsServer
from ..errors import AccessError, ConflictError, NotFoundError, UsageError
from .jenkins_results import BuildReport, CredentialReport, JenkinsReport, JobReport
from .job_xml import JobDefinition, config_xml, credential_xml, same_definition

__all__ = ["check", "describe", "put_credential", "upsert_job"]

_NEEDED_PLUGINS = ("workflow-aggregator", "pipeline-groovy-lib", "credentials-binding", "git", "cloudbees-folder")
_USEFUL_PLUGINS = ("junit", "htmlpublisher", "aws-credentials", "amazon-ecr")


# -- check -------------------------------------------------------------------------------------------------------


def check(server: JenkinsServer, *, credential: str, folder: str = "") -> JenkinsReport:
    """What the server is, who we are to it, and what is missing to define and start jobs in `folder`."""
    version, identity = server.identity()
    authenticated = bool(identity.get("authenticated")) and not identity.get("anonymous")
    problems, notes = [], []
    if not authenticated:
        problems.append(f"we are anonymous to {server.url}: no token was found; `ci-registry jenkins login` stores one")
    problems += _missing_permissions(server, folder)
    try:
        missing, useful = _missing_plugins(server.plugins())
        problems += [f"plug-in {name} is not installed" for name in missing]
        notes += [f"plug-in {name} is not installed; steps that use it do without" for name in useful]
    except (AccessError, NotFoundError):
        notes.append("this user may not list the plug-ins, so whether all needed ones are there is not known")
    return JenkinsReport(
        url=server.url,
        version=version,
        username=str(identity.get("name") or "anonymous"),
        authenticated=authenticated,
        credential=credential,
        crumbs=server.has_crumbs(),
        problems=problems,
        notes=notes,
    )


def _missing_permissions(server: JenkinsServer, folder: str) -> list[str]:
    place = f"{job_path(folder)}/" if folder else ""
    problems = []
    for path, what, usual in (
        ("api/json?tree=mode", "read the server", "hudson.model.Hudson.Read"),
        (f"{place}newJob", f"create jobs in {folder or 'the root folder'}", "hudson.model.Item.Create"),
    ):
        try:
            allowed, needed = server.may(path)
        except NotFoundError:
            problems.append(f"there is no folder {folder}, or this user may not see it; upsert-job makes folders")
            continue
        if not allowed:
            problems.append(f"this user may not {what}: it needs {needed or usual}")
    return problems


def _missing_plugins(installed: Mapping[str, str]) -> tuple[list[str], list[str]]:
    # the aggregator is only a list of the plug-ins that make up Pipeline
    has_pipeline = "workflow-aggregator" in installed or {"workflow-cps", "workflow-job"} <= set(installed)
    missing = [name for name in _NEEDED_PLUGINS if name not in installed]
    if has_pipeline and "workflow-aggregator" in missing:
        missing.remove("workflow-aggregator")
    return missing, [name for name in _USEFUL_PLUGINS if name not in installed]


# -- job definitions ---------------------------------------------------------------------------------------------


def upsert_job(server: JenkinsServer, job: JobDefinition, *, dry_run: bool = False) -> JobReport:
    """Create a job and the folders above it, or change it to what the definition says."""
    wanted = config_xml(job)
    present = server.job(job.name)
    if present is not None:
        outcome = _changed(server, job, present, wanted, dry_run)
        return JobReport(job=job.name, outcome=outcome, folders=[], url=present.url, dry_run=dry_run)
    folders = _folders(server, job.name, dry_run)
    url = f"{server.url}/{job_path(job.name)}/"
    if not dry_run:
        server.create_job(job.name, wanted)
    return JobReport(job=job.name, outcome="created", folders=folders, url=url, dry_run=dry_run)


def _changed(server: JenkinsServer, job: JobDefinition, present: JobInfo, wanted: str, dry_run: bool) -> str:
    kind = "WorkflowMultiBranchProject" if job.kind == "multibranch" else "WorkflowJob"
    if not present.kind.endswith(kind):
        raise ConflictError(
            f"changing job {job.name} on {server.url}: there is a {present.kind.rpartition('.')[2]} of that name",
            hint="give the job another name, or remove that one",
        )
    if same_definition(server.job_config(job.name), wanted):
        return "unchanged"
    if not dry_run:
        server.change_job(job.name, wanted)
    return "changed"


def _folders(server: JenkinsServer, name: str, dry_run: bool) -> list[str]:
    """Make the missing folders above a job; those that were made."""
    made: list[str] = []
    parts = name.split("/")
    if not all(part.strip() for part in parts):
        raise UsageError(f"'{name}' is not the name of a job", hint="write FOLDER/NAME")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        present = None if made else server.job(folder)
        if present is None:
            if not dry_run:
                server.create_folder(folder)
            made.append(folder)
        elif not present.is_folder:
            raise ConflictError(f"{folder} on {server.url} is a job, not a folder", hint=f"{name} can't live in it")
    return made


def describe(
    server: JenkinsServer, job: str, number: int, *, display_name: str | None = None, description: str | None = None
) -> BuildReport:
    """Set the display name, the description or both of a build; what is not given stays."""
    build = server.build(job, number)
    server.describe(
        job,
        number,
        display_name=build.display_name if display_name is None else display_name,
        description=build.description if description is None else description,
    )
    text = build.description if description is None else description
    return BuildReport(job=job, queue=None, build=number, url=build.url, result=build.result, description=text)


# -- credentials -------------------------------------------------------------------------------------------------


def put_credential(
    server: JenkinsServer, folder: str, name: str, *, username: str | None, secret: str, description: str = ""
) -> CredentialReport:
    """Create or change a credential in a folder: user name and password, or without a user name a secret text."""
    info = server.job(folder)
    if info is None:
        raise NotFoundError(f"storing credential {name}: there is no folder {folder} on {server.url}")
    if not info.is_folder:
        raise UsageError(f"storing credential {name}: {folder} on {server.url} is not a folder")
    content = credential_xml(name, username=username, secret=secret, description=description)
    if name in server.credential_ids(folder):
        server.change_credential(folder, content, name)
        outcome = "changed"
    else:
        server.create_credential(folder, content, name)
        outcome = "created"
    return CredentialReport(folder=folder, outcome=outcome, ids=[name])
