"""login, logout and credentials, from the command line, against real registries that want a login."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest

from ci_registry import redaction
from tests.support.cli import Ran
from tests.support.docker_registry import DockerRegistry
from tests.support.images import ImageBuilder, write_layout
from tests.support.token_server import TokenServer
from tests.unit.credentials.backends import FAILURES, FailingKeyring, MemoryKeyring
from tests.unit.credentials.helper_programs import helper_environ, write_helper

from .conftest import Cli

USERS = {"ci": "of-ci-to-push", "eve": "of-eve-to-push"}
CI, EVE = USERS["ci"], USERS["eve"]


@pytest.fixture(scope="module")
def server() -> Iterator[DockerRegistry]:
    """A registry with Basic authentication."""
    with DockerRegistry(users=USERS, in_memory=True) as started:
        yield started


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer(users=USERS) as started:
        yield started


@pytest.fixture(scope="module")
def bearer(tokens: TokenServer) -> Iterator[DockerRegistry]:
    """A registry whose tokens come from a token service."""
    with DockerRegistry(token=tokens, in_memory=True) as started:
        yield started


@pytest.fixture(autouse=True)
def _own_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of one test must not be masked in the output of the next."""
    monkeypatch.setattr(redaction, "_process", redaction.Redactor())


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    before = keyring.core._keyring_backend
    memory = MemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.core._keyring_backend = before


def configure(folder: Path, **targets: str) -> None:
    """Write a configuration; each target is the inside of its braces."""
    lines = [f"  {name}: {{{inside}, retry_seconds: 0}}" for name, inside in targets.items()]
    folder.joinpath("ci-registry.yaml").write_text("\n".join(["targets:", *lines, "  backup:", LAYOUT]) + "\n")


LAYOUT = "    {kind: oci-layout, path: backup}"


def plain(server: DockerRegistry, more: str = "") -> str:
    return f'kind: registry, url: "{server.url}"' + (f", {more}" if more else "")


@pytest.fixture
def dev(folder: Path, server: DockerRegistry) -> DockerRegistry:
    configure(folder, dev=plain(server))
    return server


def push(ci: Cli, images: ImageBuilder, folder: Path, target: str = "dev", repository: str = "app") -> Ran:
    if not (folder / "hello").exists():
        write_layout(images.image(), folder / "hello", "1")
    return ci("push", "oci:hello:1", "--target", target, "--repository", repository)


# -- login ---------------------------------------------------------------------------------------------------------


def test_login_push_logout_push(
    ci: Cli, dev: DockerRegistry, ring: MemoryKeyring, images: ImageBuilder, folder: Path
) -> None:
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=f"{CI}\n".encode())
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"logged in to {dev.host} as ci; kept in keyring (MemoryKeyring)\n"
    assert ring.held[f"ci-registry:{dev.host}", "ci"] == CI
    assert push(ci, images, folder).code == 0
    assert ci("logout", "dev").out == f"removed the credential of {dev.host} from the keyring\n"
    refused = push(ci, images, folder)
    assert refused.code == 3
    assert "and no credential was found for it" in refused.last
    assert f"log in with `ci-registry login {dev.host}`" in refused.last
    again = ci("logout", "dev", "--output", "json")
    assert (again.code, again.result["removed"]) == (0, False)
    assert ci("logout", "dev").out == f"there was no credential of {dev.host} in the keyring\n"


def test_a_wrong_password_is_refused_and_not_kept(ci: Cli, dev: DockerRegistry, ring: MemoryKeyring) -> None:
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=b"of-nobody")
    assert (ran.code, ran.out) == (3, "")
    assert ran.last == (
        f"ERROR {dev.url} refused user 'ci' from this login (401); "
        "correct the password there; a registry's own htpasswd file must hold bcrypt entries."
    )
    assert ring.held == {}
    document = ci("login", "dev", "-u", "ci", "--password-stdin", "--output", "json", stdin=b"of-nobody").document
    assert document["schema"] == "login/1"
    assert (document["result"], document["error"]["code"], document["error"]["exit"]) == (None, "access", 3)


