"""doctor about this machine, and the command itself: its text, its document, its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ci_registry.ops.doctor.surroundings import container_kind
from tests.support.cli import run_cli
from tests.support.doctor import diagnose, diagnose_file, only, produces, write_targets
from tests.support.process import free_port
from tests.support.spaces import RegistrySpace


def docker_config(home: Path, document: object, mode: int = 0o600) -> Path:
    file = home / ".docker/config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    file.chmod(mode)
    return file


@produces("docker-unreachable", "keyring-unavailable")
def test_a_bare_machine() -> None:
    report = diagnose({})
    assert only(report, "docker-unreachable").severity == "note"
    assert only(report, "keyring-unavailable").severity == "note"
    assert report.machine.verdict == "fit for use"


@produces("docker-config-broken")
def test_a_docker_config_that_is_not_json(clean_environment: Path) -> None:
    file = docker_config(clean_environment, "{broken")
    finding = only(diagnose({}), "docker-config-broken")
    assert finding.exit == 2
    assert str(file) in finding.seen


@produces("docker-config-doubled")
def test_a_registry_that_stands_there_twice(clean_environment: Path) -> None:
    auths = {"registry.example:443": {"auth": "YTpi"}, "https://registry.example/v1/": {"auth": "YTpj"}}
    docker_config(clean_environment, {"auths": auths})
    finding = only(diagnose({}), "docker-config-doubled")
    assert "https://registry.example/v1/ and registry.example:443" in finding.seen


@produces("docker-config-stale")
def test_an_ecr_token_that_lies_there(clean_environment: Path) -> None:
    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    docker_config(clean_environment, {"auths": {host: {"auth": "QVdTOnRva2Vu"}}})
    finding = only(diagnose({}), "docker-config-stale")
    assert finding.cures[0].lines == [f"docker logout {host}"]
    assert finding.cures[1].lines == [f'let docker ask ci-registry: "credHelpers": {{"{host}": "ci-registry"}}']


@produces("docker-config-open")
def test_passwords_that_others_can_read(clean_environment: Path) -> None:
    file = docker_config(clean_environment, {"auths": {"registry.example": {"auth": "YTpi"}}}, 0o644)
    assert only(diagnose({}), "docker-config-open").cures[0].lines == [f"chmod 600 {file}"]


@produces("certs-d-wrong-suffix")
def test_a_client_certificate_with_the_name_of_a_ca(tmp_path: Path) -> None:
    folder = tmp_path / "registry:5000"
    folder.mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        (folder / name).touch()
    finding = only(diagnose({}, certs_d=tmp_path), "certs-d-wrong-suffix")
    assert finding.cures[0].lines == [f"mv {folder}/client.crt {folder}/client.cert"]


@produces("certs-d-unpaired")
def test_a_certificate_in_certs_d_without_its_key(tmp_path: Path, clean_environment: Path) -> None:
    port = free_port()
    folder = clean_environment / f".config/docker/certs.d/localhost:{port}"
    folder.mkdir(parents=True)
    (folder / "client.cert").touch()
    finding = only(diagnose({"dev": {"kind": "registry", "url": f"https://localhost:{port}"}}), "certs-d-unpaired")
    assert finding.cures[0].lines == [f"mv {folder}/client.cert {folder}/client.crt"]


@produces("spool-space")
def test_no_space_for_spools() -> None:
    finding = only(diagnose({}, environ={**os.environ, "WORKSPACE_TMP": "/proc"}), "spool-space")
    assert finding.severity == "warning"
    assert "/proc" in finding.seen


@produces("proxy-ignored")
def test_a_proxy_that_is_ignored_under_cgi() -> None:
    environ = {**os.environ, "HTTP_PROXY": "http://proxy:3128", "REQUEST_METHOD": "GET"}
    assert only(diagnose({}, environ=environ), "proxy-ignored").severity == "warning"


def test_proxies_are_named_without_their_passwords() -> None:
    report = diagnose({}, environ={**os.environ, "https_proxy": "http://me:secret-of-mine@proxy:3128"})
    seen = " ".join(each.seen for each in report.machine.findings)
    assert "https_proxy is http://***@proxy:3128" in seen


def test_a_jenkins_build_is_recognised() -> None:
    environ = {**os.environ, "JENKINS_URL": "http://jenkins/", "JOB_NAME": "app", "BUILD_NUMBER": "7"}
    seen = [each.seen for each in diagnose({}, environ=environ).machine.findings]
    assert "in a build of http://jenkins/: JOB_NAME=app, BUILD_NUMBER=7" in seen


@pytest.mark.parametrize(
    "file, kind", [(".dockerenv", "docker"), ("run/.containerenv", "podman"), ("proc/1/cgroup", "")]
)
def test_kinds_of_containers(tmp_path: Path, file: str, kind: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("0::/\n")
    assert container_kind({}, tmp_path) == kind
    assert container_kind({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) == "kubernetes"
    assert container_kind({"container": "lxc"}, tmp_path) == (kind or "container")


def test_a_container_by_its_mounts(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("1 2 /var/lib/docker/containers/abc/hostname /etc/hostname rw\n")
    assert container_kind({}, tmp_path) == "docker"


# -- the command -------------------------------------------------------------------------------------------------------


def test_text_has_a_verdict_for_each_target_and_ends_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: RegistrySpace
) -> None:
    targets = {"good": {"kind": "registry", "url": registry.url}}
    targets["bad"] = {"kind": "registry", "url": f"https://{registry.host}"}
    write_targets(tmp_path / "ci-registry.yaml", targets)
    monkeypatch.chdir(tmp_path)
    ran = run_cli(monkeypatch, "doctor")
    assert ran.code == 7
    assert f"good ({registry.url}) all is well" in ran.out
    assert "bad (https://" in ran.out
    assert f"url: http://{registry.host}" in ran.out
    assert "not looked at after that: tls, service" in ran.out
    assert ran.last.endswith(f"the cure: url: http://{registry.host}.")


def test_the_document_and_the_order_of_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: RegistrySpace
) -> None:
    targets = {"seven": {"kind": "registry", "url": f"https://{registry.host}"}}
    targets["two"] = {"kind": "registry", "url": registry.url, "ca": "missing.pem"}
    targets["two"]["url"] = "https://registry.invalid"
    write_targets(tmp_path / "ci-registry.yaml", targets)
    monkeypatch.chdir(tmp_path)
    ran = run_cli(monkeypatch, "doctor", "--output", "json")
    assert ran.code == 2
    assert ran.document["schema"] == "doctor/1"
    assert ran.document["error"]["exit"] == 2
    assert [check["target"] for check in ran.result["targets"]] == ["seven", "two"]


def test_only_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: RegistrySpace) -> None:
    targets = {"one": {"kind": "registry", "url": registry.url}, "two": {"kind": "registry", "url": registry.url}}
    file = write_targets(tmp_path / "ci-registry.yaml", targets)
    report = diagnose_file(file, "two", f"one:{registry.repository()}")
    assert [(check.target, check.repository) for check in report.targets] == [
        ("two", None),
        ("one", registry.repository()),
    ]
    monkeypatch.chdir(tmp_path)
    ran = run_cli(monkeypatch, "doctor", "tow")
    assert ran.code in (2, 4)
    assert "two" in ran.last


def test_a_folder_of_layouts_is_a_target_too(tmp_path: Path) -> None:
    report = diagnose({"backup": {"kind": "oci-layout", "path": str(tmp_path)}})
    assert report.targets[0].verdict == "all is well"
