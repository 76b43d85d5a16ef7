"""Docker's archive form as a destination: what `docker load` and skopeo's `docker-archive:` read.

`manifest.json` lists images of one platform each, by name; layers are uncompressed, named by their diffIDs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from ..adapters.compression import HEAD_BYTES, PushDecompressor, compression_of
from ..errors import IntegrityError, UsageError
from ..model.descriptor import Descriptor, Digest, new_hash
from ..model.manifest import Manifest
from .archive_docker import MANIFEST_FILE, diff_ids_of
from .archive_tar import Member
from .archive_target import ArchiveTarget
from .archive_write import PendingBlob
from .base import Writer
from .composed import layer_form

__all__ = ["DockerArchiveTarget"]


class DockerArchiveTarget(ArchiveTarget):
    """Keeps configurations as they are and layers uncompressed, whatever they come as. Refuses indexes and artifacts.

    A compressed layer can't be read back. Images are called `REPOSITORY:TAG`, or have no name without a tag.
    """

    plain_layers = True
    kept_forms: frozenset[str] = frozenset({""})
    """The forms of compression in which layers are kept as they come."""

    def __init__(
        self,
        destination: Path | BinaryIO | None,
        name: str,
        *,
        repository: str = "",
        spool_directory: Path | None = None,
    ) -> None:
        super().__init__(destination, name, repository=repository, spool_directory=spool_directory)
        self._became: dict[Digest, str] = {}
        """The names of members, by the digests of the blobs that they were."""

    def _member(self, digest: Digest) -> Member | None:
        name = self._became.get(digest)
        return self._archive.find(name) if name else None

    def became(self, digest: Digest, name: str) -> None:
        with self._lock:
            self._became[digest] = name

    def _new_writer(self, descriptor: Descriptor | None) -> Writer:
        form = layer_form(descriptor.media_type) if descriptor is not None else "unknown"
        if descriptor is None or (form is not None and form not in self.kept_forms):
            return _LayerWriter(self, self._archive.pending(".tar"), descriptor)
        name = f"{descriptor.digest.hex}{'.json' if form is None else '.tar.gz' if form else '.tar'}"
        # A region that is begun again counts only when it is complete, so its name can be known before.
        self.became(descriptor.digest, name)
        return self._archive.region(name, descriptor)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        if manifest.is_index:
            raise UsageError(
                f"writing {manifest.digest} to {self.location.name} failed: it is an index of several platforms, and "
                "this form holds images of one",
                hint="choose one with --platform, such as --platform linux/amd64, or write to an oci-archive",
            )
        self.require_parts(manifest)
        self._check_layers(manifest)
        super().put_manifest(manifest, tag)

    def _check_layers(self, manifest: Manifest) -> None:
        """The diffIDs of what was written must be those of the configuration."""
        config = self._member(manifest.config.digest) if manifest.config is not None else None
        if config is None or manifest.artifact_type:
            raise UsageError(
                f"writing {manifest.digest} to {self.location.name} failed: it is an artifact and not an image",
                hint="write it to an oci-archive",
            )
        expected = diff_ids_of(self._archive.read(config), f"the configuration of {manifest.digest}")
        if len(expected) != len(manifest.layers):
            raise IntegrityError(
                f"writing {manifest.digest} to {self.location.name} failed: it has {len(manifest.layers)} layers, and "
                f"its configuration {len(expected)}"
            )
        for layer, diff_id in zip(manifest.layers, expected, strict=True):
            name = self._became.get(layer.digest, "")
            if not name.endswith(".tar.gz") and name != f"{diff_id.hex}.tar":
                raise IntegrityError(
                    f"writing {manifest.digest} to {self.location.name} failed: the layer {layer.digest} has the "
                    f"diffID sha256:{name.removesuffix('.tar')}, and the configuration says {diff_id}",
                    hint="the image is damaged; build it again",
                )

    def _write_lists(self) -> None:
        entries = []
        for digest, manifest in self._manifests.items():
            assert manifest.config is not None  # noqa: S101 - checked when it was put
            tags = [f"{self.location.repository}:{tag}" for tag, named in self._tags.items() if named == digest]
            entries.append(
                {
                    "Config": self._became[manifest.config.digest],
                    "RepoTags": tags if tags and self.location.repository else None,
                    "Layers": [self._became[layer.digest] for layer in manifest.layers],
                }
            )
        self._archive.add(MANIFEST_FILE, json.dumps(entries, separators=(",", ":")).encode())


class _LayerWriter:
    """A writer that keeps a layer uncompressed; what it comes as shows in its first bytes."""

    session = None

    def __init__(self, target: DockerArchiveTarget, blob: PendingBlob, descriptor: Descriptor | None) -> None:
        self._target, self._blob = target, blob
        self._digest = descriptor.digest if descriptor is not None else None
        self._hash = new_hash(self._digest.algorithm if self._digest is not None else "sha256")
        self._head: bytes | None = b""
        self._decompressor: PushDecompressor | None = None
        self.offset = 0

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:  # noqa: ARG002 - disks don't wait
        self._hash.update(chunk)
        self.offset += len(chunk)
        if self._head is None:
            self._pass_on(chunk)
            return
        self._head += bytes(chunk)
        if len(self._head) >= HEAD_BYTES:
            self._begin()

    def _begin(self) -> None:
        head, self._head = self._head or b"", None
        kind = compression_of(head)
        if kind:
            where = f"the layer {self._digest}" if self._digest else "a layer"
            self._decompressor = PushDecompressor(kind, where, self._blob.write)
        self._pass_on(memoryview(head))

    def _pass_on(self, data: memoryview) -> None:
        if self._decompressor is not None:
            self._decompressor.write(data)
        else:
            self._blob.write(data)

    def commit(self, digest: Digest) -> None:
        if self._head is not None:
            self._begin()
        found = f"{digest.algorithm}:{self._hash.hexdigest()}"
        if found != digest:
            raise IntegrityError(f"writing {digest} to {self._target.location.name} failed: the digest is {found}")
        if self._decompressor is not None:
            self._decompressor.finish()
        name = f"{self._blob.digest.hex}.tar"
        self._blob.append()
        self._target.became(digest, name)

    def abort(self) -> None:
        self._blob.close()