def test_a_token_service_checks_the_login(
    ci: Cli, folder: Path, bearer: DockerRegistry, tokens: TokenServer, ring: MemoryKeyring
) -> None:
    configure(folder, dev=plain(bearer))
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", "--output", "json", stdin=CI.encode())
    assert ran.result == {
        "target": "dev",
        "host": bearer.host,
        "username": "ci",
        "kept_in": "keyring (MemoryKeyring)",
        "checked": True,
        "removed": False,
    }
    ran = ci("login", "dev", "-u", "eve", "--password-stdin", stdin=CI.encode())
    assert ran.code == 3
    assert f"the token service {tokens.realm} refused user 'eve' from this login: it answered 401" in ran.last
    assert list(ring.held) == [("ci-registry", "index"), (f"ci-registry:{bearer.host}", "ci")]


@pytest.mark.parametrize("where", [[], ["--docker-config"]])
def test_an_identity_token(
    ci: Cli,
    folder: Path,
    bearer: DockerRegistry,
    tokens: TokenServer,
    ring: MemoryKeyring,
    images: ImageBuilder,
    where: list[str],
) -> None:
    configure(folder, dev=plain(bearer))
    secret = tokens.service.add_refresh_token("ci")
    asked = len(tokens.requests)
    ran = ci("login", "dev", "-u", "<token>", "--password-stdin", *where, stdin=secret.encode())
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"logged in to {bearer.host} as <token>; kept in ")
    assert push(ci, images, folder).code == 0
    assert {request.grant for request in tokens.requests[asked:]} == {"refresh_token"}
    assert secret not in ran.out
    explained = ci("credentials", "explain", "dev", "--output", "json").result["links"]
    won = next(link for link in explained if link["outcome"] == "won")
    assert won["detail"].startswith("an identity token, from ")
    wrong = ci("login", "dev", "-u", "<token>", "--password-stdin", *where, stdin=b"refresh-of-nobody")
    assert wrong.code == 3
    assert "refused a token from this login: it answered 401" in wrong.last


