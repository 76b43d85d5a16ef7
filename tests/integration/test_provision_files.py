"""The folders that provision writes: certificates judged by openssl and Java's keytool, idempotent, never overwriting
what is not its own; Nexus' files and REST sequence."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import keyring
import pytest
import yaml

from ci_registry.adapters.htpasswd import apr1_line, bcrypt_line, matches, unreadable_users
from ci_registry.adapters.x509 import KeyMaterial, facts_in_file
from ci_registry.errors import InputFileError
from ci_registry.ops.config import load
from ci_registry.ops.provision.certificates import CertificateWishes, certificate_files
from ci_registry.ops.provision.config_lines import insert_targets
from ci_registry.ops.provision.files import write_files
from ci_registry.ops.provision.nexus_setup import NexusSetup
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support.certificates import Authority
from tests.support.cli import Ran, run_cli
from tests.support.doctor import run_isolated
from tests.support.fake_nexus_admin import FakeNexusAdmin
from tests.support.process import find_program
from tests.support.secrets import LeakSearch
from tests.unit.credentials.backends import MemoryKeyring


class User:
    """Somebody who types commands in an empty folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        monkeypatch.chdir(folder)

    def provision(self, *arguments: str) -> Ran:
        return run_cli(self._monkeypatch, "provision", *arguments)

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    return User(tmp_path, monkeypatch)


