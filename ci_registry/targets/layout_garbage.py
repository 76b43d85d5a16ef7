"""Removing the blobs of a layout that its index does not lead to. The caller holds the layout's lock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ..errors import CiRegistryError, NotFoundError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import MANIFEST_LIMIT, Manifest, is_manifest, parse_manifest
from .disk import disk_errors
from .layout_blobs import BlobStore
from .layout_graph import Graph
from .layout_index import Entry, IndexFile

__all__ = ["Garbage", "collect_garbage"]


class Garbage(Struct, frozen=True):
    """What was removed: how many blobs, and the bytes that the disk got back (a blob that other layouts of the tree
    link to costs nothing)."""

    count: int = 0
    size: int = 0


class _Stored(Struct, frozen=True):
    digest: Digest
    path: Path
    size: int
    age_seconds: float
    links: int


def collect_garbage(
    blobs: BlobStore, index: IndexFile, graph: Graph, minimum_age_seconds: float, dry_run: bool
) -> Garbage:
    """Remove what is neither reached nor younger than `minimum_age_seconds`; `dry_run` only counts it.

    Raises `IntegrityError` or `InputFileError` when a manifest that is reached can't be read, since what it refers to
    is unknown then; what is missing refers to nothing.
    """
    stored = list(_stored(blobs))
    entries = index.read()
    live = _Live(blobs)
    artifacts = [entry for entry in entries if not entry.name and graph.node(entry.descriptor).subject is not None]
    for entry in entries:
        if entry not in artifacts:
            live.add(entry.descriptor)
    for blob in stored:
        if blob.age_seconds < minimum_age_seconds:
            live.add_unknown(blob)
    dead = _with_dead_subjects(artifacts, graph, live, {blob.digest for blob in stored})
    garbage = [blob for blob in stored if blob.digest not in live.digests]
    if not dry_run:
        if dead:
            index.write([entry for entry in entries if entry not in dead])
        _remove(blobs, garbage)
        blobs.forget_uploads()
    return Garbage(len(garbage), sum(blob.size for blob in garbage if blob.links == 1))


def _stored(blobs: BlobStore) -> Iterator[_Stored]:
    now = time.time()
    root = blobs.directory / "blobs"
    with disk_errors(f"looking through {blobs.name}", root):
        for path in root.glob("*/*"):
            algorithm, name = path.parent.name, path.name
            status = path.stat()
            try:
                digest = Digest(f"{algorithm}:{name}")
            except CiRegistryError:
                continue  # not named as a blob is, so not ours to remove
            # A hard link keeps the time when the bytes were written; ctime is when this name was made.
            age = now - max(status.st_mtime, status.st_ctime)
            yield _Stored(digest, path, status.st_size, age, status.st_nlink)


class _Live:
    """The digests that stay."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.digests: set[Digest] = set()

    def add(self, descriptor: Descriptor) -> None:
        """Keep this and all that it refers to."""
        waiting = [descriptor]
        while waiting:
            current = waiting.pop()
            if current.digest in self.digests:
                continue
            self.digests.add(current.digest)
            if is_manifest(current.media_type) or not current.media_type:
                waiting.extend(self._parts(current))

    def _parts(self, descriptor: Descriptor) -> list[Descriptor]:
        try:
            content = self._blobs.read(descriptor.digest, MANIFEST_LIMIT)
        except NotFoundError:
            return []
        path = self._blobs.path(descriptor.digest)
        return list(parse_manifest(content, descriptor.media_type, str(path)).successors())

    def add_unknown(self, blob: _Stored) -> None:
        """Keep a blob that may be a manifest, written but not in the index yet, with all that it refers to."""
        manifest = _as_manifest(self._blobs, blob)
        self.digests.add(blob.digest)
        for part in manifest.successors() if manifest else ():
            self.add(part)


def _with_dead_subjects(artifacts: list[Entry], graph: Graph, live: _Live, stored: set[Digest]) -> list[Entry]:
    """Keep the artifacts whose subjects stay, or never were here; return the others."""
    waiting = artifacts
    while True:
        dead = []
        for entry in waiting:
            subject = graph.node(entry.descriptor).subject
            if entry.descriptor.digest in live.digests or subject in live.digests or subject not in stored:
                live.add(entry.descriptor)
            else:
                dead.append(entry)
        if len(dead) == len(waiting):
            return dead
        waiting = dead  # an artifact of one that stays stays too


def _remove(blobs: BlobStore, garbage: list[_Stored]) -> None:
    """What contains comes before what is contained, so that an end in between leaves no manifest with holes."""
    rank = {}
    for blob in garbage:
        manifest = _as_manifest(blobs, blob)
        rank[blob.digest] = 2 if manifest is None else 0 if manifest.is_index else 1
    for blob in sorted(garbage, key=lambda blob: rank[blob.digest]):
        with disk_errors(f"deleting {blob.digest} from {blobs.name}", blob.path):
            os.unlink(blob.path)


def _as_manifest(blobs: BlobStore, blob: _Stored) -> Manifest | None:
    if blob.size > MANIFEST_LIMIT:
        return None
    try:
        content = blobs.read(blob.digest, MANIFEST_LIMIT)
        return parse_manifest(content) if content.startswith(b"{") else None
    except CiRegistryError:
        return None
