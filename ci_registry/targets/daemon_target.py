"""The local docker daemon as a destination: images go through an archive that it loads at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from ..adapters.docker_engine import DockerEngine
from ..errors import IntegrityError, NotFoundError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest
from .archive_docker_target import DockerArchiveTarget
from .base import Location

__all__ = ["DaemonTarget"]


class DaemonTarget(DockerArchiveTarget):
    """Images for the daemon under `repository`; `finish` loads them and sees that they are what was sent.

    Layers that are gzipped stay so: the daemon unpacks and checks them.
    """

    kept_forms = frozenset({"", "gzip"})

    def __init__(self, engine: DockerEngine, repository: str = "", *, spool_directory: Path | None = None) -> None:
        name = f"docker-daemon:{repository}"
        super().__init__(None, name, repository=repository, spool_directory=spool_directory)
        self.location = Location(f"docker-daemon:{engine.address}", repository, name)
        self._engine = engine
        self._held: set[Digest] = set()
        self._only_tags: list[tuple[Digest, str]] = []

    def expect(self, manifest: Manifest) -> None:
        """Say what will be written: an image that the daemon has already is only tagged, and none of it is sent."""
        if manifest.config is not None:
            with contextlib.suppress(NotFoundError):
                self._engine.inspect(manifest.config.digest)
                self._held |= {blob.digest for blob in manifest.blobs()}

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        held = {descriptor for descriptor in descriptors if descriptor.digest in self._held}
        return held | super().exists(descriptors)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        if manifest.config is None or manifest.config.digest not in self._held:
            super().put_manifest(manifest, tag)
        elif tag:
            self._only_tags.append((manifest.config.digest, tag))

    def finish(self) -> None:
        try:
            if self._manifests:
                self._load()
            for image, tag in self._only_tags:
                self._engine.tag(image, self.location.repository, tag)
        finally:
            self.drop()

    def _load(self) -> None:
        self._write_lists()
        said = self._engine.load(self._archive.open_whole())
        loaded = [line.rpartition(" ")[2] for line in said if line.startswith("Loaded image")]
        for manifest in self._manifests.values():
            names = [
                f"{self.location.repository}:{tag}" for tag, digest in self._tags.items() if digest == manifest.digest
            ]
            for name in names or loaded[:1]:
                self._check(name, manifest)

    def _check(self, name: str, manifest: Manifest) -> None:
        """The id of an image is the digest of its configuration; the containerd store computes ids of its own."""
        assert manifest.config is not None  # noqa: S101 - checked when it was put
        local = self._engine.inspect(name)
        if local.in_containerd or local.id == manifest.config.digest:
            return
        raise IntegrityError(
            f"loading {name} into the docker daemon gave the image {local.id}, not {manifest.config.digest}",
            hint="somebody else may be tagging the same name; run it again",
        )
