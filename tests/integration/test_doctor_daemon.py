"""doctor about Docker's daemon, with a real one: what it can't do although we can, and names of containers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.adapters.docker_containers import ContainerEngine
from ci_registry.ops.doctor import surroundings
from ci_registry.ops.doctor.findings import DoctorReport
from tests.support.debian_images import make_registry_image
from tests.support.docker_registry import DockerRegistry
from tests.support.dockerd import Dockerd
from tests.support.doctor import OddAuthority, codes, diagnose, only, produces
from tests.support.process import free_port, wait_until
from tests.support.servers import htpasswd

NETWORK = "doctor-test"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "container_kind", lambda _environ: "")


@pytest.fixture(scope="module")
def gateway(dockerd: Dockerd) -> Iterator[str]:
    """An address of this machine that is not loopback, where the daemon makes no exceptions."""
    engine = ContainerEngine({"DOCKER_HOST": dockerd.host})
    yield engine.ensure_network(NETWORK).gateway
    engine.remove_network(NETWORK)
    engine.close()


def examined(dockerd: Dockerd, **keys: Any) -> DoctorReport:
    environ = {**os.environ, "DOCKER_HOST": dockerd.host}
    return diagnose({"dev": {"kind": "registry", **keys}}, environ=environ)


def serving(gateway: str, **keys: Any) -> DockerRegistry:
    port = free_port()
    return DockerRegistry(port=port, in_memory=True, extra={"http": {"addr": f":{port}"}}, **keys)


@pytest.fixture
def certs_d() -> Iterator[Path]:
    """Where the daemon looks for CAs; what a test puts there is removed."""
    root = Path("/etc/docker/certs.d")
    above = next(parent for parent in [root, *root.parents] if parent.exists())
    before = set(above.iterdir())
    root.mkdir(parents=True, exist_ok=True)
    there = set(root.iterdir())
    yield root
    for path in set(root.iterdir()) - there:
        shutil.rmtree(path)
    for path in set(above.iterdir()) - before:
        shutil.rmtree(path)


def test_a_registry_that_both_reach(dockerd: Dockerd) -> None:
    with DockerRegistry(in_memory=True) as server:
        report = examined(dockerd, url=server.url)
    assert codes(report) == []
    assert any(each.step == "daemon" and each.severity == "ok" for each in report.targets[0].findings)
    assert any(each.step == "docker" and "answers at" in each.seen for each in report.machine.findings)


@produces("daemon-no-such-host")
def test_a_name_that_only_the_daemon_does_not_know(dockerd: Dockerd) -> None:
    with DockerRegistry(in_memory=True) as server:
        report = examined(dockerd, url=f"http://registry.invalid:{server.port}", connect_to=server.host)
    finding = only(report, "daemon-no-such-host")
    assert finding.cures[1].lines == ["127.0.0.1 registry.invalid"]
    assert finding.cures[2].lines == [f"docker tag IMAGE {server.host}/IMAGE && docker push {server.host}/IMAGE"]
    assert codes(report, worst="error") == []


@produces("daemon-unknown-authority")
def test_a_ca_that_only_the_daemon_does_not_know(dockerd: Dockerd, gateway: str) -> None:
    authority = OddAuthority()
    with serving(gateway, tls=authority.issue("gateway", gateway)) as server:
        netloc = f"{gateway}:{server.port}"
        report = examined(dockerd, url=f"https://{netloc}", ca=str(authority.certificate))
    finding = only(report, "daemon-unknown-authority")
    folder = f"/etc/docker/certs.d/{netloc}"
    assert finding.cures[0].lines == [f"mkdir -p {folder}", f"cp {authority.certificate} {folder}/ca.crt"]


@produces("daemon-client-certificate")
def test_a_daemon_without_a_client_certificate(dockerd: Dockerd, gateway: str, certs_d: Path) -> None:
    authority = OddAuthority()
    client = authority.issue("client", "client.test")
    with serving(gateway, tls=authority.issue("gateway", gateway), client_ca=authority.certificate) as server:
        netloc = f"{gateway}:{server.port}"
        (certs_d / netloc).mkdir()
        shutil.copy(authority.certificate, certs_d / netloc / "ca.crt")
        keys = {"client_cert": str(client.certificate), "client_key": str(client.key), "ca": str(authority.certificate)}
        finding = only(examined(dockerd, url=f"https://{netloc}", **keys), "daemon-client-certificate")
        assert finding.cures[0].lines[1] == f"cp {client.certificate} {certs_d}/{netloc}/client.cert"
        subprocess.run(["sh", "-ec", "\n".join(finding.cures[0].lines)], check=True, timeout=20)
        assert codes(examined(dockerd, url=f"https://{netloc}", **keys)) == []


@produces("daemon-wants-tls")
def test_a_daemon_that_insists_on_tls(dockerd: Dockerd, gateway: str) -> None:
    with serving(gateway) as server:
        finding = only(examined(dockerd, url=f"http://{gateway}:{server.port}"), "daemon-wants-tls")
    assert finding.cures[0].lines == [f'"insecure-registries": ["{gateway}:{server.port}"]']


@produces("daemon-refused")
def test_a_port_that_is_another_place_for_the_daemon(dockerd: Dockerd) -> None:
    with DockerRegistry(in_memory=True) as server:
        only(examined(dockerd, url=f"http://127.0.0.1:{free_port()}", connect_to=server.host), "daemon-refused")


@produces("daemon-fails")
def test_what_else_the_daemon_says(dockerd: Dockerd, gateway: str) -> None:
    authority = OddAuthority()
    pair = authority.issue("other", "registry.example")
    with serving(gateway, tls=pair) as server:
        keys = {"ca": str(authority.certificate), "fingerprint": _fingerprint(pair.certificate)}
        report = examined(dockerd, url=f"https://{gateway}:{server.port}", **keys)
    assert "x509" in only(report, "daemon-fails").seen


def _fingerprint(certificate: Path) -> str:
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    return said.partition("=")[2].strip()


# -- containers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def container(dockerd: Dockerd, gateway: str, tmp_path: Path) -> Iterator[str]:
    """A registry in a container named `stage-registry`, whose htpasswd file is in Apache's own form; its address."""
    make_registry_image(dockerd)
    port = free_port()
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth/htpasswd").write_text(htpasswd({"ci": "secret-of-ci"}, bcrypt=False))
    variables = {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "test"}
    variables["REGISTRY_AUTH_HTPASSWD_PATH"] = "/auth/htpasswd"
    environment = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    where = ["--network", NETWORK, "-p", f"127.0.0.1:{port}:5000", "-v", f"{tmp_path}/auth:/auth"]
    dockerd.run("run", "-d", "--name", "stage-registry", *where, *environment, "registry:2")
    wait_until(lambda: _listens(port), "the registry's container")
    yield f"127.0.0.1:{port}"
    dockerd.run("rm", "-f", "stage-registry")


def _listens(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
    return True


@produces("name-only-in-network", "htpasswd-not-bcrypt")
def test_a_container_by_its_name_and_its_htpasswd_file(
    dockerd: Dockerd, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = only(examined(dockerd, url="http://stage-registry:5000"), "name-only-in-network")
    assert finding.cures[0].lines == [f"connect_to: {container}"]
    assert finding.cures[1].lines == [f"docker run --network {NETWORK} ..."]
    monkeypatch.setenv("CI_REGISTRY_DEV_USERNAME", "ci")
    monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", "secret-of-ci")
    cured = {"url": "http://stage-registry:5000", "connect_to": container}
    wrong = only(examined(dockerd, **cured), "htpasswd-not-bcrypt")
    assert wrong.exit == 3
    assert wrong.cures[0].lines == [f'printf %s "$PASSWORD" | htpasswd -iB {tmp_path}/auth/htpasswd ci']
    environment = {**os.environ, "PASSWORD": "secret-of-ci"}
    subprocess.run(
        ["bash", "-ec", wrong.cures[0].lines[0]], check=True, env=environment, capture_output=True, timeout=20
    )
    assert codes(examined(dockerd, **cured), worst="error") == []
