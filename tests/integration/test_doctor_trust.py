"""doctor about TLS: certificates broken in every usual way, on a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_registry.ops.doctor.findings import DoctorReport
from tests.support.certificates import KeyPair
from tests.support.docker_registry import DockerRegistry
from tests.support.doctor import OddAuthority, codes, diagnose, only, produces, self_signed
from tests.support.servers import Nginx


@pytest.fixture(scope="module")
def authority() -> OddAuthority:
    return OddAuthority()


@contextmanager
def serving(pair: KeyPair, client_ca: Path | None = None) -> Iterator[DockerRegistry]:
    with DockerRegistry(tls=pair, client_ca=client_ca, in_memory=True) as server:
        yield server


def examined(pair: KeyPair, client_ca: Path | None = None, **keys: Any) -> DoctorReport:
    with serving(pair, client_ca) as server:
        return diagnose({"dev": {"kind": "registry", "url": server.url, **keys}})


def test_a_certificate_of_a_known_ca_is_well(authority: OddAuthority) -> None:
    report = examined(authority.issue("well", "127.0.0.1"), ca=str(authority.certificate))
    assert codes(report) == []
    assert any("issued by" in each.seen for each in report.targets[0].findings)


@produces("unknown-authority")
def test_a_ca_that_nobody_knows(authority: OddAuthority) -> None:
    finding = only(examined(authority.issue("unknown", "127.0.0.1")), "unknown-authority")
    assert finding.exit == 7
    assert finding.cures[0].kind == "set"
    assert finding.cures[0].lines[0].startswith("fingerprint: ")
    assert "odd certificates" in finding.meaning


@produces("self-signed")
def test_a_certificate_signed_by_itself() -> None:
    finding = only(examined(self_signed("registry", "IP:127.0.0.1")), "self-signed")
    assert "-servername 127.0.0.1" in finding.cures[1].lines[1]


@produces("name-mismatch")
def test_a_certificate_for_another_name(authority: OddAuthority) -> None:
    pair = authority.issue("elsewhere", "registry.example", "other.example")
    with serving(pair) as server:
        target = {"kind": "registry", "url": server.url, "ca": str(authority.certificate)}
        finding = only(diagnose({"dev": target}), "name-mismatch")
    assert finding.cures[0].lines == [f"url: https://registry.example:{server.port}", f"connect_to: {server.host}"]
    assert "registry.example, other.example" in finding.meaning


@produces("common-name-only")
def test_a_certificate_with_a_common_name_only(authority: OddAuthority) -> None:
    pair = authority.issue("common", common_name="localhost")
    finding = only(examined(pair, ca=str(authority.certificate)), "common-name-only")
    assert "'localhost' in the common name counts for nothing" in finding.meaning
    assert finding.cures[1].lines == ["ci-registry provision certs --san 127.0.0.1 --renew"]


@produces("expired")
def test_a_certificate_that_has_expired(authority: OddAuthority) -> None:
    pair = authority.issue("expired", "127.0.0.1", starts=-30, ends=-1)
    finding = only(examined(pair, ca=str(authority.certificate)), "expired")
    assert finding.cures[0].lines == ["ci-registry provision certs --san 127.0.0.1 --renew"]


@produces("not-yet-valid")
def test_a_certificate_of_tomorrow(authority: OddAuthority) -> None:
    pair = authority.issue("tomorrow", "127.0.0.1", starts=1)
    finding = only(examined(pair, ca=str(authority.certificate)), "not-yet-valid")
    assert finding.cures[0].lines == ["timedatectl set-ntp true"]


@produces("expires-soon")
def test_a_certificate_that_ends_soon_is_a_warning(authority: OddAuthority) -> None:
    report = examined(authority.issue("soon", "127.0.0.1", ends=5), ca=str(authority.certificate))
    assert only(report, "expires-soon").exit == 0
    assert codes(report, worst="error") == []


@produces("client-certificate-needed")
def test_a_client_certificate_is_needed(authority: OddAuthority) -> None:
    pair = authority.issue("mutual", "127.0.0.1")
    finding = only(examined(pair, authority.certificate, ca=str(authority.certificate)), "client-certificate-needed")
    assert "get a certificate signed by the CA" in finding.cures[0].lines[0]


@produces("client-certificate-refused")
def test_a_client_certificate_of_another_ca(authority: OddAuthority) -> None:
    stranger = OddAuthority().issue("stranger", "stranger.test")
    keys = {"client_cert": str(stranger.certificate), "client_key": str(stranger.key)}
    report = examined(
        authority.issue("mutual", "127.0.0.1"), authority.certificate, ca=str(authority.certificate), **keys
    )
    finding = only(report, "client-certificate-refused")
    assert str(stranger.certificate) in finding.meaning
    assert finding.exit == 7


def test_the_right_client_certificate_is_well(authority: OddAuthority) -> None:
    client = authority.issue("client", "client.test")
    keys = {"client_cert": str(client.certificate), "client_key": str(client.key), "ca": str(authority.certificate)}
    assert codes(examined(authority.issue("mutual", "127.0.0.1"), authority.certificate, **keys)) == []


@produces("fingerprint-changed")
def test_another_certificate_than_the_pinned_one(authority: OddAuthority) -> None:
    finding = only(examined(authority.issue("renewed", "127.0.0.1"), fingerprint="ab" * 32), "fingerprint-changed")
    assert "abababab" in finding.seen
    assert finding.cures[0].lines[0].removeprefix("fingerprint: ") in finding.seen


@produces("tls-too-old")
def test_a_server_that_speaks_old_tls_only(authority: OddAuthority) -> None:
    pair = authority.issue("old", "127.0.0.1")
    server = f"""server {{
      listen 127.0.0.1:@PORT@ ssl;
      ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
      ssl_protocols TLSv1.1; ssl_ciphers DEFAULT:@SECLEVEL=0;
    }}"""
    with Nginx(server) as nginx:
        finding = only(diagnose({"dev": {"kind": "registry", "url": f"https://127.0.0.1:{nginx.port}"}}), "tls-too-old")
    assert finding.cures[0].lines == ["ssl_protocols TLSv1.2 TLSv1.3;"]


@produces("handshake-failed")
def test_no_cipher_in_common(authority: OddAuthority) -> None:
    pair = authority.issue("ciphers", "127.0.0.1")
    server = f"""server {{
      listen 127.0.0.1:@PORT@ ssl;
      ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
      ssl_protocols TLSv1.2; ssl_ciphers NULL-SHA256:@SECLEVEL=0;
    }}"""
    with Nginx(server) as nginx:
        report = diagnose({"dev": {"kind": "registry", "url": f"https://127.0.0.1:{nginx.port}"}})
    assert "openssl s_client -connect 127.0.0.1" in only(report, "handshake-failed").cures[0].lines[0]
