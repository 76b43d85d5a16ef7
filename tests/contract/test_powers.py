"""`Lister`, `Referrers`, `Deleter`: what only some places can do, and ours all can."""

from __future__ import annotations

import pytest

from ci_registry.errors import CiRegistryError, NotFoundError
from ci_registry.model.descriptor import Descriptor
from ci_registry.targets.base import Deleter, Lister, Referrers
from tests.support.docker_registry import DockerRegistry
from tests.support.images import REFERRER_TYPES, BuiltImage, ImageBuilder, digest_of

from .places import DockerRegistryPlace, Place, bring


def test_the_powers_are_found_by_isinstance(place: Place) -> None:
    target = place.open()
    assert isinstance(target, Lister)
    assert isinstance(target, Referrers)
    assert isinstance(target, Deleter)


def test_tags_are_sorted(place: Place, images: ImageBuilder) -> None:
    image = images.image()
    for tag in ("b", "a", "C", "1.10", "1.9", "_x"):
        bring(place.open(), image, tag)
    assert place.open().tags() == ["1.10", "1.9", "C", "_x", "a", "b"]


def test_tags_of_a_place_that_is_not_there(place: Place) -> None:
    with pytest.raises(NotFoundError, match="not") as caught:
        place.open().tags()
    assert place.open().location.name in str(caught.value)


def digests(found: list[Descriptor]) -> set[str]:
    return {str(descriptor.digest) for descriptor in found}


def test_nothing_refers_to_a_plain_image(place: Place, images: ImageBuilder) -> None:
    image = images.image()
    bring(place.open(), image, "1.0")
    assert place.open().referrers(image.digest) == []


def with_artifacts(images: ImageBuilder) -> BuiltImage:
    return images.with_referrers(images.image())


def test_artifacts_are_found_by_their_subject(place: Place, images: ImageBuilder) -> None:
    image = with_artifacts(images)
    target = place.open()
    bring(target, image, "1.0")
    for artifact in image.referrers:
        bring(target, artifact)
    for each in (target, place.open()):
        found = each.referrers(image.digest)
        assert digests(found) == {str(artifact.digest) for artifact in image.referrers}
        assert {entry.artifact_type for entry in found} == set(REFERRER_TYPES)
    assert place.validate("1.0", referrers=True).referrers == digests(found)


def test_artifacts_that_others_stored_are_found(place: Place, images: ImageBuilder) -> None:
    image = with_artifacts(images)
    place.seed(image, "1.0")
    found = place.open().referrers(image.digest)
    assert digests(found) == {str(artifact.digest) for artifact in image.referrers}


def test_artifacts_of_one_type(place: Place, images: ImageBuilder) -> None:
    image = with_artifacts(images)
    for each in (image, *image.referrers):
        bring(place.open(), each, "1.0" if each is image else None)
    found = place.open().referrers(image.digest, REFERRER_TYPES[1])
    assert [entry.artifact_type for entry in found] == [REFERRER_TYPES[1]]
    assert place.open().referrers(image.digest, "application/vnd.example.none") == []


def test_an_artifact_may_come_before_its_subject(place: Place, images: ImageBuilder) -> None:
    image = with_artifacts(images)
    for artifact in image.referrers:
        bring(place.open(), artifact)
    bring(place.open(), image, "1.0")
    assert digests(place.open().referrers(image.digest)) == {str(artifact.digest) for artifact in image.referrers}


def test_an_artifact_s_annotations_are_listed(place: Place, images: ImageBuilder) -> None:
    image = images.image()
    artifact = images.artifact(image, annotations={"org.example.note": "grün"})
    bring(place.open(), image, "1.0")
    bring(place.open(), artifact)
    (found,) = place.open().referrers(image.digest)
    assert found.annotations["org.example.note"] == "grün"
    assert (found.digest, found.size) == (artifact.digest, artifact.root.size)


def test_an_index_may_have_artifacts_and_so_may_its_images(place: Place, images: ImageBuilder) -> None:
    child = with_artifacts(images)
    index = images.with_referrers(images.index([child]), ["application/vnd.example.index.v1"])
    for each in (index, *index.referrers):
        bring(place.open(), each, "1.0" if each is index else None)
    expected = {str(artifact.digest) for artifact in index.referrers}
    assert digests(place.open().referrers(child.digest)) | digests(place.open().referrers(index.digest)) == expected


def test_a_tag_is_deleted_alone(place_that_deletes_tags: Place, images: ImageBuilder) -> None:
    place, image = place_that_deletes_tags, images.image()
    for tag in ("1.0", "latest"):
        bring(place.open(), image, tag)
    place.open().delete_tag("1.0")
    assert place.open().tags() == ["latest"]
    assert place.open().tagged("1.0") is None
    assert place.open().resolve(image.digest).digest == image.digest
    assert place.validate("latest").problems == []


def test_a_tag_that_is_not_there_cannot_be_deleted(place_that_deletes_tags: Place, images: ImageBuilder) -> None:
    place = place_that_deletes_tags
    bring(place.open(), images.image(), "1.0")
    with pytest.raises(NotFoundError, match=r":2\.0"):
        place.open().delete_tag("2.0")
    assert place.open().tags() == ["1.0"]


def test_a_registry_that_can_only_delete_manifests_says_so(
    foreign_friendly_registry: DockerRegistry, images: ImageBuilder
) -> None:
    place = DockerRegistryPlace(foreign_friendly_registry)
    bring(place.open(), images.image(), "1.0")
    with pytest.raises(CiRegistryError, match=r"deleting the tag .*:1\.0 failed: the registry answered 4"):
        place.open().delete_tag("1.0")
    assert place.open().tags() == ["1.0"]
    place.close()


def test_a_manifest_is_deleted_with_its_tags(place: Place, images: ImageBuilder) -> None:
    gone, stays = images.image(), images.image()
    for tag in ("1.0", "1.1"):
        bring(place.open(), gone, tag)
    bring(place.open(), stays, "2.0")
    place.open().delete_manifest(gone.root)
    fresh = place.open()
    assert fresh.tags() == ["2.0"]
    assert fresh.tagged("1.0") is None
    assert fresh.exists([gone.root]) == set()
    with pytest.raises(NotFoundError, match=gone.digest):
        fresh.resolve(gone.digest)
    assert place.validate("2.0").problems == []


def test_a_manifest_that_is_not_there_cannot_be_deleted(place: Place, images: ImageBuilder) -> None:
    image = images.image()
    bring(place.open(), image, "1.0")
    absent = digest_of(b"nobody has this")
    with pytest.raises(NotFoundError, match=absent):
        place.open().delete_manifest(Descriptor(image.root.media_type, absent, 15))
