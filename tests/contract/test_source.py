"""`Source`: resolve, manifest, fetch, exists."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ci_registry.errors import CiRegistryError, IntegrityError, NotFoundError
from ci_registry.model.descriptor import Descriptor, Digest
from ci_registry.model.manifest import OCI_MANIFEST
from ci_registry.targets.base import Source, VerifiedReader
from tests.support.images import BuiltImage, ImageBuilder, digest_of

from .places import Place, descriptor_of, read_all

ABSENT = digest_of(b"nobody has this")

KINDS: dict[str, Callable[[ImageBuilder], BuiltImage]] = {
    "oci": lambda images: images.image(),
    "docker": lambda images: images.image(docker=True),
    "zstd": lambda images: images.image(zstd=True),
    "no media type": lambda images: images.image(media_type_field=False),
    "index": lambda images: images.index(attestations=True),
    "list": lambda images: images.index(docker=True),
    "nested index": lambda images: images.index([images.index(), images.image()]),
    "artifact": lambda images: images.artifact(),
    "foreign layer": lambda images: images.image([images.foreign_layer(), images.layer()]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_read_bit_for_bit(place: Place, images: ImageBuilder, kind: str) -> None:
    image = KINDS[kind](images)
    place.seed(image, "1.0")
    source = place.open()

    found = source.resolve("1.0")

    assert (found.media_type, found.digest, found.size) == (image.root.media_type, image.digest, image.root.size)
    for digest, (media_type, content) in image.manifests.items():
        manifest = source.manifest(descriptor_of(content, digest, media_type))
        assert (manifest.content, manifest.media_type, manifest.digest) == (content, media_type, digest)
    for digest, content in image.blobs.items():
        assert read_all(source, descriptor_of(content, digest)) == content


def test_a_digest_resolves_to_itself_also_inside_an_index(place: Place, images: ImageBuilder) -> None:
    image = images.index()
    place.seed(image, "1.0")
    source = place.open()
    for digest, (media_type, content) in image.manifests.items():
        found = source.resolve(digest)
        assert (found.media_type, found.digest, found.size) == (media_type, digest, len(content))


@pytest.mark.parametrize("reference", ["2.0", str(ABSENT)])
def test_what_is_not_there_is_named(place: Place, images: ImageBuilder, reference: str) -> None:
    place.seed(images.image(), "1.0")
    source = place.open()
    with pytest.raises(NotFoundError) as caught:
        source.resolve(reference)
    assert source.location.name in str(caught.value)
    assert reference in str(caught.value)
    assert caught.value.exit_code == 4


def test_nothing_is_found_in_a_place_that_is_not_there(place: Place) -> None:
    source = place.open()
    with pytest.raises(NotFoundError, match="was not found"):
        source.resolve("1.0")
    assert source.exists([descriptor_of(b"nobody has this", ABSENT)]) == set()


def test_a_manifest_that_is_not_there(place: Place, images: ImageBuilder) -> None:
    place.seed(images.image(), "1.0")
    with pytest.raises(NotFoundError, match=ABSENT):
        place.open().manifest(Descriptor(OCI_MANIFEST, ABSENT, 15))


@pytest.mark.parametrize("by", ["digest", "tag"])
def test_an_altered_manifest_is_refused(place: Place, images: ImageBuilder, by: str) -> None:
    image = images.image()
    place.seed(image, "1.0")
    place.damage(image.digest)
    source = place.open()
    with pytest.raises(CiRegistryError, match=image.digest) as caught:
        source.resolve("1.0" if by == "tag" else image.digest)
    # distribution itself finds out and answers 5xx or 404; whoever does, no wrong bytes get through
    assert isinstance(caught.value, IntegrityError) or "answered" in str(caught.value)


@pytest.mark.parametrize("offset", [0, 1, 499, 999])
def test_a_blob_is_read_from_any_offset(place: Place, images: ImageBuilder, offset: int) -> None:
    layer = images.layer(1000, opaque=True)
    place.seed(images.image([layer]), "1.0")
    assert isinstance(layer.content, bytes)
    source = place.open()
    assert read_all(source, layer.descriptor, offset) == layer.content[offset:]
    assert read_all(source, layer.descriptor, offset, buffer_bytes=4096) == layer.content[offset:]


def test_an_empty_blob_is_read(place: Place, images: ImageBuilder) -> None:
    layer = images.layer(0, opaque=True)
    place.seed(images.image([layer]), "1.0")
    assert read_all(place.open(), layer.descriptor) == b""


def test_many_readers_at_once(place: Place, images: ImageBuilder) -> None:
    layers = [images.layer(20_000, opaque=True) for _ in range(4)]
    place.seed(images.image(layers), "1.0")
    source = place.open()
    wanted = [layer for layer in layers for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda layer: read_all(source, layer.descriptor, buffer_bytes=1000), wanted))
    assert found == [layer.content for layer in wanted]


def test_a_blob_that_is_not_there(place: Place, images: ImageBuilder) -> None:
    place.seed(images.image(), "1.0")
    with pytest.raises(NotFoundError, match=ABSENT):
        read_all(place.open(), Descriptor("application/octet-stream", ABSENT, 15))


def verify(source: Source, descriptor: Descriptor) -> None:
    reader = VerifiedReader(descriptor, source.location.name)
    buffer = memoryview(bytearray(1024))
    with source.fetch(descriptor) as stream:
        while reader.take(stream, buffer):
            pass


def test_altered_bytes_are_found_out(place: Place, images: ImageBuilder) -> None:
    layer = images.layer(5000, opaque=True)
    place.seed(images.image([layer]), "1.0")
    place.damage(layer.descriptor.digest)
    with pytest.raises(IntegrityError, match=layer.descriptor.digest):
        verify(place.open(), layer.descriptor)


def test_exists_tells_apart_what_is_there(place: Place, images: ImageBuilder) -> None:
    image = images.index()
    place.seed(image, "1.0")
    here = {descriptor_of(content, digest) for digest, content in image.blobs.items()}
    here |= {descriptor_of(content, digest, kind) for digest, (kind, content) in image.manifests.items()}
    absent = {Descriptor("application/octet-stream", ABSENT, 15), Descriptor(OCI_MANIFEST, Digest(ABSENT), 15)}
    assert place.open().exists(here | absent) == here
    assert place.open().exists(set()) == set()
