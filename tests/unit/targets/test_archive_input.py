"""Archives that are damaged, foreign or hostile: a sentence, an exit code, and nothing left behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_registry.errors import CiRegistryError, InputFileError, IntegrityError, NotFoundError, StorageError
from ci_registry.targets import archive_tar, spool
from ci_registry.targets.archive import open_archive
from ci_registry.targets.archive_tar import inside
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.spool import new_spool
from tests.support.docker25_archive import Members, classic_members, write_tar
from tests.support.dockerd import layer_tar
from tests.support.images import ImageBuilder
from tests.support.process import find_program

LAYER = layer_tar({"file": b"content" * 300})


def prepared(path: Path, out: Path) -> None:
    with open_archive(path, "docker-archive:app.tar") as archive:
        archive.image().prepare([LayoutRepository(out)])


def refusal(path: Path) -> CiRegistryError:
    """What reading an archive fails with; nothing may be left beside it."""
    with pytest.raises(CiRegistryError) as caught:
        prepared(path, path.parent / "out")
    assert not list((path.parent / "out").rglob("*/sha256/*"))
    return caught.value


def changed(change: Callable[[Members], object]) -> Members:
    members = classic_members([LAYER])
    change(members)
    return members


def listing(members: Members) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(members["manifest.json"])[0]
    return loaded


def relisted(members: Members, **fields: object) -> None:
    members["manifest.json"] = json.dumps([{**listing(members), **fields}]).encode()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.mark.parametrize("cut", [300, 512 + 700, -1024 - 100, -2000])
def test_a_tar_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([LAYER]))
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:cut] if cut < 0 else path.read_bytes()[:cut])
    error = refusal(path)
    assert isinstance(error, InputFileError)
    assert "docker-archive:app.tar" in str(error)
    assert "ends early" in str(error)
    assert error.exit_code == 2


def test_a_tar_that_is_cut_off_between_two_members(tmp_path: Path) -> None:
    members = classic_members([LAYER])
    del members["manifest.json"]
    path = write_tar(tmp_path / "app.tar", {**members, "index.json": b'{"manifests": []}'})
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:end])
    assert "holds no image: it has neither manifest.json nor index.json" in str(refusal(path))


def test_a_compressed_archive_that_is_cut_off(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([layer_tar({"file": os.urandom(5000)})]))
    path.write_bytes(gzip.compress(path.read_bytes())[:3000])
    assert "gzip compression is damaged" in str(refusal(path))


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + b"\0" * 2000, "is not a tar file"),
        (b"#!/bin/sh\n" * 200, "is not a tar file"),
        (b"short", "ends early"),
        (b"\0" * 1024, "is empty"),
    ],
)
def test_a_file_that_is_no_tar(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, InputFileError)
    assert said in str(error)
    with pytest.raises(InputFileError, match=said):
        open_archive(io.BytesIO(content), "-", spool_directory=tmp_path)


def test_a_tar_of_something_else(tmp_path: Path) -> None:
    error = refusal(write_tar(tmp_path / "app.tar", {"usr/bin/tool": b"", "README": b"no image"}))
    assert "holds no image: it has neither manifest.json nor index.json" in str(error)
    assert "docker save" in error.hint


def test_an_archive_of_docker_1_9(tmp_path: Path) -> None:
    error = refusal(write_tar(tmp_path / "app.tar", {"repositories": b"{}", "1/layer.tar": LAYER}))
    assert "older than 1.10" in str(error)


def test_the_form_that_was_asked_for(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([LAYER]))
    with pytest.raises(InputFileError, match="is not an OCI layout") as caught:
        open_archive(path, "oci-archive:app.tar", form="oci")
    assert "docker-archive:FILE" in caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file") as caught:
        open_archive(tmp_path / "none.tar", "docker-archive:none.tar")
    assert caught.value.exit_code == 4


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is a directory") as caught:
        open_archive(tmp_path, "docker-archive:x")
    assert f"oci:{tmp_path}" in caught.value.hint


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "a/../../b", "a/../b", "..", "a/.."])
def test_a_member_that_leaves_the_archive(tmp_path: Path, name: str) -> None:
    error = refusal(write_tar(tmp_path / "app.tar", {**classic_members([LAYER]), name: b"x"}))
    assert isinstance(error, InputFileError)
    assert f"a member leads out of the archive ({name!r})" in str(error)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_a_link_that_leaves_the_archive(tmp_path: Path, kind: bytes, target: str) -> None:
    entries = [(tarfile.TarInfo(name), data) for name, data in classic_members([LAYER]).items()]
    error = refusal(write_tar(tmp_path / "app.tar", [*entries, link("folder/layer.tar", target, kind)]))
    assert isinstance(error, InputFileError)
    assert "the link folder/layer.tar leads out of the archive" in str(error)


def test_links_that_go_round_in_a_circle(tmp_path: Path) -> None:
    entries = [(tarfile.TarInfo(name), data) for name, data in classic_members([LAYER]).items()]
    circle = [link("a/layer.tar", "../b/layer.tar"), link("b/layer.tar", "../a/layer.tar")]
    error = refusal(write_tar(tmp_path / "app.tar", [*entries, *circle]))
    assert "go round in a circle" in str(error)


@pytest.mark.parametrize("path", ["../layer.tar", "/layer.tar", "absent/layer.tar"])
def test_a_list_that_names_what_is_not_in_it(tmp_path: Path, path: str) -> None:
    members = changed(lambda members: relisted(members, Layers=[path]))
    error = refusal(write_tar(tmp_path / "app.tar", members))
    assert isinstance(error, InputFileError)
    assert "layer.tar" in str(error)


def test_a_layer_that_is_not_what_the_configuration_says(tmp_path: Path) -> None:
    members = classic_members([LAYER])
    name = next(name for name in members if name.endswith("layer.tar"))
    members[name] = LAYER.replace(b"content", b"CONTENT", 1)
    error = refusal(write_tar(tmp_path / "app.tar", members))
    assert isinstance(error, IntegrityError)
    assert error.exit_code == 6
    assert f"the layer {name} has the diffID sha256:" in str(error)


def test_a_big_layer_that_is_not_what_the_configuration_says(tmp_path: Path) -> None:
    layer = layer_tar({"file": os.urandom(3_000_000)})
    members = classic_members([layer])
    name = next(name for name in members if name.endswith("layer.tar"))
    members[name] = layer[:-3000] + b"x" + layer[-2999:]
    error = refusal(write_tar(tmp_path / "app.tar", members))
    assert isinstance(error, IntegrityError)
    assert sorted(each.name for each in (tmp_path / "out").rglob("*") if each.is_file()) == ["index.json", "oci-layout"]


def test_a_configuration_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    members = classic_members([LAYER])
    name = str(listing(members)["Config"])
    members[name] = members[name].replace(b"amd64", b"arm64")
    assert f"the configuration {name} has the digest sha256:" in str(refusal(write_tar(tmp_path / "app.tar", members)))


@pytest.mark.parametrize(
    "content, said",
    [
        (b"{", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"{}", "lists no image"),
        (b"[]", "lists no image"),
        (b"[7]", "has no Config"),
        (b'[{"Config": 1}]', "has no Config"),
        (b'[{"Config": "config.json", "Layers": []}]', "it has no config.json"),
    ],
)
def test_a_list_that_makes_no_sense(tmp_path: Path, content: bytes, said: str) -> None:
    members = {**classic_members([LAYER]), "manifest.json": content}
    error = refusal(write_tar(tmp_path / "app.tar", members))
    assert isinstance(error, InputFileError)
    assert said in str(error)


@pytest.mark.parametrize("config", [b"[]", b"{}", b'{"rootfs": {"diff_ids": 1}}', b'{"rootfs": {"diff_ids": ["x"]}}'])
def test_a_configuration_that_makes_no_sense(tmp_path: Path, config: bytes) -> None:
    members = {**changed(lambda members: relisted(members, Config="c.json")), "c.json": config}
    assert refusal(write_tar(tmp_path / "app.tar", members)).exit_code == 2


def test_another_number_of_layers_than_the_configuration_says(tmp_path: Path) -> None:
    members = changed(lambda members: relisted(members, Layers=[]))
    assert "disagree about the number of layers" in str(refusal(write_tar(tmp_path / "app.tar", members)))


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"manifests": 7}', b'{"manifests": [{"digest": "x", "size": 1}]}'])
def test_an_index_that_makes_no_sense(tmp_path: Path, index: bytes) -> None:
    path = write_tar(tmp_path / "app.tar", {"oci-layout": b"{}", "index.json": index})
    with pytest.raises(InputFileError, match=r"index.json"):
        open_archive(path, "oci-archive:app.tar", form="oci")


@pytest.mark.parametrize("name", ["manifest.json", "index.json"])
def test_a_list_that_is_far_too_big(tmp_path: Path, name: str) -> None:
    members = {**classic_members([LAYER]), "oci-layout": b"{}", "index.json": b'{"manifests": null}'}
    members[name] = b" " * (16 * 1024 * 1024 + 1)
    assert "more than the 16777216 it may have" in str(refusal(write_tar(tmp_path / "app.tar", members)))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_tar, "MEMBER_LIMIT", 50)
    members = {**classic_members([LAYER]), **{f"m{number}": b"" for number in range(60)}}
    assert "more than 50 members" in str(refusal(write_tar(tmp_path / "app.tar", members)))


def test_an_extended_header_that_is_far_too_big(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x" * 2_000_000)
    assert "an extended header has" in str(refusal(write_tar(tmp_path / "app.tar", [(info, b"")])))


def test_a_damaged_extended_header(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "app.tar", [(tarfile.TarInfo("x" * 200), b"")])
    path.write_bytes(path.read_bytes().replace(b"path=", b"path:", 1))
    assert "an extended header is damaged" in str(refusal(path))


def test_a_damaged_header_in_the_middle(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([LAYER]))
    content = path.read_bytes()
    at = content.find(b"manifest.json")
    path.write_bytes(content[:at] + b"MANIFEST" + content[at + 8 :])
    assert "the header of member 3 is damaged" in str(refusal(path))


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BOMB_FROM_BYTES", 4_000_000)
    bomb = gzip.compress(write_tar(tmp_path / "app.tar", {"zeros": b"\0" * 20_000_000}).read_bytes())
    (tmp_path / "app.tar").unlink()
    with pytest.raises(InputFileError, match="as in a decompression bomb") as caught:
        open_archive(io.BytesIO(bomb), "-", spool_directory=tmp_path)
    assert caught.value.exit_code == 2
    assert "decompress it yourself" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_layers_of_zeros_are_no_bomb(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([layer_tar({"zeros": b"\0" * 20_000_000})]))
    path.write_bytes(gzip.compress(path.read_bytes()))
    prepared(path, tmp_path / "out")


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[Path]:
    path.mkdir()
    subprocess.run([find_program("mount"), "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run([find_program("umount"), str(path)], check=True)


@pytest.mark.parametrize("compress", [False, True])
def test_a_full_disk(tmp_path: Path, compress: bool) -> None:
    content = write_tar(
        tmp_path / "app.tar", classic_members([layer_tar({"file": os.urandom(2_000_000)})])
    ).read_bytes()
    with small_disk(tmp_path / "disk", 1_000_000) as disk:
        with pytest.raises(StorageError, match="keeping - in a temporary file failed: no space left") as caught:
            open_archive(io.BytesIO(gzip.compress(content) if compress else content), "-", spool_directory=disk)
        assert caught.value.exit_code == 7
        assert "WORKSPACE_TMP" in caught.value.hint
        assert os.statvfs(disk).f_bfree == os.statvfs(disk).f_blocks
        assert list(disk.iterdir()) == []


def test_a_temporary_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="keeping - in a temporary file failed") as caught:
        open_archive(io.BytesIO(LAYER), "-", spool_directory=tmp_path / "none")
    assert "TMPDIR" in caught.value.hint


def test_a_spool_is_private_and_has_no_name(tmp_path: Path) -> None:
    with new_spool(tmp_path, "x") as file:
        found = os.fstat(file.fileno())
        assert found.st_mode & 0o777 == 0o600
        assert found.st_nlink == 0
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path, images: ImageBuilder) -> None:
    path = write_tar(tmp_path / "app.tar", classic_members([layer_tar({"file": os.urandom(2_000_000)})]))
    with open_archive(path, "docker-archive:app.tar") as archive:
        os.truncate(path, 100_000)
        with pytest.raises(CiRegistryError, match="became shorter while it was read"):
            archive.image().prepare([LayoutRepository(tmp_path / "out")])


@pytest.mark.parametrize(
    "name, short", [("./a//b/", "a/b"), ("a", "a"), (".", ""), ("a/./b", "a/b"), ("x/..y/z", "x/..y/z")]
)
def test_names_in_their_shortest_form(name: str, short: str) -> None:
    assert inside(name, "app.tar") == short