def test_docker_config_is_written_as_docker_does(
    ci: Cli, dev: DockerRegistry, images: ImageBuilder, folder: Path, clean_environment: Path
) -> None:
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", "--docker-config", stdin=f"{CI}\r\n".encode())
    file = clean_environment / ".docker" / "config.json"
    assert (ran.code, ran.out) == (0, f"logged in to {dev.host} as ci; kept in {file}\n")
    auth = base64.b64encode(f"ci:{CI}".encode()).decode()
    assert json.loads(file.read_text()) == {"auths": {dev.host: {"auth": auth}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert push(ci, images, folder).code == 0
    assert ci("logout", "dev", "--docker-config").out.endswith("from docker's configuration\n")
    assert push(ci, images, folder).code == 3


@pytest.mark.parametrize("form", ["{host}", "http://{host}", "http://{host}/", "http://{host}/v2/"])
def test_a_host_in_place_of_a_target(ci: Cli, server: DockerRegistry, ring: MemoryKeyring, form: str) -> None:
    ran = ci("login", form.format(host=server.host), "-u", "ci", "--password-stdin", stdin=CI.encode())
    assert ran.code == 0
    assert ran.out.startswith(f"logged in to {server.host} as ci; kept in ")
    assert f"http://{server.host} is used" in ran.err
    assert ring.held[f"ci-registry:{server.host}", "ci"] == CI


def test_a_host_is_the_target_that_has_it(ci: Cli, dev: DockerRegistry, ring: MemoryKeyring) -> None:
    ran = ci("login", dev.host, "-u", "ci", "--password-stdin", "--output", "json", stdin=CI.encode())
    assert ran.result["target"] == "dev"


def test_a_host_with_two_targets(ci: Cli, folder: Path, server: DockerRegistry, ring: MemoryKeyring) -> None:
    configure(folder, dev=plain(server), prod=plain(server))
    ran = ci("login", server.host, "-u", "ci", "--password-stdin", stdin=CI.encode())
    assert ran.code == 2
    assert ran.last == f"ERROR {server.host} is the address of the targets dev and prod; name one: dev."


def test_a_registry_that_asks_for_no_login(
    ci: Cli, folder: Path, docker_registry: DockerRegistry, ring: MemoryKeyring
) -> None:
    configure(folder, dev=plain(docker_registry))
    arguments = ("login", "dev", "-u", "ci", "--password-stdin")
    ran = ci(*arguments, stdin=b"of-nobody")
    assert (ran.code, ran.out.partition(";")[0]) == (0, f"logged in to {docker_registry.host} as ci")
    assert ran.last == f"WARN {docker_registry.host} did not ask for a login, so the credential was not checked"
    assert ci(*arguments, "--output", "json", stdin=b"of-nobody").result["checked"] is False


@pytest.mark.parametrize("command", [["login"], ["logout"], ["credentials", "explain"], ["credentials", "set"]])
def test_a_folder_has_no_logins(ci: Cli, dev: DockerRegistry, command: list[str]) -> None:
    ran = ci(*command, "backup")
    assert ran.code == 2
    assert ran.last == "ERROR target 'backup' is a folder: there is nobody to log in to."


@pytest.mark.parametrize(
    "arguments, stdin, exit_code, last",
    [
        (["dev"], b"x", 2, "there is no terminal to ask for the user name; give -u USER."),
        (["dev", "-u", "ci"], b"x", 2, "there is no terminal to ask for the password; give --password-stdin."),
        (["dev", "--password-stdin"], b"x", 2, "there is no terminal to ask for the user name; give -u USER."),
        (["dev", "-u", "ci", "--password-stdin"], b"", 2, "the password is empty; check what is written to standard"),
        (["dev", "-u", "ci", "--password-stdin"], b"\n", 2, "the password is empty; check what is written to standard"),
        (["dev", "-u", "ci", "--password-stdin"], b"s3cret\xff", 2, "the password on standard input is not UTF-8 text"),
        (["dev", "-u", "ci", "--password-stdin"], b"s3cret" * 11000, 2, "the password on standard input is larger"),
        (["dev", "-u", "ci:s3cret", "--password-stdin"], b"x", 2, "a user name can't have a ':' in it; give the"),
        (["dve", "-u", "ci"], b"", 4, "there is no target 'dve' in the configuration; did you mean 'dev'?"),
        (["dev:team/app", "-u", "ci"], b"", 2, "'dev:team/app' names a repository, and logins are for a whole"),
        (["reg.test/team/app"], b"", 2, "'reg.test/team/app' names more than a registry, which logins are for; write"),
        (["https://ci:s3cret@reg.test"], b"", 2, "that address has a user name in it; leave that out and give -u"),
        (["reg_.test:x"], b"", 2, "'reg_.test:x' in 'reg_.test:x' is not a registry host."),
    ],
)
def test_bad_input_is_named_and_nothing_is_asked_or_kept(
    ci: Cli,
    dev: DockerRegistry,
    ring: MemoryKeyring,
    arguments: list[str],
    stdin: bytes,
    exit_code: int,
    last: str,
) -> None:
    before = len(dev.requests())
    ran = ci("login", *arguments, stdin=stdin)
    assert (ran.code, ran.out) == (exit_code, "")
    assert ran.last.startswith(f"ERROR {last}")
    assert "s3cret" not in ran.err
    assert len(dev.requests()) == before
    assert ring.held == {}


def test_a_registry_that_is_down(ci: Cli, folder: Path, ring: MemoryKeyring) -> None:
    configure(folder, dev='kind: registry, url: "http://127.0.0.1:1"')
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=b"of-nobody")
    assert ran.code == 7
    assert "connection refused" in ran.last
    assert ring.held == {}


def test_a_machine_without_a_keyring_is_told_the_other_ways(ci: Cli, dev: DockerRegistry) -> None:
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=CI.encode())
    assert (ran.code, ran.out) == (3, "")
    assert ran.last == (
        f"ERROR storing the credential of {dev.host} in the keyring failed: no keyring backend on this machine; "
        "use --docker-config, or environment variables (CI_REGISTRY_<TARGET>_USERNAME and "
        "CI_REGISTRY_<TARGET>_PASSWORD)."
    )
    assert ci("logout", "dev").code == 3


