"""Archives as destinations: what an OCI layout in a tar (`oci-archive:`) and Docker's form (`docker-archive:`) share.

Nothing is at the destination before `finish`, which the caller calls when all images are in; `drop` forgets them.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ..errors import CiRegistryError, IntegrityError, NotFoundError, RemoteError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import OCI_INDEX, Manifest, dump, is_foreign
from .archive_tar import Member
from .archive_write import NewArchive, PendingBlob
from .base import Location, Mounted, Present, Reader, Session, Writer
from .layout_index import Entry

__all__ = ["ArchiveTarget", "Finishable", "OciArchiveTarget"]


class Finishable(Protocol):
    """A target that takes effect as a whole."""

    def finish(self) -> None:
        """Put everything that was written into effect; raises what that failed with, and then nothing is."""
        ...

    def drop(self) -> None:
        """Forget everything that was written and is not in effect; never raises."""
        ...


class ArchiveTarget:
    """A new archive. `repository` is the name that tags are put behind, where the form has names."""

    def __init__(
        self,
        destination: Path | BinaryIO | None,
        name: str,
        *,
        repository: str = "",
        spool_directory: Path | None = None,
    ) -> None:
        self.location = Location(f"archive:{name}", repository, name)
        self._archive = NewArchive(destination, name, spool_directory)
        self._manifests: dict[Digest, Manifest] = {}
        self._tags: dict[str, Digest] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location.name!r})"

    # -- what is in it so far ------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> Descriptor:
        found = self._manifests.get(Digest(reference)) if ":" in reference else None
        if found is None and reference in self._tags:
            found = self._manifests[self._tags[reference]]
        if found is None:
            raise NotFoundError(f"{reference} was not found in {self.location.name}")
        return found.descriptor

    def manifest(self, descriptor: Descriptor) -> Manifest:
        found = self._manifests.get(descriptor.digest)
        if found is None:
            raise NotFoundError(f"{descriptor.digest} was not found in {self.location.name}")
        return found

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        member = self._member(descriptor.digest)
        if member is None or member.size != descriptor.size:
            raise NotFoundError(f"{descriptor.digest} can't be read from {self.location.name}")
        return cast("AbstractContextManager[Reader]", self._archive.open(member, offset))

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        return {each for each in descriptors if each.digest in self._manifests or self._member(each.digest) is not None}

    def _member(self, digest: Digest) -> Member | None:
        """Where the bytes of a blob are, or what they became."""
        raise NotImplementedError

    def is_new(self) -> bool:
        return not self._manifests and not self._archive.names()

    def tagged(self, tag: str) -> Descriptor | None:
        digest = self._tags.get(tag)
        return self._manifests[digest].descriptor if digest is not None else None

    # -- writing -------------------------------------------------------------------------------------------------

    def writer(
        self,
        descriptor: Descriptor | None,
        mount_from: Sequence[str] = (),  # noqa: ARG002 - there is nothing to mount from
        session: Session | None = None,  # noqa: ARG002 - what broke off is begun again
    ) -> Writer | Present | Mounted:
        if descriptor is not None and self._member(descriptor.digest) is not None:
            return Present()
        return self._new_writer(descriptor)

    def _new_writer(self, descriptor: Descriptor | None) -> Writer:
        raise NotImplementedError

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        self.require_parts(manifest)
        self._manifests[manifest.digest] = manifest
        if tag:
            self._tags[tag] = manifest.digest

    def require_parts(self, manifest: Manifest) -> None:
        parts = [part for part in manifest.successors() if not is_foreign(part)]
        present = self.exists(parts)
        missing = [part.digest for part in parts if part not in present]
        if missing:
            raise RemoteError(
                f"writing the manifest {manifest.digest} to {self.location.name} failed: its part {missing[0]} is not "
                "in it",
                hint="run it again",
            )

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """See `Finishable`; a file that was at the destination is replaced."""
        try:
            self._write_lists()
            self._archive.finish()
        except CiRegistryError:
            self._archive.drop()
            raise

    def _write_lists(self) -> None:
        raise NotImplementedError

    def drop(self) -> None:
        self._archive.drop()


class OciArchiveTarget(ArchiveTarget):
    """An OCI layout in a tar: everything as it is, digests kept, indexes whole."""

    prefers_oci = True

    def _member(self, digest: Digest) -> Member | None:
        return self._archive.find(f"blobs/{digest.algorithm}/{digest.hex}")

    def _new_writer(self, descriptor: Descriptor | None) -> Writer:
        if descriptor is None:
            return _Unnamed(self._archive.pending(), self.location.name)
        digest = descriptor.digest
        return self._archive.region(f"blobs/{digest.algorithm}/{digest.hex}", descriptor)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        super().put_manifest(manifest, tag)
        with self._lock:
            if self._member(manifest.digest) is None:
                self._archive.add(f"blobs/{manifest.digest.algorithm}/{manifest.digest.hex}", manifest.content)

    def _write_lists(self) -> None:
        self._archive.add("oci-layout", dump({"imageLayoutVersion": "1.0.0"}))
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.document for each in self._entries()],
        }
        self._archive.add("index.json", dump(document))

    def _entries(self) -> list[Entry]:
        """Every tag, and without a name what no tag and no index leads to."""
        reached = {child.digest for manifest in self._manifests.values() for child in manifest.manifests}
        reached |= set(self._tags.values())
        tagged = [Entry.of(self._manifests[digest].descriptor, tag) for tag, digest in self._tags.items()]
        rest = [manifest for digest, manifest in self._manifests.items() if digest not in reached]
        return tagged + [Entry.of(manifest.descriptor) for manifest in rest]


class _Unnamed:
    """A writer of bytes whose digest shows at their end."""

    session = None

    def __init__(self, blob: PendingBlob, where: str) -> None:
        self._blob, self._where = blob, where
        self.offset = 0

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:  # noqa: ARG002 - disks don't wait
        self._blob.write(chunk)
        self.offset += len(chunk)

    def commit(self, digest: Digest) -> None:
        if self._blob.digest != digest:
            raise IntegrityError(f"writing {digest} to {self._where} failed: the digest is {self._blob.digest}")
        self._blob.append("blobs/sha256/")

    def abort(self) -> None:
        self._blob.close()
