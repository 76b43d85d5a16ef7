"""The credential for a bare host, whichever targets are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_registry.credentials.chain import Credential
from ci_registry.errors import AccessError, ConfigError
from ci_registry.ops.config import Config
from ci_registry.ops.host_credential import host_credential
from ci_registry.ops.places import Places

TARGETS = {
    **{name: {"kind": "registry", "url": "https://reg.test:5000"} for name in ("a", "b", "none")},
    "variable": {"kind": "registry", "url": "https://reg.test:5000", "username": "v", "password": "${V_PASSWORD}"},
    "plain": {"kind": "registry", "url": "http://plain.test"},
    "nexus": {"kind": "nexus", "url": "https://nexus.test:8083", "pull_url": "https://nexus.test:8082"},
    "hub": {"kind": "dockerhub", "namespace": "me"},
}


def find(host: str, **environ: str) -> Credential:
    environ = {"HOME": "/nowhere", **environ}
    return host_credential(Places(Config({"targets": TARGETS}, environ=environ), environ), host)


def given(target: str, password: str = "of-both") -> dict[str, str]:
    return {f"CI_REGISTRY_{target.upper()}_USERNAME": "u", f"CI_REGISTRY_{target.upper()}_PASSWORD": password}


@pytest.mark.parametrize("host, target", [("plain.test", "plain"), ("plain.test:80", "plain"), ("docker.io", "hub")])
def test_a_target_at_that_host(host: str, target: str) -> None:
    assert find(host, **given(target)) == Credential("u", "of-both")


def test_targets_that_agree() -> None:
    assert find("reg.test:5000", **given("a"), **given("b")) == Credential("u", "of-both")


def test_targets_that_do_not_agree_are_both_named() -> None:
    with pytest.raises(AccessError) as info:
        find("reg.test:5000", **given("a", "one-password"), **given("b", "two-password"))
    assert "targets 'a' and 'b' are both on reg.test:5000 with different credentials" in str(info.value)
    assert "password" not in str(info.value)


def test_a_target_whose_variables_are_not_set_counts_only_where_it_is_alone() -> None:
    assert find("reg.test:5000", **given("b")) == Credential("u", "of-both")
    with pytest.raises(ConfigError, match="V_PASSWORD"):
        find("reg.test:5000")
    with pytest.raises(AccessError, match="'b' and 'variable'"):
        find("reg.test:5000", V_PASSWORD="another", **given("b"))


def test_nexus_gives_its_credential_where_images_are_pulled_from() -> None:
    assert find("nexus.test:8082", **given("nexus")) == Credential("u", "of-both")
    assert find("nexus.test:8083", **given("nexus")) == Credential("u", "of-both")
    assert find("nexus.test:8081", **given("nexus")).is_anonymous


def test_nobody_has_one() -> None:
    assert find("plain.test").is_anonymous
    assert find("unknown.test").is_anonymous


def test_a_host_without_a_target(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"auths": {"unknown.test": {"auth": "dTpw"}}}')
    environ: dict[str, Any] = {"DOCKER_CONFIG": str(tmp_path)}
    assert find("unknown.test", **environ) == Credential("u", "p")


def test_a_host_of_amazon_asks_boto3_for_a_token(tmp_path: Path) -> None:
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "DOCKER_CONFIG": str(tmp_path)}
    with pytest.raises(AccessError, match="Amazon ECR in eu-west-1"):
        find("123456789012.dkr.ecr.eu-west-1.amazonaws.com", **environ)
