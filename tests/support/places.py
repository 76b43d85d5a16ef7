"""Targets of the code under test on the tests' servers, and the rest of a copy in its simplest form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ci_registry.model.descriptor import Descriptor
from ci_registry.model.manifest import Manifest
from ci_registry.targets.base import Mounted, Present, Source, Target
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin

__all__ = ["copy_image", "copy_root", "opened", "read_blob"]


@contextmanager
def opened(url: str, repository: str, retry_seconds: float = 5) -> Iterator[RegistryRepository]:
    """A repository to write to, with a client of its own."""
    client = Client(Origin.parse(url), retry_seconds=retry_seconds)
    try:
        yield RegistryRepository(client, repository).for_writing()
    finally:
        client.close()


def read_blob(source: Source, descriptor: Descriptor) -> bytes:
    """A blob as a whole."""
    out = bytearray()
    buffer = memoryview(bytearray(1 << 20))
    with source.fetch(descriptor) as reader:
        while count := reader.readinto(buffer):
            out += buffer[:count]
    return bytes(out)


def copy_root(source: Source, root: Descriptor, target: Target, tag: str | None = None) -> Manifest:
    """What the engine does after an image was prepared: bring what is missing, then the manifest."""
    manifest = source.manifest(root)
    blobs = set() if target.exists([root]) else set(manifest.blobs())
    for child in manifest.manifests:
        copy_root(source, child, target)
    for blob in blobs - target.exists(blobs):
        writer = target.writer(blob)
        if not isinstance(writer, Present | Mounted):
            content = read_blob(source, blob)
            for start in range(0, len(content), 100_000):
                writer.write(memoryview(content)[start : start + 100_000])
            writer.commit(blob.digest)
    target.put_manifest(manifest, tag)
    return manifest


def copy_image(source: Source, reference: str, target: Target, tag: str | None = None) -> Manifest:
    return copy_root(source, source.resolve(reference), target, tag)
