"""Layouts: names and entries of index.json, referrers, deleting. What all places have in common is in the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import ConflictError, InputFileError, IntegrityError, NotFoundError
from ci_registry.model.descriptor import Descriptor, Digest
from ci_registry.model.manifest import parse_manifest
from ci_registry.targets.layout import LayoutRepository
from tests.contract.places import begin, bring, descriptor_of, manifests_of, read_all
from tests.support.images import OCI_MANIFEST, BuiltImage, ImageBuilder, digest_of, write_layout
from tests.support.validator import validate_layout

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def entries(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((directory / "index.json").read_bytes())["manifests"]
    return found


def names(directory: Path) -> list[str]:
    return [(entry.get("annotations") or {}).get(REF_NAME, "") for entry in entries(directory)]


def store(image: BuiltImage, directory: Path, tag: str | None = None) -> None:
    directory.mkdir(exist_ok=True)
    write_layout(image, directory, tag)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, tag",
    [
        ("1.0", "1.0"),
        ("docker.io/library/alpine:3.18", "3.18"),
        ("localhost:5000/team/app:1.0", "1.0"),
        ("localhost:5000/team/app", "latest"),
        ("docker.io/library/alpine", "latest"),
        ("alpine:3.18", "3.18"),
        ("alpine", "alpine"),
    ],
)
def test_a_tag_is_found_in_a_full_reference(directory: Path, images: ImageBuilder, name: str, tag: str) -> None:
    image = images.image()
    store(image, directory, name)
    layout = LayoutRepository(directory)
    assert layout.tags() == [tag]
    assert layout.resolve(tag).digest == image.digest
    assert layout.resolve(name).digest == image.digest
    found = layout.tagged(tag)
    assert found is not None
    assert found.digest == image.digest


def test_a_name_with_a_digest_is_no_tag(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    store(image, directory, f"docker.io/library/alpine@{image.digest}")
    assert LayoutRepository(directory).tags() == []


def test_the_exact_name_wins_over_a_tag_in_a_reference(directory: Path, images: ImageBuilder) -> None:
    full, bare = images.image(), images.image()
    store(full, directory, "example.org/app:1.0")
    store(bare, directory, "1.0")
    layout = LayoutRepository(directory)
    assert layout.resolve("1.0").digest == bare.digest
    assert layout.resolve("example.org/app:1.0").digest == full.digest


@pytest.mark.parametrize("second", ["1.0", "example.org/b:1.0"])
def test_two_digests_for_one_name_are_both_named(directory: Path, images: ImageBuilder, second: str) -> None:
    first = "1.0" if second == "1.0" else "example.org/a:1.0"
    built = [images.image(), images.image()]
    for image, name in zip(built, (first, second), strict=True):
        store(image, directory, name)
    layout = LayoutRepository(directory)
    for ask in (layout.resolve, layout.tagged):
        with pytest.raises(InputFileError, match=r":1\.0 is ambiguous") as caught:
            ask("1.0")
        assert all(image.digest in str(caught.value) for image in built)
        assert caught.value.exit_code == 2


def test_one_digest_twice_under_a_name_is_no_ambiguity(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    for _ in range(2):
        store(image, directory, "1.0")
    assert LayoutRepository(directory).resolve("1.0").digest == image.digest


def test_without_a_tag_the_only_image_is_meant(directory: Path, images: ImageBuilder) -> None:
    image = images.with_signature(images.with_referrers(images.image()))
    store(image, directory, None)
    assert LayoutRepository(directory).resolve("").digest == image.digest


def test_without_a_tag_one_image_may_have_many_names(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    for tag in ("1.0", "1"):
        store(image, directory, tag)
    assert LayoutRepository(directory).resolve("").digest == image.digest


def test_without_a_tag_latest_is_taken_among_many(directory: Path, images: ImageBuilder) -> None:
    store(images.image(), directory, "1.0")
    latest = images.image()
    store(latest, directory, "latest")
    assert LayoutRepository(directory).resolve("").digest == latest.digest


def test_without_a_tag_and_latest_it_asks_for_one(directory: Path, images: ImageBuilder) -> None:
    for tag in ("1.0", "2.0"):
        store(images.image(), directory, tag)
    with pytest.raises(NotFoundError, match="holds 2 images and none is called latest") as caught:
        LayoutRepository(directory).resolve("")
    assert caught.value.hint == "it has the tags 1.0, 2.0"


def test_an_empty_layout_holds_no_image(directory: Path) -> None:
    begin(LayoutRepository(directory), None).abort()
    with pytest.raises(NotFoundError, match="holds no image"):
        LayoutRepository(directory).resolve("")


def test_latest_is_not_guessed(directory: Path, images: ImageBuilder) -> None:
    store(images.image(), directory, "1.0")
    with pytest.raises(NotFoundError, match=r":latest was not found: the layout has no such tag"):
        LayoutRepository(directory).resolve("latest")


@pytest.mark.parametrize(
    "tags, asked, hint",
    [
        (["1.0", "1.1", "2.0"], "1.00", "did you mean 1.0"),
        (["a", "b"], "zzzz", "it has the tags a, b"),
        ([f"x{n}" for n in range(9)], "qqqq", "it has the tags x0, x1, x2, x3, x4 and 4 more"),
        ([], "1.0", "it has no tags"),
    ],
)
def test_the_nearest_tags_are_offered(
    directory: Path, images: ImageBuilder, tags: list[str], asked: str, hint: str
) -> None:
    image = images.image()
    store(image, directory)
    for tag in tags:
        store(image, directory, tag)
    with pytest.raises(NotFoundError) as caught:
        LayoutRepository(directory).resolve(asked)
    assert caught.value.hint.startswith(hint)


def test_a_layer_s_digest_is_no_image(directory: Path, images: ImageBuilder) -> None:
    layer = images.layer(100, opaque=True)
    store(images.image([layer]), directory, "1.0")
    with pytest.raises(NotFoundError, match="that blob is no manifest"):
        LayoutRepository(directory).resolve(layer.descriptor.digest)


# -- entries -----------------------------------------------------------------------------------------------------------


def test_a_new_layout_is_what_the_specification_says(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(directory), image, "1.0")
    assert sorted(path.name for path in directory.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert json.loads((directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((directory / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert index["manifests"] == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": image.digest,
            "size": image.root.size,
            "annotations": {REF_NAME: "1.0"},
        }
    ]


def test_moving_a_tag_removes_its_older_entry(directory: Path, images: ImageBuilder) -> None:
    first, second = images.image(), images.image()
    for image, tag in ((first, "1.0"), (first, "latest"), (second, "latest")):
        bring(LayoutRepository(directory), image, tag)
    assert [(entry["digest"], name) for entry, name in zip(entries(directory), names(directory), strict=True)] == [
        (first.digest, "1.0"),
        (second.digest, "latest"),
    ]


def test_an_image_by_digest_has_one_entry_without_a_name(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    for _ in range(2):
        bring(LayoutRepository(directory), image)
    assert names(directory) == [""]
    bring(LayoutRepository(directory), image, "1.0")
    assert names(directory) == ["1.0"]
    bring(LayoutRepository(directory), image)
    assert names(directory) == ["1.0"]


def test_the_images_of_an_index_lose_their_entries_to_it(directory: Path, images: ImageBuilder) -> None:
    inner = images.index()
    outer = images.index([inner, "linux/s390x"])
    bring(LayoutRepository(directory), outer)
    assert [entry["digest"] for entry in entries(directory)] == [outer.digest]
    assert validate_layout(directory).digests == outer.digests()


def test_a_tagged_image_keeps_its_name_beside_its_index(directory: Path, images: ImageBuilder) -> None:
    child = images.image()
    bring(LayoutRepository(directory), child, "1.0-amd64")
    bring(LayoutRepository(directory), images.index([child]), "1.0")
    assert names(directory) == ["1.0-amd64", "1.0"]


def test_an_artifact_keeps_its_entry(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    artifact = images.artifact(image, annotations={"org.example.note": "x"})
    bring(LayoutRepository(directory), image, "1.0")
    bring(LayoutRepository(directory), artifact)
    bring(LayoutRepository(directory), images.index([artifact]), "all")
    assert names(directory) == ["1.0", "", "all"]
    entry = entries(directory)[1]
    assert entry["artifactType"] == "application/vnd.example.sbom.v1"
    assert entry["annotations"] == {"org.example.note": "x"}


def test_what_other_tools_wrote_is_kept(directory: Path, images: ImageBuilder) -> None:
    store(images.image(), directory, "1.0")
    index = json.loads((directory / "index.json").read_bytes())
    index["annotations"] = {"org.example.index": "kept"}
    index["manifests"][0]["org.example.unknown"] = {"deep": [1]}
    index["manifests"].append(
        {"mediaType": "application/xml", "size": 7143, "digest": str(digest_of(b"xml")), "data": "aGk="}
    )
    (directory / "index.json").write_text(json.dumps(index))

    bring(LayoutRepository(directory), images.image(), "2.0")

    after = json.loads((directory / "index.json").read_bytes())
    assert after["manifests"][:2] == index["manifests"]
    assert len(after.pop("manifests")) == 3
    assert after == {key: value for key, value in index.items() if key != "manifests"}


def test_nothing_is_written_when_nothing_changes(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(directory), image, "1.0")
    before = (directory / "index.json").stat()
    bring(LayoutRepository(directory), image, "1.0")
    after = (directory / "index.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_by_another_process_is_seen(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    first, second = LayoutRepository(directory), LayoutRepository(directory)
    bring(first, image, "1.0")
    assert second.tags() == ["1.0"]
    bring(first, image, "2.0")
    assert second.tags() == ["1.0", "2.0"]
    bring(second, image, "3.0")
    assert first.tags() == ["1.0", "2.0", "3.0"]


def test_a_damaged_blob_is_written_again(directory: Path, images: ImageBuilder) -> None:
    image = images.image(1)
    bring(LayoutRepository(directory), image, "1.0")
    for digest in image.digests():
        path = directory / "blobs/sha256" / Digest(digest).hex
        path.write_bytes(path.read_bytes()[:-1])
    layout = LayoutRepository(directory)
    assert layout.exists([descriptor_of(content, digest) for digest, content in image.blobs.items()]) == set()
    bring(layout, image, "1.0")
    assert validate_layout(directory, "1.0").problems == []


def test_other_algorithms_than_sha256(directory: Path, images: ImageBuilder) -> None:
    layer = images.layer(500, opaque=True, algorithm="sha512")
    image = images.image([layer])
    bring(LayoutRepository(directory), image, "1.0")
    assert validate_layout(directory, "1.0").problems == []
    digest = digest_of(image.content, "sha512")
    (directory / "blobs/sha512" / digest.hex).write_bytes(image.content)
    layout = LayoutRepository(directory)
    found = layout.resolve(digest)
    assert found.digest == digest
    assert layout.manifest(found).content == image.content
    assert read_all(layout, layer.descriptor) == layer.content
    writer = begin(layout, None)
    writer.write(memoryview(b"hello"))
    writer.commit(digest_of(b"hello", "sha384"))
    assert layout.exists([Descriptor("x", digest_of(b"hello", "sha384"), 5)])


def test_a_manifest_that_is_not_its_digest_is_not_stored(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(directory), image, "1.0")
    good = parse_manifest(image.content)
    forged = type(good)(good.descriptor, image.content + b" ", config=good.config, layers=good.layers)
    with pytest.raises(IntegrityError, match="its bytes have another digest"):
        LayoutRepository(directory).put_manifest(forged, "1.0")
    assert validate_layout(directory, "1.0").problems == []


# -- what exists -------------------------------------------------------------------------------------------------------


def test_a_manifest_that_nothing_leads_to_does_not_exist(directory: Path, images: ImageBuilder) -> None:
    """Its parts may be collected any time: who wants to refer to it has to bring them again."""
    image = images.index()
    bring(LayoutRepository(directory), image, "1.0")
    child = parse_manifest(image.content).manifests[0]
    layout = LayoutRepository(directory)
    assert layout.exists([image.root, child]) == {image.root, child}
    layout.delete_tag("1.0")
    assert layout.exists([image.root, child]) == set()
    assert layout.resolve(image.digest).digest == image.digest
    bring(layout, image)
    assert layout.exists([image.root, child]) == {image.root, child}


def test_an_index_with_absent_images_is_read(directory: Path, images: ImageBuilder) -> None:
    """As `docker save` writes it for one platform of many."""
    image = images.index()
    store(image, directory, "1.0")
    absent, *present = parse_manifest(image.content).manifests
    (directory / "blobs/sha256" / absent.digest.hex).unlink()
    layout = LayoutRepository(directory)
    assert layout.resolve("1.0").digest == image.digest
    assert layout.exists([absent, *present]) == set(present)
    assert layout.referrers(image.digest) == []
    with pytest.raises(NotFoundError, match=f"there is no file .*{absent.digest.hex}"):
        layout.manifest(absent)


def test_artifacts_inside_an_index_are_found(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    artifact = images.artifact(image)
    store(images.index([image, artifact]), directory, "1.0")
    assert [found.digest for found in LayoutRepository(directory).referrers(image.digest)] == [artifact.digest]


def test_artifacts_under_the_fallback_tag_are_found_once(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    artifact, other = images.artifact(image), images.artifact(image)
    store(image, directory, "1.0")
    store(artifact, directory)
    listing = images.index([artifact, other])
    store(listing, directory, str(image.digest).replace(":", "-"))
    found = LayoutRepository(directory).referrers(image.digest)
    assert sorted(each.digest for each in found) == sorted([artifact.digest, other.digest])


def test_damage_elsewhere_does_not_hide_artifacts(directory: Path, images: ImageBuilder) -> None:
    image, damaged = images.with_referrers(images.image()), images.image()
    store(damaged, directory, "damaged")
    store(image, directory, "1.0")
    (directory / "blobs/sha256" / damaged.digest.hex).write_bytes(b"{}")
    assert len(LayoutRepository(directory).referrers(image.digest)) == 2


# -- deleting ----------------------------------------------------------------------------------------------------------


def test_deleting_a_tag_leaves_the_files(directory: Path, images: ImageBuilder) -> None:
    image = images.image()
    bring(LayoutRepository(directory), image, "1.0")
    before = sorted((directory / "blobs/sha256").iterdir())
    LayoutRepository(directory).delete_tag("1.0")
    assert names(directory) == []
    assert sorted((directory / "blobs/sha256").iterdir()) == before


def test_a_tag_is_deleted_by_full_reference_and_by_tag(directory: Path, images: ImageBuilder) -> None:
    store(images.image(), directory, "example.org/a:1.0")
    store(images.image(), directory, "example.org/b:1.0")
    layout = LayoutRepository(directory)
    with pytest.raises(InputFileError, match=r"is the tag of example.org/a:1.0 and of example.org/b:1.0"):
        layout.delete_tag("1.0")
    layout.delete_tag("example.org/a:1.0")
    layout.delete_tag("1.0")
    assert layout.tags() == []


def test_an_ambiguous_tag_can_be_deleted(directory: Path, images: ImageBuilder) -> None:
    for _ in range(2):
        store(images.image(), directory, "1.0")
    LayoutRepository(directory).delete_tag("1.0")
    assert names(directory) == []


def test_an_image_of_an_index_that_stays_is_not_deleted(directory: Path, images: ImageBuilder) -> None:
    image = images.index()
    layout = LayoutRepository(directory)
    bring(layout, image, "1.0")
    child = next(manifests_of(image)).descriptor
    with pytest.raises(ConflictError, match=f"the index {image.digest} contains it") as caught:
        layout.delete_manifest(child)
    assert caught.value.exit_code == 5
    assert validate_layout(directory, "1.0").problems == []
    layout.delete_manifest(image.root)
    layout.delete_manifest(child)
    with pytest.raises(NotFoundError):
        layout.resolve(child.digest)
