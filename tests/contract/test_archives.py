"""The contract on OCI archives: read as they are, and written in one go.

An archive is there only when it is finished, and can't be added to; so what the contract says about places that are
changed while others look at them is not for them.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ci_registry.targets.archive import open_archive
from ci_registry.targets.archive_oci import OciArchive, OciArchiveImage
from ci_registry.targets.archive_target import OciArchiveTarget
from tests.support.images import BuiltImage, ImageBuilder, write_layout
from tests.support.validator import Validation, validate_layout

from . import test_source as source
from .places import bring, damaged
from .test_source import KINDS

test_every_kind_of_image_is_read = source.test_every_kind_of_image_is_read_bit_for_bit
test_a_digest_resolves_to_itself = source.test_a_digest_resolves_to_itself_also_inside_an_index
test_what_is_not_there_is_named = source.test_what_is_not_there_is_named
test_a_manifest_that_is_not_there = source.test_a_manifest_that_is_not_there
test_an_altered_manifest_is_refused = source.test_an_altered_manifest_is_refused
test_a_blob_is_read_from_any_offset = source.test_a_blob_is_read_from_any_offset
test_an_empty_blob_is_read = source.test_an_empty_blob_is_read
test_many_readers_at_once = source.test_many_readers_at_once
test_a_blob_that_is_not_there = source.test_a_blob_that_is_not_there
test_altered_bytes_are_found_out = source.test_altered_bytes_are_found_out
test_exists_tells_apart_what_is_there = source.test_exists_tells_apart_what_is_there


class ArchivePlace:
    """A file with an OCI layout in it."""

    def __init__(self, path: Path) -> None:
        self._path, self._layout = path, path.with_suffix("")
        self._opened: list[OciArchive] = []

    def seed(self, image: BuiltImage, tag: str | None = None, repository: str = "app") -> None:
        write_layout(image, self._layout, tag)
        self._pack()

    def _pack(self) -> None:
        with tarfile.open(self._path, "w") as tar:
            tar.add(self._layout, ".")

    def open(self, repository: str = "app") -> OciArchive | OciArchiveTarget:
        """What was seeded, or where nothing was, a new archive."""
        if not self._path.exists():
            return OciArchiveTarget(self._path, f"oci-archive:{self._path.name}")
        image = open_archive(self._path, f"oci-archive:{self._path.name}", form="oci").images[0]
        assert isinstance(image, OciArchiveImage)
        return image.archive

    def damage(self, digest: str) -> None:
        for path in self._layout.rglob(digest.partition(":")[2]):
            path.write_bytes(damaged(path.read_bytes()))
        self._pack()

    def validate(self, tag: str, referrers: bool = False, repository: str = "app") -> Validation:
        with tarfile.open(self._path) as tar:
            tar.extractall(self._layout, filter="data")
        return validate_layout(self._layout, tag, referrers)


@pytest.fixture
def place(tmp_path: Path) -> ArchivePlace:
    return ArchivePlace(tmp_path / "images.tar")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_arrives_whole(place: ArchivePlace, images: ImageBuilder, kind: str) -> None:
    image = KINDS[kind](images)
    target = place.open()
    assert isinstance(target, OciArchiveTarget)
    bring(target, image, "1.0")
    target.finish()
    found = place.validate("1.0")
    assert (found.problems, found.root, found.digests) == ([], image.digest, image.digests())
