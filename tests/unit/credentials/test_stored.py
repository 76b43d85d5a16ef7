"""What `login` and `logout` do: the keyring, and Docker's own file."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import filelock
import pytest

from ci_registry.adapters.keychain import Entry, Keychain, KeychainUnavailable, StoredName
from ci_registry.credentials import standard_providers
from ci_registry.credentials.chain import Chain, Credential, Lookup, NoAnswer, Unavailable
from ci_registry.credentials.environment import Explicit
from ci_registry.credentials.stored import DockerConfigStore, KeyringProvider, KeyringStore
from ci_registry.errors import AccessError, InputFileError, StorageError, UsageError

from .helper_programs import helper_environ, write_helper

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
BOB = Credential("bob", "hunter2!", source="standard input")


class FakeKeychain(Keychain):
    """A keychain without a keyring."""

    def __init__(self, *entries: tuple[str, Entry], problem: str = "") -> None:
        super().__init__()
        self.held = {(host, entry.username): entry for host, entry in entries}
        self._problem = problem

    def _check(self) -> None:
        if self._problem:
            raise KeychainUnavailable(self._problem)

    def backend_name(self) -> str:
        return "Fake"

    def read(self, host: str, username: str | None = None) -> Entry | None:
        self._check()
        found = [entry for (of, name), entry in self.held.items() if of == host and username in (None, name)]
        return found[0] if found else None

    def write(self, host: str, username: str, secret: str) -> None:
        self._check()
        self.held = {(host, username): Entry(username, secret, 1.0), **self.held}

    def erase(self, host: str, username: str | None = None) -> list[str]:
        self._check()
        keys = [key for key in self.held if key[0] == host and username in (None, key[1])]
        return [self.held.pop(key).username for key in keys]

    def names(self) -> list[StoredName]:
        self._check()
        return [StoredName(host, username, 1.0) for host, username in self.held]


def test_the_keyring_as_a_link_of_the_chain() -> None:
    provider = KeyringProvider(FakeKeychain(("reg", Entry("bob", "hunter2!"))))
    found = provider.find(Lookup("reg"))
    assert found == BOB
    assert found
    assert found.source == "keyring (Fake)"
    with pytest.raises(NoAnswer, match="no entry for other"):
        provider.find(Lookup("other"))


def test_the_user_that_the_configuration_names_is_looked_for() -> None:
    entries = [("reg", Entry(name, f"of {name}")) for name in ("ci-dev", "ci-prod")]
    provider = KeyringProvider(FakeKeychain(*entries), {"prod": "ci-prod", "x": "nobody"}.get)
    assert provider.find(Lookup("reg", target="prod")) == Credential("ci-prod", "of ci-prod")
    assert provider.find(Lookup("reg", target="dev")) == Credential("ci-dev", "of ci-dev")
    with pytest.raises(NoAnswer, match="no entry for reg and user nobody"):
        provider.find(Lookup("reg", target="x"))


def test_a_keyring_that_does_not_work_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="it is locked"):
        KeyringProvider(FakeKeychain(problem="it is locked")).find(Lookup("reg"))


@pytest.mark.parametrize(
    "host, entry, expired",
    [
        (ECR, Entry("AWS", "token-of-1970", 1.0), True),
        (ECR, Entry("AWS", "token-of-1970", 4e9), False),
        (ECR, Entry("AWS", "written by hand"), False),
        (ECR, Entry("bob", "token-of-1970", 1.0), False),
        ("reg", Entry("AWS", "token-of-1970", 1.0), False),
    ],
)
def test_an_ecr_token_in_the_keyring_expires(host: str, entry: Entry, expired: bool) -> None:
    found = Chain([KeyringProvider(FakeKeychain((host, entry)))]).find(Lookup(host))
    assert found.is_anonymous is expired


def test_store_and_erase_in_the_keyring() -> None:
    keychain = FakeKeychain()
    store = KeyringStore(keychain)
    assert store.save("https://index.docker.io/v1/", BOB) == "keyring (Fake)"
    store.save("reg:5000", Credential("bob", "", identity_token="refresh-1"))
    assert {key: entry.secret for key, entry in keychain.held.items()} == {
        ("reg:5000", "<token>"): "refresh-1",
        ("docker.io", "bob"): "hunter2!",
    }
    assert store.entries() == {"docker.io": "bob", "reg:5000": "<token>"}
    assert KeyringProvider(keychain).find(Lookup("reg:5000")) == Credential("", "", identity_token="refresh-1")
    assert store.erase("docker.io") is True
    assert store.erase("docker.io") is False


def test_the_user_stored_last_is_listed() -> None:
    store = KeyringStore(FakeKeychain())
    store.save("reg", BOB)
    store.save("reg", Credential("eve", "x"))
    assert store.entries() == {"reg": "eve"}


def test_no_keyring_to_store_in_says_what_to_do() -> None:
    store = KeyringStore(FakeKeychain(problem="no keyring backend on this machine"))
    for attempt in (lambda: store.save("reg", BOB), lambda: store.erase("reg"), store.entries):
        with pytest.raises(AccessError) as info:
            attempt()
        assert info.value.exit_code == 3
        assert "failed: no keyring backend on this machine" in str(info.value)
        assert "--docker-config" in info.value.hint
        assert "CI_REGISTRY_<TARGET>_PASSWORD" in info.value.hint


@pytest.mark.parametrize("credential", [Credential("", "", registry_token="bearer-1"), Credential("bob", "")])
def test_what_can_not_be_stored(credential: Credential, tmp_path: Path) -> None:
    for store in (KeyringStore(FakeKeychain()), DockerConfigStore(helper_environ(tmp_path))):
        with pytest.raises(UsageError, match="can't be stored"):
            store.save("reg", credential)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return helper_environ(tmp_path)


def config(environ: dict[str, str]) -> Path:
    return Path(environ["HOME"], ".docker", "config.json")


def write(environ: dict[str, str], document: Any) -> Path:
    path = config(environ)
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_docker_config_from_nothing(environ: dict[str, str]) -> None:
    assert DockerConfigStore(environ).save("docker.io", BOB) == str(config(environ))
    assert json.loads(config(environ).read_text()) == {"auths": {"https://index.docker.io/v1/": auth("bob:hunter2!")}}
    assert stat.S_IMODE(config(environ).stat().st_mode) == 0o600
    assert stat.S_IMODE(config(environ).parent.stat().st_mode) == 0o700


def test_docker_config_keeps_what_it_does_not_know(environ: dict[str, str]) -> None:
    document = {
        "HttpHeaders": {"X": "ü"},
        "auths": {"other": auth("a:b"), "reg": auth("old:old")},
        "proxies": {"default": {}},
    }
    path = write(environ, document)
    path.chmod(0o644)
    store = DockerConfigStore(environ)
    store.save("reg", BOB)
    document["auths"]["reg"] = auth("bob:hunter2!")
    assert json.loads(path.read_text()) == document
    assert list(json.loads(path.read_text())) == ["HttpHeaders", "auths", "proxies"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir() if file.name != "config.json.lock"] == ["config.json"]


def test_docker_config_identity_token(environ: dict[str, str]) -> None:
    store = DockerConfigStore(environ)
    store.save("reg", Credential("bob", "", identity_token="refresh-1"))
    store.save("other", Credential("", "", identity_token="refresh-2"))
    assert json.loads(config(environ).read_text())["auths"] == {
        "reg": {**auth("bob:"), "identitytoken": "refresh-1"},
        "other": {"identitytoken": "refresh-2"},
    }


def test_what_was_stored_is_found_again(environ: dict[str, str]) -> None:
    DockerConfigStore(environ).save("reg:5000", BOB)
    chain = Chain(standard_providers(environ, keychain=FakeKeychain(problem="none")))
    assert chain.find(Lookup("reg:5000", "team/app")) == BOB


def test_a_link_stays_a_link(environ: dict[str, str], tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    config(environ).parent.mkdir()
    config(environ).symlink_to(real)
    DockerConfigStore(environ).save("reg", BOB)
    assert config(environ).is_symlink()
    assert json.loads(real.read_text())["auths"] == {"reg": auth("bob:hunter2!")}


def test_erase_from_docker_config_takes_every_spelling(environ: dict[str, str]) -> None:
    keep = {"other": auth("a:b"), "reg/team": auth("a:b")}
    write(
        environ, {"auths": {**keep, "reg": auth("bob:x"), "https://reg/v1/": auth("bob:y"), "reg:443": {"auth": "!"}}}
    )
    store = DockerConfigStore(environ)
    assert store.erase("reg") is True
    assert json.loads(config(environ).read_text()) == {"auths": keep}
    assert store.erase("reg") is False


def test_erase_only_one_user(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"reg": auth("bob:x"), "https://reg": auth("eve:y")}})
    assert DockerConfigStore(environ).erase("reg", "eve") is True
    assert json.loads(config(environ).read_text()) == {"auths": {"reg": auth("bob:x")}}


def test_erase_without_a_file_writes_none(environ: dict[str, str]) -> None:
    assert DockerConfigStore(environ).erase("reg") is False
    assert not config(environ).exists()


def test_a_configured_helper_keeps_the_secret(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "vault", f'echo "$1 $(cat)" >> {tmp_path}/calls')
    write(environ, {"credHelpers": {"reg": "vault"}})
    store = DockerConfigStore(environ)
    assert store.save("reg", BOB) == f"{config(environ)}, credHelpers 'vault'"
    assert json.loads(config(environ).read_text())["auths"] == {"reg": {}}
    assert store.erase("reg") is True
    request = '{"ServerURL": "reg", "Username": "bob", "Secret": "hunter2!"}'
    assert (tmp_path / "calls").read_text().splitlines() == [f"store {request}", "erase reg"]
    assert json.loads(config(environ).read_text())["auths"] == {}


def test_a_helper_that_fails_leaves_the_file_alone(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "vault", "exit 1")
    path = write(environ, {"credsStore": "vault"})
    before = path.read_text()
    with pytest.raises(AccessError, match="credsStore 'vault'"):
        DockerConfigStore(environ).save("reg", BOB)
    assert path.read_text() == before


def test_where_we_are_the_helper_the_file_keeps_the_secret(environ: dict[str, str]) -> None:
    write(environ, {"credsStore": "ci-registry"})
    DockerConfigStore(environ).save("reg", BOB)
    assert json.loads(config(environ).read_text())["auths"] == {"reg": auth("bob:hunter2!")}


@pytest.mark.parametrize("content", ["{nonsense", "[]", '{"auths": []}'])
def test_a_broken_file_is_not_overwritten(environ: dict[str, str], content: str) -> None:
    path = write(environ, content)
    with pytest.raises(InputFileError, match="reading the credentials in"):
        DockerConfigStore(environ).save("reg", BOB)
    assert path.read_text() == content


def test_a_folder_that_can_not_be_made(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"config\.json failed: ") as info:
        DockerConfigStore({**environ, "DOCKER_CONFIG": str(tmp_path / "file" / "x")}).save("reg", BOB)
    assert info.value.exit_code == 7
    assert "DOCKER_CONFIG" in info.value.hint


def test_a_write_that_fails_leaves_file_and_folder_as_they_were(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(environ, {"auths": {}})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        DockerConfigStore(environ).save("reg", BOB)
    assert json.loads(path.read_text()) == {"auths": {}}
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == ["config.json"]


def test_a_lock_that_is_held(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(environ, {})
    original = filelock.FileLock
    monkeypatch.setattr(filelock, "FileLock", lambda lock, timeout: original(lock, timeout=0.1))
    with original(f"{path}.lock"), pytest.raises(StorageError, match="another process has held"):
        DockerConfigStore(environ).save("reg", BOB)


def _save_many(environ: dict[str, str], name: str) -> None:
    for number in range(10):
        DockerConfigStore(environ).save(f"{name}{number}", BOB)


def test_processes_side_by_side_lose_nothing(environ: dict[str, str]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_save_many, args=(environ, name)) for name in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(json.loads(config(environ).read_text())["auths"]) == 30


def test_the_order_of_the_usual_chain(environ: dict[str, str]) -> None:
    class Boto3:
        name = "boto3"

        def find(self, request: Lookup) -> Credential | None:
            return None

    given = standard_providers(
        environ, explicit={"dev": Explicit()}.get, keychain=FakeKeychain(), before_docker_config=[Boto3()]
    )
    assert [provider.name for provider in given] == [
        "configuration",
        "environment",
        "keyring",
        "boto3",
        "docker config",
    ]
