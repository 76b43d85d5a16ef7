"""A real keyring: gnome-keyring as the Secret Service on a D-Bus of its own, without a screen; and machines without."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.secrets import LeakSearch

ROOT = Path(__file__).parents[2]
NOT_FOUND = "credentials not found in native keychain\n"
EXPLAIN = """
import os, sys
from ci_registry.credentials import standard_providers
from ci_registry.credentials.chain import Chain, Lookup
for answer in Chain(standard_providers(os.environ)).explain(Lookup(sys.argv[1])):
    print(f"{answer.provider}: {answer.outcome}: {answer.detail}")
"""


@dataclass
class Machine:
    """Where programs run: a home folder, and the address of a D-Bus or none."""

    home: Path
    bus: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        bus = {"DBUS_SESSION_BUS_ADDRESS": self.bus} if self.bus else {}
        home = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "LC_ALL": "C.UTF-8"}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **home, **bus}

    def run(self, *arguments: str, request: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env={**self.environ, **environ},
            input=request,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def helper(self, action: str, request: str = "") -> tuple[int, str, str]:
        done = self.run("-m", "ci_registry.cli.docker_credential", action, request=request)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def headless(tmp_path: Path) -> Machine:
    (tmp_path / "run").mkdir(mode=0o700)
    return Machine(tmp_path)


@pytest.fixture
def bus(headless: Machine) -> Iterator[Machine]:
    """A D-Bus of its own; everything that it or the test starts on it is gone afterwards."""
    process = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"],
        env=headless.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("unix:")
        yield Machine(headless.home, address)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        assert process.stdout
        process.stdout.close()


@contextmanager
def secret_service(machine: Machine, *options: str, password: bytes = b"") -> Iterator[None]:
    """gnome-keyring-daemon on the machine's bus; a password for `--unlock` goes to its stdin."""
    process = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--components=secrets", *options],
        env=machine.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdin
        process.stdin.write(password)
        process.stdin.close()
        _wait_for_owner(machine, "org.freedesktop.secrets")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_owner(machine: Machine, name: str) -> None:
    ask = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
    for _ in range(200):
        done = subprocess.run(
            [*ask, "org.freedesktop.DBus.NameHasOwner", f"string:{name}"],
            env=machine.environ,
            capture_output=True,
            text=True,
            timeout=10,
        )
        if "boolean true" in done.stdout:
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody took the name {name}: {done.stdout}{done.stderr}")


@pytest.fixture
def unlocked(bus: Machine) -> Iterator[Machine]:
    """A machine with a keyring that was just created and is unlocked."""
    with secret_service(bus, "--unlock", password=b"of the login keyring"):
        yield bus


def request_to_store(server: str, username: str, secret: str) -> str:
    return json.dumps({"ServerURL": server, "Username": username, "Secret": secret})


def test_store_get_list_erase(unlocked: Machine) -> None:
    for server, username in (("reg:5000", "bob"), ("https://index.docker.io/v1/", "<token>")):
        assert unlocked.helper("store", request_to_store(server, username, f"of {username} äöü")) == (0, "", "")
    status, answer, errors = unlocked.helper("get", "https://reg:5000/v2/")
    assert (status, errors) == (0, "")
    assert json.loads(answer) == {"ServerURL": "https://reg:5000/v2/", "Username": "bob", "Secret": "of bob äöü"}
    assert json.loads(unlocked.helper("get", "docker.io")[1])["Username"] == "<token>"
    listed = json.loads(unlocked.helper("list")[1])
    assert listed == {"reg:5000": "bob", "https://index.docker.io/v1/": "<token>"}
    for _ in range(2):  # erasing what is not there is no error
        assert unlocked.helper("erase", "reg:5000") == (0, "", "")
    assert unlocked.helper("get", "reg:5000") == (1, NOT_FOUND, "")
    assert json.loads(unlocked.helper("list")[1]) == {"https://index.docker.io/v1/": "<token>"}


def test_the_chain_names_the_keyring_and_tells_no_secret(unlocked: Machine) -> None:
    secret = secrets.token_urlsafe(24)
    unlocked.helper("store", request_to_store("reg:5000", "bob", secret))
    done = unlocked.run("-c", EXPLAIN, "reg:5000")
    assert "keyring: won: user bob, from keyring (SecretService)" in done.stdout.splitlines()
    assert secret not in done.stdout + done.stderr


