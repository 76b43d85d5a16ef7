"""What provision writes, started as containers under a real daemon; pushed to with docker, skopeo and ci-registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Ran, run_cli
from tests.support.debian_images import (
    ROOT,
    agent_mounts,
    make_agent_image,
    make_nginx_image,
    make_registry_image,
    make_squid_image,
)
from tests.support.dockerd import Dockerd
from tests.support.process import find_program, free_port
from tests.support.skopeo import skopeo

NETWORK = "provision-test"
IMAGE = "provisioned-app:1"


class Site:
    """A folder in which a user types commands, with DOCKER_HOST set to the daemon of the tests."""

    def __init__(self, daemon: Dockerd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.daemon, self.folder, self._monkeypatch = daemon, folder, monkeypatch
        self.roles: list[str] = []
        monkeypatch.setenv("DOCKER_HOST", daemon.host)
        monkeypatch.chdir(folder)

    def run(self, *arguments: str) -> Ran:
        return run_cli(self._monkeypatch, *arguments)

    def provision(self, role: str, *arguments: str) -> Ran:
        self.roles.append(role)
        return self.run("provision", role, "--network", NETWORK, "--wait", "30", *arguments)

    def password(self, name: str) -> str:
        return (self.folder / name / "password").read_text().strip()

    def docker_push(self, reference: str, login: tuple[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """As the docker program does it, by the daemon."""
        config = self.folder / ".docker"
        config.mkdir(exist_ok=True)
        auth = base64.b64encode(":".join(login).encode()).decode() if login else ""
        auths = {reference.partition("/")[0]: {"auth": auth}} if login else {}
        (config / "config.json").write_text(json.dumps({"auths": auths}))
        self.daemon.run("tag", IMAGE, reference)
        command = [find_program("docker"), "--config", str(config), "push", reference]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def skopeo_digest(self, reference: str, login: tuple[str, str], certs: Path) -> str:
        said = skopeo("inspect", "--creds", ":".join(login), "--cert-dir", str(certs), f"docker://{reference}").stdout
        return str(json.loads(said)["Digest"])


@pytest.fixture
def site(dockerd: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    make_registry_image(dockerd)
    dockerd.build(IMAGE, [{"greeting": b"hello from what was provisioned"}])
    site = Site(dockerd, tmp_path, monkeypatch)
    yield site
    for role in dict.fromkeys(site.roles):
        assert site.run("provision", role, "--network", NETWORK, "--down", "--purge").code == 0
    assert dockerd.run("ps", "-aq").stdout == b""
    assert NETWORK not in dockerd.run("network", "ls").stdout.decode()


def certs_for_skopeo(folder: Path, client: bool) -> Path:
    made = folder / "skopeo-certs"
    made.mkdir()
    (made / "ca.crt").write_bytes((folder / "certs/ca.pem").read_bytes())
    if client:
        (made / "client.cert").write_bytes((folder / "certs/client.pem").read_bytes())
        (made / "client.key").write_bytes((folder / "certs/client.key").read_bytes())
    return made


def test_a_registry_with_everything_as_a_new_user_would(site: Site) -> None:
    port = free_port()
    flags = ("--tls", "--mutual", "--htpasswd", "--port", str(port))
    made = site.provision("registry", *flags, "--up", "--write-config")
    assert made.code == 0, made.err
    assert "doctor is content" in made.err
    examined = site.run("doctor")
    assert examined.code == 0, examined.out
    assert f"registry (https://registry:{port}) works" in examined.out
    pushed = site.run("push", IMAGE, "--target", "registry")
    assert pushed.code == 0, pushed.err
    digest = pushed.out.strip().partition("@")[2]
    login = ("ci", site.password("registry"))
    certs = certs_for_skopeo(site.folder / "registry", client=True)
    assert site.skopeo_digest(f"127.0.0.1:{port}/provisioned-app:1", login, certs) == digest

    assert the_same_push_inside_a_container(site) == digest

    again = site.provision("registry", *flags, "--up", "--write-config", "--output", "json")
    assert {file["outcome"] for file in again.result["files"]} == {"unchanged"}
    assert again.result["actions"] == ["running: container registry from registry:2"]
    assert again.result["config"] == "unchanged"


def the_same_push_inside_a_container(site: Site) -> str:
    """The digest it prints; the same file, the same command, on the registry's network."""
    make_agent_image(site.daemon)
    where = ["--network", NETWORK, "-v", f"{site.folder}:/site:ro", "-w", "/site", "-e", f"PYTHONPATH={ROOT}"]
    where += ["-v", f"{site.daemon.socket}:/var/run/docker.sock", "-e", "HOME=/tmp"]
    command = [sys.executable, "-m", "ci_registry", "push", IMAGE, "--target", "registry", "--tag", "inside"]
    pushed = site.daemon.run("run", "--rm", *where, *agent_mounts(), "agent:1", *command, check=False)
    assert pushed.returncode == 0, pushed.stderr.decode()
    return pushed.stdout.decode().strip().partition("@")[2]


