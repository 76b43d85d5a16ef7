"""An OCI layout in a tar file, as a source (OCI image-spec, image-layout.md): what skopeo's `oci-archive:` writes, and
what Docker 25 and newer save.

Docker with the containerd image store saves the whole index of an image and only the platforms that it has itself.
What is there is an image then: one platform's manifest, or a new index of those that are left.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import cast

from ..errors import InputFileError, IntegrityError, NotFoundError
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import (
    MANIFEST_LIMIT,
    Manifest,
    dump,
    is_attestation,
    is_foreign,
    is_index,
    is_manifest,
    parse_manifest,
)
from ..transport.retry import Cancel
from .archive_index import TarIndex
from .archive_tar import Member
from .base import Location, Reader, Target
from .layout_index import Entry
from .prepared import LayerMemory, OnEvent, Prepared, PrepareEvent

__all__ = ["OciArchive", "OciArchiveImage"]

_INDEX_FILE = "index.json"
_INDEX_LIMIT = 16 * 1024 * 1024
_SUBJECT = "vnd.docker.reference.digest"
FULL_NAME = "io.containerd.image.name"
"""Docker's and containerd's annotation with the whole name of an image."""


class OciArchive:
    """All images of the archive. Reads by offset, from any number of threads; blobs are checked by who reads them."""

    def __init__(self, index: TarIndex, location: Location) -> None:
        self._index, self.location = index, location
        self._made: dict[Digest, Manifest] = {}
        self.entries = self._read_entries()

    def _read_entries(self) -> list[Entry]:
        where = f"{_INDEX_FILE} in {self._index.where}"
        content = self._index.read(_INDEX_FILE, _INDEX_LIMIT)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"{where} is not JSON: {error}") from error
        # Docker 25.0 writes null for what was saved by digest.
        values = document.get("manifests") or [] if isinstance(document, dict) else None
        if not isinstance(values, list):
            raise InputFileError(f"{where} is not an OCI image index")
        return [Entry.from_json(value, where) for value in values]

    # -- source --------------------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> Descriptor:
        """What a bare tag or a digest means here; "" is the only image. Whole names are for `archive.Archive`."""
        if ":" in reference:
            return self._read_manifest(Digest(reference), "").descriptor
        found = {entry.descriptor.digest: entry.descriptor for entry in self.entries if reference in ("", entry.tag)}
        if len(found) != 1:
            many = f"{len(found)} images are called that" if found else "the archive has no such image"
            tags = ", ".join(self.tags()) or "none"
            raise NotFoundError(f"{self.location.name}:{reference} was not found: {many}", hint=f"its tags are: {tags}")
        return self._read_manifest(*next((each.digest, each.media_type) for each in found.values())).descriptor

    def tags(self) -> list[str]:
        return sorted({entry.tag for entry in self.entries if entry.tag})

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._made.get(descriptor.digest) or self._read_manifest(descriptor.digest, descriptor.media_type)

    def _read_manifest(self, digest: Digest, media_type: str) -> Manifest:
        name = _blob_name(digest)
        if self._index.find(name) is None:
            raise NotFoundError(f"{digest} was not found in {self.location.name}")
        content = self._index.read(name, MANIFEST_LIMIT)
        if digest_of(content, digest.algorithm) != digest:
            raise IntegrityError(
                f"reading {digest} from {self.location.name} gave bytes whose digest is {digest_of(content)}",
                hint="the archive is damaged; make it again",
            )
        return parse_manifest(content, media_type, f"{name} in {self._index.where}")

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        member = self._blob(descriptor.digest)
        if member is None:
            raise NotFoundError(f"{descriptor.digest} was not found in {self.location.name}")
        return cast("AbstractContextManager[Reader]", self._index.open(member, offset))

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        return {descriptor for descriptor in descriptors if self._has(descriptor)}

    def _has(self, descriptor: Descriptor) -> bool:
        member = self._blob(descriptor.digest)
        return descriptor.digest in self._made or (member is not None and member.size == descriptor.size)

    def _blob(self, digest: Digest) -> Member | None:
        return self._index.find(_blob_name(digest))

    # -- what is there -------------------------------------------------------------------------------------------

    def is_complete(self, descriptor: Descriptor) -> bool:
        """Whether a manifest and all it refers to is here; layers that may be elsewhere don't count."""
        return not any(self._missing(descriptor))

    def _missing(self, descriptor: Descriptor) -> Iterator[Descriptor]:
        if not self._has(descriptor):
            if not is_foreign(descriptor):
                yield descriptor
        elif is_manifest(descriptor.media_type):
            for part in self.manifest(descriptor).successors():
                yield from self._missing(part)

    def available(self, root: Descriptor) -> tuple[Descriptor, list[Descriptor]]:
        """The image as far as it is here, and the children of its index that are not.

        One platform that is left stands for itself, with its digest; several get a new index. Raises
        `InputFileError` when nothing is left.
        """
        if self.is_complete(root):
            return root, []
        if not self._has(root) or not is_index(root.media_type):
            raise self._incomplete(root)
        index = self.manifest(root)
        kept, lost = self._split(index.manifests)
        images = [child for child in kept if not is_attestation(child)]
        if not images:
            raise self._incomplete(root)
        return (images[0] if len(images) == 1 else self._smaller(index, kept)), lost

    def _split(self, children: Sequence[Descriptor]) -> tuple[list[Descriptor], list[Descriptor]]:
        kept = [child for child in children if self.is_complete(child)]
        digests = {child.digest for child in kept}
        # An attestation about an image that is not here would be about nothing.
        kept = [child for child in kept if not is_attestation(child) or child.annotations.get(_SUBJECT) in digests]
        return kept, [child for child in children if child not in kept and not is_attestation(child)]

    def _smaller(self, index: Manifest, kept: Sequence[Descriptor]) -> Descriptor:
        document = json.loads(index.content)
        digests = {child.digest for child in kept}
        document["manifests"] = [entry for entry in document["manifests"] if entry["digest"] in digests]
        made = parse_manifest(dump(document), index.media_type)
        self._made[made.digest] = made
        return made.descriptor

    def _incomplete(self, root: Descriptor) -> InputFileError:
        missing = next(self._missing(root))
        return InputFileError(
            f"reading {self.location.name} failed: {missing.digest}, a part of the image {root.digest}, is not in it",
            hint="the archive was cut off, or the image was saved without it; save it again",
        )


class OciArchiveImage:
    """One image of an OCI archive."""

    def __init__(self, archive: OciArchive, root: Descriptor, names: Sequence[str] = ()) -> None:
        self.archive, self.root, self.names = archive, root, tuple(names)
        self.location = archive.location

    def prepare(
        self,
        targets: Sequence[Target],  # noqa: ARG002 - the layers need no work
        memory: LayerMemory | None = None,  # noqa: ARG002
        on_event: OnEvent = lambda _: None,
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> Prepared:
        """See `prepared.Preparable`: nothing is sent, and what the archive lacks is said."""
        root, lost = self.archive.available(self.root)
        for child in lost:
            on_event(
                PrepareEvent(
                    "left-out", self.location.name, child.digest, text=f"{child.platform or 'an image'} is not in it"
                )
            )
        return Prepared(self.archive, root)


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
