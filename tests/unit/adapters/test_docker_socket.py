"""Asking a local docker daemon without the SDK: only where its settings are clear, and only for clear answers."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ci_registry.adapters import docker_engine
from ci_registry.adapters.docker_engine import DockerEngine, SaveStream
from ci_registry.adapters.docker_socket import ask, local_socket, open_body
from ci_registry.errors import Interrupted, NotFoundError
from ci_registry.transport.retry import Cancel
from tests.support.dockerd import Dockerd


@pytest.mark.parametrize(
    "environ, path",
    [
        ({}, "/var/run/docker.sock"),
        ({"DOCKER_HOST": ""}, "/var/run/docker.sock"),
        ({"DOCKER_CONTEXT": "default"}, "/var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, "/run/user/1000/docker.sock"),
        ({"DOCKER_HOST": "unix:///a", "DOCKER_CONTEXT": "remote"}, "/a"),
        ({"DOCKER_HOST": "unix://relative"}, None),
        ({"DOCKER_HOST": "tcp://127.0.0.1:2375"}, None),
        ({"DOCKER_HOST": "ssh://host"}, None),
        ({"DOCKER_CONTEXT": "remote"}, None),
    ],
)
def test_which_socket(environ: dict[str, str], path: str | None) -> None:
    assert local_socket(environ) == path


@pytest.mark.parametrize(
    "config, is_clear",
    [
        ("{}", True),
        ('{"currentContext": "default"}', True),
        ('{"currentContext": "desktop-linux"}', False),
        ("{", False),
        ("[]", False),
    ],
)
@pytest.mark.parametrize("by", ["DOCKER_CONFIG", "HOME"])
def test_the_context_of_docker_s_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, is_clear: bool, by: str
) -> None:
    directory = tmp_path / "elsewhere" if by == "DOCKER_CONFIG" else tmp_path / ".docker"
    directory.mkdir()
    (directory / "config.json").write_text(config)
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {"DOCKER_CONFIG": str(directory)} if by == "DOCKER_CONFIG" else {}
    assert (local_socket(environ) is not None) == is_clear


def known(engine: DockerEngine) -> dict[str, tuple[list[str], list[str]]]:
    """The names of each image; the daemon lists those of one second in any order."""
    return {name.id: (sorted(name.tags), sorted(name.digests)) for name in engine.images()}


def read_all(stream: SaveStream) -> bytes:
    return b"".join(iter(lambda: stream.read(100_000), b""))


def test_it_says_what_the_sdk_says(dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch) -> None:
    image = dockerd.build("quick/app:1", [{"a": b"1"}, {"b": b"2"}])
    with contextlib.closing(DockerEngine({"DOCKER_HOST": dockerd.host})) as engine:
        quick = engine.inspect("quick/app:1")
        names = known(engine)
        with engine.save(image) as stream:
            saved = read_all(stream)
    monkeypatch.setattr(docker_engine, "local_socket", lambda _: None)  # what is left is the SDK
    with contextlib.closing(DockerEngine({"DOCKER_HOST": dockerd.host})) as engine:
        assert known(engine) == names
        with engine.save(image) as stream:
            assert read_all(stream) == saved
        assert engine.inspect("quick/app:1") == quick
        assert engine.inspect(image) == quick
    assert quick.id == image
    assert len(quick.diff_ids) == 2
    assert (str(quick.platform), quick.in_containerd, engine.address) == ("linux/amd64", False, dockerd.host)


def test_the_sdk_is_not_loaded_for_it(dockerd: Dockerd) -> None:
    dockerd.build("quick/app:1", [{"a": b"1"}])
    program = (
        "import sys\nfrom ci_registry.adapters.docker_engine import DockerEngine\n"
        "engine = DockerEngine({'DOCKER_HOST': sys.argv[1]})\n"
        "image = engine.inspect('quick/app:1').id\n"
        "assert image in [each.id for each in engine.images()]\n"
        "with engine.save(image) as stream:\n"
        "    while stream.read(100_000): pass\n"
        "print(image, stream.count > 1000, 'docker' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, dockerd.host], capture_output=True, text=True, check=True, timeout=30
    )
    assert result.stdout.split() == [dockerd.inspect("quick/app:1"), "True", "False"]


def test_what_is_no_clear_answer_is_left_to_the_sdk(dockerd: Dockerd, tmp_path: Path) -> None:
    assert ask(str(tmp_path / "none.sock"), "info") is None
    assert ask(str(dockerd.socket), "images", "none:1", "json") is None
    with contextlib.closing(DockerEngine({"DOCKER_HOST": dockerd.host})) as engine, pytest.raises(NotFoundError):
        engine.inspect("none:1")


def test_other_questions(dockerd: Dockerd) -> None:
    answer = ask(str(dockerd.socket), "info")
    assert answer is not None
    assert answer[0]["Driver"] == "overlay2"
    assert answer[1] == json.loads(dockerd.run("version", "--format", "{{json .Server}}").stdout)["ApiVersion"]


def test_what_can_t_be_saved_is_left_to_the_sdk(dockerd: Dockerd, tmp_path: Path) -> None:
    assert open_body(str(tmp_path / "none.sock"), "images", "none:1", "get", check=lambda: None) is None
    assert open_body(str(dockerd.socket), "images", "none:1", "get", check=lambda: None) is None
    with (
        contextlib.closing(DockerEngine({"DOCKER_HOST": dockerd.host})) as engine,
        pytest.raises(NotFoundError),
        engine.save("none:1"),
    ):
        pass


def test_waiting_for_what_is_saved_can_be_given_up(tmp_path: Path) -> None:
    path = tmp_path / "slow.sock"
    cancel = Cancel()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Timer(0.2, cancel.set, [143]).start()
        with pytest.raises(Interrupted):
            open_body(str(path), "images", "app:1", "get", check=cancel.check)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 70_000])
def test_what_is_no_answer_of_a_daemon(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "strange.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection = server.accept()[0]
            connection.recv(1000)
            with contextlib.suppress(OSError):
                connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert open_body(str(path), "images", "app:1", "get", check=lambda: None) is None
        thread.join(5)