def test_an_open_registry_takes_what_docker_pushes(site: Site) -> None:
    port = free_port()
    made = site.provision("registry", "--port", str(port), "--up", "--write-config")
    assert made.code == 0, made.err
    assert "anybody who reaches 127.0.0.1" in made.out
    assert site.docker_push(f"127.0.0.1:{port}/by-docker:1").returncode == 0
    listed = site.run("list", "registry:by-docker")
    assert listed.out.split() == ["1"]


def test_a_container_whose_files_changed_is_made_anew(site: Site) -> None:
    port = str(free_port())
    assert site.provision("registry", "--port", port, "--tls", "--up").code == 0
    renewed = site.provision("registry", "--port", port, "--tls", "--renew", "--up")
    assert "recreated: container registry" in renewed.out
    assert "unchanged" not in renewed.out
    assert "changed: " in renewed.out


def test_nginx_in_front_of_a_registry(site: Site) -> None:
    make_nginx_image(site.daemon)
    port = free_port()
    made = site.provision("proxy", "--port", str(port), "--up", "--write-config")
    assert made.code == 0, made.err
    pushed = site.run("push", IMAGE, "--target", "proxied", "--repository", "team/app")
    assert pushed.code == 0, pushed.err
    login = ("ci", site.password("proxied"))
    certs = certs_for_skopeo(site.folder / "proxied", client=False)
    assert site.skopeo_digest(f"127.0.0.1:{port}/team/app:1", login, certs) in pushed.out
    examined = site.run("doctor", "proxied:team/app")
    assert examined.code == 0, examined.out
    assert "takes 1114112 bytes" in examined.out
    assert site.docker_push(f"127.0.0.1:{port}/by-docker:1", login).returncode == 0
    refused = site.docker_push(f"127.0.0.1:{port}/by-docker:1", ("ci", "a-wrong-password"))
    assert refused.returncode != 0


def test_a_cache_and_its_proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make_squid_image(site.daemon)
    port, cache_port, proxy_port = free_port(), free_port(), free_port()
    assert site.provision("registry", "--port", str(port), "--up", "--write-config").code == 0
    assert site.run("push", IMAGE, "--target", "registry", "--repository", "team/app").code == 0
    flags = ("--port", str(cache_port), "--upstream", f"http://registry:{port}", "--proxy-port", str(proxy_port))
    made = site.provision("cache", *flags, "--up", "--write-config")
    assert made.code == 0, made.err
    copied = site.run("copy", "cache:team/app:1", "oci:pulled:1")
    assert copied.code == 0, copied.err
    refused = site.run("doctor", "cache:team/app")
    assert refused.code == 3
    assert "the registry takes no pushes" in refused.out
    assert "over TLS the proxy sees no content" in made.out
    proxy = next(line for line in made.out.splitlines() if "the proxy is used" in line).partition("`proxy: ")[2]
    assert proxy.partition("`")[0].endswith(f":{proxy_port}")
    handler = urllib.request.ProxyHandler({"http": proxy.partition("`")[0]})
    with urllib.request.build_opener(handler).open(f"http://{gateway(site)}:{port}/v2/", timeout=10) as answer:
        assert answer.status == 200
        assert "squid" in (answer.headers["Via"] or "")


def gateway(site: Site) -> str:
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return site.daemon.run("network", "inspect", "--format", template, NETWORK).stdout.decode().strip()


def test_a_container_of_somebody_else_is_left_alone(site: Site) -> None:
    site.daemon.run("create", "--name", "registry", "registry:2")
    try:
        made = site.run("provision", "registry", "--network", NETWORK, "--port", str(free_port()), "--up")
        assert made.code == 5
        assert "was not made by `ci-registry provision`" in made.last
        assert site.daemon.run("inspect", "registry").returncode == 0
    finally:
        site.daemon.run("rm", "-f", "registry")
        site.roles.append("registry")


def test_a_registry_that_does_not_come_up_says_why(site: Site) -> None:
    make_nginx_image(site.daemon)
    flags = ("--port", str(free_port()), "--up", "--wait", "2")
    silent = site.provision("registry", *flags, "--image", "nginx:stable")  # listens on port 80
    assert silent.code == 7
    assert "doctor is not content" in silent.last
    assert "see `docker logs registry`" in silent.last
    missing = site.provision("registry", *flags, "--image", "127.0.0.1:9/nowhere:1")
    assert missing.code == 7
    assert "pulling the image 127.0.0.1:9/nowhere:1 failed" in missing.last


def test_down_keeps_the_images_and_purge_takes_them(site: Site) -> None:
    port = str(free_port())
    assert site.provision("registry", "--port", port, "--up", "--write-config").code == 0
    assert site.run("push", IMAGE, "--target", "registry").code == 0
    shown = site.run("provision", "registry", "--network", NETWORK, "--down", "--dry-run")
    assert "would remove the container registry" in shown.out
    down = site.run("provision", "registry", "--network", NETWORK, "--down")
    assert "removed the container registry" in down.out
    assert (site.folder / "registry/data/docker").is_dir()
    assert site.provision("registry", "--port", port, "--up").code == 0
    assert site.run("verify", "registry:provisioned-app:1").code == 0
    assert site.run("provision", "registry", "--network", NETWORK, "--down", "--purge").code == 0
    assert not (site.folder / "registry").exists()
    site.roles.clear()
    assert os.path.exists("ci-registry.yaml")