def test_an_entry_written_with_the_keyring_command(unlocked: Machine) -> None:
    done = unlocked.run("-m", "keyring", "set", "ci-registry:reg:5000", "bob", request="by hand")
    assert done.returncode == 0
    assert json.loads(unlocked.helper("get", "reg:5000")[1])["Secret"] == "by hand"
    assert unlocked.helper("erase", "reg:5000") == (0, "", "")
    assert unlocked.helper("get", "reg:5000") == (1, NOT_FOUND, "")


def test_processes_side_by_side_lose_nothing(unlocked: Machine) -> None:
    hosts = [f"reg{number}:5000" for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        stored = pool.map(lambda host: unlocked.helper("store", request_to_store(host, "bob", "x")), hosts)
        assert list(stored) == [(0, "", "")] * len(hosts)
    assert sorted(json.loads(unlocked.helper("list")[1])) == hosts


def test_the_secret_is_in_no_file_argument_or_other_output(unlocked: Machine) -> None:
    secret = secrets.token_urlsafe(24)
    search = LeakSearch(secret)
    with search.watching_arguments():
        answers = [unlocked.helper("store", request_to_store("reg:5000", "bob", secret))]
        status, answer, errors = unlocked.helper("get", "reg:5000")
        answers += [unlocked.helper("list"), unlocked.helper("erase", "reg:5000")]
    for number, (_, output, error) in enumerate(answers):
        search.look_at(f"output {number}", output + error)
    search.look_at("stderr of get", errors)
    search.look_into(unlocked.home)
    assert (status, json.loads(answer)["Secret"]) == (0, secret)
    assert search.leaks == []
    (unlocked.home / "planted.log").write_text(f"debug: password is {secret}\n")
    search.look_into(unlocked.home)
    assert search.leaks == [f"{unlocked.home}/planted.log: as it is"]


def test_a_locked_keyring_is_explained(bus: Machine) -> None:
    with secret_service(bus, "--unlock", password=b"of the login keyring"):
        assert bus.helper("store", request_to_store("reg:5000", "bob", "before the restart")) == (0, "", "")
    with secret_service(bus):
        assert bus.helper("get", "reg:5000") == (1, NOT_FOUND, "")
        done = bus.run("-c", EXPLAIN, "reg:5000")
        assert "keyring: unavailable: it is locked: Failed to unlock the collection" in done.stdout.splitlines()
        status, answer, errors = bus.helper("store", request_to_store("other", "bob", "s3cret-value"))
    assert (status, errors) == (1, "")
    assert answer.startswith("storing the credential of other in the keyring failed: it is locked")
    assert "use --docker-config, or environment variables" in answer
    assert "s3cret-value" not in answer


def test_a_keyring_that_would_have_to_ask_is_explained(bus: Machine) -> None:
    # D-Bus starts the daemon on demand, which has no keyring yet and no screen to ask for a password on
    done = bus.run("-c", EXPLAIN, "reg:5000")
    assert done.stderr == ""
    keyring = done.stdout.splitlines()[2]
    assert keyring.startswith(
        "keyring: unavailable: its backend failed with InitError: Failed to create the collection"
    )


def test_a_machine_without_dbus(headless: Machine) -> None:
    done = headless.run("-c", EXPLAIN, "reg:5000")
    assert done.stderr == ""
    assert "keyring: unavailable: no keyring backend on this machine" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "anonymous: won: nobody has a credential"


def test_a_bus_that_is_gone(headless: Machine) -> None:
    done = Machine(headless.home, "unix:path=/nowhere/bus").run("-c", EXPLAIN, "reg:5000")
    assert done.stderr == ""
    assert "keyring: unavailable: no keyring backend on this machine" in done.stdout.splitlines()


def test_a_bus_that_never_answers(headless: Machine) -> None:
    program = EXPLAIN.replace(
        "standard_providers(os.environ)", "standard_providers(os.environ, keychain=Keychain(time_limit_seconds=0.5))"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(headless.home / "bus"))
        listener.listen()
        machine = Machine(headless.home, f"unix:path={headless.home}/bus")
        done = machine.run("-c", f"from ci_registry.adapters.keychain import Keychain\n{program}", "reg:5000")
    assert done.stderr == ""
    assert done.stdout.splitlines()[2].startswith("keyring: unavailable: it did not answer within 0.5 seconds")