def openssl(*arguments: str) -> str:
    command = ["openssl", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


# -- certificates ------------------------------------------------------------------------------------------------------


def test_certificates_that_openssl_accepts_for_all_their_names(user: User) -> None:
    made = user.provision("certs", "--san", "registry.example.org", "--san", "10.1.2.3", "--client", "builder")
    assert made.code == 0, made.err
    certs = user.folder / "registry/certs"
    for name in ("localhost", "registry", "registry.example.org"):
        checks = ("-purpose", "sslserver", "-verify_hostname", name, str(certs / "server.pem"))
        assert "OK" in openssl("verify", "-CAfile", str(certs / "ca.pem"), *checks)
    checks = ("-purpose", "sslserver", "-verify_ip", "10.1.2.3", str(certs / "server.pem"))
    assert "OK" in openssl("verify", "-CAfile", str(certs / "ca.pem"), *checks)
    assert "OK" in openssl(
        "verify", "-CAfile", str(certs / "ca.pem"), "-purpose", "sslclient", str(certs / "builder.pem")
    )
    keys = sorted(path.name for path in certs.glob("*.key"))
    assert keys == ["builder.key", "ca.key", "server.key"]
    assert {path.stat().st_mode & 0o777 for path in certs.glob("*.key")} == {0o600}


def test_the_pkcs12_store_opens_in_java(user: User) -> None:
    assert user.provision("certs", "--pkcs12").code == 0
    certs = user.folder / "registry/certs"
    password = certs / "store.password"
    command = [find_program("keytool"), "-list", "-storetype", "PKCS12", "-keystore", str(certs / "server.p12")]
    listed = subprocess.run(
        [*command, "-storepass:file", str(password)], capture_output=True, text=True, timeout=60, check=False
    )
    assert listed.returncode == 0, listed.stdout
    assert "PrivateKeyEntry" in listed.stdout


def test_the_same_command_again_changes_nothing(user: User) -> None:
    for role, flags in {"certs": ("--pkcs12",), "registry": ("--tls", "--mutual", "--htpasswd"), "proxy": ()}.items():
        arguments = (role, "--folder", role, *flags)
        assert user.provision(*arguments).code == 0
        before = user.files()
        again = user.provision(*arguments, "--output", "json")
        assert user.files() == before
        assert {file["outcome"] for file in again.result["files"]} == {"unchanged"}


def test_renewal_keeps_the_ca(user: User) -> None:
    user.provision("certs")
    before = user.files()
    renewed = user.provision("certs", "--renew", "--output", "json")
    outcomes = {file["path"]: file["outcome"] for file in renewed.result["files"]}
    assert outcomes["certs/ca.pem"] == outcomes["certs/ca.key"] == "unchanged"
    assert outcomes["certs/server.pem"] == outcomes["certs/client.key"] == "changed"
    assert user.files()["registry/certs/ca.key"] == before["registry/certs/ca.key"]


def test_a_certificate_that_lacks_a_name_or_ends_soon_is_made_anew(tmp_path: Path) -> None:
    def made(*names: str, days: int = 397) -> bytes:
        write_files(tmp_path, certificate_files(tmp_path, CertificateWishes(names, days=days)))
        return (tmp_path / "certs/server.pem").read_bytes()

    first = made("localhost", "registry")
    assert made("localhost") == first
    assert made("localhost", "registry", "another") != first
    short = made("localhost", "third", days=20)
    assert made("localhost", "third") != short
    assert facts_in_file(tmp_path / "certs/server.pem")[0].names == ("localhost", "third")


def test_a_damaged_ca_is_an_error_and_not_replaced(user: User) -> None:
    user.provision("certs")
    (user.folder / "registry/certs/ca.key").write_text("damaged")
    again = user.provision("certs")
    assert again.code == 2
    assert "ca.pem and ca.key can't be read, or are not of each other" in again.last
    with pytest.raises(InputFileError):
        certificate_files(user.folder / "registry", CertificateWishes(["x"]))


@pytest.mark.parametrize("name", ["under score.example", "-begins.example", "a..b"])
def test_a_name_that_is_none(user: User, name: str) -> None:
    made = user.provision("certs", "--san", name)
    assert made.code == 2
    assert name in made.last
    assert user.files() == {}


def isolated_install(folder: Path, where: str, after: str) -> str:
    """Install the CA where only this process sees it; answers what `after` says."""
    script = (
        "mkdir -p /etc/docker; mount -t tmpfs none /etc/docker; mount -t tmpfs none /usr/local/share/ca-certificates"
    )
    # A store with nothing else in it, and no hooks: the real one takes seconds.
    for place in ("/etc/ssl/certs", "/usr/share/ca-certificates", "/etc/ca-certificates"):
        script += f"; mkdir -p {place}; mount -t tmpfs none {place}"
    script += "; : > conf; mount --bind conf /etc/ca-certificates.conf"
    ran = run_isolated(script, folder, "provision", "certs", "--install", where, after=after)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_ca_is_installed_for_docker(tmp_path: Path, user: User) -> None:
    assert user.provision("certs", "--install", "certs.d", "--dry-run").out.count("would be installed") == 2
    said = isolated_install(tmp_path, "certs.d", "cmp /etc/docker/certs.d/registry:5000/ca.crt registry/certs/ca.pem")
    assert "created: /etc/docker/certs.d/localhost:5000/ca.crt" in said


def test_the_ca_is_installed_for_the_system(tmp_path: Path) -> None:
    said = isolated_install(tmp_path, "system", "openssl verify -CApath /etc/ssl/certs registry/certs/server.pem")
    assert "registry/certs/server.pem: OK" in said


# -- htpasswd ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["x", "a-longer-password", "p" * 40, "pässword"])
def test_htpasswd_lines_as_openssl_and_apache_make_them(password: str, tmp_path: Path) -> None:
    ours = apr1_line("ci", password, "saltsalt")
    assert ours == f"ci:{openssl('passwd', '-apr1', '-salt', 'saltsalt', password).strip()}"
    file = tmp_path / "htpasswd"
    file.write_text(f"{bcrypt_line('ci', password)}\n{apr1_line('other', password)}\n")
    for name in ("ci", "other"):
        verified = subprocess.run(
            [find_program("htpasswd"), "-iv", str(file), name],
            input=password,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert verified.returncode == 0, verified.stderr
    assert unreadable_users(file.read_text()) == ["other"]
    assert matches(ours, "ci", password)
    assert not matches(ours, "ci", f"{password}!")
    assert not matches(bcrypt_line("ci", password), "ci", "another")


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_files_but_no_secret_and_writes_nothing(user: User) -> None:
    shown = user.provision("registry", "--tls", "--htpasswd", "--up", "--write-config", "--dry-run")
    assert shown.code == 0, shown.err
    assert user.files() == {}
    assert "  | services:" in shown.out
    assert "would start the container registry from registry:2" in shown.out
    assert "would insert the targets into" in shown.out
    assert "PRIVATE KEY" not in shown.out
    assert not re.search(r"\$2[aby]\$", shown.out)


def test_a_folder_of_somebody_else_is_left_alone(user: User) -> None:
    (user.folder / "registry").mkdir()
    (user.folder / "registry/precious").write_text("mine")
    made = user.provision("registry")
    assert made.code == 2
    assert "was not made by `ci-registry provision`" in made.last
    assert user.files() == {"registry/precious": b"mine"}
    assert user.provision("registry", "--down", "--purge").code == 2


def test_a_folder_of_another_role_is_left_alone(user: User) -> None:
    user.provision("certs")
    made = user.provision("registry")
    assert made.code == 2
    assert "made by `ci-registry provision certs`" in made.last


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("registry", "--mutual"), "needs TLS"),
        (("registry", "--up", "--down"), "--up and --down"),
        (("registry", "--purge"), "--purge"),
        (("registry", "--name", "Big"), "'Big'"),
        (("registry", "--down"), "there is nothing"),
        (("registry", "--port", "70000"), "70000"),
        (("regstry",), "regstry"),
    ],
)
def test_wrong_usage(user: User, arguments: tuple[str, ...], said: str) -> None:
    made = user.provision(*arguments)
    assert made.code == 2
    assert said in made.last
    assert user.files() == {}


