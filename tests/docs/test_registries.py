"""docs/registries.md: its configuration is valid, and its script pushes to every kind of registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_registry.ops.config import Config
from tests.support.ecr import ACCOUNT, FakeEcr
from tests.support.examples import ROOT, blocks, launcher, run_script
from tests.support.fake_hub import FakeHub
from tests.support.fake_nexus import FakeNexus
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, DockerRegistry, Nginx, htpasswd

GUIDE = ROOT / "docs/registries.md"
HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
PASSWORDS = {
    "PROXIED": "password-of-nginx",
    "NEXUS": "password-of-nexus",
    "DOCKERHUB": "dckr_pat_password-of-the-hub",
}


def documented() -> dict[str, Any]:
    """All targets of the guide."""
    targets: dict[str, Any] = {}
    for block in blocks(GUIDE, "yaml"):
        targets.update(yaml.safe_load(block)["targets"])
    return targets


def test_the_configuration_of_the_guide_is_valid() -> None:
    config = Config({"targets": documented()})
    assert {"dev", "secure", "proxied", "nexus", "dockerhub", "ecr"} <= set(config.targets)


@pytest.fixture
def addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """A server of each kind; what the guide's targets have to say differently to reach it."""
    authority = Authority()
    client = authority.issue("agent")
    users = tmp_path / "htpasswd"
    users.write_text(htpasswd({"builder": PASSWORDS["PROXIED"]}, bcrypt=False))
    for name, password in PASSWORDS.items():
        monkeypatch.setenv(f"CI_REGISTRY_{name}_PASSWORD", password)
    with (
        DockerRegistry(in_memory=True) as dev,
        DockerRegistry(tls=authority.issue(), client_ca=authority.certificate, in_memory=True) as secure,
        DockerRegistry(in_memory=True) as behind,
        Nginx(guarded_by(nginx_lines(), users, behind.url, authority)) as nginx,
        FakeNexus({"deployer": (PASSWORDS["NEXUS"], "write")}, authority.issue()) as nexus,
        FakeHub({"dockermau": PASSWORDS["DOCKERHUB"]}) as hub,
        FakeEcr(authority, [HOST]) as ecr,
        ecr.environment(monkeypatch),
    ):
        ca = str(authority.certificate)
        yield {
            "dev": {"url": dev.url},
            "secure": {
                "url": secure.url,
                "ca": ca,
                "client_cert": str(client.certificate),
                "client_key": str(client.key),
            },
            "proxied": {"url": f"https://127.0.0.1:{nginx.port}", "ca": ca},
            "nexus": {"url": nexus.https, "api": nexus.url, "ca": ca},
            "dockerhub": {"url": hub.url, "api": hub.api, "mirror": None, "proxy": None},
            "ecr": {},
        }


def nginx_lines() -> str:
    return blocks(GUIDE, "nginx")[0]


def guarded_by(lines: str, users: Path, backend: str, authority: Authority) -> str:
    """nginx with TLS and a login, and the guide's own lines."""
    pair = authority.issue()
    return f"""server {{
        listen 127.0.0.1:@PORT@ ssl;
        ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
        auth_basic "registry"; auth_basic_user_file {users};
        {lines}
        location /v2/ {{ proxy_pass {backend}; }}
    }}"""


def test_the_script_pushes_to_every_kind(
    addresses: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = documented()
    for name, differences in addresses.items():
        targets[name].update(differences)
    (tmp_path / "ci-registry.yaml").write_text(yaml.safe_dump({"targets": targets}), encoding="utf-8")
    search = LeakSearch(*PASSWORDS.values(), "secret/key+of+the+tests")
    with search.watching_arguments():
        ran = run_script(
            "\n".join(blocks(GUIDE)),
            tmp_path,
            launcher(tmp_path / "programs"),
            DOCS=str(ROOT / "docs"),
            XDG_DATA_HOME=str(tmp_path / "data"),
        )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    for place in ("docker.io/dockermau/hello@sha256:", f"{HOST}/demo/hello@sha256:"):
        assert place in ran.stdout
    assert f"created the repository {HOST}/demo/hello" in ran.stderr
    assert ran.stdout.count("read it back.") == len(addresses)
    search.look_at("stdout", ran.stdout)
    search.look_at("stderr", ran.stderr)
    search.look_into(tmp_path / "data")
    assert search.leaks == []
