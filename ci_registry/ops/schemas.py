"""JSON Schemas of what goes in and out: the configuration file, and the document of each command."""

from __future__ import annotations

import difflib
from typing import Any

from ..errors import UsageError
from .docker_login import DockerLoginReport
from .doctor.findings import DoctorReport
from .jenkins_results import BuildReport, CredentialReport, JenkinsLogin, JenkinsReport, JobReport
from .provision.report import ProvisionReport
from .results import (
    ChainReport,
    ConfigReport,
    CopyReport,
    ErrorReport,
    ImageReport,
    LoginReport,
    RepositoryList,
    TagList,
    TargetList,
    VerifyReport,
)
from .results_history import DiffReport, HistoryReport
from .results_promotion import PlanReport, ReceiptReport
from .results_removal import RemovalReport

__all__ = ["DOCUMENTS", "schema_of"]

DOCUMENTS: dict[str, Any] = {
    "config": ConfigReport,
    "config-show": dict[str, Any],
    "copy": CopyReport,
    "credentials": ChainReport,
    "docker-config": DockerLoginReport,
    "doctor": DoctorReport,
    "error": None,
    "image": ImageReport,
    "jenkins-build": BuildReport,
    "jenkins-check": JenkinsReport,
    "jenkins-credentials": CredentialReport,
    "jenkins-jobs": list[JobReport],
    "jenkins-login": JenkinsLogin,
    "login": LoginReport,
    "provision": ProvisionReport,
    "list": (RepositoryList, TagList),
    "diff": DiffReport,
    "history": HistoryReport,
    "plan": PlanReport,
    "receipt": ReceiptReport,
    "removal": RemovalReport,
    "schema": dict[str, Any],
    "targets": TargetList,
    "verify": VerifyReport,
}
"""The type of `result`, or the types it may have, by the NAME in a document's `schema`."""


def schema_of(name: str | None) -> dict[str, Any]:
    """The schema of the configuration file, or of the document `name`; raises `UsageError` for an unknown one."""
    if name is None:
        from .config.schema import config_schema

        return config_schema()
    name = name.partition("/")[0]
    if name not in DOCUMENTS:
        near = difflib.get_close_matches(name, DOCUMENTS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(DOCUMENTS))}"
        raise UsageError(f"there is no document named '{name}'", hint=hint)
    return _envelope(name, DOCUMENTS[name])


def _envelope(name: str, result: Any) -> dict[str, Any]:
    import msgspec

    types = [ErrorReport, *(result if isinstance(result, tuple) else [] if result is None else [result])]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ci-registry: {name}",
        "type": "object",
        "required": ["schema", "result", "error"],
        "properties": {
            "schema": {"const": f"{name}/1"},
            "result": {"anyOf": [*schemas[1:], {"type": "null"}]},
            "error": {"anyOf": [schemas[0], {"type": "null"}]},
        },
        "$defs": components,
    }
