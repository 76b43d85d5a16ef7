"""Referrers where the registry has no referrers API: the tag scheme (distribution-spec, "Referrers Tag Schema").

The list of a subject's referrers is an index under the tag `ALGORITHM-HEX`, kept by the clients. Two clients that
write at once can lose an entry, so it is read again after writing.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import ConflictError, InputFileError, NotFoundError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import OCI_INDEX, Manifest, dump, parse_manifest

__all__ = ["add_referrer", "fallback_tag", "listed_referrers", "remove_referrer"]

_TRIES = 5


class _Repository(Protocol):
    def resolve(self, reference: str) -> Descriptor: ...
    def manifest(self, descriptor: Descriptor) -> Manifest: ...
    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None: ...


def fallback_tag(digest: Digest) -> str:
    """`sha256-<64 hex digits>`: at most 32 characters of the algorithm and 64 of the digits."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def listed_referrers(repository: _Repository, digest: Digest) -> list[Descriptor]:
    """The referrers that the tag lists; none when there is no such tag."""
    tag = fallback_tag(digest)
    try:
        index = repository.manifest(repository.resolve(tag))
    except NotFoundError:
        return []
    if not index.is_index:
        raise InputFileError(f"the tag {tag}, which should list referrers, holds {index.media_type} and not an index")
    return list(index.manifests)


def add_referrer(repository: _Repository, subject: Digest, referrer: Descriptor) -> None:
    """Add an entry unless it is there; raises `ConflictError` when other writers keep removing it."""
    for _ in range(_TRIES):
        entries = listed_referrers(repository, subject)
        if any(entry.digest == referrer.digest for entry in entries):
            return
        _write(repository, subject, [*entries, referrer])
    if all(entry.digest != referrer.digest for entry in listed_referrers(repository, subject)):
        raise ConflictError(
            f"listing {referrer.digest} as a referrer under the tag {fallback_tag(subject)} failed {_TRIES} times: "
            "somebody else writes that tag at the same time",
            hint="run it again when the other writer is done",
        )


def remove_referrer(repository: _Repository, subject: Digest, referrer: Digest) -> None:
    """Drop an entry, after its manifest was deleted."""
    entries = listed_referrers(repository, subject)
    kept = [entry for entry in entries if entry.digest != referrer]
    if len(kept) != len(entries):
        _write(repository, subject, kept)


def _write(repository: _Repository, subject: Digest, entries: list[Descriptor]) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in entries]}
    repository.put_manifest(parse_manifest(dump(document)), fallback_tag(subject))