def test_up_without_a_daemon_is_one_sentence(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{user.folder}/none.sock")
    made = user.provision("registry", "--up")
    assert made.code == 7
    assert "no docker daemon answers" in made.last


def test_compose_and_environment_say_the_same_as_the_container(user: User) -> None:
    user.provision("registry", "--tls", "--mutual", "--htpasswd", "--port", "5055")
    folder = user.folder / "registry"
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["registry"]
    assert service["ports"] == ["127.0.0.1:5055:5055"]
    assert "registry" in service["networks"]["ci-registry"]["aliases"]
    inside = {volume.split(":")[1] for volume in service["volumes"]}
    said = dict(line.split("=", 1) for line in (folder / "registry.env").read_text().splitlines())
    for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENTCAS_0"):
        assert said[f"REGISTRY_HTTP_{name}"] in inside  # mounted where it is named
    assert said["REGISTRY_AUTH_HTPASSWD_PATH"] == "/auth/htpasswd"
    assert said["REGISTRY_STORAGE_DELETE_ENABLED"] == "true"
    assert not any("ca.key" in volume for volume in service["volumes"])


# -- the password ------------------------------------------------------------------------------------------------------


def test_the_password_goes_to_the_keyring(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    made = user.provision("registry", "--htpasswd", "--write-config")
    assert "the password of ci is kept in keyring (MemoryKeyring)" in made.out
    password = backend.held["ci-registry:registry:5000", "ci"]
    line = (user.folder / "registry/auth/htpasswd").read_text()
    assert matches(line, "ci", password)
    search = LeakSearch(password)
    search.look_at("stdout", made.out)
    search.look_at("stderr", made.err)
    search.look_into(user.folder)
    assert search.leaks == []
    user.provision("registry", "--htpasswd", "--write-config")
    assert (user.folder / "registry/auth/htpasswd").read_text() == line


def test_without_a_keyring_it_goes_to_a_private_file(user: User) -> None:
    made = user.provision("registry", "--htpasswd", "-u", "builder", "--write-config")
    file = user.folder / "registry/password"
    assert f"kept in {file}" in made.out
    assert file.stat().st_mode & 0o777 == 0o600
    target = load(None, os.environ, user.folder).target("registry")
    assert (target.username, target.password_file) == ("builder", str(file))
    search = LeakSearch(file.read_text().strip())
    search.look_at("stdout", made.out)
    assert search.leaks == []


# -- lines for the configuration ---------------------------------------------------------------------------------------

LINES = {"new": {"kind": "registry", "url": "https://new:5000", "ca": "certs/ca.pem"}}


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# mine\ntargets:\n    old: {kind: registry, url: 'http://old:5000'}  # four\njenkins: {url: http://j}\n",
        "jenkins:\n  url: http://j",
        "targets:\n  # a remark\n  old:\n    kind: registry\n    url: http://old\n",
    ],
)
def test_lines_are_inserted_as_text(tmp_path: Path, before: str) -> None:
    file = tmp_path / "ci-registry.yaml"
    if before:
        file.write_text(before)
    assert insert_targets(file, LINES).outcome == "inserted"
    after = file.read_text()
    for line in before.splitlines():
        assert line in after
    document = yaml.safe_load(after)
    assert document["targets"].pop("new") == LINES["new"]
    assert document == {"targets": {}, **(yaml.safe_load(before) or {})}
    assert insert_targets(file, LINES).outcome == "unchanged"
    assert file.read_text() == after


