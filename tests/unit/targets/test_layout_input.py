"""Directories that are no layout, or a damaged one: each has its sentence and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_registry.errors import CiRegistryError, InputFileError, IntegrityError, NotFoundError
from ci_registry.targets import layout_index
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import begin, bring, read_all
from tests.support.images import ImageBuilder, write_layout

LAYOUT = '{"imageLayoutVersion": "1.0.0"}'
EMPTY = '{"schemaVersion": 2, "manifests": []}'
DIGEST = "sha256:" + "0" * 64


def files(**content: str | None) -> Callable[[Path], None]:
    """Make a directory with these files; `oci_layout` and `index` are given by those names."""

    def make(directory: Path) -> None:
        directory.mkdir()
        for name, text in {"oci-layout": content.get("oci_layout"), "index.json": content.get("index")}.items():
            if text is not None:
                (directory / name).write_text(text)

    return make


def other_things(directory: Path) -> None:
    directory.mkdir()
    (directory / "holiday.jpg").write_bytes(b"")


def a_file(directory: Path) -> None:
    directory.write_bytes(b"tar")


def binary(directory: Path) -> None:
    directory.mkdir()
    (directory / "oci-layout").write_bytes(b"\xff\xfe\x00")


BROKEN: dict[str, tuple[Callable[[Path], None], type[CiRegistryError], str]] = {
    "nothing there": (lambda directory: None, NotFoundError, "was not found: there is no layout in DIR"),
    "an empty directory": (Path.mkdir, NotFoundError, "was not found: there is no layout in DIR"),
    "a file": (
        a_file,
        InputFileError,
        "is not an OCI layout: DIR is not a directory",
    ),
    "other things": (other_things, InputFileError, "is not an OCI layout: DIR has no file oci-layout"),
    "oci-layout is no JSON": (
        files(oci_layout="hello"),
        InputFileError,
        "is not an OCI layout: DIR/oci-layout is not JSON",
    ),
    "oci-layout is binary": (
        binary,
        InputFileError,
        "is not an OCI layout: DIR/oci-layout is not JSON",
    ),
    "oci-layout without a version": (
        files(oci_layout="{}"),
        InputFileError,
        "DIR/oci-layout has no imageLayoutVersion",
    ),
    "oci-layout is a list": (files(oci_layout="[1]"), InputFileError, "DIR/oci-layout has no imageLayoutVersion"),
    "another version": (
        files(oci_layout='{"imageLayoutVersion": "2.0.0"}'),
        InputFileError,
        "is not an OCI layout of a version that this program knows: DIR/oci-layout says 2.0.0",
    ),
    "no index": (files(oci_layout=LAYOUT), InputFileError, "is not an OCI layout: DIR/index.json is missing"),
    "empty index": (files(oci_layout=LAYOUT, index=""), InputFileError, "DIR/index.json is not JSON"),
    "deep index": (files(oci_layout=LAYOUT, index="[" * 100_000), InputFileError, "DIR/index.json is not JSON"),
    "a list as index": (
        files(oci_layout=LAYOUT, index="[]"),
        InputFileError,
        "DIR/index.json is not an OCI image index",
    ),
    "no manifests": (
        files(oci_layout=LAYOUT, index='{"schemaVersion": 2}'),
        InputFileError,
        "DIR/index.json is not an OCI image index",
    ),
    "another schema": (
        files(oci_layout=LAYOUT, index='{"schemaVersion": 1, "manifests": []}'),
        InputFileError,
        "DIR/index.json is not an OCI image index",
    ),
    "an entry that is none": (
        files(oci_layout=LAYOUT, index='{"schemaVersion": 2, "manifests": [7]}'),
        InputFileError,
        "DIR/index.json holds a descriptor that is not an object",
    ),
    "an entry without a size": (
        files(oci_layout=LAYOUT, index=json.dumps({"manifests": [{"digest": DIGEST}]})),
        InputFileError,
        "DIR/index.json holds a descriptor without a valid size",
    ),
    "an entry with a path as digest": (
        files(oci_layout=LAYOUT, index=json.dumps({"manifests": [{"digest": "sha256:../../etc/passwd", "size": 1}]})),
        InputFileError,
        "DIR/index.json holds a descriptor whose digest is wrong",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_reading_says_what_is_wrong(tmp_path: Path, case: str) -> None:
    make, kind, sentence = BROKEN[case]
    directory = tmp_path / "layout"
    make(directory)
    for ask in ("1.0", "", None):
        layout = LayoutRepository(directory)
        with pytest.raises(kind) as caught:
            layout.tags() if ask is None else layout.resolve(ask)
        assert type(caught.value) is kind
        assert sentence.replace("DIR", str(directory)) in str(caught.value)
        assert str(caught.value).startswith(f"oci:{directory}") or str(directory / "index.json") in str(caught.value)


def test_a_layout_in_a_tar_file_is_hinted_at(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"tar")
    with pytest.raises(InputFileError) as caught:
        LayoutRepository(tmp_path / "image.tar").resolve("")
    assert "oci-archive:FILE" in caught.value.hint


def test_an_endless_index_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(oci_layout=LAYOUT, index=EMPTY + " " * 100)(tmp_path / "layout")
    assert LayoutRepository(tmp_path / "layout").tags() == []
    monkeypatch.setattr(layout_index, "INDEX_LIMIT", 100)
    with pytest.raises(InputFileError, match="has more than 100 bytes"):
        LayoutRepository(tmp_path / "layout").tags()


def test_other_things_are_not_mixed_with_a_layout(tmp_path: Path) -> None:
    directory = tmp_path / "layout"
    other_things(directory)
    with pytest.raises(InputFileError, match=r"holds other things, holiday\.jpg for one") as caught:
        begin(LayoutRepository(directory), None)
    assert "an empty directory" in caught.value.hint
    assert [path.name for path in directory.iterdir()] == ["holiday.jpg"]


def test_a_writer_that_died_at_the_very_beginning_is_no_obstacle(tmp_path: Path, images: ImageBuilder) -> None:
    directory = tmp_path / "layout"
    directory.mkdir()
    (directory / ".ci-registry-0123").write_bytes(b"{")
    (directory / "index.json").write_text(EMPTY)
    with pytest.raises(NotFoundError):
        LayoutRepository(directory).tags()
    bring(LayoutRepository(directory), images.image(), "1.0")
    assert LayoutRepository(directory).tags() == ["1.0"]


def test_writing_keeps_away_from_a_layout_it_does_not_know(tmp_path: Path) -> None:
    directory = tmp_path / "layout"
    files(oci_layout='{"imageLayoutVersion": "2.0.0"}', index=EMPTY)(directory)
    with pytest.raises(InputFileError, match=r"2\.0\.0"):
        begin(LayoutRepository(directory), None)


# -- blobs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "layout").mkdir()
    return tmp_path / "layout"


def test_a_missing_manifest_is_named_with_its_file(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    write_layout(image, directory, "1.0")
    path = directory / "blobs/sha256" / image.digest.hex
    path.unlink()
    with pytest.raises(NotFoundError, match=f"reading {image.digest} from oci:.* failed: there is no file {path}"):
        LayoutRepository(directory).resolve("1.0")


def test_an_altered_manifest_is_named_with_its_file(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    write_layout(image, directory, "1.0")
    path = directory / "blobs/sha256" / image.digest.hex
    path.write_bytes(b"junk")
    for reference in ("1.0", image.digest):
        with pytest.raises(IntegrityError, match=f"the digest of {path} is sha256:"):
            LayoutRepository(directory).resolve(reference)


def test_an_entry_with_another_size_is_refused(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    write_layout(image, directory, "1.0")
    index = json.loads((directory / "index.json").read_bytes())
    index["manifests"][0]["size"] += 1
    (directory / "index.json").write_text(json.dumps(index))
    with pytest.raises(
        IntegrityError, match=f"has {image.root.size} bytes, and .*index.json says {image.root.size + 1}"
    ):
        LayoutRepository(directory).resolve("1.0")


def test_a_blob_of_another_size_is_named_with_its_file(directory: Path, images: ImageBuilder) -> None:
    layer = images.layer(1000, opaque=True)
    write_layout(images.image([layer]), directory, "1.0")
    path = directory / "blobs/sha256" / layer.descriptor.digest.hex
    for content, size in ((b"x" * 999, 999), (b"x" * 1001, 1001)):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=f"{path} has {size} bytes, and its manifest says 1000"):
            read_all(LayoutRepository(directory), layer.descriptor)


def test_a_huge_manifest_is_refused(directory: Path, images: ImageBuilder) -> None:
    layer = images.layer(5 << 20, opaque=True)
    write_layout(images.image([layer]), directory, "1.0")
    index = json.loads((directory / "index.json").read_bytes())
    index["manifests"][0].update(digest=layer.descriptor.digest, size=layer.descriptor.size)
    (directory / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputFileError, match="has more than 4194304 bytes"):
        LayoutRepository(directory).resolve("1.0")
