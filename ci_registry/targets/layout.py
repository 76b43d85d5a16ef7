"""An OCI image layout in a directory, as a source and as a target (OCI image-spec, image-layout.md).

`index.json` reaches every manifest that the layout means to keep: tags by name, and without a name what no index in it
contains: images copied by digest, and artifacts that refer to a subject.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

from msgspec.structs import replace

from ..errors import ConflictError, InputFileError, IntegrityError, NotFoundError, RemoteError
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import MANIFEST_LIMIT, Manifest, is_foreign, is_manifest, parse_manifest
from .base import Location, Mounted, Present, Session, Writer
from .disk import disk_errors
from .fallback_tag import listed_referrers
from .layout_blobs import BlobReader, BlobStore
from .layout_directory import LayoutDirectory, layout_directory
from .layout_garbage import Garbage, collect_garbage
from .layout_graph import Graph
from .layout_index import Entry, IndexFile

__all__ = ["LayoutRepository"]

_RECENT = 64
_SIGNATURE = re.compile(r"sha(256|512|384)-[0-9a-f]{64}")  # cosign's tags and the fallback tag of referrers
_NEAREST = 5


class LayoutRepository:
    """One layout: the directory `root` itself, or one repository of the layout tree in `root`.

    `shown` is the name that people know the place by; by default `oci:DIRECTORY`. Nothing is made before the first
    write.
    """

    prefers_oci = True

    def __init__(self, root: Path, repository: str = "", *, shown: str = "") -> None:
        self.root = root
        self.directory = layout_directory(root, repository)
        store = root.resolve()
        name = f"{shown or f'oci:{root}'}/{repository}" if repository else shown or f"oci:{root}"
        self.location = Location(f"layout:{store}", repository, name)
        self._files = LayoutDirectory(self.directory, name)
        self._blobs = BlobStore(self.directory, name)
        self._index = IndexFile(self.directory, name)
        self._graph = Graph(self.manifest)
        self._recent: OrderedDict[str, Manifest] = OrderedDict()
        self._lock = threading.Lock()
        self._begun = False

    def __repr__(self) -> str:
        return f"LayoutRepository({self.location.name!r})"

    # -- reading -------------------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> Descriptor:
        """What a tag, a full reference name, or a digest means here; "" is the only image, or else `latest`.

        Raises `NotFoundError`, `IntegrityError`, and `InputFileError` when a name stands for two digests or the
        directory is no layout.
        """
        if ":" in reference and _is_digest(reference):
            self._entries()
            return self._by_digest(Digest(reference)).descriptor
        entry = self._named(reference) if reference else self._only()
        found = self._read(entry.descriptor.digest, entry.descriptor.media_type)
        if found.descriptor.size != entry.descriptor.size:
            raise IntegrityError(
                f"reading {self._called(reference)} failed: {self._blobs.path(found.digest)} has "
                f"{found.descriptor.size} bytes, and {self._index.path} says {entry.descriptor.size}"
            )
        return found.descriptor

    def _by_digest(self, digest: Digest) -> Manifest:
        try:
            return self._read(digest)
        except InputFileError as error:
            raise NotFoundError(f"{self._called(digest)} was not found: that blob is no manifest") from error

    def _named(self, reference: str) -> Entry:
        found = self._matching(self._entries(), reference)
        if not found:
            raise self._no_such_tag(reference)
        _one_digest(found, f"{self._called(reference)} is ambiguous")
        return found[-1]

    def _matching(self, entries: Sequence[Entry], reference: str) -> list[Entry]:
        """The entries of that very name, or else those in whose full reference it is the tag."""
        exact = [entry for entry in entries if entry.name == reference]
        return exact or [entry for entry in entries if entry.tag == reference]

    def _only(self) -> Entry:
        entries = self._entries()
        roots = [entry for entry in entries if not self._is_about_another(entry)]
        if len({entry.descriptor.digest for entry in roots}) == 1:
            return roots[-1]
        latest = self._matching(roots, "latest")
        if latest:
            _one_digest(latest, f"{self._called('latest')} is ambiguous")
            return latest[-1]
        if not roots:
            raise NotFoundError(f"{self.location.name} holds no image")
        raise NotFoundError(
            f"{self.location.name} holds {len(roots)} images and none is called latest", hint=self._nearest("")
        )

    def _is_about_another(self, entry: Entry) -> bool:
        return bool(_SIGNATURE.match(entry.tag)) or (not entry.name and self._subject_of(entry) is not None)

    def _subject_of(self, entry: Entry) -> Digest | None:
        return self._graph.node(entry.descriptor).subject

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._read(descriptor.digest, descriptor.media_type)

    def _read(self, digest: Digest, media_type: str = "") -> Manifest:
        with self._lock:
            known = self._recent.get(digest)
        if known is not None:
            return known
        content = self._blobs.read(digest, MANIFEST_LIMIT)
        manifest = parse_manifest(content, media_type, str(self._blobs.path(digest)))
        if manifest.digest != digest:
            # Named by another algorithm than ours, and found right.
            manifest = replace(manifest, descriptor=replace(manifest.descriptor, digest=digest))
        with self._lock:
            self._recent[digest] = manifest
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return manifest

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
        return BlobReader(self._blobs, descriptor, offset)

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        """A manifest counts only while the index leads to it: otherwise its parts may be collected any time."""
        found = {descriptor for descriptor in descriptors if self._blobs.has(descriptor)}
        manifests = {descriptor for descriptor in found if is_manifest(descriptor.media_type)}
        if not manifests:
            return found
        reached = self._graph.reached(self._entries())
        return {descriptor for descriptor in found if descriptor not in manifests or descriptor.digest in reached}

    def is_new(self) -> bool:
        return self._files.is_new()

    def tagged(self, tag: str) -> Descriptor | None:
        if self.is_new():
            return None
        found = self._matching(self._entries(), tag)
        if not found:
            return None
        _one_digest(found, f"{self._called(tag)} is ambiguous")
        return found[-1].descriptor

    def tags(self) -> list[str]:
        return sorted({entry.tag for entry in self._entries() if entry.tag})

    def referrers(self, digest: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        """What refers to a manifest: all of this layout is looked through, then the fallback tag."""
        found = {entry.digest: entry for entry in self._graph.referrers(self._entries(), digest)}
        for entry in listed_referrers(self, digest):
            found.setdefault(entry.digest, entry)
        return [entry for entry in found.values() if artifact_type in (None, entry.artifact_type)]

    def _entries(self) -> list[Entry]:
        self._files.check()
        return self._index.read()

    # -- writing -------------------------------------------------------------------------------------------------

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        self._begin()
        if descriptor is None:
            return self._blobs.begin(None)
        if self._blobs.has_fresh(descriptor):
            return Present()
        for repository in mount_from:
            if self._blobs.link(descriptor, BlobStore(layout_directory(self.root, repository), self.location.name)):
                return Mounted(repository)
        resumed = self._blobs.resume(descriptor, session) if session is not None else None
        return resumed if resumed is not None else self._blobs.begin(descriptor)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        if digest_of(manifest.content, manifest.digest.algorithm) != manifest.digest:
            raise IntegrityError(f"writing {self._called(manifest.digest)} failed: its bytes have another digest")
        self._begin()
        self._require_parts(manifest)
        if not self._blobs.has_fresh(manifest.descriptor):
            self._blobs.put(manifest.digest, manifest.content)
        self._blobs.sync()
        self._index.change(lambda entries: self._with(entries, manifest, tag))

    def _with(self, entries: list[Entry], manifest: Manifest, tag: str | None) -> list[Entry]:
        """The entries once `manifest` is among them, as `tag` or without a name."""
        self._require_parts(manifest)  # again, now that nobody can collect garbage
        digest = manifest.digest
        same = [other for other in entries if other.descriptor.digest == digest]
        present = next((other for other in same if other.name == tag or not tag), None)
        children = {child.digest for child in manifest.manifests}
        kept = [
            other
            for other in entries
            if other is present or not (self._replaced(other, digest, tag) or self._contained(other, children))
        ]
        return kept if present is not None else [*kept, Entry.of(_listed(manifest), tag or "")]

    def _replaced(self, other: Entry, digest: Digest, tag: str | None) -> bool:
        return bool(tag) and (other.name == tag or (not other.name and other.descriptor.digest == digest))

    def _contained(self, other: Entry, children: set[Digest]) -> bool:
        """Whether an entry without a name is needless now; a referrer's stays, so that it is quick to find."""
        return not other.name and other.descriptor.digest in children and self._subject_of(other) is None

    def _require_parts(self, manifest: Manifest) -> None:
        for part in manifest.successors():
            if not self._blobs.has(part) and (is_manifest(part.media_type) or not is_foreign(part)):
                raise RemoteError(
                    f"writing the manifest {self._called(manifest.digest)} failed: its part {part.digest} "
                    f"({part.media_type or 'of unknown type'}, {part.size} bytes) is not there",
                    hint="a part of the image is gone from the layout; run it again to copy it",
                )

    def _begin(self) -> None:
        if not self._begun:
            self._files.begin()
            self._blobs.forget_uploads()
            self._begun = True

    # -- deleting ------------------------------------------------------------------------------------------------

    def delete_tag(self, tag: str) -> None:
        """Remove a name from the index. Its image stays until garbage is collected."""
        self._entries()
        self._index.change(lambda entries: self._without_tag(entries, tag))

    def _without_tag(self, entries: list[Entry], tag: str) -> list[Entry]:
        found = [entry for entry in entries if tag in (entry.name, entry.tag)]
        if not found:
            raise self._no_such_tag(tag)
        names = {entry.name for entry in found} - {tag}
        if len(names) > 1 and all(entry.name != tag for entry in found):
            raise InputFileError(
                f"deleting {self._called(tag)} failed: it is the tag of {' and of '.join(sorted(names))}",
                hint="give the whole name",
            )
        return [entry for entry in entries if entry not in found]

    def delete_manifest(self, descriptor: Descriptor) -> None:
        """Remove a manifest and its tags; raises `ConflictError` while an index that stays contains it."""
        self._entries()
        digest = descriptor.digest
        found = os.path.exists(self._blobs.path(digest))

        def without(entries: list[Entry]) -> list[Entry]:
            kept = [entry for entry in entries if entry.descriptor.digest != digest]
            if not found and len(kept) == len(entries):
                raise NotFoundError(f"{self._called(digest)} was not found: the layout has no such digest")
            parent = self._graph.parent(kept, digest)
            if parent is not None:
                raise ConflictError(
                    f"deleting {self._called(digest)} failed: the index {parent} contains it", hint="delete that first"
                )
            return kept

        self._index.change(without)
        with self._index.lock(), disk_errors(f"deleting {self._called(digest)}", self._blobs.path(digest)):
            if self._graph.parent(self._index.read(), digest) is None:
                self._blobs.path(digest).unlink(missing_ok=True)
        with self._lock:
            self._recent.pop(digest, None)

    def collect_garbage(self, minimum_age_seconds: float = 3600.0, dry_run: bool = False) -> Garbage:
        """Remove the blobs that nothing in the index leads to; younger ones may belong to a copy under way.

        An artifact goes with its subject. Raises when a manifest that should stay can't be read.
        """
        self._entries()
        with self._index.lock():
            garbage = collect_garbage(self._blobs, self._index, self._graph, minimum_age_seconds, dry_run)
        with self._lock:
            self._recent.clear()
        return garbage

    # -- words ---------------------------------------------------------------------------------------------------

    def _called(self, reference: str) -> str:
        return f"{self.location.name}{'@' if ':' in reference else ':'}{reference}"

    def _no_such_tag(self, tag: str) -> NotFoundError:
        return NotFoundError(f"{self._called(tag)} was not found: the layout has no such tag", hint=self._nearest(tag))

    def _nearest(self, tag: str) -> str:
        tags = self.tags()
        near = difflib.get_close_matches(tag, tags, 3)
        if near:
            return f"did you mean {' or '.join(near)}?"
        more = f" and {len(tags) - _NEAREST} more" if len(tags) > _NEAREST else ""
        return f"it has the tags {', '.join(tags[:_NEAREST])}{more}" if tags else "it has no tags"


def _is_digest(reference: str) -> bool:
    return reference.partition(":")[0] in ("sha256", "sha384", "sha512")


def _one_digest(entries: Sequence[Entry], what: str) -> None:
    found = {entry.descriptor.digest: entry.name for entry in entries}
    if len(found) > 1:
        both = " and ".join(f"{digest} ({name})" for digest, name in sorted(found.items()))
        raise InputFileError(f"{what}: it stands for {both}", hint="delete one of them, or use the digest")


def _listed(manifest: Manifest) -> Descriptor:
    """The descriptor for the index: of a referrer, with what a listing of referrers shows."""
    return manifest.as_referrer() if manifest.subject is not None else manifest.descriptor
