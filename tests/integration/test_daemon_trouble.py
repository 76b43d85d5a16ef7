"""Daemons that are absent, forbidden, dying, of another kind, or that save nonsense."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_registry.adapters.docker_engine import DockerEngine
from ci_registry.errors import AccessError, ConfigError, IntegrityError, Interrupted, NotFoundError, RemoteError
from ci_registry.model.descriptor import Descriptor
from ci_registry.ops.ledger import Ledger
from ci_registry.targets.base import Mounted, Present
from ci_registry.targets.daemon import DaemonImage, local_image
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.prepared import KnownBlob, PrepareEvent
from ci_registry.transport.retry import Cancel
from tests.support.docker25_archive import Members, classic_members, write_docker25, write_tar
from tests.support.dockerd import Dockerd, layer_tar
from tests.support.fake_docker import FakeDocker
from tests.support.http_server import Reply
from tests.support.images import OCI_LAYER, ImageBuilder, digest_of
from tests.support.places import copy_root
from tests.support.validator import validate_layout

SMALL, BIG = layer_tar({"small": b"s" * 100}), layer_tar({"big": os.urandom(3_000_000)})


@contextlib.contextmanager
def engine_at(host: str, **more: str) -> Iterator[DockerEngine]:
    with contextlib.closing(DockerEngine({"DOCKER_HOST": host, **more})) as engine:
        yield engine


def saving(path: Path, members: Members, **more: str) -> FakeDocker:
    """A daemon that saves these members for an image of SMALL and BIG."""
    config = next(content for name, content in classic_members([SMALL, BIG]).items() if len(name) == 69)
    saved = write_tar(path / "saved.tar", members).read_bytes()
    return FakeDocker("app:1", digest_of(config), [digest_of(SMALL), digest_of(BIG)], saved)


def prepare(docker: FakeDocker, out: Path, ledger: Path | None = None) -> list[PrepareEvent]:
    events: list[PrepareEvent] = []
    target = LayoutRepository(out)
    memory = Ledger(ledger) if ledger else None
    with engine_at(docker.host) as engine, DaemonImage(engine, docker.name) as image:
        prepared = image.prepare([target], memory, events.append)
        copy_root(prepared.source, prepared.root, target, "1")
    return events


# -- no daemon ---------------------------------------------------------------------------------------------------------


def test_no_daemon(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    with engine_at(host) as engine, pytest.raises(RemoteError) as caught:
        local_image(engine, "app:1")
    assert str(caught.value) == (
        f"connecting to the docker daemon failed: no docker daemon answers at {host} (No such file or directory)"
    )
    assert "DOCKER_HOST" in caught.value.hint
    assert caught.value.exit_code == 7


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "docker.sock"))
    with engine_at(f"unix://{tmp_path}/docker.sock") as engine, pytest.raises(RemoteError, match="Connection refused"):
        local_image(engine, "app:1")


# Everything is imported before the rights go: the interpreter may lie where nobody else may look.
_AS_NOBODY = """
import os, sys, encodings.idna, docker, docker.context
from ci_registry.adapters.docker_engine import DockerEngine
from ci_registry.errors import CiRegistryError
from ci_registry.targets.daemon import local_image
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
try:
    local_image(DockerEngine({"DOCKER_HOST": sys.argv[1]}), "app:1")
except CiRegistryError as error:
    print(error.exit_code, error.sentence())
