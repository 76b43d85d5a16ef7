"""doctor about who we are: credentials that win, lose, or are refused, and token services."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.doctor import OddAuthority, codes, diagnose, only, produces
from tests.support.fake_registry import FakeRegistry
from tests.support.process import free_port
from tests.support.secrets import LeakSearch
from tests.support.servers import TokenServer

PASSWORD = "secret-of-the-ci-user"


@pytest.fixture(scope="module")
def guarded() -> Iterator[DockerRegistry]:
    with DockerRegistry(users={"ci": PASSWORD}, in_memory=True) as server:
        yield server


def dev(url: str, **keys: str) -> dict[str, dict[str, str]]:
    return {"dev": {"kind": "registry", "url": url, **keys}}


def as_ci(password: str = PASSWORD) -> dict[str, str]:
    return {**os.environ, "CI_REGISTRY_DEV_USERNAME": "ci", "CI_REGISTRY_DEV_PASSWORD": password}


def test_a_login_that_works_says_where_it_is_from(guarded: DockerRegistry) -> None:
    report = diagnose(dev(guarded.url), environ=as_ci())
    assert codes(report) == []
    seen = " ".join(each.seen for each in report.targets[0].findings)
    assert "environment variable CI_REGISTRY_DEV_PASSWORD" in seen
    assert "user 'ci' is let in" in seen


def test_which_credential_lost_and_why(guarded: DockerRegistry, clean_environment: Path) -> None:
    folder = clean_environment / ".docker"
    folder.mkdir(mode=0o700)
    (folder / "config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": "b2xkOm9sZHBhc3N3b3Jk"}}}))
    seen = [each.seen for each in diagnose(dev(guarded.url), environ=as_ci()).targets[0].findings]
    assert any(text.startswith("docker config has one too, but comes later: user old") for text in seen)


@produces("no-credential")
def test_nobody_has_a_credential(guarded: DockerRegistry) -> None:
    finding = only(diagnose(dev(guarded.url)), "no-credential")
    assert finding.exit == 3
    assert finding.cures[0].lines == ['printf %s "$PASSWORD" | ci-registry login dev -u "$USERNAME" --password-stdin']


@produces("wrong-password")
def test_a_wrong_password_is_named_by_its_source_and_never_shown(guarded: DockerRegistry) -> None:
    report = diagnose(dev(guarded.url), environ=as_ci("a-wrong-password"))
    finding = only(report, "wrong-password")
    assert finding.exit == 3
    assert finding.cures[0].lines == ['export CI_REGISTRY_DEV_PASSWORD="$PASSWORD"']
    assert "environment variable CI_REGISTRY_DEV_PASSWORD" in finding.meaning
    search = LeakSearch("a-wrong-password")
    search.look_at("the report", repr(report))
    assert search.leaks == []


@produces("credential-broken")
def test_a_broken_source_ends_the_search(guarded: DockerRegistry, clean_environment: Path) -> None:
    (clean_environment / ".docker").mkdir()
    (clean_environment / ".docker/config.json").write_text("{not json")
    report = diagnose(dev(guarded.url))
    assert only(report, "credential-broken").exit == 2
    assert "docker-config-broken" in [each.code for each in report.machine.findings]


@produces("credential-in-the-clear")
def test_a_password_over_plain_http_to_another_machine(guarded: DockerRegistry) -> None:
    target = dev("http://registry.invalid:5000", connect_to=guarded.host)
    report = diagnose(target, environ=as_ci())
    assert only(report, "credential-in-the-clear").cures[0].lines[0].endswith("--san registry.invalid")


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_how_long_a_token_lives() -> None:
    with TokenServer({"ci": PASSWORD}, lifetime_seconds=123) as tokens, DockerRegistry(token=tokens) as server:
        report = diagnose(dev(server.url), environ=as_ci())
    assert any("good for 123 seconds" in each.seen for each in report.targets[0].findings)


def test_a_token_service_that_refuses_the_password() -> None:
    with TokenServer({"ci": PASSWORD}) as tokens, DockerRegistry(token=tokens) as server:
        finding = only(diagnose(dev(server.url), environ=as_ci("a-wrong-password")), "wrong-password")
        assert tokens.realm in finding.seen
        only(diagnose(dev(server.url)), "no-credential")


@produces("token-without-rights")
def test_a_token_without_the_right_to_push() -> None:
    with TokenServer({"ci": PASSWORD}, {"ci": {"team/*": "pull"}}) as tokens, DockerRegistry(token=tokens) as server:
        report = diagnose(dev(server.url), "dev:team/app", environ=as_ci(), writing=True)
    finding = only(report, "token-without-rights")
    assert finding.exit == 3
    assert finding.cures[0].lines[0].startswith("have the right to push team/app given to user 'ci'")


@produces("token-service-unreachable")
def test_a_token_service_that_is_not_there() -> None:
    with TokenServer({"ci": PASSWORD}) as tokens, DockerRegistry(token=tokens) as server:
        tokens.stop()
        finding = only(diagnose(dev(server.url), environ=as_ci()), "token-service-unreachable")
    assert finding.exit == 7
    assert tokens.realm in finding.cures[0].lines[0]


@produces("token-realm-refused")
def test_a_realm_that_gets_no_password() -> None:
    authority = OddAuthority()
    pair = authority.issue("realm", "127.0.0.1")
    with TokenServer({"ci": PASSWORD}) as tokens, DockerRegistry(token=tokens, tls=pair) as server:
        report = diagnose(dev(server.url, ca=str(authority.certificate)), environ=as_ci())
        assert tokens.requests == []
    assert "not https" in only(report, "token-realm-refused").seen


@produces("token-not-accepted")
def test_a_token_that_the_registry_does_not_accept() -> None:
    with TokenServer({"ci": PASSWORD}) as tokens, DockerRegistry(token=tokens) as server:
        tokens.issuer = "another-issuer"
        only(diagnose(dev(server.url), environ=as_ci()), "token-not-accepted")


def test_several_targets_are_examined_in_one_run(guarded: DockerRegistry, fake_registry: FakeRegistry) -> None:
    targets = {"down": {"kind": "registry", "url": f"http://127.0.0.1:{free_port()}"}}
    report = diagnose({**targets, **dev(guarded.url), "free": {"kind": "registry", "url": fake_registry.url}})
    verdicts = {check.target: check.verdict for check in report.targets}
    assert verdicts["free"] == "all is well"
    assert verdicts["dev"] == "does not work: a login is needed and none was found"
    assert verdicts["down"].startswith("does not work")
