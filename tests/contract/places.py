"""The places that the contract is run on, each with what a test needs to prepare, damage and judge it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ci_registry.model.descriptor import Descriptor, Digest
from ci_registry.model.manifest import Manifest, parse_manifest
from ci_registry.targets.base import Deleter, Lister, Mounted, Present, Reader, Referrers, Source, Target, Writer
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support.docker_registry import DockerRegistry
from tests.support.fake_registry import FakeRegistry
from tests.support.images import BuiltImage, write_layout
from tests.support.spaces import RegistrySpace
from tests.support.validator import Validation, validate_layout, validate_registry

__all__ = [
    "BLOB",
    "DockerRegistryPlace",
    "FakeRegistryPlace",
    "FullTarget",
    "LayoutPlace",
    "Place",
    "begin",
    "bring",
    "damaged",
    "descriptor_of",
    "manifests_of",
    "read_all",
    "write_blob",
]

BLOB = "application/vnd.oci.image.layer.v1.tar"


class FullTarget(Target, Lister, Referrers, Deleter, Protocol):
    """A target with every power."""


class Place(Protocol):
    """One kind of place, empty. Repositories are named by one short word."""

    cancels_broken_uploads: bool
    """Whether an upload can be cancelled whose last request broke off. To distribution 2.8 it is unknown then: the
    state in its Location says another size than its file has."""

    def open(self, repository: str = "app") -> FullTarget:
        """A new object for a repository, which knows nothing of what others did, as in another process."""

    def seed(self, image: BuiltImage, tag: str | None = None, repository: str = "app") -> None:
        """Put an image there without the code under test."""

    def validate(self, tag: str, referrers: bool = False, repository: str = "app") -> Validation: ...

    def damage(self, digest: str) -> None:
        """Change a stored blob's or manifest's bytes, not its size."""

    def uploads(self) -> int:
        """How many unfinished uploads the place still keeps."""

    def sever(self, target: FullTarget) -> None:
        """End whatever the target has under way, as when its process dies."""

    def close(self) -> None: ...


class LayoutPlace:
    """A layout tree, or (with `plain`) a single layout in a directory."""

    cancels_broken_uploads = True

    def __init__(self, root: Path, plain: bool = False) -> None:
        self._root, self._plain = root, plain

    def _directory(self, repository: str) -> Path:
        return self._root if self._plain else self._root / "team" / repository / "_layout"

    def open(self, repository: str = "app") -> LayoutRepository:
        return LayoutRepository(self._root, "" if self._plain else f"team/{repository}")

    def seed(self, image: BuiltImage, tag: str | None = None, repository: str = "app") -> None:
        self._directory(repository).mkdir(parents=True, exist_ok=True)
        write_layout(image, self._directory(repository), tag)

    def validate(self, tag: str, referrers: bool = False, repository: str = "app") -> Validation:
        return validate_layout(self._directory(repository), tag, referrers)

    def damage(self, digest: str) -> None:
        for path in self._root.rglob(digest.partition(":")[2]):
            path.write_bytes(damaged(path.read_bytes()))

    def uploads(self) -> int:
        return len([path for path in self._root.rglob(".*") if path.is_file()])

    def sever(self, target: FullTarget) -> None:
        """Nothing is under way between two writes, and a dead process has closed its files."""

    def close(self) -> None:
        pass


class _Clients:
    """Targets of one registry, each with a client of its own."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self._clients: list[Client] = []

    def open(self, repository: str = "app") -> RegistryRepository:
        client = Client(Origin.parse(self._url), retry_seconds=5)
        self._clients.append(client)
        return RegistryRepository(client, f"{self._prefix}/{repository}").for_writing()

    def sever(self, target: FullTarget) -> None:
        assert isinstance(target, RegistryRepository)
        target.client.pool.abort()

    def close(self) -> None:
        for client in self._clients:
            client.pool.abort()
            client.close()


