"""What a run remembers of what it read: `targets.content_memory`, and a registry's repository that uses it."""

from __future__ import annotations

import pytest

from ci_registry.errors import IntegrityError
from ci_registry.model.descriptor import Descriptor, digest_of
from ci_registry.targets.base import VerifiedReader
from ci_registry.targets.content_memory import ContentMemory
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support import fake_actions
from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder


def test_what_was_kept_first_goes_first() -> None:
    memory, parts = ContentMemory(limit_bytes=100), [bytes([number]) * 40 for number in range(3)]
    digests = [digest_of(part) for part in parts]
    for digest, part in zip(digests, parts, strict=True):
        memory.keep(digest, "text", part)
        memory.keep(digest, "text", part)
    assert [memory.get(digest) for digest in digests] == [None, ("text", parts[1]), ("text", parts[2])]


def test_forgetting_makes_room() -> None:
    memory, first, second = ContentMemory(limit_bytes=100), b"a" * 90, b"b" * 90
    memory.keep(digest_of(first), "", first)
    memory.forget(digest_of(first))
    memory.forget(digest_of(first))
    memory.keep(digest_of(second), "", second)
    assert (memory.get(digest_of(first)), memory.get(digest_of(second))) == (None, ("", second))


def test_a_limit_of_none_keeps_nothing() -> None:
    memory = ContentMemory(limit_bytes=0)
    memory.keep(digest_of(b"a"), "", b"a")
    assert memory.get(digest_of(b"a")) is None


def read(repository: RegistryRepository, descriptor: Descriptor, offset: int = 0) -> bytes:
    """The blob from an offset on, as a copy reads it."""
    reader, found = VerifiedReader(descriptor, "here", offset), b""
    with repository.fetch(descriptor, offset) as stream:
        buffer = memoryview(bytearray(7))
        while count := reader.take(stream, buffer):
            found += buffer[:count]
    return found


def test_manifests_and_configurations_are_read_once(fake_registry: FakeRegistry, images: ImageBuilder) -> None:
    builds = [images.image(1) for _ in range(80)]
    for number, image in enumerate(builds):
        fake_registry.load(image, "app", f"v{number}")
    repository = RegistryRepository(Client(Origin.parse(fake_registry.url)), "app")
    repository.remember()
    for _ in range(2):
        repository.remember()  # again, as for each image of a repository
        for image in builds:
            manifest = repository.manifest(image.root)
            assert manifest.content == image.content
            assert manifest.config is not None
            content = read(repository, manifest.config)
            assert content == image.blobs[manifest.config.digest]
            assert read(repository, manifest.config, 5) == content[5:]
    assert fake_registry.count("GET") == 2 * len(builds)


def test_wrong_bytes_are_not_remembered(fake_registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image(1)
    fake_registry.load(image, "app", "v1")
    repository = RegistryRepository(Client(Origin.parse(fake_registry.url)), "app")
    repository.remember()
    config = repository.manifest(image.root).config
    assert config is not None
    fake_registry.script("GET", "/blobs/", fake_actions.corrupt())
    with pytest.raises(IntegrityError):
        read(repository, config)
    assert read(repository, config) == image.blobs[config.digest]
