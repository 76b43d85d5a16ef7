"""kind: registry over TLS with an authority of one's own, and with client certificates: settings, and certs.d."""

from __future__ import annotations

import hashlib
import shutil
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import CiRegistryError, ConfigError, TlsError
from tests.support.bench import Bench
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.servers import Authority, DockerRegistry, KeyPair


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[DockerRegistry]:
    with DockerRegistry(tls=authority.issue(), in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[DockerRegistry]:
    with DockerRegistry(tls=authority.issue(), client_ca=authority.certificate, in_memory=True) as server:
        yield server


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


def target(server: DockerRegistry, **settings: Any) -> dict[str, Any]:
    return {"secure": {"kind": "registry", "url": server.url, **settings}}


def failure(folder: Path, targets: dict[str, Any], image: BuiltImage) -> CiRegistryError:
    with Bench(folder, targets) as bench:
        return bench.refused(image, "secure:app:1")


def certs_d(folder: Path, server: DockerRegistry, **files: Path) -> Path:
    """A folder for the server's host with copies of files, named by their keyword with `_` for `.`."""
    host = folder / server.host
    host.mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, host / name.replace("_", "."))
    return host


# -- the server's certificate ------------------------------------------------------------------------------------


def test_own_authority(secure: DockerRegistry, authority: Authority, images: ImageBuilder, tmp_path: Path) -> None:
    certs = certs_d(tmp_path / "judge", secure, ca_crt=authority.certificate)
    with Bench(tmp_path, target(secure, ca=str(authority.certificate))) as bench:
        bench.round_trip(images.index(), "secure:team/app:1", [f"--cert-dir={certs}"])


def test_an_unknown_authority_names_issuer_names_dates_and_the_file(
    secure: DockerRegistry, image: BuiltImage, tmp_path: Path, clean_environment: Path
) -> None:
    error = failure(tmp_path, target(secure), image)
    assert isinstance(error, TlsError)
    assert error.exit_code == 7
    assert error.message.startswith(
        f"the TLS handshake with {secure.url} failed: its certificate is not trusted (unable"
    )
    assert " is for localhost, 127.0.0.1, issued by '" in error.message
    assert "ci_registry tests" in error.message
    assert ", valid from 20" in error.message
    assert f"put it at {clean_environment}/.docker/certs.d/{secure.host}/ca.crt" in error.hint
    assert "as `ca:` of the target" in error.hint
    assert f"`fingerprint: {fingerprint_of(secure)}`" in error.hint


def test_the_wrong_authority_names_what_the_file_holds(
    secure: DockerRegistry, image: BuiltImage, tmp_path: Path
) -> None:
    other = Authority()
    error = failure(tmp_path, target(secure, ca=str(other.certificate)), image)
    assert f"{other.certificate} holds '" in error.hint
    assert "add the certificate of '" in error.hint


