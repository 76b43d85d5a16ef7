"""Layout trees: which repositories there are, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_registry.errors import InputFileError, ReferenceSyntaxError
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.layout_tree import LayoutTree
from tests.contract.places import bring
from tests.support.images import ImageBuilder
from tests.support.validator import validate_layout


def test_each_repository_is_an_ordinary_layout(tmp_path: Path, images: ImageBuilder) -> None:
    tree = LayoutTree(tmp_path / "images", shown="local")
    built = {name: images.image() for name in ("app", "team/app", "team/app/tools", "team/other")}
    for name, image in built.items():
        bring(tree.repository(name), image, "1.0")
    assert tree.repositories() == sorted(built)
    for name, image in built.items():
        found = validate_layout(tmp_path / "images" / name / "_layout", "1.0")
        assert (found.problems, found.root) == ([], image.digest)
        # the same layout, opened as a directory of its own
        assert LayoutRepository(tmp_path / "images" / name / "_layout").resolve("1.0").digest == image.digest


def test_names_for_people_and_for_mounts(tmp_path: Path) -> None:
    shown, bare = LayoutTree(tmp_path, shown="local"), LayoutTree(tmp_path)
    assert shown.repository("team/app").location.name == "local/team/app"
    assert bare.repository("team/app").location.name == f"oci:{tmp_path}/team/app"
    assert LayoutRepository(tmp_path).location.name == f"oci:{tmp_path}"
    stores = {tree.repository(name).location.store for tree in (shown, bare) for name in ("a", "b")}
    assert len(stores) == 1
    assert LayoutTree(tmp_path / "x").repository("a").location.store not in stores
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("x")
    assert (
        LayoutTree(tmp_path / "link").repository("a").location.store
        == LayoutTree(tmp_path / "x").repository("a").location.store
    )


def test_asking_makes_nothing(tmp_path: Path) -> None:
    tree = LayoutTree(tmp_path / "images")
    assert tree.repositories() == []
    assert tree.repository("app").is_new()
    assert tree.repository("app").tagged("1.0") is None
    assert not (tmp_path / "images").exists()


def test_other_directories_are_not_repositories(tmp_path: Path, images: ImageBuilder) -> None:
    tree = LayoutTree(tmp_path)
    bring(tree.repository("app"), images.image(), "1.0")
    (tmp_path / "empty/_layout").mkdir(parents=True)
    (tmp_path / "Upper/_layout").mkdir(parents=True)
    (tmp_path / "Upper/_layout/oci-layout").write_text("{}")
    (tmp_path / "notes.txt").write_text("x")
    assert tree.repositories() == ["app"]


@pytest.mark.parametrize("name", ["", "../escape", "/etc", "Team/app", "a//b", "app/_layout", ".", "a/../../b"])
def test_a_name_that_is_none_leads_nowhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReferenceSyntaxError):
        LayoutTree(tmp_path).repository(name)


def test_a_mount_from_a_name_that_is_none_is_refused(tmp_path: Path, images: ImageBuilder) -> None:
    target = LayoutTree(tmp_path).repository("app")
    with pytest.raises(ReferenceSyntaxError):
        target.writer(images.layer(10, opaque=True).descriptor, ["../escape"])


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputFileError, match=f"listing local failed: {tmp_path}/file is not a directory"):
        LayoutTree(tmp_path / "file", shown="local").repositories()
