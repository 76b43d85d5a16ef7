"""Reading the manifests of a registry's repository (OCI distribution-spec, "Pulling manifests"), each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from ..errors import CiRegistryError, IntegrityError, NotFoundError, ReferenceSyntaxError
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import ACCEPT, MANIFEST_LIMIT, Manifest, opening_type, parse_manifest
from ..transport.exchange import Reply
from ..transport.http import Client
from ..transport.problem import diagnostics
from .content_memory import ContentMemory

__all__ = ["ManifestReading", "named"]

Unread = tuple[bytes, str, str]
"""A manifest nobody has looked into: its bytes, its Content-Type, and its name for messages."""

T = TypeVar("T")

_RECENT = 64
_UNREAD = 512
"""More than the images that are under way in a run, so that what was read for its tag is not read again."""


def named(where: str, reference: str) -> str:
    """A tag or digest of a repository as people write it."""
    return f"{where}{'@' if ':' in reference else ':'}{reference}"


class ManifestReading:
    """What a repository's tags and digests name.

    `name` is the repository's path on the wire, `where` its name for people; `scopes` gives what to ask a token for.
    `memory` keeps what was read, where it has room. Safe to use from several threads.
    """

    def __init__(self, client: Client, name: str, where: str, scopes: Callable[[], frozenset[str]]) -> None:
        self._client, self._path, self._where, self._scopes = client, f"/v2/{name}/manifests/", where, scopes
        self._recent: OrderedDict[Digest, Manifest] = OrderedDict()
        self._unread: OrderedDict[Digest, Unread] = OrderedDict()
        self._lock = threading.Lock()
        self.memory = ContentMemory(limit_bytes=0)

    def head(self, reference: str) -> Descriptor | None:
        """What a tag or digest names, None where it is not there."""
        headers = {"Accept": ACCEPT}
        reply = self._client.request(
            "HEAD", f"{self._path}{reference}", headers=headers, scopes=self._scopes(), follow=True
        )
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._client.problem(reply, f"looking for {named(self._where, reference)}")
        digest = _digest(reply.headers.get("Docker-Content-Digest") or "")
        size = reply.headers.get("Content-Length") or ""
        if digest is None or not size.isdecimal():
            return self.root(reference)
        return Descriptor((reply.headers.get("Content-Type") or "").partition(";")[0], digest, int(size))

    def root(self, reference: str) -> Descriptor:
        """Read a manifest, but look into it only when somebody asks what is in it: not where it is there already.

        Raises `NotFoundError`.
        """
        digest, content, media_type, where = self._read(reference)
        kind = opening_type(content, media_type)
        if not kind:
            return self._understood(digest, content, media_type, where).descriptor
        with self._lock:
            _put(self._unread, digest, (content, media_type, where), _UNREAD)
        self.memory.keep(digest, kind, content)
        return Descriptor(kind, digest, len(content))

    def manifest(self, digest: Digest) -> Manifest:
        """The manifest of a digest. Raises `NotFoundError`, `InputFileError` for what is no manifest."""
        with self._lock:
            known, unread = self._recent.get(digest), self._unread.get(digest)
        if known is not None:
            return known
        if unread is not None:
            return self._understood(digest, *unread)
        kept = self.memory.get(digest)
        if kept is not None:
            return self._understood(digest, kept[1], kept[0], named(self._where, digest))
        manifest = self._understood(*self._read(digest))
        self.memory.keep(manifest.digest, manifest.media_type, manifest.content)
        return manifest

    def forget(self, digest: Digest) -> None:
        """It was deleted."""
        self.memory.forget(digest)
        with self._lock:
            self._recent.pop(digest, None)
            self._unread.pop(digest, None)

    def not_found(self, reference: str, reply: Reply | None = None) -> CiRegistryError:
        """The error for a tag or digest that is not there."""
        where = named(self._where, reference)
        found = diagnostics(reply.body) if reply is not None else []
        if reply is not None and found and found[0].code not in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"):
            return self._client.problem(reply, f"reading the manifest {where}")
        what = "repository" if found and found[0].code == "NAME_UNKNOWN" else ("digest" if ":" in reference else "tag")
        return NotFoundError(
            f"{where} was not found: the registry has no such {what}",
            hint=f"list what is there with `ci-registry list docker://{self._where}`",
        )

    def _read(self, reference: str) -> tuple[Digest, bytes, str, str]:
        """Digest, bytes and Content-Type of a manifest, and its name for messages."""
        where = named(self._where, reference)
        reply = self._client.request(
            "GET",
            f"{self._path}{reference}",
            headers={"Accept": ACCEPT},
            scopes=self._scopes(),
            limit=MANIFEST_LIMIT,
            follow=True,
        )
        if reply.status == 404:
            raise self.not_found(reference, reply)
        if reply.status != 200:
            raise self._client.problem(reply, f"reading the manifest {where}")
        return _checked(reference, reply, where), reply.body, reply.headers.get("Content-Type") or "", where

    def _understood(self, digest: Digest, content: bytes, media_type: str, where: str) -> Manifest:
        manifest = parse_manifest(content, media_type, where)
        if manifest.digest != digest:
            # Named by another algorithm than ours, and found right.
            manifest = replace(manifest, descriptor=replace(manifest.descriptor, digest=digest))
        with self._lock:
            _put(self._recent, digest, manifest, _RECENT)
            self._unread.pop(digest, None)  # not before: others may be asking for it
        return manifest


def _put(kept: OrderedDict[Digest, T], digest: Digest, found: T, most: int) -> None:
    kept[digest] = found
    while len(kept) > most:
        kept.popitem(last=False)


def _checked(reference: str, reply: Reply, where: str) -> Digest:
    """The digest of the answer, which has to be the one asked for, or stated."""
    stated = reference if ":" in reference else reply.headers.get("Docker-Content-Digest") or ""
    asked = _digest(stated)
    found = digest_of(reply.body, asked.algorithm if asked else "sha256")
    if asked is not None and asked != found:
        raise IntegrityError(
            f"reading the manifest {where} gave bytes whose digest is {found}, not {stated}",
            hint="the registry, or a proxy in front of it, changes what it stores",
        )
    return found


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except ReferenceSyntaxError:
        return None
