"""Archives as destinations: whole, under their names, read by skopeo, and not there before they are finished."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_registry.errors import InputFileError, IntegrityError, NotFoundError, RemoteError, StorageError, UsageError
from ci_registry.model.descriptor import Descriptor, digest_of
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets.archive import open_archive
from ci_registry.targets.archive_docker_target import DockerArchiveTarget
from ci_registry.targets.archive_target import ArchiveTarget, OciArchiveTarget
from ci_registry.targets.base import Present, Writer
from ci_registry.targets.layout import LayoutRepository
from tests.support.docker25_archive import classic_members, write_tar
from tests.support.dockerd import layer_tar
from tests.support.images import OCI_LAYER, BuiltImage, ImageBuilder, write_layout
from tests.support.places import copy_image, copy_root
from tests.support.skopeo import skopeo, skopeo_config, skopeo_raw

from .test_archive_input import small_disk


def source_of(image: BuiltImage, path: Path) -> LayoutRepository:
    return LayoutRepository(write_layout(image, path, "1"))


def begin(target: ArchiveTarget, descriptor: Descriptor | None) -> Writer:
    writer = target.writer(descriptor)
    assert not isinstance(writer, Present)
    return writer  # type: ignore[return-value]


def listing(path: Path) -> list[dict[str, object]]:
    with tarfile.open(path) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        loaded: list[dict[str, object]] = json.loads(file.read())
    return loaded


# -- oci-archive -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attestations", [False, True])
def test_an_oci_archive_that_skopeo_reads(tmp_path: Path, images: ImageBuilder, attestations: bool) -> None:
    image = images.index(attestations=attestations) if attestations else images.image()
    target = OciArchiveTarget(tmp_path / "app.tar", "oci-archive:app.tar")
    copy_image(source_of(image, tmp_path / "in"), "1", target, "1.0")
    assert not (tmp_path / "app.tar").exists()
    target.finish()
    assert skopeo_raw(f"oci-archive:{tmp_path}/app.tar:1.0") == image.content
    skopeo("copy", "--all", "--preserve-digests", f"oci-archive:{tmp_path}/app.tar:1.0", f"oci:{tmp_path}/again:x")
    with open_archive(tmp_path / "app.tar", "app.tar") as archive:
        assert archive.names() == ["1.0"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["again", "app.tar", "in"]


def test_several_tags_and_an_image_without_one(tmp_path: Path, images: ImageBuilder) -> None:
    first, second = images.index(), images.image()
    target = OciArchiveTarget(tmp_path / "app.tar", "oci-archive:app.tar")
    source = source_of(first, tmp_path / "in")
    copy_image(source, "1", target, "1.0")
    target.put_manifest(source.manifest(first.root), "latest")
    copy_image(source_of(second, tmp_path / "in2"), "1", target)
    assert [each.digest for each in (target.resolve("latest"), target.resolve(second.digest))] == [
        first.digest,
        second.digest,
    ]
    found = target.tagged("1.0")
    assert found is not None
    assert found.digest == first.digest
    target.finish()
    with open_archive(tmp_path / "app.tar", "app.tar") as archive:
        # the images of an index are reached through it, and not listed
        assert archive.names() == ["1.0", "latest", "@1"]


def test_the_file_has_the_permissions_of_any_other_and_replaces_an_old_one(
    tmp_path: Path, images: ImageBuilder
) -> None:
    path = tmp_path / "app.tar"
    path.write_text("old")
    target = OciArchiveTarget(path, "oci-archive:app.tar")
    copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1")
    assert path.read_text() == "old"
    target.finish()
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with tarfile.open(path) as tar:
        assert {"oci-layout", "index.json"} <= set(tar.getnames())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("kind", [OciArchiveTarget, DockerArchiveTarget])
def test_what_is_dropped_leaves_nothing_behind(tmp_path: Path, images: ImageBuilder, kind: type[ArchiveTarget]) -> None:
    target = kind(tmp_path / "app.tar", "app.tar")
    copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1")
    target.drop()
    target.drop()
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("kind", [OciArchiveTarget, DockerArchiveTarget])
def test_an_archive_into_a_stream(tmp_path: Path, images: ImageBuilder, kind: type[ArchiveTarget]) -> None:
    out = io.BytesIO()
    target = kind(out, "-", repository="app", spool_directory=tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1")
    assert out.getvalue() == b""
    target.finish()
    (tmp_path / "app.tar").write_bytes(out.getvalue())
    with open_archive(tmp_path / "app.tar", "app.tar") as archive:
        assert archive.names() == (["app:1"] if kind is DockerArchiveTarget else ["1"])
    assert list((tmp_path / "spool").iterdir()) == []


def test_uploads_that_break_off_leave_no_gap(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image(3, layer_bytes=5000)
    source = source_of(image, tmp_path / "in")
    target = OciArchiveTarget(tmp_path / "app.tar", "oci-archive:app.tar")
    for layer in parse_manifest(image.content).layers:
        writer = begin(target, layer)
        writer.write(memoryview(b"x" * 700))
        writer.abort()
    copy_image(source, "1", target, "1")
    target.finish()
    assert skopeo_raw(f"oci-archive:{tmp_path}/app.tar:1") == image.content
    skopeo("copy", f"oci-archive:{tmp_path}/app.tar:1", f"oci:{tmp_path}/again:x")
    with tarfile.open(tmp_path / "app.tar") as tar:
        assert len(tar.getmembers()) == 3 + 2 + 2


def test_many_writers_at_once(tmp_path: Path, images: ImageBuilder) -> None:
    layers = [images.layer(200_000) for _ in range(8)]
    image = images.image(layers)
    target = OciArchiveTarget(tmp_path / "app.tar", "oci-archive:app.tar")

    def write(number: int) -> None:
        content = layers[number].content
        assert isinstance(content, bytes)
        # every other one without saying how big it is
        writer = begin(target, layers[number].descriptor if number % 2 else None)
        for start in range(0, len(content), 10_000):
            writer.write(memoryview(content)[start : start + 10_000])
        writer.commit(layers[number].descriptor.digest)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    copy_image(source_of(image, tmp_path / "in"), "1", target, "1")
    target.finish()
    skopeo("copy", "--preserve-digests", f"oci-archive:{tmp_path}/app.tar:1", f"oci:{tmp_path}/again:x")
    assert skopeo_raw(f"oci-archive:{tmp_path}/app.tar:1") == image.content


# -- docker-archive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain", "docker"])
def test_a_docker_archive_that_skopeo_reads(tmp_path: Path, images: ImageBuilder, kind: str) -> None:
    plain = [images.layer(media_type=OCI_LAYER) for _ in range(2)]
    image = images.image(plain) if kind == "plain" else images.image(docker=kind == "docker", zstd=kind == "zstd")
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar", repository="team/app")
    manifest = copy_image(source_of(image, tmp_path / "in"), "1", target, "1.0")
    target.put_manifest(manifest, "latest")
    target.finish()

    assert manifest.config is not None
    assert skopeo_config(f"docker-archive:{tmp_path}/app.tar:team/app:1.0")
    skopeo("copy", f"docker-archive:{tmp_path}/app.tar:team/app:latest", f"dir:{tmp_path}/again")
    [entry] = listing(tmp_path / "app.tar")
    assert entry["RepoTags"] == ["team/app:1.0", "team/app:latest"]
    assert entry["Config"] == f"{manifest.config.digest.hex}.json"
    diff_ids = skopeo_config(f"docker-archive:{tmp_path}/app.tar")["rootfs"]["diff_ids"]
    assert entry["Layers"] == [f"{diff_id.removeprefix('sha256:')}.tar" for diff_id in diff_ids]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["again", "app.tar", "in"]


def test_an_image_without_a_name(tmp_path: Path, images: ImageBuilder) -> None:
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar")
    copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1.0")
    target.finish()
    assert listing(tmp_path / "app.tar")[0]["RepoTags"] is None
    skopeo("inspect", f"docker-archive:{tmp_path}/app.tar")


def test_images_that_share_layers_keep_them_once(tmp_path: Path, images: ImageBuilder) -> None:
    shared = [images.layer()]
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar", repository="app")
    for tag in ("1", "2"):
        copy_image(source_of(images.image(1, shared=shared), tmp_path / tag), "1", target, tag)
    target.finish()
    first, second = listing(tmp_path / "app.tar")
    assert first["Layers"] != second["Layers"]
    with tarfile.open(tmp_path / "app.tar") as tar:
        assert len(tar.getnames()) == 2 + 3 + 1
    for tag in ("1", "2"):
        skopeo("inspect", f"docker-archive:{tmp_path}/app.tar:app:{tag}")


def test_a_classic_archive_copied_to_another_is_not_compressed_on_the_way(tmp_path: Path) -> None:
    layers = [layer_tar({f"f{number}": os.urandom(2_000_000)}) for number in range(2)]
    path = write_tar(tmp_path / "in.tar", classic_members(layers))
    target = DockerArchiveTarget(tmp_path / "out.tar", "docker-archive:out.tar", repository="app")
    with open_archive(path, "in.tar") as archive:
        prepared = archive.image().prepare([target])
        manifest = copy_root(prepared.source, prepared.root, target, "1")
    target.finish()
    assert [layer.digest for layer in manifest.layers] == [digest_of(layer) for layer in layers]
    assert listing(tmp_path / "out.tar")[0]["Config"] == listing(path)[0]["Config"]
    skopeo("inspect", f"docker-archive:{tmp_path}/out.tar:app:1")


def test_one_walk_for_an_archive_and_a_layout(tmp_path: Path) -> None:
    layers = [layer_tar({f"f{number}": os.urandom(1_500_000 * number)}) for number in range(3)]
    path = write_tar(tmp_path / "in.tar", classic_members(layers))
    tar, layout = DockerArchiveTarget(tmp_path / "out.tar", "out.tar"), LayoutRepository(tmp_path / "out")
    with open_archive(path, "in.tar") as archive:
        prepared = archive.image().prepare([tar, layout])
        for target in (tar, layout):
            copy_root(prepared.source, prepared.root, target, "1")
    tar.finish()
    assert listing(tmp_path / "out.tar")[0]["Config"] == listing(path)[0]["Config"]
    found = layout.manifest(layout.resolve("1"))
    blobs = [(tmp_path / "out/blobs/sha256" / layer.digest.hex).read_bytes() for layer in found.layers]
    assert [gzip.decompress(blob) for blob in blobs] == layers


def test_an_index_is_refused_with_the_cure(tmp_path: Path, images: ImageBuilder) -> None:
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar")
    with pytest.raises(UsageError, match="it is an index of several platforms") as caught:
        copy_image(source_of(images.index(), tmp_path / "in"), "1", target, "1.0")
    assert "--platform" in caught.value.hint
    assert caught.value.exit_code == 2


def test_an_artifact_is_refused(tmp_path: Path, images: ImageBuilder) -> None:
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar")
    with pytest.raises(UsageError, match="is an artifact and not an image"):
        copy_image(source_of(images.artifact(), tmp_path / "in"), "1", target, "1.0")


def test_layers_that_do_not_fit_the_configuration(tmp_path: Path, images: ImageBuilder) -> None:
    image = images.image([images.layer(), images.layer()])
    document = image.document
    document["layers"].reverse()
    wrong = parse_manifest(json.dumps(document).encode())
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar")
    copy_image(source_of(image, tmp_path / "in"), "1", target)
    with pytest.raises(IntegrityError, match="and the configuration says"):
        target.put_manifest(wrong, "1")


def test_a_layer_whose_compression_is_damaged(tmp_path: Path, images: ImageBuilder) -> None:
    layer = images.layer(10_000)
    assert isinstance(layer.content, bytes)
    content = layer.content[:-30]
    target = DockerArchiveTarget(tmp_path / "app.tar", "docker-archive:app.tar")
    writer = begin(target, Descriptor(layer.descriptor.media_type, digest_of(content), len(content)))
    writer.write(memoryview(content))
    with pytest.raises(InputFileError, match="gzip compression is damaged"):
        writer.commit(digest_of(content))


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OciArchiveTarget, DockerArchiveTarget])
@pytest.mark.parametrize("known", [True, False])
def test_wrong_bytes_are_refused_and_not_kept(
    tmp_path: Path, images: ImageBuilder, kind: type[ArchiveTarget], known: bool
) -> None:
    layer = images.layer(media_type=OCI_LAYER).descriptor
    target = kind(tmp_path / "app.tar", "app.tar")
    writer = begin(target, layer if known else None)
    writer.write(memoryview(b"x" * layer.size))
    with pytest.raises(IntegrityError, match=r"app\.tar") as caught:
        writer.commit(layer.digest)
    writer.abort()
    assert caught.value.exit_code == 6
    assert target.exists([layer]) == set()
    with pytest.raises(NotFoundError):
        target.fetch(layer)


def test_more_bytes_than_announced(tmp_path: Path, images: ImageBuilder) -> None:
    layer = images.layer(media_type=OCI_LAYER).descriptor
    writer = begin(OciArchiveTarget(tmp_path / "app.tar", "app.tar"), layer)
    with pytest.raises(IntegrityError, match="more than"):
        writer.write(memoryview(b"x" * (layer.size + 1)))


@pytest.mark.parametrize("kind", [OciArchiveTarget, DockerArchiveTarget])
def test_a_manifest_whose_parts_are_missing(tmp_path: Path, images: ImageBuilder, kind: type[ArchiveTarget]) -> None:
    manifest = parse_manifest(images.image().content)
    with pytest.raises(RemoteError, match="is not in it"):
        kind(tmp_path / "app.tar", "app.tar").put_manifest(manifest, "1")


@pytest.mark.parametrize("kind", [OciArchiveTarget, DockerArchiveTarget])
def test_a_full_disk(tmp_path: Path, images: ImageBuilder, kind: type[ArchiveTarget]) -> None:
    source = source_of(images.image(1, layer_bytes=2_000_000), tmp_path / "in")
    with small_disk(tmp_path / "disk", 1_000_000) as disk:
        target = kind(disk / "app.tar", "app.tar")
        with pytest.raises(StorageError, match=r"writing app\.tar failed: no space left") as caught:
            copy_image(source, "1", target, "1")
        target.drop()
        assert caught.value.exit_code == 7
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("where", ["none/app.tar", "folder"])
def test_a_destination_that_can_t_be_written(tmp_path: Path, images: ImageBuilder, where: str) -> None:
    (tmp_path / "folder").mkdir()
    target = OciArchiveTarget(tmp_path / where, f"oci-archive:{where}")
    with pytest.raises(StorageError, match=f"writing oci-archive:{where} failed"):
        copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1")
    target.drop()
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_stream_that_nobody_reads(tmp_path: Path, images: ImageBuilder) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as out:
        target = OciArchiveTarget(out, "-", spool_directory=tmp_path)  # type: ignore[arg-type]
        copy_image(source_of(images.image(), tmp_path / "in"), "1", target, "1")
        with pytest.raises(StorageError, match="writing - failed: broken pipe"):
            target.finish()
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
