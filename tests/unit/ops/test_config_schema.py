"""The published schema takes what the program takes, and describes every key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from ci_registry.errors import ConfigError
from ci_registry.kinds.settings import KINDS
from ci_registry.ops.config import Config
from ci_registry.ops.config.schema import config_schema

from .test_config import CONTRACT
from .test_config_errors import _FILE

SCHEMA = config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_documented_example_fits() -> None:
    VALIDATOR.validate(yaml.safe_load(CONTRACT))


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "registry", "url": "https://r", "urll": "x"},
        {"kind": "registry"},
        {"kind": "zzz"},
        {"kind": "registry", "url": "https://r", "password": "hunter2"},
        {"kind": "registry", "url": "https://r", "max_connections": "many"},
        {"kind": "registry", "url": "https://r", "name": "t"},
        {"kind": "ecr", "create_repositories": {}},
    ],
)
def test_what_is_wrong_does_not_fit(target: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"targets": {"t": target}})


@pytest.mark.parametrize("name", ["Dev", "docker", "jenkins"])
def test_names_no_target_may_have_do_not_fit(name: str) -> None:
    assert not VALIDATOR.is_valid({"targets": {name: {"kind": "ecr"}}})


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "registry", "url": "https://r", "max_connections": "${N}", "insecure_skip_verify": "${B}"},
        {"kind": "registry", "url": "https://r", "password": "${P}", "mirror": None, "immutable_tags": None},
        {"kind": "ecr", "create_repositories": {"enabled": "${E}", "tags": {"any": "thing"}}},
    ],
)
def test_variables_and_empty_values_fit(target: dict[str, Any]) -> None:
    VALIDATOR.validate({"targets": {"t": target}})
    Config({"targets": {"t": target}}, environ={})


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for owner, definition in {"file": SCHEMA, **SCHEMA["$defs"]}.items():
        for key, schema in definition["properties"].items():
            yield f"{owner}.{key}", schema


def test_every_key_is_described() -> None:
    described = dict(properties())
    assert [path for path, schema in described.items() if len(schema.get("description", "")) < 10] == []
    assert {f"{kind.__name__}.kind" for kind in KINDS.values()} <= described.keys()


@settings(max_examples=100, deadline=None)
@given(_FILE)
def test_whatever_is_taken_fits(data: Any) -> None:
    try:
        Config(data, environ={})
    except ConfigError:
        return
    VALIDATOR.validate(data)
