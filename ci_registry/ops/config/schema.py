"""JSON Schema of `ci-registry.yaml`, for editors and for `ci-registry config schema`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...kinds.settings import EcrTarget, HubTarget, LayoutTarget, NexusTarget, RegistryTarget
from .tables import PROMOTION_NAME, RESERVED_NAMES, TARGET_NAME
from .texts import SECRET_KEYS
from .types import JenkinsSettings, Promotion

__all__ = ["config_schema"]

_VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"

AnyTarget = RegistryTarget | HubTarget | EcrTarget | NexusTarget | LayoutTarget


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """Targets to copy images to and from, promotions between them, and the Jenkins server."""

    targets: Annotated[
        dict[str, AnyTarget],
        Meta(description="Places that hold images, by name. `local`, `dockerhub` and `ecr` exist without being named."),
    ] = msgspec.field(default_factory=dict)
    promotions: Annotated[dict[str, Promotion], Meta(description="Ways from one target to others, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    jenkins: Annotated[JenkinsSettings | None, Meta(description="The Jenkins server.")] = None


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the file as it is written, with `${VARIABLE}` where one may stand."""
    _, definitions = msgspec.json.schema_components([_File], ref_template="#/$defs/{name}")
    file = definitions.pop("_File")
    for definition in definitions.values():
        _open_structure(definition)
    sections = file["properties"]
    sections["targets"]["propertyNames"] = {"pattern": f"^{TARGET_NAME}$", "not": {"enum": sorted(RESERVED_NAMES)}}
    sections["promotions"]["propertyNames"] = {"pattern": f"^{PROMOTION_NAME}$"}
    file["properties"] = {name: _or(section, {"type": "null"}) for name, section in sections.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **file,
        "title": "ci-registry.yaml",
        "$defs": definitions,
    }


def _open_structure(definition: dict[str, Any]) -> None:
    """Fit one structure to the file: no `name` key, empty values for what is not required, variables."""
    properties = definition["properties"]
    properties.pop("name", None)
    for key, schema in properties.items():
        if key == "kind":
            schema = {"description": "What kind of target it is.", **schema}
        elif key in SECRET_KEYS:
            schema = {**_notes(schema), "type": "string", "pattern": f"^{_VARIABLE}$"}
        elif _is_single(schema):
            schema = _or(schema, {"type": "string", "pattern": f"^{_VARIABLE}$"})
        properties[key] = schema if key in definition.get("required", ()) else _or(schema, {"type": "null"})


def _is_single(schema: dict[str, Any]) -> bool:
    """Whether this is a number, a truth value or a choice, any of which a variable may stand for."""
    parts = schema.get("anyOf", [schema])
    return any("enum" in part or part.get("type") in {"integer", "number", "boolean"} for part in parts)


def _or(schema: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The schema, or as an alternative `other`; description and default stay in front."""
    notes = _notes(schema)
    rest = {key: value for key, value in schema.items() if key not in notes}
    parts = rest["anyOf"] if list(rest) == ["anyOf"] else [rest]
    return {**notes, "anyOf": parts if other in parts else [*parts, other]}


def _notes(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key in {"title", "description", "default"}}