class DockerRegistryPlace(_Clients):
    """A part of Debian's docker-registry (distribution 2.8), which has no referrers API and can't delete a tag."""

    cancels_broken_uploads = False

    def __init__(self, server: DockerRegistry) -> None:
        self._space = RegistrySpace(server)
        super().__init__(server.url, self._space.prefix)

    def seed(self, image: BuiltImage, tag: str | None = None, repository: str = "app") -> None:
        self._space.upload(image, repository, tag)

    def validate(self, tag: str, referrers: bool = False, repository: str = "app") -> Validation:
        return self._space.validate(repository, tag, referrers)

    def damage(self, digest: str) -> None:
        path = self._space.server.blob_path(digest)
        path.write_bytes(damaged(path.read_bytes()))

    def uploads(self) -> int:
        repositories = self._space.server.root / "docker/registry/v2/repositories" / self._space.prefix
        return len(list(repositories.glob("*/_uploads/*/data")))


class FakeRegistryPlace(_Clients):
    """The strict registry of these tests, which has all that distribution-spec 1.1 offers."""

    cancels_broken_uploads = True

    def __init__(self, server: FakeRegistry) -> None:
        self._server = server
        super().__init__(server.url, "team")

    def seed(self, image: BuiltImage, tag: str | None = None, repository: str = "app") -> None:
        self._server.load(image, f"team/{repository}", tag)

    def validate(self, tag: str, referrers: bool = False, repository: str = "app") -> Validation:
        return validate_registry(self._server.url, f"team/{repository}", tag, referrers=referrers)

    def damage(self, digest: str) -> None:
        store = self._server.store
        if digest in store.blobs:
            store.blobs[digest] = damaged(store.blobs[digest])
        for repository in store.repositories.values():
            if digest in repository.manifests:
                media_type, content = repository.manifests[digest]
                repository.manifests[digest] = media_type, damaged(content)

    def uploads(self) -> int:
        return self._server.open_sessions


# -- what a copy does, in its simplest form ----------------------------------------------------------------------------


def damaged(content: bytes) -> bytes:
    """Other bytes of the same size; a manifest stays one, with another digest in it."""
    at = content.find(b"sha256:") + len(b"sha256:") if b"sha256:" in content else len(content) // 2
    wrong = b"0" if content[at : at + 1] != b"0" else b"1"
    return content[:at] + wrong + content[at + 1 :]


def descriptor_of(content: bytes, digest: str, media_type: str = BLOB) -> Descriptor:
    return Descriptor(media_type, Digest(digest), len(content))


def manifests_of(image: BuiltImage) -> Iterator[Manifest]:
    """All manifests of an image, children first, the root last."""
    for media_type, content in image.manifests.values():
        yield parse_manifest(content, media_type)


def begin(target: Target, descriptor: Descriptor | None) -> Writer:
    """A writer for a blob that the target does not have."""
    opened = target.writer(descriptor)
    assert not isinstance(opened, Present | Mounted)
    return opened


def write_blob(target: Target, content: bytes, digest: str) -> None:
    """Bring one blob to a target, in pieces, unless it is there."""
    opened = target.writer(descriptor_of(content, digest))
    assert not isinstance(opened, Mounted)
    if isinstance(opened, Present):
        return
    for start in range(0, len(content), 700):
        opened.write(memoryview(content)[start : start + 700])
    opened.commit(Digest(digest))


def bring(target: Target, image: BuiltImage, tag: str | None = None) -> None:
    """Bring an image to a target, parts first."""
    for digest, content in image.blobs.items():
        write_blob(target, content, digest)
    for manifest in manifests_of(image):
        target.put_manifest(manifest, tag if manifest.digest == image.digest else None)


def read_all(source: Source, descriptor: Descriptor, offset: int = 0, buffer_bytes: int = 333) -> bytes:
    """A blob's bytes from `offset` on."""
    out = bytearray()
    buffer = memoryview(bytearray(buffer_bytes))
    with source.fetch(descriptor, offset) as stream:
        reader: Reader = stream
        while count := reader.readinto(buffer):
            out += buffer[:count]
    return bytes(out)
