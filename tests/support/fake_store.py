"""What the scriptable registry holds: blobs, repositories, upload sessions. In memory, safe for threads."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .images import OCI_INDEX, BuiltImage, digest_of, fallback_tag, referrer_entry

__all__ = ["Repository", "Session", "Store"]


@dataclass
class Repository:
    """`blobs` are the digests it may serve, `manifests` digest to (media type, bytes), `tags` tag to digest."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, reference: str) -> str | None:
        """The digest a tag or digest stands for, or None."""
        digest = reference if ":" in reference else self.tags.get(reference)
        return digest if digest in self.manifests else None

    def referrers(self, subject: str) -> list[dict[str, Any]]:
        """Descriptors of what refers to a digest, as the referrers API gives them."""
        found = []
        for digest, (media_type, content) in self.manifests.items():
            document = json.loads(content)
            if (document.get("subject") or {}).get("digest") == subject:
                found.append(referrer_entry(media_type, digest, len(content), document))
        return found


class Session:
    """An open upload. `state` is the query value its latest Location has; only that one may write."""

    def __init__(self, repository: str) -> None:
        self.id = secrets.token_hex(12)
        self.repository = repository
        self.data = bytearray()
        self.short_chunk = False
        self.states: list[str] = []
        self._state_size = -1
        self._idle = threading.Event()
        self._idle.set()
        self.renew()

    def renew(self) -> str:
        """A new state, as every reply with a Location carries. It looks like base64 that must not be re-encoded."""
        self.states.append(f"{secrets.token_hex(4)}-a%2Fb%2Bc==")
        self._state_size = len(self.data)
        return self.states[-1]

    def is_current(self, state: str) -> bool:
        """Whether bytes may be appended with this state: the latest one, and nothing was appended since."""
        return state == self.states[-1] and self._state_size == len(self.data)

    def append(self, pieces: Iterator[bytes]) -> int:
        """Take pieces as they come; those before a broken connection stay. How many bytes came."""
        self._idle.clear()
        start = len(self.data)
        try:
            for piece in pieces:
                self.data += piece
        finally:
            self._idle.set()
        return len(self.data) - start

    def settle(self) -> None:
        """Wait until nobody is writing, so that the size asked for by a status call is final."""
        self._idle.wait(5)


class Store:
    """All repositories on one pool of blobs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.sessions: dict[str, Session] = {}

    def repository(self, name: str) -> Repository:
        """The repository of that name, made if it isn't there."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def open_session(self, repository: str) -> Session:
        session = Session(repository)
        with self.lock:
            self.sessions[session.id] = session
        return session

    def close_session(self, session: Session) -> None:
        with self.lock:
            self.sessions.pop(session.id, None)

    def commit(self, session: Session, digest: str) -> bool:
        """End a session; whether its bytes have that digest and are now a blob of the repository."""
        self.close_session(session)
        algorithm, _, name = digest.partition(":")
        if hashlib.new(algorithm, session.data).hexdigest() != name:
            return False
        self.add_blob(session.repository, digest, bytes(session.data))
        return True

    def add_blob(self, repository: str, digest: str, content: bytes) -> None:
        with self.lock:
            self.blobs[digest] = content
            self.repository(repository).blobs.add(digest)

    def mount(self, digest: str, source: str, target: str) -> bool:
        with self.lock:
            known = source in self.repositories and digest in self.repositories[source].blobs
            if known:
                self.repository(target).blobs.add(digest)
            return known

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob if that repository has it."""
        with self.lock:
            found = self.repositories.get(repository)
            return self.blobs.get(digest) if found and digest in found.blobs else None

    def put_manifest(self, repository: str, media_type: str, content: bytes, tags: list[str], algorithm: str) -> str:
        digest = digest_of(content, algorithm)
        with self.lock:
            place = self.repository(repository)
            place.manifests[digest] = (media_type, content)
            place.tags.update(dict.fromkeys(tags, digest))
        return digest

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest and every tag on it."""
        with self.lock:
            place = self.repository(repository)
            del place.manifests[digest]
            for tag in [tag for tag, held in place.tags.items() if held == digest]:
                del place.tags[tag]

    def load(self, image: BuiltImage, repository: str, tag: str | None, referrers_api: bool) -> None:
        """Put a built image here without any request, referrers and signatures included."""
        for member in image.family():
            for digest, content in member.blobs.items():
                self.add_blob(repository, digest, content)
            for blob_digest, blob in member.streamed.items():
                self.add_blob(repository, blob_digest, b"".join(blob.chunks()))
            place = self.repository(repository)
            place.manifests.update(member.manifests)
            place.tags.update({name: signature.digest for name, signature in member.signatures.items()})
        for member in () if referrers_api else image.family():
            self._write_fallbacks(self.repository(repository), repository, member)
        if tag is not None:
            self.repository(repository).tags[tag] = image.digest

    def _write_fallbacks(self, place: Repository, name: str, image: BuiltImage) -> None:
        for subject in {str(member.document["subject"]["digest"]) for member in image.referrers}:
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": place.referrers(subject)}
            self.put_manifest(name, OCI_INDEX, json.dumps(index).encode(), [fallback_tag(subject)], "sha256")
