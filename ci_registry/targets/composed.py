"""The manifest of an image that had none, and the image as a source (OCI image-spec, manifest.md; Docker schema 2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from ..errors import NotFoundError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
    dump,
    parse_manifest,
)
from .base import Location, Reader, Source

__all__ = ["ComposedImage", "MemoryReader", "compose", "layer_form", "plain_layer"]

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_FORMS = {
    DOCKER_LAYER_GZIP: "gzip",
    OCI_LAYER_GZIP: "gzip",
    _OCI_LAYER: "",
    _DOCKER_LAYER: "",
    f"{_OCI_LAYER}+zstd": "zstd",
    f"{_DOCKER_LAYER}.zstd": "zstd",
}


def layer_form(media_type: str) -> str | None:
    """How a layer is compressed: gzip, zstd, "" for not at all; None for a type that we don't know."""
    return _FORMS.get(media_type)


def compose(config: Descriptor, layers: Sequence[Descriptor], oci: bool) -> Manifest:
    """The manifest of an image. Docker's schema 2 unless `oci`: every registry since 2016 takes it, and it is what
    `docker push` makes of the same image. A zstd layer has no type there, so it makes the manifest OCI's."""
    oci = oci or any(layer_form(layer.media_type) == "zstd" for layer in layers)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST,
        "config": _part(config, OCI_CONFIG if oci else DOCKER_CONFIG),
        "layers": [_part(layer, _layer_type(layer_form(layer.media_type) or "", oci)) for layer in layers],
    }
    return parse_manifest(dump(document), where="the new manifest")


def _part(descriptor: Descriptor, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "size": descriptor.size, "digest": str(descriptor.digest)}


def _layer_type(form: str, oci: bool) -> str:
    if form == "zstd":
        return f"{_OCI_LAYER}+zstd"
    if form == "gzip":
        return OCI_LAYER_GZIP if oci else DOCKER_LAYER_GZIP
    return _OCI_LAYER if oci else _DOCKER_LAYER


def plain_layer(diff_id: Digest, size: int) -> Descriptor:
    """A layer as it is in the daemon: its digest is its diffID."""
    return Descriptor(_DOCKER_LAYER, diff_id, size)


class ComposedImage:
    """A source of one manifest whose blobs are at `places` already, and of a configuration that may be in memory."""

    def __init__(
        self,
        location: Location,
        root: Descriptor,
        places: Sequence[Source],
        manifest: Manifest | None,
        config: bytes | None,
    ) -> None:
        self.location = location
        self._root, self._places = root, places
        self._manifest, self._config = manifest, config

    def resolve(self, reference: str) -> Descriptor:
        if ":" in reference and reference != self._root.digest:
            raise NotFoundError(f"{self.location.name} has no {reference}, only {self._root.digest}")
        return self._root

    def manifest(self, descriptor: Descriptor) -> Manifest:
        if self._manifest is not None and descriptor.digest == self._root.digest:
            return self._manifest
        return self._holder(descriptor).manifest(descriptor)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        if self._config is not None and self._is_config(descriptor):
            return MemoryReader(self._config, offset)
        return self._holder(descriptor).fetch(descriptor, offset)

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        ours = {each for each in descriptors if self._is_config(each) or each.digest == self._root.digest}
        for place in self._places:
            ours |= place.exists([each for each in descriptors if each not in ours])
        return ours

    def _is_config(self, descriptor: Descriptor) -> bool:
        config = self._manifest.config if self._manifest is not None else None
        return self._config is not None and config is not None and descriptor.digest == config.digest

    def _holder(self, descriptor: Descriptor) -> Source:
        for place in self._places:
            if place.exists([descriptor]):
                return place
        raise NotFoundError(
            f"{descriptor.digest} of {self.location.name} is at none of its targets any more",
            hint="something removes content there while it is written; run it again",
        )


class MemoryReader:
    """Bytes in memory as a blob that can be opened and read."""

    def __init__(self, content: bytes, offset: int = 0) -> None:
        self._rest = memoryview(content)[offset:]

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
