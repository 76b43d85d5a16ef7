"""Runs side by side, as on a build agent with several executors and one home folder, never disturb each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.docker_registry import DockerRegistry
from tests.support.images import ImageBuilder, write_layout
from tests.support.token_server import TokenServer
from tests.support.validator import validate_registry
from tests.support.wire import Wire

ROOT = Path(__file__).parents[2]
USERS = {user: f"of-{user}-to-push" for user in ("ci", "eve")}


def start(folder: Path, *arguments: str, stdin: str = "", **environ: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_registry", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    return process


def finish(running: Sequence[subprocess.Popen[str]]) -> None:
    """Wait for all; each must have done what it was asked to."""
    ends = []
    for process in running:
        with process:
            assert process.stdout
            assert process.stderr
            process.stdout.read()
            said = process.stderr.read()
        ends.append((process.returncode, said))
    assert [code for code, _ in ends] == [0] * len(ends), ends


def test_logins_into_one_docker_configuration_lose_no_entry(tmp_path: Path) -> None:
    with DockerRegistry(users=USERS, in_memory=True) as server:
        hosts = [f"reg{number}.test:{server.port}" for number in range(6)]
        targets = {
            f"t{number}": {"kind": "registry", "url": f"http://{host}", "connect_to": server.host}
            for number, host in enumerate(hosts)
        }
        (tmp_path / "ci-registry.yaml").write_text(json.dumps({"targets": targets}))
        login = ("-u", "ci", "--password-stdin", "--docker-config")
        finish([start(tmp_path, "login", target, *login, stdin=USERS["ci"]) for target in targets])
    file = tmp_path / ".docker" / "config.json"
    assert sorted(json.loads(file.read_text())["auths"]) == hosts
    logouts = [start(tmp_path, "logout", target, "--docker-config") for target in list(targets)[1:]]
    finish([*logouts, start(tmp_path, "credentials", "set", "t0", *login, stdin="another")])
    assert list(json.loads(file.read_text())["auths"]) == hosts[:1]
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == ["config.json"]


def test_pushes_to_one_host_with_different_credentials(tmp_path: Path, images: ImageBuilder) -> None:
    own = {user: {f"{user}/*": "pull,push"} for user in USERS}
    with TokenServer(users=USERS, permissions=own) as tokens, DockerRegistry(token=tokens, in_memory=True) as server:
        target = {"kind": "registry", "url": server.url}
        (tmp_path / "ci-registry.yaml").write_text(json.dumps({"targets": {"dev": target}}))
        running = []
        for user, password in USERS.items():
            login = {"CI_REGISTRY_DEV_USERNAME": user, "CI_REGISTRY_DEV_PASSWORD": password}
            for number in range(2):
                write_layout(images.image(), tmp_path / f"{user}-{number}", "1")
                push = ("push", f"oci:{user}-{number}:1", "--to", "dev", "--repository", f"{user}/app{number}")
                running.append(start(tmp_path, *push, **login))
        finish(running)
        scopes = {(request.account, scope.split("/")[0]) for request in tokens.requests for scope in request.scopes}
        assert scopes == {("ci", "repository:ci"), ("eve", "repository:eve")}
        for user, password in USERS.items():
            with Wire(server.url, (user, password)) as wire:
                assert validate_registry(server.url, f"{user}/app1", "1", wire).problems == []
