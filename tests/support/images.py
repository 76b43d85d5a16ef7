"""Random images with real content, and ways to bring them to a place.

image = ImageBuilder(seed=1).index(attestations=True)
upload(image, registry.url, "app", "1")
write_layout(image, tmp_path / "layout", "1")
"""

from __future__ import annotations

from .image_builder import (
    COSIGN_PAYLOAD,
    DOCKER_CONFIG,
    DOCKER_FOREIGN,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IN_TOTO,
    MANIFEST_ACCEPT,
    OCI,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_FOREIGN,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    REFERRER_TYPES,
    Blobs,
    BuiltImage,
    ImageBuilder,
    Layer,
    StreamedBlob,
    digest_of,
    fallback_tag,
    json_bytes,
    referrer_entry,
)
from .image_upload import upload, write_layout

__all__ = [
    "COSIGN_PAYLOAD",
    "DOCKER_CONFIG",
    "DOCKER_FOREIGN",
    "DOCKER_LAYER",
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "IN_TOTO",
    "MANIFEST_ACCEPT",
    "OCI",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_FOREIGN",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "REFERRER_TYPES",
    "Blobs",
    "BuiltImage",
    "ImageBuilder",
    "Layer",
    "StreamedBlob",
    "digest_of",
    "fallback_tag",
    "json_bytes",
    "referrer_entry",
    "upload",
    "write_layout",
]
