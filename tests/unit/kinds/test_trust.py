"""Where certificates for a host are looked for, and for whom settings about certificates are meant."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ci_registry.errors import ConfigError
from ci_registry.kinds import trust
from ci_registry.kinds.settings import RegistryTarget
from ci_registry.kinds.trust import Trust, certificate_folders
from ci_registry.transport.origin import Origin
from ci_registry.transport.tls import TlsSettings
from tests.support.servers import Authority


@pytest.fixture(autouse=True)
def no_system_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "SYSTEM_FOLDERS", ())


def looked(url: str, home: Path, *, mine: bool = True, **settings: object) -> Trust:
    target = RegistryTarget(name="t", url=url, **settings)  # type: ignore[arg-type]
    return Trust(Origin.parse(url), target, {"HOME": str(home)}, lambda _: None, mine=mine)


def put(home: Path, host: str, *names: str) -> Path:
    folder = home / ".docker/certs.d" / host
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")
    return folder


def test_folders_in_order() -> None:
    environ = {"HOME": "/h"}
    own = ["/h/.docker/certs.d", "/h/.config/docker/certs.d", "/h/.config/containers/certs.d"]
    assert [str(path) for path in certificate_folders(environ)] == own
    moved = {"HOME": "/h", "DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/x"}
    assert [str(path) for path in certificate_folders(moved)] == [
        "/d/certs.d",
        "/x/docker/certs.d",
        "/x/containers/certs.d",
    ]


@pytest.mark.parametrize(
    "url, folder",
    [
        ("https://registry", "registry"),
        ("https://registry", "registry:443"),
        ("https://registry:5000", "registry:5000"),
        ("https://[::1]:5000", "[::1]:5000"),
    ],
)
def test_the_name_of_the_folder(tmp_path: Path, url: str, folder: str) -> None:
    found = put(tmp_path, folder, "b.crt", "a.crt", "c.pem", "x.cert", "x.key")
    tls = looked(url, tmp_path).tls
    assert tls.ca_files == (found / "a.crt", found / "b.crt")
    assert (tls.client_cert, tls.client_key) == (found / "x.cert", found / "x.key")


def test_another_port_is_another_folder(tmp_path: Path) -> None:
    put(tmp_path, "registry:5001", "a.crt")
    put(tmp_path, "registry", "a.crt")
    assert looked("https://registry:5000", tmp_path).tls.ca_files == ()


def test_a_key_alone(tmp_path: Path) -> None:
    folder = put(tmp_path, "registry", "me.key")
    with pytest.raises(ConfigError) as caught:
        looked("https://registry", tmp_path)
    assert caught.value.message == f"{folder}/me.key lies there without me.cert"
    assert "a client's *.cert" in caught.value.hint


def test_plain_http_needs_nothing(tmp_path: Path) -> None:
    put(tmp_path, "registry:80", "me.key")
    assert looked("http://registry", tmp_path).tls == TlsSettings()


def test_what_is_said_wins_and_is_meant_for_the_own_address_alone(tmp_path: Path) -> None:
    folder = put(tmp_path, "registry", "a.crt", "x.cert", "x.key")
    said = {"ca": "/ca.pem", "client_cert": "/c.pem", "fingerprint": "ab" * 32, "insecure_skip_verify": True}
    own = looked("https://registry", tmp_path, **said).tls
    assert own.ca_files == (Path("/ca.pem"),)
    assert (own.client_cert, own.client_key) == (Path("/c.pem"), None)
    assert (own.fingerprint, own.skip_verify) == ("ab" * 32, True)
    other = looked("https://registry", tmp_path, mine=False, **said).tls
    assert other.ca_files == (Path("/ca.pem"),)
    assert (other.client_cert, other.fingerprint, other.skip_verify) == (folder / "x.cert", "", False)


def test_a_folder_that_can_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    notes: list[str] = []
    monkeypatch.setattr(trust.os, "listdir", forbidden)
    target = RegistryTarget(name="t", url="https://registry")
    Trust(Origin.parse("https://registry"), target, {"HOME": str(tmp_path)}, notes.append)
    expected = f"{tmp_path}/.docker/certs.d/registry can't be read (Permission denied), so certificates in it are not"
    assert notes[0].startswith(expected)


def test_other_hosts_are_verified_whatever_is_said_about_the_registry() -> None:
    pair = Authority().issue()
    said = TlsSettings(client_cert=pair.certificate, client_key=pair.key, fingerprint="ab" * 32, skip_verify=True)
    assert said.context(own=True).verify_mode == ssl.CERT_NONE
    assert said.context(own=False).verify_mode == ssl.CERT_REQUIRED
    assert said.context(own=False).check_hostname
