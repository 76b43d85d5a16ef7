"""Checks that an image is whole at a place, by reading every byte without the code under test.

assert validate_registry(registry.url, "app", "1").problems == []
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .images import MANIFEST_ACCEPT, OCI_INDEX, fallback_tag
from .wire import Answer, Wire, WireError

__all__ = ["Validation", "validate_layout", "validate_registry"]

Pieces = Callable[[str], Iterator[bytes] | None]
"""Content by digest in pieces, or None where it isn't there."""


@dataclass
class Validation:
    """`problems` are sentences; `digests` everything found; `root` the digest the walk began at; `foreign` layers that
    are absent and have urls; `referrers` the manifests whose subject is in the image."""

    root: str = ""
    problems: list[str] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    referrers: set[str] = field(default_factory=set)


def validate_registry(
    base_url: str, repository: str, reference: str, wire: Wire | None = None, referrers: bool = False
) -> Validation:
    """Walk from a tag or digest. With `referrers`, also through the referrers API or the fallback tag."""
    if wire is None:
        with Wire(base_url) as own:
            return validate_registry(base_url, repository, reference, own, referrers)
    client = wire
    path = f"/v2/{repository}/manifests/{quote(reference)}"
    answer = client.request("GET", path, headers={"Accept": MANIFEST_ACCEPT})
    if answer.status != 200:
        return Validation(problems=[f"{repository}:{reference} answers {answer.status}"])
    walk = _Walk(lambda digest: _manifest(client, repository, digest), lambda digest: _blob(client, repository, digest))
    walk.root(reference, answer)
    for digest in sorted(walk.result.digests) if referrers else ():
        for entry in _list_referrers(client, repository, digest):
            walk.result.referrers.add(entry["digest"])
            walk.manifest(entry, f"referrers of {digest}")
    return walk.result


def validate_layout(directory: Path, tag: str | None = None, referrers: bool = False) -> Validation:
    """Walk an OCI layout from the entry with that tag, or from every entry.

    With `referrers`, entries whose subject is part of what was found are walked too.
    """
    walk = _Walk(lambda digest: _read(directory, digest), lambda digest: _read(directory, digest))
    try:
        version = json.loads((directory / "oci-layout").read_bytes())["imageLayoutVersion"]
        entries = json.loads((directory / "index.json").read_bytes())["manifests"]
    except (OSError, ValueError, KeyError) as error:
        return Validation(problems=[f"{directory} is no layout: {error!r}"])
    if version != "1.0.0":
        walk.result.problems.append(f"imageLayoutVersion is {version!r}")
    name = "org.opencontainers.image.ref.name"
    chosen = [e for e in entries if tag is None or (e.get("annotations") or {}).get(name) == tag]
    if len(chosen) != 1 and tag is not None:
        walk.result.problems.append(f"{len(chosen)} entries of index.json have the tag {tag!r}")
    for entry in chosen:
        walk.result.root = walk.result.root or entry["digest"]
        walk.manifest(entry, "index.json")
    if referrers:
        for entry in entries:
            subject = walk.subject_of(entry)
            if subject in walk.result.digests and entry not in chosen:
                walk.result.referrers.add(entry["digest"])
                walk.manifest(entry, f"referrers of {subject}")
    walk.result.problems += _strays(directory)
    return walk.result


