"""Archives as sources: every form and compression, from files and streams, and which image is meant."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from ci_registry.errors import InputFileError, IntegrityError, NotFoundError
from ci_registry.model.descriptor import Platform, digest_of
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets.archive import Archive, open_archive
from ci_registry.targets.archive_docker import DockerArchiveImage
from ci_registry.targets.archive_oci import OciArchiveImage
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.prepared import PrepareEvent
from tests.support.docker25_archive import classic_members, write_docker25, write_tar
from tests.support.dockerd import layer_tar
from tests.support.images import OCI_LAYER, BuiltImage, ImageBuilder, write_layout
from tests.support.places import copy_root
from tests.support.skopeo import skopeo_raw
from tests.support.validator import validate_layout

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
}


def layers(count: int = 2) -> list[bytes]:
    return [layer_tar({f"file{number}": os.urandom(3000)}) for number in range(count)]


def classic(path: Path, content: list[bytes] | None = None) -> Path:
    return write_tar(path, classic_members(layers() if content is None else content))


def oci_archive(path: Path, image: BuiltImage, tag: str | None = "1") -> Path:
    layout = write_layout(image, path.with_suffix(".layout"), tag)
    with tarfile.open(path, "w") as tar:
        tar.add(layout, ".")
    return path


def bring(archive: Archive, reference: str, root: Path, tag: str = "1") -> tuple[LayoutRepository, list[PrepareEvent]]:
    """Copy an image of an archive into a layout directory."""
    target, events = LayoutRepository(root), list[PrepareEvent]()
    prepared = archive.image(reference).prepare([target], on_event=events.append)
    copy_root(prepared.source, prepared.root, target, tag)
    return target, events


@pytest.mark.parametrize("way", ["file", "stream"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_classic_form(tmp_path: Path, way: str, compression: str) -> None:
    content = layers(3)
    path = classic(tmp_path / "app.tar", content)
    path.write_bytes(COMPRESSIONS[compression](path.read_bytes()))
    source = path if way == "file" else io.BytesIO(path.read_bytes())
    with open_archive(source, "app.tar", spool_directory=tmp_path) as archive:
        assert archive.names() == ["app:1"]
        target, _ = bring(archive, "", tmp_path / "layout")
    manifest = target.manifest(target.resolve("1"))
    found = [
        gzip.decompress((tmp_path / "layout/blobs/sha256" / each.digest.hex).read_bytes()) for each in manifest.layers
    ]
    assert found == content
    assert validate_layout(tmp_path / "layout", "1").problems == []
    assert skopeo_raw(f"oci:{tmp_path}/layout:1") == manifest.content
    assert sorted(each.name for each in tmp_path.iterdir()) == ["app.tar", "layout"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_oci_archive_keeps_its_digests(tmp_path: Path, images: ImageBuilder, compression: str) -> None:
    image = images.index(attestations=True)
    path = oci_archive(tmp_path / "app.tar", image)
    path.write_bytes(COMPRESSIONS[compression](path.read_bytes()))
    with open_archive(path, "app.tar", form="oci", spool_directory=tmp_path) as archive:
        bring(archive, "1", tmp_path / "out")
    found = validate_layout(tmp_path / "out", "1")
    assert (found.problems, found.root, found.digests) == ([], image.digest, image.digests())


def test_docker_25_is_read_as_the_layout_that_it_is(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image()
    path = write_docker25(tmp_path / "app.tar", image)
    assert skopeo_raw(f"oci-archive:{path}") == image.content
    assert skopeo_raw(f"docker-archive:{path}")
    for name in ("", "app:1", "docker.io/library/app:1", "1", "app", str(image.digest), "@0"):
        with open_archive(path, "app.tar") as archive:
            if name == "app":
                with pytest.raises(NotFoundError, match="no image called app"):
                    archive.image(name)
            else:
                assert isinstance(found := archive.image(name), OciArchiveImage)
                assert found.root.digest == image.digest


def test_uncompressed_layers_of_docker_25_keep_their_digests(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image([images.layer(media_type=OCI_LAYER) for _ in range(2)])
    with open_archive(write_docker25(tmp_path / "app.tar", image), "app.tar") as archive:
        bring(archive, "app:1", tmp_path / "out")
    assert validate_layout(tmp_path / "out", "1").root == image.digest


def test_platforms_that_are_absent_are_named_and_the_one_that_is_there_is_the_image(
    tmp_path: Path, images: ImageBuilder
) -> None:
    index = images.index(["linux/amd64", "linux/arm64/v8"], attestations=True)
    amd64, arm64, about_amd64, about_arm64 = (each["digest"] for each in index.document["manifests"])
    path = write_docker25(tmp_path / "app.tar", index, omit=[arm64, about_arm64, about_amd64])
    with open_archive(path, "app.tar") as archive:
        _, events = bring(archive, "", tmp_path / "out")
    assert validate_layout(tmp_path / "out", "1").root == amd64
    assert [(each.kind, each.digest, each.text) for each in events] == [
        ("left-out", arm64, "linux/arm64/v8 is not in it")
    ]


def test_several_platforms_that_are_left_get_a_smaller_index(tmp_path: Path, images: ImageBuilder) -> None:
    index = images.index(["linux/amd64", "linux/arm64/v8", "linux/s390x"], attestations=True)
    entries = index.document["manifests"]
    path = write_docker25(tmp_path / "app.tar", index, omit=[entries[1]["digest"]])
    with open_archive(path, "app.tar") as archive:
        target, events = bring(archive, "", tmp_path / "out")
    found = target.manifest(target.resolve("1"))
    # the attestation of the lost platform goes with it
    assert [each.digest for each in found.manifests] == [entries[n]["digest"] for n in (0, 2, 3, 5)]
    assert found.platforms() == [Platform("linux", "amd64"), Platform("linux", "s390x")]
    assert found.media_type == index.root.media_type
    assert validate_layout(tmp_path / "out", "1").problems == []
    assert [each.text for each in events] == ["linux/arm64/v8 is not in it"]


def test_an_index_of_which_nothing_is_left(tmp_path: Path, images: ImageBuilder) -> None:
    index = images.index(["linux/amd64", "linux/arm64/v8"])
    path = oci_archive(tmp_path / "app.tar", index)
    kept = tmp_path / "kept.tar"
    with tarfile.open(path) as old, tarfile.open(kept, "w") as new:
        for member in old:
            if member.name.partition("blobs/sha256/")[2] not in {digest[7:] for digest in index.blobs}:
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    with open_archive(kept, "app.tar") as archive, pytest.raises(InputFileError, match="a part of the image") as caught:
        bring(archive, "", tmp_path / "out")
    assert index.digest in str(caught.value)


def test_docker_25_0_lists_nothing_when_it_saves_by_digest(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image()
    path = write_docker25(tmp_path / "app.tar", image, tags=[], null_index=True)
    with open_archive(path, "app.tar") as archive:
        assert isinstance(archive.image(), DockerArchiveImage)
        assert archive.names() == ["@0"]
        target, _ = bring(archive, "@0", tmp_path / "out")
    config = parse_manifest(image.content).config
    assert config is not None
    found = target.manifest(target.resolve("1")).config
    assert found is not None
    assert found.digest == config.digest
    assert validate_layout(tmp_path / "out", "1").problems == []


def two_images(path: Path) -> Path:
    first, second = classic_members(layers(), ("app:1", "localhost:5000/team/app:1.0")), classic_members(layers(), None)
    lists = [*json.loads(first["manifest.json"]), *json.loads(second["manifest.json"])]
    return write_tar(path, {**first, **second, "manifest.json": json.dumps(lists).encode()})


def test_one_of_several_images(tmp_path: Path) -> None:
    with open_archive(two_images(tmp_path / "two.tar"), "two.tar") as archive:
        assert archive.names() == ["app:1", "localhost:5000/team/app:1.0", "@1"]
        assert archive.image("app:1") is archive.image("localhost:5000/team/app:1.0") is archive.images[0]
        assert archive.image("docker.io/library/app:1") is archive.image("1.0") is archive.images[0]
        assert archive.image("@1") is archive.images[1]
        second = archive.images[1]
        assert isinstance(second, DockerArchiveImage)
        assert archive.image(second.image_id) is second


@pytest.mark.parametrize("reference", ["", "ap:1", "@2", "app:2"])
def test_an_image_that_is_not_in_it(tmp_path: Path, reference: str) -> None:
    with open_archive(two_images(tmp_path / "two.tar"), "two.tar") as archive, pytest.raises(NotFoundError) as caught:
        archive.image(reference)
    assert caught.value.exit_code == 4
    assert "two.tar" in str(caught.value)
    assert "app:1" in caught.value.hint
    assert "2 images" in str(caught.value) if not reference else reference in str(caught.value)


def test_links_in_the_archive_are_followed(tmp_path: Path) -> None:
    content = layers(1)
    members = classic_members(content * 2)
    first, second = json.loads(members["manifest.json"])[0]["Layers"]
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    for name, data in members.items():
        info = tarfile.TarInfo(name)
        if name == second:
            info.type, info.linkname, data = tarfile.SYMTYPE, f"../{first}", b""
        entries.append((info, data))
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, first
    with open_archive(write_tar(tmp_path / "app.tar", [*entries, (hard, b"")]), "app.tar") as archive:
        target, events = bring(archive, "", tmp_path / "out")
    manifest = target.manifest(target.resolve("1"))
    assert len(manifest.layers) == 2
    assert manifest.layers[0] == manifest.layers[1]
    assert len([each for each in events if each.kind == "copied"]) == 1
    assert validate_layout(tmp_path / "out", "1").problems == []


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz"])
def test_layers_that_are_compressed_in_a_classic_archive(tmp_path: Path, compression: str) -> None:
    content = layers()
    members = {
        name: COMPRESSIONS[compression](data) if data in content else data
        for name, data in classic_members(content).items()
    }
    with open_archive(write_tar(tmp_path / "compressed.tar", members), "a") as archive:
        one, _ = bring(archive, "", tmp_path / "one")
    with open_archive(classic(tmp_path / "plain.tar", content), "b") as archive:
        other, _ = bring(archive, "", tmp_path / "other")
    assert one.resolve("1").digest == other.resolve("1").digest


def test_the_digest_is_the_same_in_every_run(tmp_path: Path) -> None:
    path = classic(tmp_path / "app.tar")
    digests = set()
    for name in ("one", "two"):
        with open_archive(path, "app.tar") as archive:
            target, _ = bring(archive, "", tmp_path / name)
        digests.add(target.resolve("1").digest)
    assert len(digests) == 1


def test_an_altered_blob_of_an_oci_archive_is_found_out(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image(1)
    path = oci_archive(tmp_path / "app.tar", image)
    content = path.read_bytes()
    at = content.find(image.content)
    path.write_bytes(
        content[:at]
        + image.content.replace(b"sha256:", b"sha256:", 1)[:-2]
        + b" }"
        + content[at + len(image.content) :]
    )
    with open_archive(path, "app.tar") as archive, pytest.raises(IntegrityError, match=image.digest):
        bring(archive, "1", tmp_path / "out")


def test_a_named_pipe_is_spooled(tmp_path: Path) -> None:
    content = classic(tmp_path / "app.tar").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(content,))
    thread.start()
    with open_archive(pipe, "docker-archive:pipe", spool_directory=tmp_path) as archive:
        assert archive.names() == ["app:1"]
        bring(archive, "app:1", tmp_path / "out")
    thread.join()


def test_the_image_id_is_the_digest_of_the_configuration(tmp_path: Path) -> None:
    with open_archive(classic(tmp_path / "app.tar"), "app.tar") as archive:
        image = archive.image()
        assert isinstance(image, DockerArchiveImage)
        assert image.image_id == digest_of(image.config)
