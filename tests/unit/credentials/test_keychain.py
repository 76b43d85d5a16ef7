"""The keyring adapter: what it stores, and that nothing a backend does comes through as anything but a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from ci_registry.adapters.keychain import Entry, Keychain, KeychainUnavailable

from .backends import FAILURES, FailingKeyring, MemoryKeyring, StuckKeyring


@pytest.fixture
def backend() -> Iterator[MemoryKeyring]:
    before = keyring.core._keyring_backend
    memory = MemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.core._keyring_backend = before


@pytest.fixture
def keychain(backend: MemoryKeyring, tmp_path: Path) -> Keychain:
    return Keychain(lock_file=tmp_path / "state" / "lock")


def test_write_and_read(keychain: Keychain, backend: MemoryKeyring) -> None:
    keychain.write("reg:5000", "bob", "hunter2!")
    assert backend.held["ci-registry:reg:5000", "bob"] == "hunter2!"
    entry = keychain.read("reg:5000")
    assert entry
    assert (entry.username, entry.secret) == ("bob", "hunter2!")
    assert "hunter2!" not in repr(entry)
    assert keychain.read("reg") is None


def test_several_users_of_one_host(keychain: Keychain) -> None:
    for username in ("ci-dev", "ci-prod", "ci-dev"):
        keychain.write("reg", username, f"of {username}")
    read = {username: keychain.read("reg", username) for username in (None, "ci-dev", "ci-prod", "other")}
    assert {username: entry and entry.secret for username, entry in read.items()} == {
        None: "of ci-dev",  # the one written last
        "ci-dev": "of ci-dev",
        "ci-prod": "of ci-prod",
        "other": None,
    }
    assert [line.username for line in keychain.names()] == ["ci-dev", "ci-prod"]


def test_erase(keychain: Keychain, backend: MemoryKeyring) -> None:
    for host, username in (("reg", "a"), ("reg", "b"), ("reg", "c"), ("other", "a")):
        keychain.write(host, username, "x")
    assert keychain.erase("reg", "a") == ["a"]
    assert keychain.erase("reg", "a") == []
    assert sorted(keychain.erase("reg")) == ["b", "c"]
    assert keychain.erase("reg") == []
    assert [(line.host, line.username) for line in keychain.names()] == [("other", "a")]
    assert set(backend.held) == {("ci-registry:other", "a"), ("ci-registry", "index")}


def test_the_index_holds_no_secret(keychain: Keychain, backend: MemoryKeyring) -> None:
    keychain.write("reg", "bob", "hunter2!")
    index = json.loads(backend.held["ci-registry", "index"])
    assert index["version"] == 1
    assert index["entries"][0][:2] == ["reg", "bob"]
    assert "hunter2!" not in backend.held["ci-registry", "index"]


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", '{"entries": 1}', '{"entries": [["a"]]}', '{"entries": [[1,2,"x"]]}']
)
def test_a_damaged_index_hides_nothing_that_is_asked_for_by_name(
    keychain: Keychain, backend: MemoryKeyring, damaged: str
) -> None:
    keychain.write("reg", "bob", "hunter2!")
    backend.held["ci-registry", "index"] = damaged
    assert keychain.names() == []
    assert keychain.read("reg", "bob") == Entry("bob", "hunter2!")
    keychain.write("reg", "eve", "x")
    assert [line.username for line in keychain.names()] == ["eve"]


def test_an_entry_that_is_only_in_the_index_is_passed_over(keychain: Keychain, backend: MemoryKeyring) -> None:
    keychain.write("reg", "old", "1")
    keychain.write("reg", "new", "2")
    del backend.held["ci-registry:reg", "new"]
    entry = keychain.read("reg")
    assert entry
    assert entry.username == "old"


def test_an_entry_that_somebody_else_wrote(keychain: Keychain, backend: MemoryKeyring, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from keyring.credentials import SimpleCredential

    backend.held["ci-registry:reg", "bob"] = "by hand"
    assert keychain.read("reg", "bob") == Entry("bob", "by hand")
    monkeypatch.setattr(backend, "get_credential", lambda service, username: SimpleCredential("bob", "by hand"))
    assert keychain.read("reg") == Entry("bob", "by hand")
    assert keychain.erase("reg") == ["bob"]


def test_an_entry_that_can_not_be_deleted_is_no_success(
    keychain: Keychain, backend: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PasswordDeleteError("denied")

    keychain.write("reg", "bob", "x")
    monkeypatch.setattr(backend, "delete_password", refuse)
    with pytest.raises(KeychainUnavailable, match="PasswordDeleteError: denied"):
        keychain.erase("reg")
    assert [line.username for line in keychain.names()] == ["bob"]


@pytest.mark.parametrize("error, reason", FAILURES)
def test_whatever_a_backend_raises_becomes_a_reason(backend: MemoryKeyring, error: BaseException, reason: str) -> None:
    keyring.set_keyring(FailingKeyring(error))
    with pytest.raises(KeychainUnavailable) as info:
        Keychain().read("reg")
    assert reason in info.value.reason
    assert "\n" not in info.value.reason


def test_a_backend_that_quotes_the_secret_is_masked(backend: MemoryKeyring, tmp_path: Path) -> None:
    from ci_registry.credentials.chain import Credential

    credential = Credential("bob", "quoted-secret-1")
    keyring.set_keyring(FailingKeyring(ValueError(f"can't store {credential.password}")))
    with pytest.raises(KeychainUnavailable) as info:
        Keychain(lock_file=tmp_path / "lock").write("reg", "bob", credential.password)
    assert info.value.reason == "its backend failed with ValueError: can't store ***"


@pytest.mark.parametrize("kind", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring])
def test_fail_and_null_are_no_backends(backend: MemoryKeyring, kind: type[KeyringBackend], tmp_path: Path) -> None:
    keyring.set_keyring(kind())
    keychain = Keychain(lock_file=tmp_path / "lock")
    for attempt in (lambda: keychain.read("reg"), lambda: keychain.write("reg", "bob", "x"), keychain.names):
        with pytest.raises(KeychainUnavailable, match="no keyring backend on this machine"):
            attempt()


def test_a_backend_that_hangs_is_given_up_on_for_good(backend: MemoryKeyring) -> None:
    stuck = StuckKeyring()
    keyring.set_keyring(stuck)
    keychain = Keychain(time_limit_seconds=0.1)
    for _ in range(3):
        with pytest.raises(KeychainUnavailable, match=r"did not answer within 0\.1 seconds"):
            keychain.read("reg")
    assert stuck.calls == 1
    stuck.release.set()


def test_the_name_of_the_backend(keychain: Keychain, backend: MemoryKeyring) -> None:
    from keyring.backends.SecretService import Keyring

    assert keychain.backend_name() == "MemoryKeyring"
    keyring.set_keyring(Keyring())
    assert keychain.backend_name() == "SecretService"


def test_many_threads(keychain: Keychain) -> None:
    threads = [threading.Thread(target=keychain.write, args=(f"reg{n}", "bob", f"secret {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {line.host for line in keychain.names()} == {f"reg{n}" for n in range(8)}


def test_a_lock_that_can_not_be_made(backend: MemoryKeyring, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeychainUnavailable, match=r"its lock .* can't be made"):
        Keychain(lock_file=tmp_path / "file" / "lock").write("reg", "bob", "x")


def test_a_lock_that_another_process_holds(backend: MemoryKeyring, tmp_path: Path) -> None:
    import filelock

    with (
        filelock.FileLock(tmp_path / "lock"),
        pytest.raises(KeychainUnavailable, match="another process holds its lock"),
    ):
        Keychain(time_limit_seconds=0.4, lock_file=tmp_path / "lock").write("reg", "bob", "x")


PROGRAM = """
import logging, os, sys
from ci_registry.adapters.keychain import Keychain, KeychainUnavailable
if "LOGGING" in os.environ:
    logging.basicConfig()
