"""Job definitions: what a person writes about a job, and the config.xml that Jenkins wants."""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ..errors import ConfigError, InputFileError, UsageError
from .config.convert import convert
from .config.document import Document, read_document

__all__ = ["JobDefinition", "JobParameter", "config_xml", "credential_xml", "read_jobs", "same_definition"]

_GIT_SCM = "hudson.plugins.git.GitSCM"
_CPS = "org.jenkinsci.plugins.workflow.cps"
_JOB_PROPERTIES = "org.jenkinsci.plugins.workflow.job.properties"
_MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
_COMPUTED = "com.cloudbees.hudson.plugins.folder.computed"
_DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>\n"

Count = Annotated[int, Meta(ge=1)]


class JobParameter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter of a job. With `choices` it is a choice, the first of which is the default."""

    name: str = ""
    default: str | bool = ""
    choices: tuple[str, ...] = ()
    description: str = ""


class JobDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job. Its Jenkinsfile is either `script`, a file whose text goes into the definition, or `script_path` of a git
    `repository`. `credentials` is the id of the Jenkins credential that clones it."""

    name: str = ""
    kind: Literal["pipeline", "multibranch"] = "pipeline"
    description: str = ""
    script: str | None = None
    repository: str | None = None
    branch: str = "main"
    script_path: str = "Jenkinsfile"
    credentials: str | None = None
    parameters: tuple[JobParameter, ...] = ()
    schedule: str | None = None
    keep_builds: Count = 50
    concurrent: bool = False


class _JobsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    jobs: dict[str, JobDefinition]


def read_jobs(file: Path) -> list[JobDefinition]:
    """The jobs in a YAML file, `jobs: {FOLDER/NAME: {...}}`; `script` is relative to the file."""
    document = read_document(file)
    data = document.data if isinstance(document.data, dict) else {}
    jobs = data.get("jobs")
    if not isinstance(jobs, dict) or set(data) != {"jobs"}:
        raise document.error("jobs", "must be the only key, with the jobs by name", hint="see docs/jenkins.md")
    return [_one(document, file, str(name), job) for name, job in jobs.items()]


def _one(document: Document, file: Path, name: str, data: object) -> JobDefinition:
    path = f"jobs.{name}"
    plain = dict(data) if isinstance(data, dict) else data
    parameters = plain.pop("parameters", None) or {} if isinstance(plain, dict) else {}
    if not isinstance(parameters, dict):
        raise document.error(f"{path}.parameters", "must be parameters by name", hint="write NAME: {default: ...}")
    job = convert(document, path, plain, JobDefinition)
    values = {field: getattr(job, field) for field in job.__struct_fields__}
    values["name"] = name
    values["script"] = str(file.parent / job.script) if job.script else None
    values["parameters"] = tuple(_parameter_of(document, path, str(key), parameters[key]) for key in parameters)
    return JobDefinition(**values)


def _parameter_of(document: Document, job: str, name: str, data: object) -> JobParameter:
    path = f"{job}.parameters.{name}"
    found = convert(document, path, data or {}, JobParameter)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise document.error(path, "is not a name for a parameter", hint="use letters, digits and _")
    return JobParameter(name=name, default=found.default, choices=found.choices, description=found.description)


def config_xml(job: JobDefinition) -> str:
    """Its config.xml. Raises UsageError for a definition that contradicts itself."""
    if (job.script is None) == (job.repository is None):
        raise UsageError(f"job {job.name} needs either a script or a repository", hint="give exactly one of the two")
    if job.kind == "multibranch":
        return _document(_multibranch(job))
    return _document(_pipeline(job))


def same_definition(one: str, other: str) -> bool:
    """Do two config.xml say the same? Jenkins adds `plugin` attributes and layout of its own."""
    try:
        return _canonical(one) == _canonical(other)
    except ET.ParseError:
        return False