class _Walk:
    def __init__(self, manifest: Pieces, blob: Pieces) -> None:
        self.result = Validation()
        self._manifest = manifest
        self._blob = blob

    def root(self, reference: str, answer: Answer) -> None:
        """Begin with what a registry answered for a tag or digest."""
        digest = reference if ":" in reference else f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        self.result.root = digest
        stated = answer.headers.get("docker-content-digest", digest)
        if stated != digest:
            self.result.problems.append(f"{reference}: Docker-Content-Digest says {stated}, the content is {digest}")
        kind = answer.headers["content-type"].partition(";")[0]
        self.manifest({"mediaType": kind, "digest": digest, "size": len(answer.body)}, reference)

    def manifest(self, descriptor: Mapping[str, Any], where: str) -> None:
        """Check a manifest and everything below it."""
        digest = str(descriptor["digest"])
        if digest in self.result.digests:
            return
        content = self._check(descriptor, self._manifest, where)
        if content is None:
            return
        document = self._parse(digest, content)
        kind = document.get("mediaType") or descriptor.get("mediaType")
        if kind != descriptor.get("mediaType"):
            self.result.problems.append(f"{digest} is a {kind}, but {where} says {descriptor.get('mediaType')}")
        for child in document.get("manifests") or []:
            self.manifest(child, digest)
        for blob in [*filter(None, [document.get("config")]), *(document.get("layers") or [])]:
            if blob["digest"] not in self.result.digests:
                self._check_blob(blob, digest)

    def subject_of(self, descriptor: Mapping[str, Any]) -> str:
        """The digest a manifest refers to, or ""."""
        pieces = self._manifest(str(descriptor["digest"]))
        document = json.loads(b"".join(pieces)) if pieces is not None else {}
        return str((document.get("subject") or {}).get("digest", ""))

    def _check_blob(self, blob: Mapping[str, Any], where: str) -> None:
        if blob.get("urls") and self._blob(blob["digest"]) is None:
            self.result.foreign.add(blob["digest"])
        else:
            self._check(blob, self._blob, where, keep=False)

    def _check(self, descriptor: Mapping[str, Any], read: Pieces, where: str, keep: bool = True) -> bytes | None:
        """Read content and compare it with its descriptor; the bytes if it is sound and `keep`."""
        digest = str(descriptor["digest"])
        pieces = read(digest)
        if pieces is None:
            self.result.problems.append(f"{digest} is missing (wanted by {where})")
            return None
        algorithm, _, name = digest.partition(":")
        found, size, kept = hashlib.new(algorithm), 0, []
        for piece in pieces:
            found.update(piece)
            size += len(piece)
            kept += [piece] if keep else []
        if found.hexdigest() != name:
            self.result.problems.append(f"{digest} has the content of {algorithm}:{found.hexdigest()}")
            return None
        if size != descriptor["size"]:
            self.result.problems.append(f"{digest} has {size} bytes, but {where} says {descriptor['size']}")
        self.result.digests.add(digest)
        return b"".join(kept) if keep else None

    def _parse(self, digest: str, content: bytes) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            self.result.problems.append(f"{digest} is not JSON")
            return {}
        return document if isinstance(document, dict) else {}


def _manifest(client: Wire, repository: str, digest: str) -> Iterator[bytes] | None:
    answer = client.request("GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": MANIFEST_ACCEPT})
    return iter([answer.body]) if answer.status == 200 else None


def _blob(client: Wire, repository: str, digest: str) -> Iterator[bytes] | None:
    path = f"/v2/{repository}/blobs/{digest}"
    return client.stream(path) if client.request("HEAD", path).status == 200 else None


def _list_referrers(client: Wire, repository: str, digest: str) -> list[dict[str, Any]]:
    answer = client.request("GET", f"/v2/{repository}/referrers/{digest}")
    if answer.status != 200:
        tag = fallback_tag(digest)
        answer = client.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": OCI_INDEX})
    if answer.status not in (200, 404):
        raise WireError(f"referrers of {digest}: {answer.status}")
    entries: list[dict[str, Any]] = answer.json()["manifests"] if answer.status == 200 else []
    return entries


def _read(directory: Path, digest: str) -> Iterator[bytes] | None:
    algorithm, _, name = digest.partition(":")
    path = directory / "blobs" / algorithm / name
    return _pieces(path) if path.is_file() else None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def _strays(directory: Path) -> list[str]:
    """Files among the blobs whose name is no digest: half-written ones that somebody left there."""
    blobs = [path for path in (directory / "blobs").rglob("*") if path.is_file()]
    return [f"{path.relative_to(directory)} is no blob" for path in blobs if len(path.name) not in (64, 128)]
