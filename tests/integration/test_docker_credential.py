"""docker, skopeo and buildah logged in by `docker-credential-ci-registry` alone, and ci-registry itself beside them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.dockerd import Dockerd
from tests.support.ecr import ACCOUNT, FakeEcr
from tests.support.examples import launcher
from tests.support.images import ImageBuilder, upload, write_layout
from tests.support.machines import Machine, secret_service, session_bus
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority
from tests.support.wire import Wire

ECR_HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
PASSWORD = "of-ci-to-pull-with"
USERS = {"ci": PASSWORD, "eve": "of-eve-to-pull-with"}


@pytest.fixture(scope="module")
def server() -> Iterator[DockerRegistry]:
    with DockerRegistry(users=USERS, in_memory=True) as started:
        yield started


@pytest.fixture(scope="module")
def ecr() -> Iterator[FakeEcr]:
    with FakeEcr(Authority(), [ECR_HOST]) as started:
        yield started


@pytest.fixture(scope="module")
def daemon(ecr: FakeEcr) -> Iterator[Dockerd]:
    """A daemon that reaches Amazon; a registry on 127.0.0.1 it takes as it is."""
    with Dockerd(environment=trusting(ecr)) as started:
        yield started


def trusting(ecr: FakeEcr) -> dict[str, str]:
    return {"HTTPS_PROXY": ecr.proxy.url, "SSL_CERT_FILE": str(ecr.authority.certificate)}


@dataclass
class Build:
    """A build step: its folder, its own DOCKER_CONFIG, and programs that are run there."""

    folder: Path
    daemon: Dockerd
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.folder / "docker"
        config.mkdir(exist_ok=True)
        ours = {
            "PATH": f"{launcher(self.folder)}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "DOCKER_CONFIG": str(config),
            "DOCKER_HOST": self.daemon.host,
        }
        homes = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "TMPDIR"), str(self.folder))
        self.environ = {**os.environ, **ours, **homes, **self.environ}

    @property
    def config(self) -> Path:
        return self.folder / "docker" / "config.json"

    def use_helper(self, *hosts: str, **more: object) -> None:
        self.config.write_text(json.dumps({"credHelpers": dict.fromkeys(hosts, "ci-registry"), **more}))

    def targets(self, **targets: Mapping[str, object]) -> None:
        (self.folder / "ci-registry.yaml").write_text(json.dumps({"targets": targets}))  # JSON is YAML

    def run(self, *command: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def skopeo(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """It reads no DOCKER_CONFIG, only files that it is told."""
        return self.run("skopeo", "--insecure-policy", *arguments, "--authfile", str(self.config), **environ)


@pytest.fixture
def build(tmp_path: Path, daemon: Dockerd) -> Build:
    return Build(tmp_path, daemon, {"CI_REGISTRY_DEV_USERNAME": "ci", "CI_REGISTRY_DEV_PASSWORD": PASSWORD})


@pytest.fixture
def image(server: DockerRegistry, images: ImageBuilder, request: pytest.FixtureRequest) -> str:
    """`HOST/NAME:1` in the registry that wants a login."""
    name = request.node.name.partition("[")[0].replace("_", "-")
    with Wire(server.url, ("ci", PASSWORD)) as wire:
        upload(images.image(), server.url, name, "1", wire=wire)
    return f"{server.host}/{name}:1"


def plain(server: DockerRegistry) -> dict[str, object]:
    return {"kind": "registry", "url": server.url}


def test_docker_and_skopeo_pull_by_the_variables_of_a_target(build: Build, server: DockerRegistry, image: str) -> None:
    build.targets(dev=plain(server))
    build.use_helper(server.host)
    pulled = build.run("docker", "pull", "-q", image)
    assert pulled.returncode == 0, pulled.stderr
    seen = build.skopeo("inspect", "--tls-verify=false", f"docker://{image}")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["Digest"]
    refused = build.run("docker", "pull", "-q", image, CI_REGISTRY_DEV_PASSWORD="of-nobody")
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr
    assert "of-nobody" not in refused.stderr


def test_buildah_pulls_as_well(build: Build, server: DockerRegistry, image: str) -> None:
    build.targets(dev=plain(server))
    build.use_helper(server.host)
    storage = ("--root", f"{build.folder}/root", "--runroot", f"{build.folder}/runroot", "--storage-driver", "vfs")
    options = ("--tls-verify=false", "--authfile", str(build.config), "--signature-policy", str(policy(build.folder)))
    pulled = build.run("buildah", *storage, "pull", *options, f"docker://{image}")
    assert pulled.returncode == 0, pulled.stderr


def policy(folder: Path) -> Path:
    """A containers-policy.json(5) that accepts images without a signature."""
    path = folder / "policy.json"
    path.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return path


def test_the_helper_for_everything_does_not_come_back_to_itself(
    build: Build, server: DockerRegistry, image: str
) -> None:
    build.targets(dev=plain(server))
    build.use_helper(credsStore="ci-registry", auths={server.host: {}})
    for path in (build.folder / ".docker", build.folder / ".config" / "containers"):  # wherever else one looks
        path.mkdir(parents=True)
        (path / "config.json").write_text(build.config.read_text())
        (path / "auth.json").write_text(build.config.read_text())
    pulled = build.run("docker", "pull", "-q", image)
    assert pulled.returncode == 0, pulled.stderr
    listed = build.run("ci-registry", "list", f"dev:{image.rpartition('/')[2].removesuffix(':1')}")
    assert (listed.returncode, listed.stdout) == (0, "1\n"), listed.stderr
    nobody = build.run("ci-registry", "list", "dev:app", CI_REGISTRY_DEV_USERNAME="", CI_REGISTRY_DEV_PASSWORD="")
    assert nobody.returncode == 3
    assert "no credential was found" in nobody.stderr


def test_docker_login_and_logout_keep_nothing_where_there_is_no_keyring(build: Build, server: DockerRegistry) -> None:
    build.use_helper(server.host)
    done = build.run("docker", "login", "-u", "ci", "--password-stdin", server.host, stdin=PASSWORD)
    assert done.returncode != 0
    assert f"storing the credential of {server.host} in the keyring failed: no keyring backend" in done.stderr
    assert PASSWORD not in done.stderr + build.config.read_text()


def test_two_targets_with_different_credentials_on_that_host_are_named(
    build: Build, server: DockerRegistry, image: str
) -> None:
    build.targets(dev=plain(server), prod=plain(server))
    build.use_helper(server.host)
    eve = {"CI_REGISTRY_PROD_USERNAME": "eve", "CI_REGISTRY_PROD_PASSWORD": USERS["eve"]}
    seen = build.skopeo("inspect", "--tls-verify=false", f"docker://{image}", **eve)
    assert seen.returncode != 0
    assert f"targets 'dev' and 'prod' are both on {server.host} with different credentials" in seen.stderr
    assert build.run("docker", "pull", "-q", image, **eve).returncode != 0
    assert build.run("ci-registry", "inspect", f"prod:{image.partition('/')[2]}", **eve).returncode == 0


# -- Amazon --------------------------------------------------------------------------------------------------------


@pytest.fixture
def amazon(tmp_path: Path, daemon: Dockerd, ecr: FakeEcr) -> Build:
    ecr.reset()
    keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "secret/key+of+the+tests"}
    build = Build(tmp_path, daemon, {**trusting(ecr), **keys, "AWS_ENDPOINT_URL": ecr.aws.url})
    build.use_helper(ECR_HOST)
    return build


def test_ecr_without_any_configuration(amazon: Build, ecr: FakeEcr, images: ImageBuilder) -> None:
    ecr.client().create_repository(repositoryName="t/bare")
    image = images.image()
    with Wire(ecr.backend.url, ("AWS", f"{ACCOUNT}-auth-token")) as wire:
        upload(image, ecr.backend.url, "t/bare", "1", wire=wire)
    pulled = amazon.run("docker", "pull", "-q", f"{ECR_HOST}/t/bare:1")
    assert pulled.returncode == 0, pulled.stderr
    assert ecr.calls == ["GetAuthorizationToken"]
    seen = amazon.skopeo("inspect", f"docker://{ECR_HOST}/t/bare:1")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["Digest"] == image.digest
    ecr.denied = {"ecr:GetAuthorizationToken"}
    refused = amazon.skopeo("inspect", f"docker://{ECR_HOST}/t/bare:1")
    assert refused.returncode != 0
    assert "is not authorized to perform: ecr:GetAuthorizationToken" in refused.stderr


def test_ecr_uses_the_role_of_the_configured_target_and_no_old_token(
    amazon: Build, ecr: FakeEcr, images: ImageBuilder
) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/puller"
    amazon.targets(aws={"kind": "ecr", "account": ACCOUNT, "region": "eu-west-1", "role_arn": role})
    amazon.use_helper(ECR_HOST, auths={ECR_HOST: {"auth": "QVdTOm9sZC1hdXRoLXRva2Vu"}})
    ecr.client().create_repository(repositoryName="t/role")
    write_layout(images.image(), amazon.folder / "hello", "1")
    pushed = amazon.run("ci-registry", "push", "oci:hello:1", "--to", "aws", "--repository", "t/role")
    assert pushed.returncode == 0, pushed.stderr
    ecr.calls.clear()
    pulled = amazon.run("docker", "pull", "-q", f"{ECR_HOST}/t/role:1")
    assert pulled.returncode == 0, pulled.stderr
    assert ecr.calls == ["AssumeRole", "GetAuthorizationToken"]


# -- the keyring ---------------------------------------------------------------------------------------------------


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Machine]:
    """A machine with an unlocked keyring."""
    with session_bus(Machine.at(tmp_path)) as machine, secret_service(machine, "--unlock", password=b"of the keyring"):
        yield machine


def test_login_push_pull_logout_with_a_real_keyring(
    desktop: Machine, server: DockerRegistry, images: ImageBuilder
) -> None:
    folder = desktop.home
    write_layout(images.image(), folder / "hello", "1")
    (folder / "ci-registry.yaml").write_text(json.dumps({"targets": {"dev": plain(server)}}))
    push = ("-m", "ci_registry", "push", "oci:hello:1", "--to", "dev", "--repository", "keyring")
    search = LeakSearch(PASSWORD)
    with search.watching_arguments():
        ran = [
            desktop.run("-m", "ci_registry", "login", "dev", "-u", "ci", "--password-stdin", request=PASSWORD),
            desktop.run(*push),
        ]
    assert [done.returncode for done in ran] == [0, 0], ran
    assert ran[0].stdout == f"logged in to {server.host} as ci; kept in keyring (SecretService)\n"
    authfile = folder / "auth.json"
    authfile.write_text(json.dumps({"credHelpers": {server.host: "ci-registry"}}))
    path = f"{launcher(folder)}:{os.environ['PATH']}"
    skopeo = ("skopeo", "inspect", "--tls-verify=false", "--authfile", str(authfile))
    seen = subprocess.run(
        [*skopeo, f"docker://{server.host}/keyring:1"],
        env={**desktop.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert seen.returncode == 0, seen.stderr
    gone = desktop.run("-m", "ci_registry", "logout", "dev")
    assert (gone.returncode, gone.stdout) == (0, f"removed the credential of {server.host} from the keyring\n")
    refused = desktop.run(*push)
    assert refused.returncode == 3
    assert "no credential was found for it" in refused.stderr
    for number, done in enumerate((*ran, seen, gone, refused)):
        search.look_at(f"output {number}", done.stdout + done.stderr)
    search.look_into(folder)
    assert search.leaks == []