def _canonical(text: str) -> str:
    # Jenkins declares XML 1.1, which the parser below accepts for what Jenkins writes
    root = ET.fromstring(text.encode("utf-8"))  # noqa: S314 - ours, or the server's that we log in to
    for element in root.iter():
        element.attrib.pop("plugin", None)
        element.text = (element.text or "").strip() if len(element) else element.text or ""
        element.tail = ""
    return ET.tostring(root, encoding="unicode")


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return _DECLARATION + ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, {name.rstrip("_"): value for name, value in attributes.items()})
    element.text = text
    return element


def _flag(value: bool) -> str:
    return "true" if value else "false"


# -- pipeline jobs -----------------------------------------------------------------------------------------------


def _pipeline(job: JobDefinition) -> ET.Element:
    root = ET.Element("flow-definition")
    _add(root, "description", job.description)
    _add(root, "keepDependencies", "false")
    _properties(_add(root, "properties"), job)
    if job.repository is not None:
        _from_git(root, job)
    else:
        definition = _add(root, "definition", class_=f"{_CPS}.CpsFlowDefinition")
        _add(definition, "script", _script_text(job))
        _add(definition, "sandbox", "true")
    _add(root, "triggers")
    _add(root, "disabled", "false")
    return root


def _script_text(job: JobDefinition) -> str:
    path = Path(job.script or "")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"reading the script {path} of job {job.name} failed: it is not UTF-8 text") from error
    except OSError as error:
        raise InputFileError(f"reading the script {path} of job {job.name} failed: {error.strerror}") from error


def _properties(properties: ET.Element, job: JobDefinition) -> None:
    if not job.concurrent:
        disable = _add(properties, f"{_JOB_PROPERTIES}.DisableConcurrentBuildsJobProperty")
        _add(disable, "abortPrevious", "false")
    strategy = _add(
        _add(properties, "jenkins.model.BuildDiscarderProperty"), "strategy", class_="hudson.tasks.LogRotator"
    )
    for tag, value in (("daysToKeep", -1), ("numToKeep", job.keep_builds), ("artifactDaysToKeep", -1)):
        _add(strategy, tag, str(value))
    _add(strategy, "artifactNumToKeep", "-1")
    if job.parameters:
        holder = _add(properties, "hudson.model.ParametersDefinitionProperty")
        definitions = _add(holder, "parameterDefinitions")
        for parameter in job.parameters:
            _parameter(definitions, parameter)
    if job.schedule:
        triggers = _add(_add(properties, f"{_JOB_PROPERTIES}.PipelineTriggersJobProperty"), "triggers")
        _add(_add(triggers, "hudson.triggers.TimerTrigger"), "spec", job.schedule)


def _parameter(parent: ET.Element, parameter: JobParameter) -> None:
    is_flag = isinstance(parameter.default, bool)
    kind = "Choice" if parameter.choices else "Boolean" if is_flag else "String"
    element = _add(parent, f"hudson.model.{kind}ParameterDefinition")
    _add(element, "name", parameter.name)
    _add(element, "description", parameter.description)
    if parameter.choices:
        array = _add(_add(element, "choices", class_="java.util.Arrays$ArrayList"), "a", class_="string-array")
        for choice in parameter.choices:
            _add(array, "string", choice)
    elif isinstance(parameter.default, bool):
        _add(element, "defaultValue", _flag(parameter.default))
    else:
        _add(element, "defaultValue", parameter.default)
        _add(element, "trim", "true")


def _from_git(root: ET.Element, job: JobDefinition) -> None:
    definition = _add(root, "definition", class_=f"{_CPS}.CpsScmFlowDefinition")
    scm = _add(definition, "scm", class_=_GIT_SCM)
    _add(scm, "configVersion", "2")
    remote = _add(_add(scm, "userRemoteConfigs"), "hudson.plugins.git.UserRemoteConfig")
    _add(remote, "url", job.repository)
    if job.credentials:
        _add(remote, "credentialsId", job.credentials)
    _add(_add(_add(scm, "branches"), "hudson.plugins.git.BranchSpec"), "name", f"*/{job.branch}")
    _add(scm, "doGenerateSubmoduleConfigurations", "false")
    _add(scm, "submoduleCfg", class_="empty-list")
    _add(scm, "extensions")
    _add(definition, "scriptPath", job.script_path)
    _add(definition, "lightweight", "true")


