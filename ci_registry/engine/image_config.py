"""An image's configuration: small JSON that says its platform, labels and age (OCI image-spec, config.md)."""

from __future__ import annotations

import json
from typing import Any

from ..model.descriptor import Descriptor
from ..model.manifest import Manifest
from ..targets.base import Source, VerifiedReader

__all__ = ["labels_of", "read_config", "read_small"]

_CONFIG_LIMIT = 8 * 1024 * 1024


def read_config(source: Source, manifest: Manifest) -> dict[str, Any]:
    """The image's configuration as JSON; empty for an index and for artifacts whose config is something else."""
    config = manifest.config
    if config is None or config.size > _CONFIG_LIMIT:
        return {}
    content = read_small(source, config)
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def read_small(source: Source, descriptor: Descriptor) -> bytes:
    """A whole blob in memory, checked against its digest; for a few MiB at most."""
    reader = VerifiedReader(descriptor, source.location.name)
    content = bytearray(descriptor.size + 1)
    view = memoryview(content)
    with source.fetch(descriptor) as stream:
        while reader.take(stream, view[reader.offset :]):
            pass
    return bytes(content[: descriptor.size])


def labels_of(config: dict[str, Any]) -> dict[str, str]:
    """The labels that a configuration sets."""
    inner = config.get("config")
    labels = inner.get("Labels") if isinstance(inner, dict) else None
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