@pytest.mark.parametrize(
    "folder", [".docker/certs.d", ".config/docker/certs.d", ".config/containers/certs.d", "elsewhere/certs.d"]
)
def test_folders_of_docker(
    secure: DockerRegistry,
    authority: Authority,
    image: BuiltImage,
    tmp_path: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    if folder.startswith("elsewhere"):
        monkeypatch.setenv("DOCKER_CONFIG", str(clean_environment / "elsewhere"))
    certs_d(clean_environment / folder, secure, any_crt=authority.certificate)
    with Bench(tmp_path, target(secure)) as bench:
        bench.push(image, "secure:folders:1")
        assert bench.pull("secure:folders:1") == image.digest


def test_folders_of_the_system(
    secure: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_registry.kinds.trust.SYSTEM_FOLDERS", (tmp_path / "none", tmp_path / "etc"))
    certs_d(tmp_path / "etc", secure, ca_crt=authority.certificate)
    with Bench(tmp_path, {}) as bench:
        bench.push(image, f"docker://{secure.host}/folders:2")


def test_settings_win_over_folders(
    secure: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, clean_environment: Path
) -> None:
    certs_d(clean_environment / ".docker/certs.d", secure, ca_crt=authority.certificate)
    error = failure(tmp_path, target(secure, ca=str(Authority().certificate)), image)
    assert "its certificate is not trusted" in error.message


def test_the_trust_store_of_the_system(
    secure: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with Bench(tmp_path, target(secure)) as bench:
        bench.push(image, "secure:system:1")


def served(pair: KeyPair) -> DockerRegistry:
    return DockerRegistry(tls=pair, in_memory=True)


def test_a_name_that_is_not_in_the_certificate(authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    with served(authority.issue("registry", "registry.example.org")) as server:
        error = failure(tmp_path, target(server, ca=str(authority.certificate)), image)
    assert "is for registry, registry.example.org, issued by" in error.message
    assert error.hint == ("use a name that is in it, or have it reissued with IP:127.0.0.1 among its names")


def test_a_common_name_alone(authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    with served(authority.issue(common_name="127.0.0.1")) as server:
        error = failure(tmp_path, target(server, ca=str(authority.certificate)), image)
    assert "that certificate of '127.0.0.1' is for no names at all" in error.message
    assert error.hint == (
        "have it reissued with subjectAltName IP:127.0.0.1 instead of the common name '127.0.0.1' alone"
    )


def test_an_expired_certificate(authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    pair = authority.issue("127.0.0.1", not_before=now - timedelta(days=10), not_after=now - timedelta(days=3))
    with served(pair) as server:
        error = failure(tmp_path, target(server, ca=str(authority.certificate)), image)
    assert "(certificate has expired)" in error.message
    assert error.message.endswith(f"to {now - timedelta(days=3):%Y-%m-%d}")
    assert error.hint.startswith(f"this machine's clock says {now:%Y-%m-%d}")


# -- pinned, and not verified at all -----------------------------------------------------------------------------


def fingerprint_of(server: DockerRegistry) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_a_pinned_certificate_needs_no_authority(secure: DockerRegistry, image: BuiltImage, tmp_path: Path) -> None:
    with Bench(tmp_path, target(secure, fingerprint=fingerprint_of(secure))) as bench:
        bench.push(image, "secure:pinned:1")
        assert bench.notes == []


def test_another_certificate_than_the_pinned(secure: DockerRegistry, image: BuiltImage, tmp_path: Path) -> None:
    error = failure(tmp_path, target(secure, fingerprint="ab" * 32), image)
    assert error.message == (
        f"{secure.url} showed a certificate with the fingerprint sha256:{fingerprint_of(secure)}, not the pinned "
        f"sha256:{'ab' * 32}"
    )
    assert error.exit_code == 7


def test_not_verifying_is_said_each_time(secure: DockerRegistry, image: BuiltImage, tmp_path: Path) -> None:
    for _ in range(2):
        with Bench(tmp_path, target(secure, insecure_skip_verify=True)) as bench:
            bench.push(image, "secure:skipped:1")
            assert len(bench.notes) == 1
            assert bench.notes[0].startswith(f"the certificate of {secure.host} is not verified (insecure_skip_verify)")


# -- the client's certificate ------------------------------------------------------------------------------------


def test_mutual_tls(mutual: DockerRegistry, authority: Authority, images: ImageBuilder, tmp_path: Path) -> None:
    client = authority.issue("agent")
    judge = certs_d(
        tmp_path / "judge", mutual, ca_crt=authority.certificate, a_cert=client.certificate, a_key=client.key
    )
    settings = target(
        mutual, ca=str(authority.certificate), client_cert=str(client.certificate), client_key=str(client.key)
    )
    with Bench(tmp_path, settings) as bench:
        bench.round_trip(images.index(), "secure:team/app:1", [f"--cert-dir={judge}"])


def test_client_certificate_in_a_folder(
    mutual: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, clean_environment: Path
) -> None:
    client = authority.issue("agent")
    folder = clean_environment / ".docker/certs.d"
    certs_d(folder, mutual, ca_crt=authority.certificate, me_cert=client.certificate, me_key=client.key)
    with Bench(tmp_path, target(mutual)) as bench:
        bench.push(image, "secure:folder:1")


def test_no_client_certificate(mutual: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    error = failure(tmp_path, target(mutual, ca=str(authority.certificate)), image)
    assert "the server wants a client certificate that it trusts" in error.message
    assert error.hint.startswith("set `client_cert:` and `client_key:` of the target")
    assert error.exit_code == 7


def test_a_client_certificate_of_another_authority(
    mutual: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path
) -> None:
    stranger = Authority().issue("agent")
    settings = target(
        mutual, ca=str(authority.certificate), client_cert=str(stranger.certificate), client_key=str(stranger.key)
    )
    error = failure(tmp_path, settings, image)
    assert f"the client certificate {stranger.certificate} of '" in error.message
    assert "was shown" in error.message
    assert "clientcas" in error.hint


def test_half_a_pair_in_a_folder(
    mutual: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, clean_environment: Path
) -> None:
    client = authority.issue("agent")
    host = certs_d(clean_environment / ".docker/certs.d", mutual, me_cert=client.certificate)
    error = failure(tmp_path, target(mutual), image)
    assert isinstance(error, ConfigError)
    assert error.message == f"{host}/me.cert lies there without me.key"
    assert error.exit_code == 2


def test_a_key_of_another_certificate(
    mutual: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path
) -> None:
    one, other = authority.issue("a"), authority.issue("b")
    error = failure(tmp_path, target(mutual, client_cert=str(one.certificate), client_key=str(other.key)), image)
    assert error.message == f"the client key {other.key} does not belong to the client certificate {one.certificate}"
    assert error.exit_code == 2


def test_a_ca_file_that_is_no_certificate(secure: DockerRegistry, image: BuiltImage, tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("this is no certificate\n")
    error = failure(tmp_path, target(secure, ca=str(wrong)), image)
    assert error.message == f"the CA file {wrong} holds no certificate that can be read"
    assert error.exit_code == 2
    missing = failure(tmp_path, target(secure, ca=str(tmp_path / "missing.pem")), image)
    assert missing.message == f"the CA file {tmp_path}/missing.pem can't be read: No such file or directory"
    assert missing.exit_code == 2
