"""A real keyring: gnome-keyring as the Secret Service on a D-Bus of its own, without a screen; and machines without."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.machines import Machine, secret_service, session_bus
from tests.support.secrets import LeakSearch

NOT_FOUND = "credentials not found in native keychain\n"
EXPLAIN = """
import os, sys
from ci_registry.credentials import standard_providers
from ci_registry.credentials.chain import Chain, Lookup
for answer in Chain(standard_providers(os.environ)).explain(Lookup(sys.argv[1])):
    print(f"{answer.provider}: {answer.outcome}: {answer.detail}")
"""


@pytest.fixture
def headless(tmp_path: Path) -> Machine:
    return Machine.at(tmp_path)


@pytest.fixture
def bus(headless: Machine) -> Iterator[Machine]:
    with session_bus(headless) as machine:
        yield machine


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
