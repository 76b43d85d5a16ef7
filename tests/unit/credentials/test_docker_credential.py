"""`docker-credential-ci-registry`: the helper protocol word for word, and which credential a bare host gets."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci_registry._version import __version__
from ci_registry.cli.docker_credential import serve
from ci_registry.credentials.chain import ANONYMOUS, Credential
from ci_registry.errors import ConfigError

from .helper_programs import write_helper

ROOT = Path(__file__).parents[3]
NOT_FOUND = "credentials not found in native keychain\n"


class FakeStore:
    """Keeps credentials in memory."""

    def __init__(self) -> None:
        self.held: dict[str, Credential] = {}

    def save(self, host: str, credential: Credential) -> str:
        self.held[host] = credential
        return "memory"

    def erase(self, host: str, username: str | None = None) -> bool:
        return self.held.pop(host, None) is not None

    def entries(self) -> dict[str, str]:
        return {host: credential.username for host, credential in self.held.items()}


def call(action: str, request: str = "", found: Credential | Exception = ANONYMOUS, store: FakeStore | None = None):  # type: ignore[no-untyped-def]
    """Exit status, answer, and the hosts that were looked up."""
    asked = []

    def lookup(host: str) -> Credential:
        asked.append(host)
        if isinstance(found, Exception):
            raise found
        return found

    stdout = io.StringIO()
    status = serve(action, io.StringIO(request), stdout, lookup, store or FakeStore())
    return status, stdout.getvalue(), asked


def test_get() -> None:
    status, answer, asked = call("get", "https://index.docker.io/v1/\n", Credential("bob", 'hun"ter2'))
    assert status == 0
    assert json.loads(answer) == {
        "ServerURL": "https://index.docker.io/v1/",
        "Username": "bob",
        "Secret": 'hun"ter2',
    }
    assert answer.endswith("}\n")
    assert asked == ["docker.io"]


def test_get_an_identity_token() -> None:
    _, answer, _ = call("get", "reg", Credential("bob", "", identity_token="refresh"))
    assert json.loads(answer) == {"ServerURL": "reg", "Username": "<token>", "Secret": "refresh"}


def test_get_nothing() -> None:
    assert call("get", "reg:5000") == (1, NOT_FOUND, ["reg:5000"])


@pytest.mark.parametrize("action", ["get", "erase"])
def test_no_server(action: str) -> None:
    assert call(action, " \n") == (1, "no credentials server URL\n", [])


def test_get_what_the_protocol_can_not_carry() -> None:
    status, answer, _ = call("get", "reg", Credential("", "", registry_token="s3cret-bearer", source="a variable"))
    assert status == 1
    assert "from a variable is a bearer token, which the credential helper protocol can't carry" in answer
    assert "s3cret-bearer" not in answer


def test_get_from_a_broken_source() -> None:
    status, answer, _ = call("get", "reg", ConfigError("reading x failed:\nbad", hint="correct it"))
    assert (status, answer) == (1, "reading x failed: bad; correct it.\n")


def test_store_erase_and_list() -> None:
    store = FakeStore()
    for server, username in (("https://index.docker.io/v1/", "bob"), ("reg:5000", "<token>")):
        request = json.dumps({"ServerURL": server, "Username": username, "Secret": "s3cret-1"})
        assert call("store", request, store=store) == (0, "", [])
    assert store.held == {
        "docker.io": Credential("bob", "s3cret-1"),
        "reg:5000": Credential("", "", identity_token="s3cret-1"),
    }
    status, answer, _ = call("list", store=store)
    assert (status, json.loads(answer)) == (0, {"https://index.docker.io/v1/": "bob", "reg:5000": ""})
    assert call("erase", "https://reg:5000", store=store) == (0, "", [])
    assert call("erase", "https://reg:5000", store=store) == (0, "", [])
    assert list(store.held) == ["docker.io"]


@pytest.mark.parametrize(
    "request_text, message",
    [
        ('{"Username":"bob","Secret":"s3cret-1"}', "no credentials server URL\n"),
        ('{"ServerURL":"","Username":"bob","Secret":"s3cret-1"}', "no credentials server URL\n"),
        ('{"ServerURL":"reg","Secret":"s3cret-1"}', "no credentials username\n"),
    ],
)
def test_store_half_a_credential(request_text: str, message: str) -> None:
    assert call("store", request_text) == (1, message, [])


@pytest.mark.parametrize(
    "request_text", ["", "s3cret-1", '["s3cret-1"]', '{"ServerURL":"reg","Username":"s3cret-1","Secret":1}']
)
def test_store_rubbish_quotes_nothing(request_text: str) -> None:
    status, answer, _ = call("store", request_text)
    assert status == 1
    assert "standard input is not a JSON object of strings" in answer
    assert "s3cret" not in answer


def test_store_without_a_secret() -> None:
    status, answer, _ = call("store", '{"ServerURL":"reg","Username":"bob"}')
    assert (status, answer) == (1, "the credential for reg has no Secret; give a password.\n")


def test_version() -> None:
    assert call("version") == (0, f"docker-credential-ci-registry (ci-registry) {__version__}\n", [])


def test_an_unknown_action() -> None:
    assert call("fetch") == (1, "Unknown credential action `fetch`\n", [])


CONFIG = """
targets:
  dev:   {kind: registry, url: "http://reg:5000", username: ci, password: "${DEV_PASSWORD}"}
  prod:  {kind: registry, url: "https://prod.example"}
  twin:  {kind: registry, url: "https://prod.example"}
  hub:   {kind: dockerhub, namespace: bob}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ci-registry.yaml").write_text(CONFIG)
    return tmp_path


