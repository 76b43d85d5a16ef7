"""No command shows a secret: not in its output, its arguments or the files it leaves, whichever way it was given.

Passwords hold what encodings change; each is looked for as a whole and by its core, which survives any encoding.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.ecr import ACCOUNT, FakeEcr
from tests.support.http_server import Exchange, HttpServer, Reply
from tests.support.images import ImageBuilder, write_layout
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, Squid, free_port, htpasswd
from tests.support.token_server import Access, TokenServer, parse_basic
from tests.unit.credentials.helper_programs import write_helper

ROOT = Path(__file__).parents[2]
ECR_HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
KEYRING = """
import json, os
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return json.loads(os.environ["HELD"]).get(f"{service} {username}")
    def set_password(self, service, username, password):
        pass
    def delete_password(self, service, username):
        pass
"""


def made_up() -> tuple[str, str]:
    """A password that looks different in every encoding, and its core, which does not."""
    core = f"core{secrets.token_hex(8)}"
    return f'p/"{core}&+=@: é', core


PASSWORD, CORE = made_up()
WRONG, WRONG_CORE = made_up()
PROXY_PASSWORD, PROXY_CORE = made_up()
AWS_KEY = f"aws/key+{secrets.token_hex(8)}"


@dataclass
class Work:
    """A workplace in which commands are run, and everything about them looked at.

    `given` is where a user keeps secrets; all else below `folder` must be free of them.
    """

    folder: Path
    given: Path
    search: LeakSearch
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def below(cls, folder: Path) -> Work:
        search = LeakSearch(PASSWORD, CORE, WRONG, WRONG_CORE, PROXY_PASSWORD, PROXY_CORE, AWS_KEY)
        work = cls(folder / "work", folder / "given", search)
        for made in (work.given, *(work.folder / name for name in ("cwd", "home", "tmp"))):
            made.mkdir(parents=True)
        (work.given / "held_keyring.py").write_text(KEYRING)
        work.environ = {
            "PATH": f"{work.given}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{work.given}",
            "HOME": str(work.folder / "home"),
            "TMPDIR": str(work.folder / "tmp"),
            "XDG_STATE_HOME": str(work.folder / "home" / "state"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LC_ALL": "C.UTF-8",
        }
        return work

    @property
    def cwd(self) -> Path:
        return self.folder / "cwd"

    def configure(self, **targets: dict[str, object]) -> None:
        document = {"targets": {name: {**inside, "retry_seconds": 0} for name, inside in targets.items()}}
        (self.cwd / "ci-registry.yaml").write_text(json.dumps(document))  # JSON is YAML

    def run(self, *arguments: str, exit_code: int = 0, stdin: str = "", **environ: str) -> str:
        """Run `ci-registry`, look at what it printed, and return that."""
        return self.start("-m", "ci_registry", *arguments, exit_code=exit_code, stdin=stdin, **environ)

    def start(self, *arguments: str, exit_code: int = 0, stdin: str = "", **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.cwd,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.search.look_at(f"stdout of {' '.join(arguments)}", done.stdout)
        self.search.look_at(f"stderr of {' '.join(arguments)}", done.stderr)
        assert done.returncode == exit_code, f"{arguments}: {done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def work(tmp_path: Path, images: ImageBuilder) -> Iterator[Work]:
    """A workplace with an image; at the end nothing may have been found there."""
    made = Work.below(tmp_path)
    write_layout(images.index(), made.cwd / "hello", "1")
    with made.search.watching_arguments():
        yield made
    made.search.look_into(made.folder)
    assert made.search.leaks == []


@pytest.fixture(scope="module")
def basic() -> Iterator[DockerRegistry]:
    with DockerRegistry(users={"ci": PASSWORD}, in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer(users={"ci": PASSWORD}) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(tokens: TokenServer) -> Iterator[DockerRegistry]:
    with DockerRegistry(token=tokens, in_memory=True) as server:
        yield server


PUSH = ("push", "oci:hello:1", "--repository", "app", "-v")


# -- the proof that a leak would be found --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program, found",
    [
        ("print(os.environ['SECRET'])", "stdout of -c"),
        ("sys.stderr.write(base64.b64encode(f'ci:{os.environ[\"SECRET\"]}'.encode()).decode())", "stderr of -c"),
        ("open('trace.log', 'w').write(json.dumps({'password': os.environ['SECRET']}))", "cwd/trace.log"),
        ("pathlib.Path.home().joinpath('.hidden').write_text(os.environ['SECRET'])", "home/.hidden"),
        ("open(tempfile.mkstemp()[1], 'w').write(quote(os.environ['SECRET']))", "tmp/tmp"),
        ("subprocess.run(['sh', '-c', 'sleep 0.4', os.environ['SECRET']])", "arguments of process"),
    ],
)
def test_a_planted_leak_is_found(tmp_path: Path, program: str, found: str) -> None:
    work = Work.below(tmp_path)
    imports = "import base64, json, os, pathlib, subprocess, sys, tempfile; from urllib.parse import quote; "
    with work.search.watching_arguments():
        work.start("-c", imports + program, SECRET=PASSWORD)
    work.search.look_into(work.folder)
    assert work.search.leaks
    assert all(found in leak for leak in work.search.leaks)


# -- each command --------------------------------------------------------------------------------------------------


COMMANDS = (
    (*PUSH, "--to", "dev", "--output", "json"),
    ("copy", "dev:dev/app:1", "prod:prod/other:1", "-v"),
    ("tag", "dev:dev/app:1", "2", "--output", "json"),
    ("list", "dev:", "-v"),
    ("inspect", "dev:dev/app:1", "-v", "--output", "json"),
    ("verify", "dev:dev/app:1", "--deep", "-v"),
    ("doctor", "dev:dev/app", "-v", "--output", "json"),
    ("plan", "dev/app:1", "--from", "dev", "--to", "prod", "--save", "release.json", "-v"),
    ("apply", "release.json", "--receipt", "r.json", "--junit", "r.xml", "--html", "r.html", "-v"),
    ("history", "prod:prod/dev/app:1", "-v", "--output", "json"),
    ("pull", "dev:dev/app:1", "oci-archive:app.tar", "-v"),
    ("delete", "dev:dev/app:2", "--yes", "--dry-run", "-v"),
    ("credentials", "explain", "dev", "--output", "json"),
    ("config", "show", "--output", "json"),
    ("docker-config", "private", "dev"),
)


@pytest.fixture
def issued(tokens: TokenServer) -> Iterator[list[str]]:
    """The bearer tokens that the token service gives out."""
    encode, out = tokens.service.encode, []

    def noted(account: str, granted: Sequence[Access], lifetime_seconds: float) -> str:
        out.append(encode(account, granted, lifetime_seconds))
        return out[-1]

    tokens.service.encode = noted
    yield out
    tokens.service.encode = encode


def test_every_command(work: Work, bearer: DockerRegistry, issued: list[str]) -> None:
    target = {"kind": "registry", "url": bearer.url, "username": "ci", "password": "${DEV_PASSWORD}"}
    work.configure(dev={**target, "namespace": "dev"}, prod={**target, "namespace": "prod"})
    work.environ["DEV_PASSWORD"] = PASSWORD
    said = [work.run(*command) for command in COMMANDS]
    search = LeakSearch(*issued)
    search.look_at("output", "\n".join(said))
    search.look_into(work.folder)
    assert issued
    assert search.leaks == []


# -- each way to give a secret -------------------------------------------------------------------------------------


def give(work: Work, way: str, host: str, password: str) -> dict[str, object]:
    """Give the password of user ci in one of the ways; returns what the target says of it."""
    if way == "variable":
        work.environ |= {"CI_REGISTRY_DEV_USERNAME": "ci", "CI_REGISTRY_DEV_PASSWORD": password}
    elif way == "expanded":
        work.environ["DEV_PASSWORD"] = password
        return {"username": "ci", "password": "${DEV_PASSWORD}"}
    elif way == "file":
        (work.given / "password").write_text(password)
        return {"username": "ci", "password_file": str(work.given / "password")}
    elif way == "docker config":
        auth = base64.b64encode(f"ci:{password}".encode()).decode()
        work.environ["DOCKER_CONFIG"] = str(work.given)
        (work.given / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    elif way == "helper":
        answer = json.dumps({"ServerURL": host, "Username": "ci", "Secret": password})
        (work.given / "answer").write_text(answer)
        write_helper(work.given, "held", f"cat {work.given}/answer")
        work.environ["DOCKER_CONFIG"] = str(work.given)
        (work.given / "config.json").write_text(json.dumps({"credHelpers": {host: "held"}}))
    elif way == "keyring":
        index = json.dumps({"version": 1, "entries": [[host, "ci", 1.0]]})
        held = {"ci-registry index": index, f"ci-registry:{host} ci": password}
        work.environ |= {"PYTHON_KEYRING_BACKEND": "held_keyring.Keyring", "HELD": json.dumps(held)}
    return {}


@pytest.mark.parametrize("way", ["variable", "expanded", "file", "docker config", "helper", "keyring"])
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_right_and_wrong_passwords(
    work: Work, basic: DockerRegistry, bearer: DockerRegistry, way: str, kind: str
) -> None:
    server = basic if kind == "basic" else bearer
    url = {"kind": "registry", "url": server.url}
    # each way with a right and with a wrong password, each kind of registry with all ways
    right = (kind == "basic") == (way in ("variable", "file", "keyring"))
    work.configure(dev={**url, **give(work, way, server.host, PASSWORD if right else WRONG)})
    if right:
        work.run(*PUSH, "--to", "dev")
        assert "won" in work.run("credentials", "explain", "dev", "-v")
        return
    said = work.run(*PUSH, "--to", "dev", "--output", "json", exit_code=3)
    assert '"access"' in said
    assert "user 'ci'" in said


def test_login(work: Work, basic: DockerRegistry, bearer: DockerRegistry) -> None:
    work.configure(dev={"kind": "registry", "url": basic.url}, prod={"kind": "registry", "url": bearer.url})
    keyring = {"PYTHON_KEYRING_BACKEND": "held_keyring.Keyring", "HELD": "{}"}
    login = ("-u", "ci", "--password-stdin", "-v")
    work.run("login", "dev", *login, stdin=PASSWORD, **keyring)
    work.run("login", "dev", *login, stdin=WRONG, exit_code=3, **keyring)
    work.run("login", "prod", *login, "--output", "json", stdin=WRONG, exit_code=3)
    work.run("login", "dev", *login, stdin=PASSWORD, exit_code=3)  # no keyring to keep it in
    work.run("login", "dev", *login, "--docker-config", stdin=PASSWORD, DOCKER_CONFIG=str(work.given))


def test_an_identity_token_and_a_bearer_token(work: Work, bearer: DockerRegistry, tokens: TokenServer) -> None:
    url = {"kind": "registry", "url": bearer.url}
    identity = tokens.service.add_refresh_token("ci")
    work.search = LeakSearch(identity, WRONG, WRONG_CORE)
    work.configure(dev=url)
    user = {"CI_REGISTRY_DEV_USERNAME": "<token>"}
    work.run(*PUSH, "--to", "dev", **user, CI_REGISTRY_DEV_TOKEN=identity)
    work.run("list", "dev:app", **user, CI_REGISTRY_DEV_TOKEN=f"{identity}{WRONG_CORE}", exit_code=3)
    work.run("list", "dev:app", "--output", "json", CI_REGISTRY_DEV_TOKEN=f"bearer-{WRONG_CORE}", exit_code=3)


# -- what else goes wrong ------------------------------------------------------------------------------------------


def test_sources_that_are_broken(work: Work, basic: DockerRegistry) -> None:
    url = {"kind": "registry", "url": basic.url}
    work.configure(dev=url)
    work.environ["DOCKER_CONFIG"] = str(work.given)
    for content in (
        f'{{"auths": {{"{basic.host}": {{"auth": "{PASSWORD}"',
        json.dumps({"auths": {basic.host: {"auth": f"ci:{PASSWORD}"}}}),
        json.dumps({"auths": {basic.host: {"auth": [PASSWORD]}}}),
        json.dumps({"credHelpers": {basic.host: "broken"}}),
    ):
        (work.given / "config.json").write_text(content)
        (work.given / "answer").write_text(f"panic: password is {PASSWORD}")
        write_helper(work.given, "broken", f"cat {work.given}/answer; cat {work.given}/answer >&2; exit 1")
        work.run("list", "dev:app", "-v", exit_code=3 if "broken" in content else 2)
    (work.cwd / "ci-registry.yaml").write_text(
        json.dumps({"targets": {"dev": {**url, "username": "ci", "password": PASSWORD}}})
    )
    try:
        assert "secret" in work.run("list", "dev:app", exit_code=2)
    finally:
        (work.cwd / "ci-registry.yaml").unlink()


def test_a_server_that_repeats_what_it_was_told(work: Work) -> None:
    """Error pages and token services may quote the request, and warnings any header field."""
    server = HttpServer(echo, free_port())
    try:
        work.configure(dev={"kind": "registry", "url": server.url, **give(work, "file", "", PASSWORD)})
        assert work.run("list", "dev:app", "-v", exit_code=3).count("***") >= 3
    finally:
        server.stop()


def echo(exchange: Exchange) -> Reply:
    sent = exchange.headers.get("authorization", "")
    login = parse_basic(sent) or ("", "")
    message = json.dumps({"errors": [{"code": "DENIED", "message": f"{sent} {login[1]} {quote(login[1])}"}]})
    challenge = {"WWW-Authenticate": 'Basic realm="all"'} if not sent else {"Warning": f'299 - "{sent}"'}
    return Reply(403 if sent else 401, {"Content-Type": "application/json", **challenge}, message.encode())


# -- proxies and Amazon --------------------------------------------------------------------------------------------


def test_a_proxy_with_a_password(work: Work, basic: DockerRegistry) -> None:
    with Squid(users=htpasswd({"builder": PROXY_PASSWORD}, bcrypt=False)) as squid:
        url = {"kind": "registry", "url": basic.url, **give(work, "file", basic.host, PASSWORD)}
        proxy = squid.url.replace("//", "//builder:${PROXY_PASSWORD}@")
        work.configure(dev={**url, "proxy": proxy})
        work.run(*PUSH, "--to", "dev", PROXY_PASSWORD=PROXY_PASSWORD)
        work.run("doctor", "dev", "-v", "--output", "json", PROXY_PASSWORD=PROXY_PASSWORD)
        work.run("config", "show", PROXY_PASSWORD=PROXY_PASSWORD)
        work.run("list", "dev:app", "-v", PROXY_PASSWORD=WRONG, exit_code=7)
        work.configure(dev={**url, "url": "http://registry.test"})
        for password in (PROXY_PASSWORD, WRONG):
            given = squid.url.replace("//", f"//builder:{quote(password, safe='')}@")
            work.run("list", "dev:app", "-v", http_proxy=given, exit_code=7)
        raw = squid.url.replace("//", f"//builder:{PROXY_PASSWORD}@")  # as somebody who knows no URL encoding has it
        work.run("list", "dev:app", "-v", http_proxy=raw, exit_code=2)


def test_amazon(work: Work) -> None:
    with FakeEcr(Authority(), [ECR_HOST]) as ecr:
        token = f"{ACCOUNT}-auth-token"
        work.search = LeakSearch(AWS_KEY, token)
        work.environ |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": AWS_KEY}
        work.environ |= {"AWS_ENDPOINT_URL": ecr.aws.url, "HTTPS_PROXY": ecr.proxy.url}
        work.environ["SSL_CERT_FILE"] = str(ecr.authority.certificate)
        target = {"kind": "ecr", "account": ACCOUNT, "region": "eu-west-1", "create_repositories": {"enabled": True}}
        work.configure(aws=target)
        work.run(*PUSH, "--to", "aws", "--output", "json")
        work.run("doctor", "aws:app", "-v")
        assert "won" in work.run("credentials", "explain", "aws", "-v")
        ecr.expired = set(range(100))
        work.run("list", "aws:app", "-v", exit_code=3)
        ecr.denied = {"ecr:GetAuthorizationToken"}
        work.run("list", "aws:app", "-v", "--output", "json", exit_code=3)