def test_a_terminal_is_asked_and_shows_no_password(dev: DockerRegistry, folder: Path, clean_environment: Path) -> None:
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "ci_registry", "login", "dev", "--docker-config"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=folder) as process:
        os.close(theirs)
        seen = read_until(ours, "User name: ")
        os.write(ours, b"ci\n")
        seen += read_until(ours, "Password: ")
        os.write(ours, f"{CI}\n".encode())
        seen += read_until(ours, "config.json")
        assert process.wait(30) == 0
    os.close(ours)
    assert f"logged in to {dev.host} as ci" in seen
    assert CI not in seen
    assert dev.host in (clean_environment / ".docker" / "config.json").read_text()


def read_until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        assert select.select([terminal], [], [], 30)[0], f"waited for '{text}', saw: {seen}"
        seen += os.read(terminal, 4096).decode()
    return seen


def test_the_user_of_the_configuration_is_the_default(
    ci: Cli, folder: Path, server: DockerRegistry, ring: MemoryKeyring
) -> None:
    configure(folder, dev=plain(server, "username: ci"))
    ran = ci("login", "dev", "--password-stdin", stdin=CI.encode())
    assert (ran.code, ran.err) == (0, "")
    assert ring.held[f"ci-registry:{server.host}", "ci"] == CI


# -- what becomes of a kept credential -----------------------------------------------------------------------------


def test_who_comes_first_is_said(
    ci: Cli, folder: Path, server: DockerRegistry, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(folder, dev=plain(server), prod=plain(server, "username: ci"), half=plain(server))
    monkeypatch.setenv("CI_REGISTRY_DEV_USERNAME", "eve")
    monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", EVE)
    monkeypatch.setenv("CI_REGISTRY_HALF_USERNAME", "eve")
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=CI.encode())
    assert ran.code == 0
    variable = "environment variable CI_REGISTRY_DEV_PASSWORD"
    assert ran.last == f"WARN it is not used: user 'eve' from {variable} comes first"
    ran = ci("credentials", "set", "prod", "-u", "eve", "--password-stdin", stdin=EVE.encode())
    assert ran.last == "WARN it is not used: target 'prod' is for user 'ci'"
    ran = ci("credentials", "set", "half", "-u", "eve", "--password-stdin", stdin=EVE.encode())
    assert ran.last.startswith("WARN it is not used, because CI_REGISTRY_HALF_USERNAME is set, but neither")


def test_two_targets_on_one_host_share_or_are_kept_apart(
    ci: Cli, folder: Path, server: DockerRegistry, ring: MemoryKeyring, images: ImageBuilder
) -> None:
    configure(folder, dev=plain(server), prod=plain(server))
    ran = ci("login", "dev", "-u", "ci", "--password-stdin", stdin=CI.encode())
    assert ran.last == (
        f"WARN the targets dev and prod are all on {server.host} and use it; `username:` of each keeps them apart"
    )
    configure(folder, dev=plain(server, "username: ci"), prod=plain(server, "username: eve"))
    ran = ci("login", "prod", "--password-stdin", stdin=EVE.encode())
    assert (ran.code, ran.err) == (0, "")
    for target, user in (("dev", "ci"), ("prod", "eve")):
        links = ci("credentials", "explain", target, "--output", "json").result["links"]
        assert [link["detail"] for link in links if link["outcome"] == "won"] == [
            f"user {user}, from keyring (MemoryKeyring)"
        ]
    assert ci("logout", "dev").code == 0
    assert push(ci, images, folder, "prod").code == 0  # the other's login stays
    assert push(ci, images, folder, "dev").code == 3