@pytest.mark.parametrize(
    "before, reason",
    [
        ("targets: {old: {kind: registry, url: 'http://old'}}\n", "could not be read any more"),
        ("targets:\n  new: {kind: registry, url: http://other}\n", "says something else"),
    ],
)
def test_lines_that_would_change_something_else_are_shown_instead(
    user: User, tmp_path: Path, before: str, reason: str
) -> None:
    file = tmp_path / "ci-registry.yaml"
    file.write_text(before)
    inserted = insert_targets(file, LINES)
    assert inserted.outcome == "refused"
    assert reason in inserted.reason
    assert file.read_text() == before
    made = user.provision("registry", "--name", "new", "--write-config")
    assert made.code == 0
    assert "for ci-registry.yaml:" in made.out
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".ci-")] == []


# -- Nexus -------------------------------------------------------------------------------------------------------------


def test_the_files_of_nexus_fit_together(user: User) -> None:
    made = user.provision("nexus", "--write-config")
    assert made.code == 0, made.err
    folder = user.folder / "nexus"
    said = dict(
        line.split("=", 1) for line in (folder / "etc/nexus.properties").read_text().splitlines() if "=" in line[:40]
    )
    assert said["application-port-ssl"] == "8443"
    assert "${karaf.data}/etc/jetty/jetty-https.xml" in said["nexus-args"].split(",")
    jetty = ElementTree.fromstring((folder / "etc/jetty/jetty-https.xml").read_text())
    settings = {each.get("name"): "".join(each.itertext()) for each in jetty.iter("Set")}
    password = (folder / "certs/store.password").read_text().strip()
    assert settings["KeyStorePassword"] == settings["KeyManagerPassword"] == password
    assert settings["KeyStoreType"] == "PKCS12"
    assert settings["KeyStorePath"] == "/server.p12"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["nexus"]
    inside = [volume.split(":")[1] for volume in compose["volumes"]]
    assert "/nexus-data/etc/ssl/server.p12" in inside
    assert "/nexus-data/etc/jetty/jetty-https.xml" in inside
    ports = {port.rpartition(":")[2] for port in compose["ports"]}
    assert {"8081", "8443", "8083", "8084", "8085"} <= ports
    target = load(None, os.environ, user.folder).target("nexus")
    assert (target.kind, getattr(target, "nexus_repository", "")) == ("nexus", "docker-hosted")
    nginx = (folder / "nginx.conf").read_text()
    assert "rewrite ^/v2/(.*)$ /repository/docker-hosted/v2/$1 break;" in nginx


def set_up(nexus: FakeNexusAdmin, password: str, first: str, *, accept_eula: bool) -> list[str]:
    client = Client(Origin.parse(nexus.url), retry_seconds=0)
    setup = NexusSetup(client, "admin", password, lambda: first)
    assert setup.is_ready()
    try:
        return list(setup.run(accept_eula=accept_eula, upstream="https://registry-1.docker.io"))
    finally:
        client.close()


def test_a_fresh_nexus_is_set_up_and_a_second_time_nothing_is_done() -> None:
    with FakeNexusAdmin("first-password", Authority().issue()) as nexus:
        nexus.fresh, nexus.eula, nexus.realms = True, False, ["NexusAuthenticatingRealm"]
        done = set_up(nexus, "chosen-password", "first-password\n", accept_eula=True)
        assert done == [
            "replaced the first password of its administrator",
            "accepted its licence terms, as told",
            "turned on DockerToken",
            "created the hosted repository docker-hosted",
            "created the proxy repository docker-proxy",
            "created the group repository docker-group",
        ]
        assert nexus.users["admin"][0] == "chosen-password"
        assert nexus.realms == ["NexusAuthenticatingRealm", "DockerToken"]
        assert nexus.made["proxy", "docker-proxy"]["dockerProxy"]["indexType"] == "HUB"
        changes = list(nexus.changes)
        assert set_up(nexus, "chosen-password", "", accept_eula=True) == []
        assert nexus.changes == changes
        nexus.made["hosted", "docker-hosted"]["storage"]["writePolicy"] = "DENY"
        assert set_up(nexus, "chosen-password", "", accept_eula=True) == ["changed the hosted repository docker-hosted"]


def test_terms_are_accepted_only_when_told() -> None:
    with FakeNexusAdmin("first-password", Authority().issue()) as nexus:
        nexus.eula = False
        set_up(nexus, "chosen-password", "first-password", accept_eula=False)
        assert nexus.eula is False


def test_key_material_hides_its_key() -> None:
    assert "secret" not in repr(KeyMaterial(b"public", b"secret"))
