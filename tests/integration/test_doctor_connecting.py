"""doctor on the way to a registry: configuration, names, TCP, proxies, and who speaks there."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_registry.ops.doctor import surroundings
from tests.support.docker_registry import DockerRegistry
from tests.support.doctor import OddAuthority, codes, diagnose, only, produces, run_isolated, write_targets
from tests.support.fake_nexus import FakeNexus
from tests.support.process import free_port, wait_until
from tests.support.servers import Squid, htpasswd
from tests.support.spaces import RegistrySpace

SQUID_RULES = """
acl SSL_ports port 443
acl CONNECT method CONNECT
http_access deny CONNECT !SSL_ports
http_access allow all
"""


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may themselves run in a container."""
    monkeypatch.setattr(surroundings, "container_kind", lambda _environ: "")


@pytest.fixture(scope="module")
def authority() -> OddAuthority:
    return OddAuthority()


@pytest.fixture(scope="module")
def secure(authority: OddAuthority) -> Iterator[DockerRegistry]:
    with DockerRegistry(tls=authority.issue("good", "localhost", "127.0.0.1"), in_memory=True) as server:
        yield server


def test_a_registry_that_works_is_well_at_every_step(registry: RegistrySpace) -> None:
    report = diagnose({"dev": {"kind": "registry", "url": registry.url}}, f"dev:{registry.repository()}", writing=True)
    check = report.targets[0]
    assert check.verdict == "all is well"
    assert check.skipped == []
    steps = dict.fromkeys(each.step for each in check.findings)
    assert list(steps) == [
        *("configuration", "names", "tcp", "protocol", "service", "clock", "login", "pull", "push", "abilities")
    ]


@produces("target-unusable")
def test_a_file_that_is_missing_stops_before_anything_is_contacted(tmp_path: Path) -> None:
    target = {"kind": "registry", "url": "https://registry.invalid:5000", "ca": str(tmp_path / "no.pem")}
    report = diagnose({"dev": target})
    finding = only(report, "target-unusable")
    assert finding.exit == 2
    assert "no.pem" in finding.seen
    assert "names" in report.targets[0].skipped


@produces("client-key-mismatch")
def test_a_key_of_another_certificate(authority: OddAuthority) -> None:
    one, other = authority.issue("one", "one.test"), authority.issue("other", "other.test")
    target = {"url": "https://registry.invalid", "client_cert": str(one.certificate), "client_key": str(other.key)}
    finding = only(diagnose({"dev": {"kind": "registry", **target}}), "client-key-mismatch")
    assert finding.exit == 2
    assert finding.cures[0].lines == [f"client_key: {one.key}"]


@produces("skip-verify")
def test_verification_switched_off_is_a_warning_with_the_fingerprint_to_pin(secure: DockerRegistry) -> None:
    report = diagnose({"dev": {"kind": "registry", "url": secure.url, "insecure_skip_verify": True}})
    finding = only(report, "skip-verify")
    assert codes(report, worst="error") == []
    pinned = finding.cures[0].lines[0].removeprefix("fingerprint: ")
    assert codes(diagnose({"dev": {"kind": "registry", "url": secure.url, "fingerprint": pinned}})) == []


@produces("plain-http")
def test_plain_http_to_another_machine(registry: RegistrySpace) -> None:
    report = diagnose(
        {"dev": {"kind": "registry", "url": "http://registry.invalid:5000", "connect_to": "10.255.255.1:9"}}
    )
    assert only(report, "plain-http").cures[0].where == "the machine of registry.invalid"


@produces("no-such-host")
def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    write_targets(tmp_path / "ci-registry.yaml", {"dev": {"kind": "registry", "url": "http://registry:5000"}})
    # Names come from /etc/hosts alone there, whatever this machine's name servers say.
    (tmp_path / "nsswitch").write_text("hosts: files\n")
    ran = run_isolated("mount --bind nsswitch /etc/nsswitch.conf", tmp_path, "doctor")
    assert ran.returncode == 7
    assert "the name of the registry can't be resolved here" in ran.stdout
    assert "add `connect_to: 127.0.0.1:5000` to the target" in ran.stdout


@produces("name-service-down")
def test_no_name_server_answers(tmp_path: Path) -> None:
    write_targets(tmp_path / "ci-registry.yaml", {"dev": {"kind": "registry", "url": "http://registry.example:5000"}})
    (tmp_path / "resolv").write_text("nameserver 192.0.2.1\noptions timeout:1 attempts:1\n")
    (tmp_path / "nsswitch").write_text("hosts: files dns\n")
    script = "mount --bind resolv /etc/resolv.conf; mount --bind nsswitch /etc/nsswitch.conf"
    ran = run_isolated(script, tmp_path, "doctor")
    assert ran.returncode == 7
    assert "no name server answers" in ran.stdout


@produces("refused")
def test_nothing_listens() -> None:
    port = free_port()
    finding = only(diagnose({"dev": {"kind": "registry", "url": f"http://127.0.0.1:{port}"}}), "refused")
    assert finding.exit == 7
    assert finding.cures[1].lines == [f"ss -ltn 'sport = :{port}'"]


@produces("localhost-in-container")
def test_localhost_inside_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "container_kind", lambda _environ: "docker")
    port = free_port()
    finding = only(diagnose({"dev": {"kind": "registry", "url": f"http://localhost:{port}"}}), "localhost-in-container")
    assert finding.cures[0].lines == [f"connect_to: host.docker.internal:{port}"]