def program(folder: Path, *arguments: str, request: str = "", **environ: str) -> tuple[int, str, str]:
    """Run the program on a machine without D-Bus and without Docker's configuration."""
    base = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ci_registry.cli.docker_credential", *arguments],
        cwd=folder,
        env={**base, **environ},
        input=request,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_program_takes_credentials_of_the_configured_targets(folder: Path) -> None:
    status, answer, errors = program(folder, "get", request="reg:5000", DEV_PASSWORD="from the variable")
    assert (status, errors) == (0, "")
    assert json.loads(answer) == {"ServerURL": "reg:5000", "Username": "ci", "Secret": "from the variable"}


def test_the_program_takes_them_from_the_environment_of_a_target(folder: Path) -> None:
    given = {"CI_REGISTRY_HUB_USERNAME": "bob", "CI_REGISTRY_HUB_PASSWORD": "dckr_pat_1"}
    status, answer, errors = program(folder, "get", request="https://index.docker.io/v1/", **given)
    assert (status, errors) == (0, "")
    assert json.loads(answer)["Secret"] == "dckr_pat_1"
    status, answer, errors = program(folder, "list", DEV_PASSWORD="x", **given)
    assert (status, errors) == (0, "")
    assert json.loads(answer) == {"https://index.docker.io/v1/": "bob", "reg:5000": "ci"}


def test_the_program_names_what_is_wrong(folder: Path) -> None:
    status, answer, errors = program(folder, "get", request="reg:5000")
    assert (status, errors) == (1, "")
    assert "DEV_PASSWORD" in answer
    given = {f"CI_REGISTRY_{name}_{part}": name for name in ("PROD", "TWIN") for part in ("USERNAME", "PASSWORD")}
    status, answer, errors = program(folder, "get", request="prod.example", **given)
    assert (status, errors) == (1, "")
    assert answer.startswith("targets 'prod' and 'twin' are both on prod.example with different credentials")


def test_the_program_lists_only_what_it_can_give(folder: Path) -> None:
    given = {f"CI_REGISTRY_{name}_{part}": name for name in ("PROD", "TWIN") for part in ("USERNAME", "PASSWORD")}
    status, answer, errors = program(folder, "list", CI_REGISTRY_HUB_USERNAME="bob", **given)
    assert (status, json.loads(answer), errors) == (0, {}, "")


def test_the_program_without_a_keyring(folder: Path) -> None:
    assert program(folder, "get", request="other") == (1, NOT_FOUND, "")
    request = '{"ServerURL":"other","Username":"bob","Secret":"s3cret-1"}'
    status, answer, errors = program(folder, "store", request=request)
    assert (status, errors) == (1, "")
    assert answer.startswith(
        "storing the credential of other in the keyring failed: no keyring backend on this machine"
    )
    assert answer.count("\n") == 1


def test_the_program_does_not_call_itself(folder: Path) -> None:
    write_helper(folder, "ci-registry", f"touch {folder}/called; exit 1")
    write_helper(folder, "alias", f"touch {folder}/called; exit 1")
    (folder / ".docker").mkdir()
    (folder / ".docker" / "config.json").write_text('{"credsStore": "ci-registry"}')
    assert program(folder, "get", request="other") == (1, NOT_FOUND, "")
    (folder / ".docker" / "config.json").write_text('{"credsStore": "alias"}')
    assert program(folder, "get", request="other", CI_REGISTRY_INSIDE_HELPER="1") == (1, NOT_FOUND, "")
    assert not (folder / "called").exists()


@pytest.mark.parametrize("arguments, status", [([], 1), (["get", "more"], 1), (["--help"], 0), (["-h"], 0)])
def test_usage(folder: Path, arguments: list[str], status: int) -> None:
    usage = "Usage: docker-credential-ci-registry <store|get|erase|list|version>\n"
    assert program(folder, *arguments) == (status, usage, "")


@pytest.mark.parametrize("argument", ["--version", "-v"])
def test_version_as_an_option(folder: Path, argument: str) -> None:
    assert program(folder, argument)[1].endswith(f" {__version__}\n")
