"""doctor about Nexus, Amazon ECR and Docker Hub, against their strict stand-ins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ci_registry.ops.doctor.findings import DoctorReport
from tests.support.certificates import Authority
from tests.support.doctor import codes, diagnose, only, produces
from tests.support.ecr import ACCOUNT, FakeEcr
from tests.support.fake_hub import FakeHub
from tests.support.fake_nexus import FakeNexus
from tests.support.process import free_port

HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
ADMIN = "secret-of-the-admin"

# -- Nexus -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_nexus() -> Iterator[FakeNexus]:
    with FakeNexus({"admin": (ADMIN, "admin"), "reader": ("only-reads-it", "read")}, Authority().issue()) as nexus:
        yield nexus


@pytest.fixture
def nexus(shared_nexus: FakeNexus, monkeypatch: pytest.MonkeyPatch) -> FakeNexus:
    shared_nexus.state, shared_nexus.eula, shared_nexus.realms = "up", True, ["NexusAuthenticatingRealm", "DockerToken"]
    shared_nexus.storage["writePolicy"] = "ALLOW"
    shared_nexus.docker.update(forceBasicAuth=True)
    monkeypatch.setenv("CI_REGISTRY_NEXUS_USERNAME", "admin")
    monkeypatch.setenv("CI_REGISTRY_NEXUS_PASSWORD", ADMIN)
    return shared_nexus


def of_nexus(nexus: FakeNexus, **keys: Any) -> DoctorReport:
    target = {"kind": "nexus", "url": nexus.http, "api": nexus.url, "nexus_repository": nexus.name, **keys}
    return diagnose({"nexus": target}, "nexus:team/app", writing=True)


def test_a_nexus_that_is_well(nexus: FakeNexus) -> None:
    report = of_nexus(nexus)
    assert codes(report) == []
    assert any("takes uploads" in each.seen for each in report.targets[0].findings)


@produces("nexus-ui-port")
def test_the_port_of_the_web_interface(nexus: FakeNexus) -> None:
    finding = only(of_nexus(nexus, url=nexus.url), "nexus-ui-port")
    assert finding.exit == 2
    assert finding.cures[0].lines == [f"url: {nexus.https}", f"api: {nexus.url}"]


@produces("pull-address-down")
def test_an_address_to_pull_from_that_is_not_there(nexus: FakeNexus) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    finding = only(of_nexus(nexus, pull_url=address), "pull-address-down")
    assert finding.exit == 7
    assert f"{address}/v2/" in finding.seen
    assert finding.cures[-1].lines == ["or correct `pull_url:` of target nexus, or take it out"]


def test_an_address_to_pull_from_that_answers(nexus: FakeNexus) -> None:
    report = of_nexus(nexus, pull_url=nexus.http)
    assert codes(report) == []
    seen = [each.seen for each in report.targets[0].findings if each.step == "reading"]
    assert seen == [f"{nexus.http} (pull_url) answers"]


@produces("nexus-starting")
def test_a_nexus_that_is_frozen(nexus: FakeNexus) -> None:
    nexus.state = "frozen"
    assert "takes no uploads" in only(of_nexus(nexus), "nexus-starting").seen


@produces("nexus-eula")
def test_terms_that_nobody_accepted(nexus: FakeNexus) -> None:
    nexus.eula = False
    finding = only(of_nexus(nexus), "nexus-eula")
    assert finding.exit == 3
    assert f"{nexus.url}/service/rest/v1/system/eula" in finding.cures[0].lines[0]


@produces("nexus-realm")
def test_the_docker_realm_is_not_active(nexus: FakeNexus) -> None:
    nexus.docker["forceBasicAuth"] = False
    nexus.realms = ["NexusAuthenticatingRealm"]
    report = of_nexus(nexus)
    line = only(report, "nexus-realm").cures[0].lines[0]
    assert """-X PUT -d '["NexusAuthenticatingRealm", "DockerToken"]'""" in line
    assert line.endswith(f"{nexus.url}/service/rest/v1/security/realms/active")


@produces("nexus-read-only")
def test_a_policy_that_denies_every_push(nexus: FakeNexus) -> None:
    nexus.storage["writePolicy"] = "DENY"
    assert nexus.name in only(of_nexus(nexus), "nexus-read-only").cures[0].lines[0]


@produces("nexus-repository")
def test_a_repository_that_nexus_does_not_have(nexus: FakeNexus) -> None:
    assert only(of_nexus(nexus, nexus_repository="docker-hostde"), "nexus-repository").exit == 2


@produces("nexus-unknown")
def test_what_a_reader_may_not_ask(nexus: FakeNexus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_REGISTRY_NEXUS_USERNAME", "reader")
    monkeypatch.setenv("CI_REGISTRY_NEXUS_PASSWORD", "only-reads-it")
    assert "403" in only(of_nexus(nexus), "nexus-unknown").seen


# -- Amazon ECR --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_ecr() -> Iterator[FakeEcr]:
    with FakeEcr(Authority(), [HOST]) as ecr:
        for name, region in (("team/app", "eu-west-1"), ("team/abroad", "us-east-1")):
            if ecr.repository(name, region=region) is None:  # moto keeps what it has for the whole process
                ecr.client(region=region).create_repository(repositoryName=name)
        yield ecr


@pytest.fixture
def ecr(shared_ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    shared_ecr.reset()
    with shared_ecr.environment(monkeypatch):
        yield shared_ecr


def of_ecr(repository: str, environ: dict[str, str] | None = None, **keys: Any) -> DoctorReport:
    target = {"kind": "ecr", "account": ACCOUNT, "region": "eu-west-1", **keys}
    return diagnose({"aws": target}, f"aws:{repository}", writing=True, environ={**os.environ, **(environ or {})})


def test_an_ecr_that_is_well(ecr: FakeEcr) -> None:
    report = of_ecr("team/app")
    assert codes(report) == []
    assert any("an Amazon ECR token" in each.seen for each in report.targets[0].findings)


@produces("ecr-repository-missing")
def test_a_repository_that_does_not_exist(ecr: FakeEcr) -> None:
    finding = only(of_ecr("team/missing"), "ecr-repository-missing")
    assert finding.exit == 4
    assert finding.cures[0].lines == ["create_repositories: {enabled: true}"]
    assert finding.cures[1].lines == ["aws ecr create-repository --repository-name team/missing --region eu-west-1"]
    assert codes(of_ecr("team/missing", create_repositories={"enabled": True}), worst="error") == []


@produces("ecr-wrong-region")
def test_a_repository_in_another_region(ecr: FakeEcr) -> None:
    finding = only(of_ecr("team/abroad", {"AWS_REGION": "us-east-1"}), "ecr-wrong-region")
    assert finding.exit == 4
    assert finding.cures[0].lines == ["region: us-east-1"]


@produces("ecr-no-permission")
def test_what_iam_does_not_allow(ecr: FakeEcr) -> None:
    ecr.denied.add("ecr:InitiateLayerUpload")
    finding = only(of_ecr("team/app"), "ecr-no-permission")
    assert finding.exit == 3
    assert "add ecr:InitiateLayerUpload" in finding.cures[0].lines[0]


@produces("ecr-expired-token")
def test_a_token_from_yesterday(ecr: FakeEcr) -> None:
    ecr.expired.add(7)
    finding = only(of_ecr("team/app", {"CI_REGISTRY_AWS_PASSWORD": f"{ACCOUNT}-auth-token.7"}), "ecr-expired-token")
    assert finding.exit == 3
    assert finding.cures[0].lines == ["unset CI_REGISTRY_AWS_PASSWORD"]


def test_aws_keys_that_are_missing(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert only(of_ecr("team/app"), "credential-broken").exit == 3


# -- Docker Hub --------------------------------------------------------------------------------------------------------


@produces("hub-rate-limit")
def test_few_pulls_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub({"dockermau": "dckr_pat_0123456789"}) as hub:
        hub.pulls = 95
        report = diagnose({"hub": {"kind": "dockerhub", "url": hub.url, "namespace": "dockermau"}})
        finding = only(report, "hub-rate-limit")
        assert hub.pulls == 95
    assert "5 of 100 pulls" in finding.seen
    assert codes(report, worst="error") == []