@produces("connector-not-published")
def test_a_connector_of_nexus_whose_port_is_not_published(authority: OddAuthority) -> None:
    users = {"admin": ("secret-of-admin", "admin")}
    environ = {**os.environ, "CI_REGISTRY_NEXUS_USERNAME": "admin", "CI_REGISTRY_NEXUS_PASSWORD": "secret-of-admin"}
    port = free_port()
    with FakeNexus(users, authority.issue("nexus", "127.0.0.1")) as nexus:  # type: ignore[arg-type]
        nexus.docker["httpPort"] = port
        target = {"kind": "nexus", "url": f"http://127.0.0.1:{port}", "api": nexus.url, "nexus_repository": nexus.name}
        finding = only(diagnose({"nexus": target}, environ=environ), "connector-not-published")
    assert finding.cures[0].lines == [f"docker run -p {port}:{port} ... sonatype/nexus3"]


@produces("timeout")
def test_packets_that_vanish(tmp_path: Path) -> None:
    write_targets(tmp_path / "ci-registry.yaml", {"dev": {"kind": "registry", "url": "http://127.0.0.1:5000"}})
    script = "ip link set lo up; iptables -A INPUT -p tcp --dport 5000 -j DROP"
    ran = run_isolated(script, tmp_path, "doctor", "--patience", "0.5")
    assert ran.returncode == 7
    assert "no answer within 0.5 seconds" in ran.stdout
    assert "open port 5000 on the way to 127.0.0.1" in ran.stdout


@produces("unreachable")
def test_no_way_there(tmp_path: Path) -> None:
    write_targets(tmp_path / "ci-registry.yaml", {"dev": {"kind": "registry", "url": "https://192.0.2.7:5000"}})
    ran = run_isolated("true", tmp_path, "doctor")
    assert ran.returncode == 7
    assert "no way to that address" in ran.stdout


@produces("proxy-unreachable")
def test_a_proxy_that_is_not_there(secure: DockerRegistry) -> None:
    port = free_port()
    target = {"kind": "registry", "url": secure.url, "proxy": f"http://127.0.0.1:{port}"}
    finding = only(diagnose({"dev": target}), "proxy-unreachable")
    assert f"127.0.0.1:{port}" in finding.meaning
    assert finding.cures[1].lines == ["proxy: ''"]


@produces("proxy-refuses")
def test_a_proxy_that_tunnels_to_443_alone(secure: DockerRegistry) -> None:
    with Squid(SQUID_RULES) as squid:
        target = {"kind": "registry", "url": secure.url, "proxy": squid.url}
        finding = only(diagnose({"dev": target}), "proxy-refuses")
        wait_until(lambda: ("CONNECT", secure.host, 403) in squid.requests(), "squid's log")
    assert finding.exit == 7
    assert finding.cures[0].lines == [f"acl SSL_ports port {secure.port}"]


def test_a_proxy_that_refuses_a_plain_registry(registry: RegistrySpace) -> None:
    with Squid("http_access deny all") as squid:
        only(diagnose({"dev": {"kind": "registry", "url": registry.url, "proxy": squid.url}}), "proxy-refuses")


@produces("proxy-login")
def test_a_proxy_that_wants_a_login(secure: DockerRegistry, registry: RegistrySpace) -> None:
    with Squid(users=htpasswd({"proxy": "secret-of-proxy"}, bcrypt=False)) as squid:
        for url in (secure.url, registry.url):
            finding = only(diagnose({"dev": {"kind": "registry", "url": url, "proxy": squid.url}}), "proxy-login")
            assert finding.cures[0].lines == [f"write http://USER:PASSWORD@{squid.url[7:]} into `proxy:`"]


@produces("http-on-https")
def test_plain_http_where_tls_was_expected(registry: RegistrySpace) -> None:
    finding = only(diagnose({"dev": {"kind": "registry", "url": f"https://{registry.host}"}}), "http-on-https")
    assert finding.cures[0].lines == [f"url: http://{registry.host}"]
    assert finding.cures[0].where == "targets.dev"


@produces("https-on-http")
def test_tls_where_plain_http_was_expected(secure: DockerRegistry) -> None:
    finding = only(diagnose({"dev": {"kind": "registry", "url": f"http://{secure.host}"}}), "https-on-http")
    assert finding.cures[0].lines == [f"url: https://{secure.host}"]


@produces("not-http")
def test_a_service_that_is_no_web_server() -> None:
    with _Listener(b"220 mail.example.org ESMTP\r\n") as port:
        only(diagnose({"dev": {"kind": "registry", "url": f"http://127.0.0.1:{port}"}}), "not-http")
        only(diagnose({"dev": {"kind": "registry", "url": f"https://127.0.0.1:{port}"}}), "not-http")


@produces("dropped")
def test_connections_that_are_closed_at_once() -> None:
    with _Listener(b"") as port:
        only(diagnose({"dev": {"kind": "registry", "url": f"http://127.0.0.1:{port}"}}), "dropped")
        only(diagnose({"dev": {"kind": "registry", "url": f"https://127.0.0.1:{port}"}}), "dropped")


class _Listener:
    """Says its greeting to whoever connects, and hangs up."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting
        self._socket = socket.create_server(("127.0.0.1", free_port()))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                connection.sendall(self._greeting)
                try:
                    connection.recv(65536)
                except OSError:
                    continue