def test_set_keeps_without_asking_and_rm_removes(ci: Cli, dev: DockerRegistry, ring: MemoryKeyring) -> None:
    before = len(dev.requests())
    ran = ci("credentials", "set", "dev", "-u", "ci", "--password-stdin", stdin=b"of-nobody")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"kept the credential of {dev.host} in keyring (MemoryKeyring)\n"
    assert ring.held[f"ci-registry:{dev.host}", "ci"] == "of-nobody"
    other = ci("credentials", "rm", "dev", "-u", "other")
    assert other.out == f"there was no credential of {dev.host} in the keyring\n"
    assert ci("credentials", "rm", "dev", "--output", "json").result["removed"] is True
    assert list(ring.held) == [("ci-registry", "index")]
    assert len(dev.requests()) == before


def users_who_looked(server: DockerRegistry, path: str) -> set[str]:
    """Whom the registry took those for who asked in vain whether something is there; it names nobody else."""
    server.requests()  # waits for the log
    asked = rf'auth\.user\.name=(\w+) .*http\.request\.method=HEAD .*http\.request\.uri="?{path}'
    return set(re.findall(asked, server.log()))


# -- sources that a run uses, and what it says of them -------------------------------------------------------------


@pytest.mark.parametrize("way", ["variable", "file variable", "file", "expanded", "keyring", "docker config", "token"])
def test_a_refused_credential_names_its_source_and_no_other_is_tried(
    ci: Cli,
    folder: Path,
    server: DockerRegistry,
    bearer: DockerRegistry,
    ring: MemoryKeyring,
    images: ImageBuilder,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    registry = bearer if way == "token" else server
    configure(folder, dev=plain(registry, "username: ci" if way in ("variable", "file variable") else ""))
    (folder / "secret").write_text("of-nobody\n")
    last = ["--docker-config"] if way != "docker config" else []
    ci("credentials", "set", "dev", "-u", "ci", "--password-stdin", *last, stdin=CI.encode())  # the next would do
    if way == "variable":
        monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", "of-nobody")
        source = "environment variable CI_REGISTRY_DEV_PASSWORD"
    elif way == "file variable":
        monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD_FILE", "secret")
        source = "file secret, environment variable CI_REGISTRY_DEV_PASSWORD_FILE"
    elif way == "token":
        monkeypatch.setenv("CI_REGISTRY_DEV_TOKEN", "of-nobody")
        source = "environment variable CI_REGISTRY_DEV_TOKEN"
    elif way == "file":
        configure(folder, dev=plain(registry, "username: ci, password_file: secret"))
        source = f"file {folder}/secret (targets.dev.password_file) in the configuration"
    elif way == "expanded":
        monkeypatch.setenv("MY_PASSWORD", "of-nobody")
        configure(folder, dev=plain(registry, 'username: ci, password: "${MY_PASSWORD}"'))
        source = "targets.dev.password in the configuration"
    elif way == "keyring":
        ring.held[f"ci-registry:{registry.host}", "ci"] = "of-nobody"
        configure(folder, dev=plain(registry, "username: ci"))
        source = "keyring (MemoryKeyring)"
    else:
        ring.held.clear()
        ci("credentials", "set", "dev", "-u", "ci", "--password-stdin", "--docker-config", stdin=b"of-nobody")
        source = f"{Path.home()}/.docker/config.json, auths '{registry.host}'"
    ran = push(ci, images, folder)
    assert (ran.code, ran.out) == (3, "")
    assert f" from {source}" in ran.last
    assert "of-nobody" not in ran.err
    assert "user 'ci'" in ran.last or way == "token"
    assert ci("list", "dev:app").code == 3


def test_what_the_configuration_gives(
    ci: Cli, folder: Path, server: DockerRegistry, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").write_text(f"{EVE}\n")
    monkeypatch.setenv("MY_PASSWORD", CI)
    configure(
        folder,
        dev=plain(server, 'username: ci, password: "${MY_PASSWORD}"'),
        prod=plain(server, "username: eve, password_file: secret"),
    )
    assert push(ci, images, folder, repository="given").code == 0
    ran = ci("copy", "dev:given:1", "prod:other:1")  # one host, two credentials, one run
    assert ran.code == 0
    assert users_who_looked(server, "/v2/given/manifests/") == {"ci"}
    assert users_who_looked(server, "/v2/other/manifests/") == {"eve"}
    monkeypatch.delenv("MY_PASSWORD")
    ran = push(ci, images, folder)
    assert ran.code == 2
    assert "targets.dev.password" in ran.last
    assert "MY_PASSWORD" in ran.last


# -- explain -------------------------------------------------------------------------------------------------------


def outcomes(ran: Ran) -> dict[str, tuple[str, str]]:
    assert ran.code == 0
    return {link["source"]: (link["outcome"], link["detail"]) for link in ran.result["links"]}


def test_explain_names_each_link(
    ci: Cli,
    dev: DockerRegistry,
    ring: MemoryKeyring,
    monkeypatch: pytest.MonkeyPatch,
    clean_environment: Path,
) -> None:
    explain = ("credentials", "explain", "dev", "--output", "json")
    file = clean_environment / ".docker" / "config.json"
    assert outcomes(ci(*explain)) == {
        "configuration": ("no answer", "targets.dev has no password"),
        "environment": (
            "no answer",
            "CI_REGISTRY_DEV_PASSWORD, CI_REGISTRY_DEV_PASSWORD_FILE and CI_REGISTRY_DEV_TOKEN are not set",
        ),
        "keyring": ("no answer", f"no entry for {dev.host}"),
        "docker config": ("no answer", f"no entry for {dev.host} in {file}, which does not exist"),
        "anonymous": ("won", "nobody has a credential"),
    }
    ci("credentials", "set", "dev", "-u", "ci", "--password-stdin", stdin=b"s3cret-1")
    ci("credentials", "set", "dev", "-u", "eve", "--password-stdin", "--docker-config", stdin=b"s3cret-2")
    found = outcomes(ci(*explain))
    assert found["keyring"] == ("won", "user ci, from keyring (MemoryKeyring)")
    assert found["docker config"] == ("lost", f"user eve, from {file}, auths '{dev.host}'")
    assert found["anonymous"] == ("not asked", "an earlier link decided")
    monkeypatch.setenv("CI_REGISTRY_DEV_TOKEN", "s3cret-3")
    found = outcomes(ci(*explain))
    assert found["environment"] == ("won", "a bearer token, from environment variable CI_REGISTRY_DEV_TOKEN")
    assert found["keyring"][0] == "lost"
    monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", "s3cret-4")
    outcome, detail = outcomes(ci(*explain))["environment"]
    assert (outcome, detail) == (
        "error",
        "CI_REGISTRY_DEV_PASSWORD and CI_REGISTRY_DEV_TOKEN are both set; unset all but one of them.",
    )
    text = ci("credentials", "explain", "dev").out
    assert text.splitlines()[0] == f"dev ({dev.host})"
    assert text.splitlines()[1].split() == ["SOURCE", "OUTCOME", "DETAIL"]
    assert "s3cret" not in text + json.dumps(found)


def test_explain_what_can_not_be_asked(
    ci: Cli, dev: DockerRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    file = clean_environment / ".docker" / "config.json"
    file.parent.mkdir()
    explain = ("credentials", "explain", "dev", "--output", "json")
    assert outcomes(ci(*explain))["keyring"] == ("unavailable", "no keyring backend on this machine")
    file.write_text('{"credsStore": "ci-registry"}')
    assert outcomes(ci(*explain))["docker config"][0] == "skipped"
    file.write_text('{"credsStore": "nowhere"}')
    outcome, detail = outcomes(ci(*explain))["docker config"]
    assert outcome == "unavailable"
    assert "the credential helper docker-credential-nowhere" in detail
    assert outcomes(ci(*explain))["anonymous"][0] == "won"
    file.write_text(f'{{"credHelpers": {{"{dev.host}": "broken"}}}}')
    write_helper(folder, "broken", "echo s3cret-of-a-broken-helper; exit 1")
    monkeypatch.setenv("PATH", helper_environ(folder)["PATH"])
    outcome, detail = outcomes(ci(*explain))["docker config"]
    assert outcome == "error"
    assert "it failed with exit status 1" in detail
    assert "s3cret" not in detail
    file.write_text("{not JSON")
    assert "it is not JSON (line 1, column 2)" in outcomes(ci(*explain))["docker config"][1]


def test_explain_a_keyring_that_fails(ci: Cli, dev: DockerRegistry, ring: MemoryKeyring) -> None:
    error, reason = FAILURES[2]
    keyring.set_keyring(FailingKeyring(error))
    outcome, detail = outcomes(ci("credentials", "explain", "dev", "--output", "json"))["keyring"]
    assert outcome == "unavailable"
    assert detail.startswith(reason)


def test_explain_a_repository(ci: Cli, dev: DockerRegistry, clean_environment: Path, folder: Path) -> None:
    file = clean_environment / ".docker" / "config.json"
    file.parent.mkdir()
    entries: dict[str, Any] = {
        key: {"auth": base64.b64encode(f"{user}:s3cret".encode()).decode()}
        for key, user in ((dev.host, "everywhere"), (f"{dev.host}/team", "team"))
    }
    file.write_text(json.dumps({"auths": entries}))
    for place, user in (("dev", "everywhere"), ("dev:other/app", "everywhere"), ("dev:team/app:1.2", "team")):
        outcome, detail = outcomes(ci("credentials", "explain", place, "--output", "json"))["docker config"]
        assert (outcome, detail.partition(",")[0]) == ("won", f"user {user}")
    assert ci("credentials", "explain", "dev:Team/App").code == 2
    assert ci("credentials", "explain", dev.host).out.splitlines()[0] == f"dev ({dev.host})"


def test_a_part_of_the_repositories_has_a_credential_of_its_own(
    ci: Cli, folder: Path, dev: DockerRegistry, images: ImageBuilder, clean_environment: Path
) -> None:
    file = clean_environment / ".docker" / "config.json"
    file.parent.mkdir()
    entries = {key: {"auth": encoded(user)} for key, user in ((dev.host, "eve"), (f"{dev.host}/parted", "ci"))}
    file.write_text(json.dumps({"auths": entries}))
    for repository, user in (("whole/app", "eve"), ("parted/app", "ci"), ("partedly/app", "eve")):
        assert push(ci, images, folder, repository=repository).code == 0
        assert users_who_looked(dev, f"/v2/{repository}/manifests/") == {user}
    assert ci("copy", "dev:parted/app:1", "dev:whole/copy:1").code == 0
    assert users_who_looked(dev, "/v2/whole/copy/manifests/") == {"eve"}


def encoded(user: str) -> str:
    return base64.b64encode(f"{user}:{USERS[user]}".encode()).decode()


def test_explain_a_host_without_a_target(ci: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(ci("credentials", "explain", "registry.test", "--output", "json"))
    assert found["configuration"] == ("no answer", "not a configured target")
    assert found["environment"] == ("no answer", "not a configured target")
    monkeypatch.setenv("CI_REGISTRY_DOCKERHUB_USERNAME", "me")
    monkeypatch.setenv("CI_REGISTRY_DOCKERHUB_PASSWORD", "s3cret-1")
    for name in ("docker.io", "https://index.docker.io/v1/", "dockerhub"):
        ran = ci("credentials", "explain", name, "--output", "json")
        assert ran.result["host"] == "docker.io"
        assert outcomes(ran)["environment"][0] == "won"