# -- multibranch jobs --------------------------------------------------------------------------------------------


def _multibranch(job: JobDefinition) -> ET.Element:
    if job.repository is None:
        raise UsageError(f"multibranch job {job.name} needs a repository", hint="a script belongs to a pipeline job")
    if job.parameters:
        raise UsageError(
            f"multibranch job {job.name} can't have parameters", hint="declare them in the Jenkinsfile of its branches"
        )
    root = ET.Element(_MULTIBRANCH)
    _add(root, "description", job.description)
    _add(root, "properties")
    orphaned = _add(root, "orphanedItemStrategy", class_=f"{_COMPUTED}.DefaultOrphanedItemStrategy")
    _add(orphaned, "pruneDeadBranches", "true")
    _add(orphaned, "daysToKeep", "-1")
    _add(orphaned, "numToKeep", str(job.keep_builds))
    trigger = _add(_add(root, "triggers"), f"{_COMPUTED}.PeriodicFolderTrigger")
    _add(trigger, "spec", job.schedule or "H H/4 * * *")
    _add(trigger, "interval", "86400000")
    _add(root, "disabled", "false")
    _branch_source(root, job)
    factory = _add(root, "factory", class_="org.jenkinsci.plugins.workflow.multibranch.WorkflowBranchProjectFactory")
    _add(factory, "owner", class_=_MULTIBRANCH, reference="../..")
    _add(factory, "scriptPath", job.script_path)
    return root


def _branch_source(root: ET.Element, job: JobDefinition) -> None:
    sources = _add(root, "sources", class_="jenkins.branch.MultiBranchProject$BranchSourceList")
    branch_source = _add(_add(sources, "data"), "jenkins.branch.BranchSource")
    source = _add(branch_source, "source", class_="jenkins.plugins.git.GitSCMSource")
    # Jenkins forgets all branches when the id changes, so it is made from what identifies the job
    _add(source, "id", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job.name} {job.repository}")))
    _add(source, "remote", job.repository)
    if job.credentials:
        _add(source, "credentialsId", job.credentials)
    traits = _add(source, "traits")
    _add(traits, "jenkins.plugins.git.traits.BranchDiscoveryTrait")
    _add(traits, "jenkins.plugins.git.traits.TagDiscoveryTrait")
    strategy = _add(branch_source, "strategy", class_="jenkins.branch.DefaultBranchPropertyStrategy")
    _add(strategy, "properties", class_="empty-list")
    _add(sources, "owner", class_=_MULTIBRANCH, reference="../..")


# -- credentials -------------------------------------------------------------------------------------------------


def credential_xml(name: str, *, username: str | None, secret: str, description: str) -> str:
    """A credential for a folder's store: user name and password, or without a user name a secret text."""
    kind = "impl.UsernamePasswordCredentialsImpl" if username is not None else ""
    if kind:
        root = ET.Element(f"com.cloudbees.plugins.credentials.{kind}")
    else:
        root = ET.Element("org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl")
    _add(root, "scope", "GLOBAL")
    _add(root, "id", name)
    _add(root, "description", description)
    if username is not None:
        _add(root, "username", username)
    _add(root, "password" if username is not None else "secret", secret)
    try:
        text = _document(root)
        ET.fromstring(text.encode("utf-8"))  # noqa: S314 - our own text; a control character would be refused there
    except (ET.ParseError, UnicodeEncodeError):
        text = ""
    if not text:
        raise ConfigError(f"credential {name} holds characters that XML can't carry", hint="remove control characters")
    return text