"""


def test_a_socket_that_this_user_may_not_use(dockerd: Dockerd) -> None:
    dockerd.socket.parent.chmod(0o755)
    command = [sys.executable, "-c", _AS_NOBODY, dockerd.host, str(pwd.getpwnam("nobody").pw_uid)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert result.stdout.startswith("3 "), result.stderr
    assert "may not use the docker daemon's socket" in result.stdout
    assert "group docker" in result.stdout


def test_something_else_that_answers(tmp_path: Path) -> None:
    with FakeDocker("app:1", f"sha256:{'1' * 64}", [], b"") as docker:
        docker.id = "not a digest"
        with engine_at(docker.host) as engine, pytest.raises(RemoteError, match="does not speak as a docker daemon"):
            local_image(engine, "app:1")


def test_an_address_that_makes_no_sense() -> None:
    with engine_at("nonsense://x") as engine, pytest.raises(RemoteError, match="nonsense://x"):
        local_image(engine, "app:1")


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    with (
        engine_at("tcp://127.0.0.1:1", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path)) as engine,
        pytest.raises(ConfigError, match=r"connecting to the docker daemon at tcp://127\.0\.0\.1:1 failed") as caught,
    ):
        local_image(engine, "app:1")
    assert "DOCKER_CERT_PATH" in caught.value.hint


# -- which daemon ------------------------------------------------------------------------------------------------------


def write_context(config: Path, name: str, host: str) -> None:
    """What `docker context create` writes."""
    folder = config / "contexts" / "meta" / digest_of(name.encode()).hex
    folder.mkdir(parents=True)
    endpoint = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint}))


@pytest.mark.parametrize("chosen_by", ["DOCKER_CONTEXT", "currentContext"])
def test_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen_by: str) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    by_file = chosen_by == "currentContext"
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "remote" if by_file else "default"}))
    with FakeDocker("app:1", f"sha256:{'1' * 64}", [], b"") as docker:
        write_context(tmp_path, "remote", docker.host)
        environ = {} if by_file else {"DOCKER_CONTEXT": "remote"}
        with contextlib.closing(DockerEngine(environ)) as engine:
            assert engine.inspect("app:1").id == docker.id
            assert engine.address == docker.host


def test_docker_host_wins_over_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"currentContext": "remote"}')
    with (
        FakeDocker("app:1", f"sha256:{'1' * 64}", [], b"") as docker,
        engine_at(docker.host, DOCKER_CONTEXT="other") as engine,
    ):
        assert engine.inspect("app:1").id == docker.id


def test_a_context_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    engine = DockerEngine({"DOCKER_CONTEXT": "remote"})
    with pytest.raises(ConfigError, match="there is no docker context 'remote'") as caught:
        engine.inspect("app:1")
    assert "docker context ls" in caught.value.hint
    assert caught.value.exit_code == 2


# -- what is saved -----------------------------------------------------------------------------------------------------


def test_a_daemon_that_dies_midway(tmp_path: Path) -> None:
    name = "dying:1"
    with Dockerd() as own:
        own.build(name, [{"a": os.urandom(60_000_000)}])
        target = LayoutRepository(tmp_path / "out")

        def kill(event: PrepareEvent) -> None:
            if event.kind == "bytes" and own.process.alive:
                own.process.stop(grace_seconds=0)

        with (
            engine_at(own.host) as engine,
            DaemonImage(engine, name) as image,
            pytest.raises(RemoteError, match=r"saving .* failed: .* (ends early|broke)") as caught,
        ):
            image.prepare([target], on_event=kill)
    assert caught.value.exit_code == 7
    assert caught.value.side == "source"
    assert "run it again" in caught.value.hint
    assert not list((tmp_path / "out").rglob("*/sha256/*"))
    assert not [each for each in (tmp_path / "out").rglob(".*") if each.is_file()]


@pytest.mark.parametrize("cut", [100, 2_000, 1_000_000])
def test_a_save_that_breaks_off(tmp_path: Path, cut: int) -> None:
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        docker.save_reply = Reply(200, {"Content-Type": "application/x-tar"}, docker.saved, cut_after=cut)
        with pytest.raises(RemoteError, match="failed"):
            prepare(docker, tmp_path / "out")


@pytest.mark.parametrize("ending", [b"", b'{"message":"Error response: no space left on device"}\n'])
def test_an_error_in_the_middle_of_the_tar(tmp_path: Path, ending: bytes) -> None:
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        docker.save_reply = Reply(200, {"Content-Type": "application/x-tar"}, docker.saved[:2_000_000] + ending)
        with pytest.raises(RemoteError, match=r"saving app:1 from the docker daemon failed: .* it ends early"):
            prepare(docker, tmp_path / "out")


def test_a_daemon_that_can_t_save(tmp_path: Path) -> None:
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        docker.save_reply = Reply(500, {"Content-Type": "application/json"}, b'{"message": "no space left on device"}')
        with pytest.raises(RemoteError, match="said: no space left on device"):
            prepare(docker, tmp_path / "out")


def test_layers_whose_names_say_nothing(tmp_path: Path) -> None:
    """The names of classic_members are not the ids that docker computes, so only hashing tells which is which."""
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        prepare(docker, tmp_path / "out")
    assert validate_layout(tmp_path / "out", "1").problems == []


def test_names_that_lie(tmp_path: Path) -> None:
    members = classic_members([SMALL, BIG])
    small, big = (name for name in members if name.endswith("layer.tar"))
    swapped = {f"{digest_of(BIG).hex}.tar": SMALL, f"{digest_of(SMALL).hex}.tar": BIG}
    others = {name: content for name, content in members.items() if name not in (small, big)}
    with saving(tmp_path, {**swapped, **others}) as docker:
        prepare(docker, tmp_path / "out", tmp_path / "ledger.json")
        # one layer is known, so it would be passed over under the other's name
        (tmp_path / "ledger.json").write_text("{}")
        target = LayoutRepository(tmp_path / "second")
        _seed_small(target, tmp_path / "ledger.json")
        prepare(docker, tmp_path / "second", tmp_path / "ledger.json")
    for name in ("out", "second"):
        assert validate_layout(tmp_path / name, "1").problems == []


def _seed_small(target: LayoutRepository, ledger: Path) -> None:
    content = gzip.compress(SMALL)
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest_of(content), len(content))
    writer = target.writer(blob)
    assert not isinstance(writer, Present | Mounted)
    writer.write(memoryview(content))
    writer.commit(blob.digest)
    Ledger(ledger).remember({digest_of(SMALL): [KnownBlob(blob).at(target.location)]})


def test_a_layer_that_is_not_in_the_image(tmp_path: Path) -> None:
    members = classic_members([SMALL, BIG])
    name = next(name for name, content in members.items() if content == BIG)
    members[name] = layer_tar({"other": os.urandom(3_000_000)})
    said = f"the layer {name} has the diffID sha256:"
    with saving(tmp_path, members) as docker, pytest.raises(IntegrityError, match=said) as caught:
        prepare(docker, tmp_path / "out")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("missing", ["layer", "configuration"])
def test_something_that_is_not_in_what_was_saved(tmp_path: Path, missing: str) -> None:
    members = classic_members([SMALL, BIG])
    for name in list(members):
        if members[name] == BIG if missing == "layer" else len(name) == 69:
            del members[name]
    with saving(tmp_path, members) as docker:
        with pytest.raises(RemoteError, match=f"the {missing} sha256:[0-9a-f]* that it should have was not in it"):
            prepare(docker, tmp_path / "out")
        assert docker.saves <= 2


@pytest.mark.parametrize("phase", ["before the first byte", "between bytes"])
def test_a_run_that_is_interrupted(tmp_path: Path, phase: str) -> None:
    cancel = Cancel()
    released = threading.Event()
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        docker.save_reply = Reply(200, {}, docker.saved, pace=(200_000, 30.0))
        if phase == "before the first byte":
            docker.before_save = released.wait
        threading.Timer(0.3, cancel.set, [143]).start()
        with (
            engine_at(docker.host) as engine,
            DaemonImage(engine, docker.name) as image,
            pytest.raises(Interrupted) as caught,
        ):
            image.prepare([LayoutRepository(tmp_path / "out")], cancel=cancel)
        released.set()
    assert caught.value.exit_code == 143
    assert not [each for each in (tmp_path / "out").rglob(".*") if each.is_file()]


# -- the containerd image store ----------------------------------------------------------------------------------------


def containerd(path: Path, images: ImageBuilder) -> FakeDocker:
    """An image for two platforms of which the daemon has one."""
    index = images.index(["linux/amd64", "linux/arm64/v8"])
    arm64 = index.document["manifests"][1]["digest"]
    saved = write_docker25(path / "saved.tar", index, omit=[arm64]).read_bytes()
    return FakeDocker("app:1", index.digest, [], saved, containerd=True, api_version="1.44")


def test_the_containerd_store_gives_what_is_there_and_says_what_is_not(tmp_path: Path, images: ImageBuilder) -> None:
    with containerd(tmp_path, images) as docker:
        events = prepare(docker, tmp_path / "out", tmp_path / "ledger.json")
        assert [(event.kind, event.text) for event in events if event.kind == "left-out"] == [
            ("left-out", "linux/arm64/v8 is not in it")
        ]
        assert validate_layout(tmp_path / "out", "1").problems == []
        assert prepare(docker, tmp_path / "out", tmp_path / "ledger.json") == []
        assert docker.saves == 1


def test_the_containerd_store_stops_in_the_middle(tmp_path: Path, images: ImageBuilder) -> None:
    with containerd(tmp_path, images) as docker:
        docker.save_reply = Reply(200, {"Content-Type": "application/x-tar"}, docker.saved[:2000])
        with pytest.raises(RemoteError, match=r"saving docker-daemon:app:1 .* failed: .* ends early"):
            prepare(docker, tmp_path / "out")


def test_a_whole_index_keeps_its_digest(tmp_path: Path, images: ImageBuilder) -> None:
    index = images.index(["linux/amd64", "linux/arm64/v8"], attestations=True)
    saved = write_docker25(tmp_path / "saved.tar", index).read_bytes()
    with FakeDocker("app:1", index.digest, [], saved, containerd=True, api_version="1.44") as docker:
        prepare(docker, tmp_path / "out")
    assert validate_layout(tmp_path / "out", "1").root == index.digest


def test_the_classic_store_of_docker_25_is_compressed_on_the_way(tmp_path: Path, images: ImageBuilder) -> None:
    layers = [images.layer(media_type=OCI_LAYER), images.layer(2_000_000, OCI_LAYER)]
    image = images.image(layers)
    saved = write_docker25(tmp_path / "saved.tar", image).read_bytes()
    config = image.document["config"]["digest"]
    with FakeDocker("app:1", config, [layer.diff_id for layer in layers], saved, api_version="1.44") as docker:
        events = prepare(docker, tmp_path / "out")
    assert [event.kind for event in events if event.kind != "bytes"] == ["saving", "copied", "copied"]
    assert validate_layout(tmp_path / "out", "1").problems == []


def test_an_unknown_name_with_nothing_near(tmp_path: Path, images: ImageBuilder) -> None:
    with (
        containerd(tmp_path, images) as docker,
        engine_at(docker.host) as engine,
        pytest.raises(NotFoundError) as caught,
    ):
        DaemonImage(engine, "quite-another:9")
    assert caught.value.hint == "it has app:1"


def test_access_errors_of_a_remote_daemon(tmp_path: Path) -> None:
    with saving(tmp_path, classic_members([SMALL, BIG])) as docker:
        docker.save_reply = Reply(403, {"Content-Type": "application/json"}, b'{"message": "authorization denied"}')
        with pytest.raises(AccessError, match="authorization denied"):
            prepare(docker, tmp_path / "out")
