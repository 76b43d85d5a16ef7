"""What is copied: images of set shapes, loaded into a registry before anything is measured. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.support.image_builder import BuiltImage, ImageBuilder, digest_of, json_bytes
from tests.support.image_upload import upload
from tests.support.wire import Wire

__all__ = ["KIB", "MIB", "big_image", "load", "many_tags", "plain_image", "same_parts"]

KIB = 1024
MIB = 1024 * KIB
SHARED_LAYERS = 4
SHARED_LAYER_BYTES = 4_000_000
OWN_LAYER_BYTES = 64 * KIB

Tagged = Iterator[tuple[str, BuiltImage]]


def big_image(layers: int = 8, layer_bytes: int = 64 * MIB) -> BuiltImage:
    """One image of a few big layers."""
    builder = ImageBuilder(1)
    return builder.image([builder.streamed_layer(layer_bytes) for _ in range(layers)])


def plain_image() -> BuiltImage:
    """One image as builds make them: four layers of 4 MB."""
    return ImageBuilder(2).image(SHARED_LAYERS, SHARED_LAYER_BYTES, opaque=True)


def many_tags(count: int) -> Tagged:
    """Images that share four layers of 4 MB and have a configuration and a layer of 64 KiB of their own."""
    builder = ImageBuilder(3)
    shared = [builder.layer(SHARED_LAYER_BYTES, opaque=True) for _ in range(SHARED_LAYERS)]
    for number in range(count):
        yield f"v{number:04d}", builder.image(1, OWN_LAYER_BYTES, opaque=True, shared=shared)


def same_parts(count: int) -> Tagged:
    """Images of the same five blobs each, which differ in their manifest alone."""
    builder = ImageBuilder(4)
    image = builder.image(4, OWN_LAYER_BYTES, opaque=True)
    for number in range(count):
        yield f"v{number:04d}", _annotated(image, f"{number}")


def _annotated(image: BuiltImage, number: str) -> BuiltImage:
    content = json_bytes({**image.document, "annotations": {"number": number}})
    digest = digest_of(content)
    root = replace(image.root, digest=digest, size=len(content))
    return replace(image, root=root, manifests={digest: (image.root.media_type, content)})


def load(url: str, repository: str, images: Tagged) -> None:
    """Bring images to a registry, each blob once."""
    there: set[str] = set()
    with Wire(url) as wire:
        for tag, image in images:
            lacking = {digest: content for digest, content in image.blobs.items() if digest not in there}
            upload(replace(image, blobs=lacking), url, repository, tag, wire=wire)
            there.update(lacking)
