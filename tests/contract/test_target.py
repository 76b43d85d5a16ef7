"""`Target`: whole images, tags, and what may not be stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ci_registry.errors import NotFoundError, RemoteError
from ci_registry.model.manifest import DOCKER_MANIFEST, OCI_MANIFEST, parse_manifest
from tests.support.images import ImageBuilder

from .places import Place, bring, manifests_of, write_blob
from .test_source import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_arrives_whole(place: Place, images: ImageBuilder, kind: str) -> None:
    image = KINDS[kind](images)
    bring(place.open(), image, "1.0")
    found = place.validate("1.0")
    assert found.problems == []
    assert found.root == image.digest
    assert found.digests == image.digests()
    assert place.uploads() == 0


def test_the_same_image_again_changes_nothing(place: Place, images: ImageBuilder) -> None:
    image = images.index()
    for _ in range(2):
        bring(place.open(), image, "1.0")
    assert place.open().tags() == ["1.0"]
    assert place.validate("1.0").digests == image.digests()


def test_an_image_by_digest_gets_no_tag(place: Place, images: ImageBuilder) -> None:
    first, second = images.image(), images.index()
    bring(place.open(), first, "1.0")
    bring(place.open(), second)
    fresh = place.open()
    assert fresh.resolve(second.digest).digest == second.digest
    assert fresh.tags() == ["1.0"]


def test_content_by_digest_then_tags(place: Place, images: ImageBuilder) -> None:
    image = images.index()
    target = place.open()
    bring(target, image)
    root = list(manifests_of(image))[-1]
    for tag in ("1.0.1", "1.0", "latest"):
        target.put_manifest(root, tag)
    assert place.open().tags() == ["1.0", "1.0.1", "latest"]
    assert {place.open().resolve(tag).digest for tag in ("1.0", "1.0.1", "latest")} == {image.digest}
    assert place.validate("1.0").problems == []


def test_tagged_follows_a_tag(place: Place, images: ImageBuilder) -> None:
    first, second = images.image(), images.image()
    target = place.open()
    assert target.is_new()
    assert target.tagged("1.0") is None

    bring(target, first, "1.0")
    for each in (target, place.open()):
        assert not each.is_new()
        found = each.tagged("1.0")
        assert found is not None
        assert (found.digest, found.size) == (first.digest, first.root.size)
        assert each.tagged("2.0") is None

    bring(target, second, "1.0")
    for each in (target, place.open()):
        found = each.tagged("1.0")
        assert found is not None
        assert found.digest == second.digest
        assert each.resolve("1.0").digest == second.digest
        assert each.tags() == ["1.0"]
    # what the tag named before stays until somebody deletes it
    assert place.open().resolve(first.digest).digest == first.digest


def test_the_media_type_in_a_tag_s_descriptor(place: Place, images: ImageBuilder) -> None:
    bring(place.open(), images.image(), "oci")
    bring(place.open(), images.image(docker=True), "docker")
    found = [place.open().tagged(tag) for tag in ("oci", "docker")]
    assert [each.media_type for each in found if each] == [OCI_MANIFEST, DOCKER_MANIFEST]


@pytest.mark.parametrize("missing", ["layer", "config", "child"])
def test_a_manifest_whose_parts_are_missing_is_refused(place: Place, images: ImageBuilder, missing: str) -> None:
    image = images.index(["linux/amd64"]) if missing == "child" else images.image(1)
    root = parse_manifest(image.content, image.root.media_type)
    absent = root.manifests[0] if missing == "child" else root.config if missing == "config" else root.layers[0]
    assert absent is not None
    target = place.open()
    for digest, content in image.blobs.items():
        if digest != absent.digest:
            write_blob(target, content, digest)

    with pytest.raises(RemoteError, match=absent.digest) as caught:
        target.put_manifest(root, "1.0")

    assert target.location.name in str(caught.value)
    assert "run it again" in caught.value.hint
    assert place.open().tagged("1.0") is None


def test_a_failed_put_leaves_the_tag_where_it_was(place: Place, images: ImageBuilder) -> None:
    first, second = images.image(), images.image()
    bring(place.open(), first, "1.0")
    with pytest.raises(RemoteError):
        place.open().put_manifest(parse_manifest(second.content), "1.0")
    assert place.open().resolve("1.0").digest == first.digest
    assert place.validate("1.0").problems == []


def test_many_tags_at_once(place: Place, images: ImageBuilder) -> None:
    shared = [images.layer()]
    built = {f"t{number:02}": images.image(1, shared=shared) for number in range(24)}
    target = place.open()
    for image in built.values():
        for digest, content in image.blobs.items():
            write_blob(target, content, digest)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: target.put_manifest(parse_manifest(item[1].content), item[0]), built.items()))
    fresh = place.open()
    assert fresh.tags() == sorted(built)
    assert {tag: fresh.resolve(tag).digest for tag in built} == {tag: image.digest for tag, image in built.items()}


def test_repositories_are_kept_apart(shared_place: Place, images: ImageBuilder) -> None:
    one, other = shared_place.open("one"), shared_place.open("other")
    bring(one, images.image(), "1.0")
    assert one.location.store == other.location.store
    assert one.location.repository != other.location.repository
    assert other.is_new()
    with pytest.raises(NotFoundError):
        other.resolve("1.0")
