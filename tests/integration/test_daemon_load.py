"""The docker daemon as a destination: what is loaded runs under its name and is what was copied."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_registry.adapters.docker_engine import DockerEngine
from ci_registry.errors import IntegrityError, RemoteError, UsageError
from ci_registry.model.manifest import Manifest
from ci_registry.targets.archive import open_archive
from ci_registry.targets.archive_docker_target import DockerArchiveTarget
from ci_registry.targets.daemon import DaemonImage
from ci_registry.targets.daemon_target import DaemonTarget
from ci_registry.targets.layout import LayoutRepository
from tests.support.dockerd import Dockerd
from tests.support.fake_docker import FakeDocker
from tests.support.http_server import Reply
from tests.support.images import OCI_LAYER, BuiltImage, ImageBuilder, write_layout
from tests.support.places import copy_image, copy_root


@pytest.fixture
def engine(dockerd: Dockerd) -> Iterator[DockerEngine]:
    with contextlib.closing(DockerEngine({"DOCKER_HOST": dockerd.host})) as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"t{secrets.token_hex(4)}/app"


def load(engine: DockerEngine, image: BuiltImage, name: str, path: Path, *tags: str) -> Manifest:
    target = DaemonTarget(engine, name, spool_directory=path)
    source = LayoutRepository(write_layout(image, path / "in", "1"))
    target.expect(source.manifest(source.resolve("1")))
    manifest = copy_image(source, "1", target, tags[0] if tags else None)
    for tag in tags[1:]:
        target.put_manifest(manifest, tag)
    target.finish()
    assert [each.name for each in path.iterdir()] == ["in"]
    return manifest


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain", "docker"])
def test_an_image_is_loaded_under_its_names(
    engine: DockerEngine, dockerd: Dockerd, name: str, tmp_path: Path, images: ImageBuilder, kind: str
) -> None:
    plain = [images.layer(media_type=OCI_LAYER) for _ in range(2)]
    image = images.image(plain) if kind == "plain" else images.image(docker=kind == "docker", zstd=kind == "zstd")
    manifest = load(engine, image, name, tmp_path, "1", "latest")
    assert manifest.config is not None
    assert dockerd.inspect(f"{name}:1") == dockerd.inspect(name) == manifest.config.digest


def test_an_image_without_a_name(
    engine: DockerEngine, dockerd: Dockerd, name: str, tmp_path: Path, images: ImageBuilder
) -> None:
    manifest = load(engine, images.image(), name, tmp_path)
    assert manifest.config is not None
    assert dockerd.inspect(manifest.config.digest, "{{.RepoTags}}") == "[]"


def test_an_image_that_the_daemon_has_is_only_tagged(
    engine: DockerEngine, dockerd: Dockerd, name: str, tmp_path: Path, images: ImageBuilder
) -> None:
    image = images.image()
    load(engine, image, name, tmp_path, "1")
    for digest in image.blobs:
        (tmp_path / "in/blobs/sha256" / digest.removeprefix("sha256:")).unlink()
    target = DaemonTarget(engine, name, spool_directory=tmp_path)
    source = LayoutRepository(tmp_path / "in")
    manifest = source.manifest(source.resolve("1"))
    target.expect(manifest)
    copy_root(source, manifest.descriptor, target, "2")
    target.finish()
    assert dockerd.inspect(f"{name}:2") == dockerd.inspect(f"{name}:1")


def test_an_index_needs_a_platform(engine: DockerEngine, name: str, tmp_path: Path, images: ImageBuilder) -> None:
    with pytest.raises(UsageError, match="index of several platforms"):
        load(engine, images.index(), name, tmp_path, "1")


def test_from_one_name_to_another_by_way_of_an_archive(
    engine: DockerEngine, dockerd: Dockerd, name: str, tmp_path: Path
) -> None:
    layers = [{"a": os.urandom(2000)}, {"b": os.urandom(1_500_000)}]
    image_id = dockerd.build(f"{name}:1", layers, extra='CMD ["/a"]')
    archive = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar", repository=name)
    with DaemonImage(engine, f"{name}:1") as image:
        prepared = image.prepare([archive])
        copy_root(prepared.source, prepared.root, archive, "1")
    archive.finish()
    dockerd.run("image", "rm", "-f", image_id)
    dockerd.run("load", "-i", str(tmp_path / "app.tar"))
    assert dockerd.inspect(f"{name}:1") == image_id

    dockerd.run("image", "rm", "-f", image_id)
    target = DaemonTarget(engine, name)
    with open_archive(tmp_path / "app.tar", "app.tar") as opened:
        prepared = opened.image().prepare([target])
        copy_root(prepared.source, prepared.root, target, "2")
    target.finish()
    assert dockerd.inspect(f"{name}:2") == image_id


def test_a_layer_that_is_not_what_the_configuration_says_is_refused_by_the_daemon(
    engine: DockerEngine, name: str, tmp_path: Path, images: ImageBuilder
) -> None:
    image = images.image(1)
    wrong = images.image(1)
    document = image.document
    document["layers"] = wrong.document["layers"]
    content = json.dumps(document).encode()
    path = write_layout(image, tmp_path / "in", "1")
    write_layout(wrong, path, "2")
    source = LayoutRepository(path)
    source.put_manifest(_parsed(content), "3")
    target = DaemonTarget(engine, name, spool_directory=tmp_path)
    copy_image(source, "3", target, "1")
    with pytest.raises(RemoteError, match="loading the image into the docker daemon failed") as caught:
        target.finish()
    assert "invalid diffID" in str(caught.value)
    assert caught.value.exit_code == 7
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


def _parsed(content: bytes) -> Manifest:
    from ci_registry.model.manifest import parse_manifest

    return parse_manifest(content)


# -- what a daemon may say ---------------------------------------------------------------------------------------------


def finished(docker: FakeDocker, image: BuiltImage, path: Path, name: str = "app") -> None:
    with contextlib.closing(DockerEngine({"DOCKER_HOST": docker.host})) as engine:
        load(engine, image, name, path, "1")


def test_an_error_among_the_messages(tmp_path: Path, images: ImageBuilder) -> None:
    with FakeDocker("other:1", f"sha256:{'1' * 64}", [], b"") as docker:
        lines = (
            b'{"stream": "Loading"}\r\n{"errorDetail": {"message": "no space"}, "error": "no space left on device"}\r\n'
        )
        docker.load_reply = Reply(200, {"Content-Type": "application/json"}, lines)
        with pytest.raises(RemoteError, match="the docker daemon said: no space left on device"):
            finished(docker, images.image(), tmp_path)


def test_another_image_than_was_sent(tmp_path: Path, images: ImageBuilder) -> None:
    other = f"sha256:{'1' * 64}"
    with FakeDocker("app:1", other, [], b"") as docker:
        with pytest.raises(IntegrityError, match=f"loading app:1 into the docker daemon gave the image {other}"):
            finished(docker, images.image(), tmp_path)
        assert docker.loaded


def test_the_containerd_store_has_ids_of_its_own(tmp_path: Path, images: ImageBuilder) -> None:
    with FakeDocker("app:1", f"sha256:{'1' * 64}", [], b"", containerd=True, api_version="1.44") as docker:
        finished(docker, images.image(), tmp_path)
        assert docker.loaded


def test_a_daemon_that_refuses(tmp_path: Path, images: ImageBuilder) -> None:
    with FakeDocker("app:1", f"sha256:{'1' * 64}", [], b"") as docker:
        docker.load_reply = Reply(500, {"Content-Type": "application/json"}, b'{"message": "unexpected EOF"}')
        with pytest.raises(RemoteError, match=r"the docker daemon at tcp://127.0.0.1:\d+ said: unexpected EOF"):
            finished(docker, images.image(), tmp_path)