assert "keyring" not in sys.modules, "keyring is loaded before it is needed"
try:
    print(Keychain(time_limit_seconds=float(sys.argv[1])).read("reg"))
except KeychainUnavailable as problem:
    print("unavailable:", problem.reason)
"""


def run(tmp_path: Path, seconds: float = 10, **environ: str) -> subprocess.CompletedProcess[str]:
    """Read the keyring in a process of its own, with no D-Bus and no configuration of this machine."""
    base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(seconds)],
        env={**base, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_a_machine_without_dbus(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.stdout, done.stderr) == ("unavailable: no keyring backend on this machine\n", "")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("no.such.module.Keyring", "its backend failed with ModuleNotFoundError: No module named 'no'"),
        ("broken_plugin.Keyring", "its backend failed with RuntimeError: this plug-in never works"),
        ("keyring.backends.SecretService.Keyring", "its backend failed with RuntimeError: Unable to initialize"),
        ("keyring.backends.null.Keyring", "no keyring backend on this machine"),
    ],
)
def test_a_backend_of_the_users_choice_that_can_not_be_loaded(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('this plug-in never works')\n")
    done = run(tmp_path, PYTHON_KEYRING_BACKEND=name)
    assert done.stdout.startswith(f"unavailable: {reason}")
    assert done.stderr == ""


@pytest.mark.parametrize("environ", [{}, {"LOGGING": "on"}])
def test_an_installed_plug_in_that_can_not_be_loaded_prints_no_traceback(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('this plug-in never works')\n")
    package = tmp_path / "broken_plugin-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[keyring.backends]\nbroken = broken_plugin\n")
    done = run(tmp_path, **environ)
    assert (done.stdout, done.stderr) == ("unavailable: no keyring backend on this machine\n", "")


def test_a_process_ends_though_its_keyring_hangs(tmp_path: Path) -> None:
    (tmp_path / "slow_plugin.py").write_text("import time\ntime.sleep(600)\n")
    done = run(tmp_path, 0.2, PYTHON_KEYRING_BACKEND="slow_plugin.Keyring")
    assert done.stdout.startswith("unavailable: it did not answer within 0.2 seconds")
    assert done.stderr == ""
