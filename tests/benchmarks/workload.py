"""What is copied: images of set shapes, loaded into a registry before anything is measured. Sizes are bytes.

Layers are gzip files of random content, unless said otherwise: skopeo compresses others on their way, and so does work
that nobody asked the others for.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from msgspec import structs

from ci_registry.model.descriptor import Descriptor, Digest
from tests.support.image_builder import OCI_LAYER, BuiltImage, ImageBuilder, Layer, StreamedBlob, digest_of, json_bytes
from tests.support.image_upload import upload
from tests.support.wire import Wire

__all__ = ["KIB", "MIB", "big_image", "load", "many_tags", "plain_image", "same_parts"]

KIB = 1024
MIB = 1024 * KIB
SHARED_LAYERS = 4
SHARED_LAYER_BYTES = 4_000_000
OWN_LAYER_BYTES = 64 * KIB

Tagged = Iterator[tuple[str, BuiltImage]]


@dataclass(frozen=True)
class GzipBlob:
    """A gzip file of random content, about as long as that, and never in memory as a whole."""

    content: StreamedBlob

    def chunks(self) -> Iterator[bytes]:
        packer = zlib.compressobj(0, wbits=31)
        for chunk in self.content.chunks():
            yield packer.compress(chunk)
        yield packer.flush()

    @cached_property
    def size(self) -> int:
        return sum(len(chunk) for chunk in self.chunks())

    def digest(self) -> Digest:
        sha = hashlib.sha256()
        for chunk in self.chunks():
            sha.update(chunk)
        return Digest(f"sha256:{sha.hexdigest()}")


def _big_layer(size: int, seed: int, compressed: bool) -> Layer:
    content = StreamedBlob(size, seed)
    blob = GzipBlob(content) if compressed else content
    descriptor = Descriptor(OCI_LAYER + ("+gzip" if compressed else ""), blob.digest(), blob.size)
    return Layer(descriptor, blob, content.digest())  # type: ignore[arg-type]  # it has all that a streamed blob has


def big_image(compressed: bool = True, layers: int = 8, layer_bytes: int = 64 * MIB) -> BuiltImage:
    """One image of a few big layers."""
    parts = [_big_layer(layer_bytes, seed, compressed) for seed in range(layers)]
    image = ImageBuilder(1).image(parts)
    return replace(image, streamed={part.descriptor.digest: part.content for part in parts})


def plain_image() -> BuiltImage:
    """One image as builds make them: four layers of 4 MB."""
    return ImageBuilder(2).image(SHARED_LAYERS, SHARED_LAYER_BYTES)


def many_tags(count: int) -> Tagged:
    """Images that share four layers of 4 MB and have a configuration and a layer of 64 KiB of their own."""
    builder = ImageBuilder(3)
    shared = [builder.layer(SHARED_LAYER_BYTES) for _ in range(SHARED_LAYERS)]
    for number in range(count):
        yield f"v{number:04d}", builder.image(1, OWN_LAYER_BYTES, shared=shared)


def same_parts(count: int, seed: int = 4) -> Tagged:
    """Images of the same five blobs each, which differ in their manifest alone."""
    builder = ImageBuilder(seed)
    image = builder.image(4, OWN_LAYER_BYTES)
    for number in range(count):
        yield f"v{number:04d}", _annotated(image, f"{number}")


def _annotated(image: BuiltImage, number: str) -> BuiltImage:
    content = json_bytes({**image.document, "annotations": {"number": number}})
    digest = digest_of(content)
    root = structs.replace(image.root, digest=digest, size=len(content))
    return replace(image, root=root, manifests={digest: (image.root.media_type, content)})


def load(url: str, repository: str, images: Tagged) -> None:
    """Bring images to a registry, each blob once."""
    there: set[str] = set()
    with Wire(url) as wire:
        for tag, image in images:
            lacking = {digest: content for digest, content in image.blobs.items() if digest not in there}
            upload(replace(image, blobs=lacking), url, repository, tag, wire=wire)
            there.update(lacking)
