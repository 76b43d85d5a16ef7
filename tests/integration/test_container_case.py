"""The gotcha that began it all: a push from inside a container, on a user-defined network, with a real daemon.

`docker push registry:5000/app` fails there, since it is the daemon on the host that looks the name up. `ci-registry
push` pushes by itself, from where it is.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import run_cli
from tests.support.debian_images import ROOT, agent_mounts, make_agent_image, make_registry_image
from tests.support.dockerd import Dockerd
from tests.support.doctor import write_targets
from tests.support.process import free_port, wait_until
from tests.support.skopeo import skopeo_raw

NETWORK = "container-case"


@dataclass
class Site:
    """A daemon with a registry container named `registry`, whose port 5000 is published at `published`."""

    daemon: Dockerd
    published: str
    folder: Path

    def agent(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in an agent container beside the registry, with the host's docker socket, as agents have it."""
        where = ["--network", NETWORK, "-v", f"{self.folder}:/site", "-w", "/site"]
        where += ["-v", f"{self.daemon.socket}:/var/run/docker.sock", "-e", "HOME=/tmp", "-e", f"PYTHONPATH={ROOT}"]
        where += ["-e", f"PATH={Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"]
        return self.daemon.run("run", "--rm", *where, *agent_mounts(), "agent:1", *command, check=False)


@pytest.fixture(scope="module")
def site(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    make_registry_image(dockerd)
    make_agent_image(dockerd)
    dockerd.build("container-app:1", [{"greeting": b"hello from the container case"}])
    dockerd.run("network", "create", NETWORK)
    port = free_port()
    where = ["--network", NETWORK, "-p", f"127.0.0.1:{port}:5000"]
    dockerd.run("run", "-d", "--name", "registry", *where, "registry:2")
    wait_until(lambda: b"listening on" in dockerd.run("logs", "registry").stderr, "the registry's container")
    yield Site(dockerd, f"127.0.0.1:{port}", tmp_path_factory.mktemp("site"))
    dockerd.run("rm", "-f", "registry")
    dockerd.run("network", "rm", NETWORK)


def dev(site: Site, **keys: str) -> Path:
    target = {"kind": "registry", "url": "http://registry:5000", **keys}
    return write_targets(site.folder / "ci-registry.yaml", {"dev": target})


def test_docker_push_from_the_agent_fails_as_the_daemon_does_not_know_the_name(site: Site) -> None:
    site.daemon.run("tag", "container-app:1", "registry:5000/container-app:1")
    pushed = site.agent("docker", "push", "registry:5000/container-app:1")
    assert pushed.returncode != 0
    assert b"lookup registry" in pushed.stderr


def test_ci_registry_push_from_inside_the_agent_succeeds(site: Site) -> None:
    dev(site)
    pushed = site.agent(
        sys.executable, "-m", "ci_registry", "push", "container-app:1", "--target", "dev", "--tag", "from-agent"
    )
    assert pushed.returncode == 0, pushed.stderr.decode()
    assert pushed.stdout.startswith(b"registry:5000/container-app@sha256:")
    assert skopeo_raw(f"docker://{site.published}/container-app:from-agent")


def test_the_same_configuration_works_on_the_host_with_connect_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", site.daemon.host)
    monkeypatch.chdir(site.folder)
    dev(site)
    alone = run_cli(monkeypatch, "push", "container-app:1", "--target", "dev")
    assert alone.code == 7
    dev(site, connect_to=site.published)
    pushed = run_cli(monkeypatch, "push", "container-app:1", "--target", "dev", "--tag", "from-host")
    assert pushed.code == 0, pushed.err
    assert pushed.out.startswith("registry:5000/container-app@sha256:")
    assert skopeo_raw(f"docker://{site.published}/container-app:from-host")


def test_doctor_says_so_in_both_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    dev(site)
    inside = site.agent(sys.executable, "-m", "ci_registry", "doctor", "dev:container-app").stdout.decode()
    assert (
        "dev:container-app (http://registry:5000) works, with a warning: Docker's daemon does not know the name"
        in inside
    )
    assert "on a user-defined docker network" in inside
    monkeypatch.setenv("DOCKER_HOST", site.daemon.host)
    monkeypatch.chdir(site.folder)
    outside = run_cli(monkeypatch, "doctor", "dev")
    assert outside.code == 7
    assert "the name exists only inside a docker network" in outside.out
    assert f"connect_to: {site.published}" in outside.out
