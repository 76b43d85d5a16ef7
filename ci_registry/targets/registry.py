"""A repository of an OCI registry (OCI distribution-spec 1.1), as a source and as a target."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from urllib.parse import quote

from ..errors import (
    AccessError,
    CiRegistryError,
    ConflictError,
    IntegrityError,
    RemoteError,
)
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import (
    DOCKER_CONFIG,
    OCI_CONFIG,
    Manifest,
    is_manifest,
    parse_manifest,
)
from ..transport.exchange import Reply, Stream
from ..transport.http import Client
from .base import Location, Mounted, Present, Reader, Session, Writer
from .content_memory import ContentMemory
from .fallback_tag import add_referrer, listed_referrers
from .listing import pages, strings
from .manifest_reading import ManifestReading, named
from .tag_memory import TagMemory
from .upload import Upload, continue_upload

__all__ = ["RegistryRepository"]

_LISTS = 64
"""So many lists of referrers may be written at once."""
_SMALL_BYTES = 64 * 1024
"""Up to this size, configurations are kept."""


class RegistryRepository:
    """One repository. Shares its client, and so connections, tokens and limits, with the others of its registry.

    `name` is the repository path on the wire, `shown` the host that people know it by. `free_heads` says that reading
    a manifest counts against a quota while asking for its digest does not, so tags are resolved by HEAD.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        shown: str = "",
        store: str = "",
        free_heads: bool = False,
        mounts: bool = True,
        chunk_bytes: int = 0,
    ) -> None:
        host = shown or client.origin.netloc
        self.client, self.name = client, name
        self.location = Location(store or str(client.origin), name, f"{host}/{name}", str(client.origin))
        self._free_heads, self._mounts, self._chunk_bytes = free_heads, mounts, chunk_bytes
        self._pull = frozenset({f"repository:{name}:pull"})
        self._push = frozenset({f"repository:{name}:pull,push"})
        self._writing = False
        self._manifests = ManifestReading(client, name, self.location.name, lambda: self._scopes)
        self._seen = TagMemory(lambda: self._tag_pages(accepted=(404,)))
        self._no_referrers_api = False
        self._fallback_locks = [threading.Lock() for _ in range(_LISTS)]
        self._noted: set[Digest] = set()

    def __repr__(self) -> str:
        return f"RegistryRepository({self.location.name!r})"

    def for_writing(self) -> RegistryRepository:
        """Say that this repository will be written to: one token with pull and push serves all its requests."""
        self._writing = True
        return self

    def remember(self) -> None:
        """Keep manifests and configurations that are read from now on, to read them once."""
        if not self._manifests.memory.limit_bytes:
            self._manifests.memory = ContentMemory()

    @property
    def _scopes(self) -> frozenset[str]:
        return self._push if self._writing else self._pull

    # -- reading -------------------------------------------------------------------------------------------------

    def resolve(self, reference: str) -> Descriptor:
        if self._free_heads:
            found = self._manifests.head(reference)
            if found is None:
                raise self._manifests.not_found(reference)
            return found
        return self._manifests.root(reference)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._manifests.manifest(descriptor.digest)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Reader]:
        kept = self._manifests.memory.get(descriptor.digest)
        return _Fetch(self, descriptor, offset) if kept is None else nullcontext(BytesIO(kept[1][offset:]))

    def open_blob(self, descriptor: Descriptor, offset: int) -> Stream:
        """The blob's bytes from `offset` on, redirects followed without credentials."""
        # A storage that keeps compressed objects would otherwise unpack them on the way.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-{descriptor.size - 1}"
        path = f"/v2/{self.name}/blobs/{descriptor.digest}"
        stream = self.client.open("GET", path, headers=headers, scopes=self._scopes, follow=True)
        reply, attempt = stream.reply, f"reading {descriptor.digest} from {self.location.name}"
        if reply.status == 200 and offset:
            stream.skip(offset)  # whoever does not know ranges sends it from the start again
        elif reply.status == 206 and not (reply.headers.get("Content-Range") or "").startswith(f"bytes {offset}-"):
            stream.close(broken=True)
            said = reply.headers.get("Content-Range") or "none"
            raise RemoteError(f"{attempt} from byte {offset} failed: the range that came back is {said}")
        elif reply.status == 416:
            raise IntegrityError(
                f"{attempt} failed: the registry has not more than {offset} of the {descriptor.size} bytes that its "
                "manifest says",
                hint="the source is damaged; push that image again",
            )
        elif reply.status not in (200, 206):
            raise self.client.problem(reply, attempt)
        return stream

    def note_content(self, descriptor: Descriptor, content: bytes) -> None:
        """Be told of small content that was read and found right."""
        self._manifests.memory.keep(descriptor.digest, descriptor.media_type, content)

    def exists(self, descriptors: Collection[Descriptor]) -> set[Descriptor]:
        return {descriptor for descriptor in descriptors if self._has(descriptor)}

    def note_present(self, blobs: Collection[Descriptor]) -> None:
        """Be told of blobs that were just brought here, so that nobody asks for them or sends them again."""
        self._noted.update(blob.digest for blob in blobs)

    def is_noted(self, blob: Descriptor) -> bool:
        return blob.digest in self._noted

    def _has(self, descriptor: Descriptor) -> bool:
        if self.is_noted(descriptor):
            return True
        if is_manifest(descriptor.media_type):
            return self._manifests.head(descriptor.digest) is not None
        reply = self.client.request("HEAD", f"/v2/{self.name}/blobs/{descriptor.digest}", scopes=self._scopes)
        # A redirect means that the storage has it; following it with HEAD would break a URL that is signed for GET.
        if reply.status in (200, 301, 302, 303, 307, 308):
            return True
        if reply.status == 404:
            return False
        raise self.client.problem(reply, f"looking for {descriptor.digest} in {self.location.name}")

    # -- writing -------------------------------------------------------------------------------------------------

    def writer(
        self, descriptor: Descriptor | None, mount_from: Sequence[str] = (), session: Session | None = None
    ) -> Writer | Present | Mounted:
        if session is not None and descriptor is not None:
            resumed = continue_upload(self, descriptor, session)
            if resumed is not None:
                return resumed
        if descriptor is not None and self.is_noted(descriptor):
            return Present()
        mount = mount_from[0] if mount_from and self._mounts else ""
        reply = self._mount(descriptor, mount) if mount and descriptor is not None else None
        if reply is not None and reply.status == 201:
            return Mounted(mount)
        if reply is None:
            reply = self.client.request("POST", f"/v2/{self.name}/blobs/uploads/", scopes=self._push)
        if reply.status != 202:
            raise self.client.problem(reply, f"starting an upload to {self.location.name}")
        return Upload(self, descriptor, reply, self._chunk_bytes)

    def _mount(self, descriptor: Descriptor, repository: str) -> Reply | None:
        """Ask for a blob of another repository; None when we may not read that, a reason to upload, not to fail."""
        query = f"?mount={descriptor.digest}&from={quote(repository, safe='/')}"
        scopes = self._push | {f"repository:{repository}:pull"}
        try:
            reply = self.client.request("POST", f"/v2/{self.name}/blobs/uploads/{query}", scopes=scopes)
        except AccessError:
            return None
        return None if reply.status in (401, 403) else reply

    @property
    def push_scopes(self) -> frozenset[str]:
        return self._push

    @property
    def chunk_bytes(self) -> int:
        """Size of the parts that blobs are sent in; 0: whole."""
        return self._chunk_bytes

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        reference = tag or manifest.digest
        attempt = f"pushing the manifest {self._named(reference)}"
        reply = self.client.request(
            "PUT",
            f"/v2/{self.name}/manifests/{reference}",
            headers={"Content-Type": manifest.media_type},
            body=manifest.content,
            scopes=self._push,
        )
        if reply.status not in (200, 201, 202):
            self._settle_conflict(manifest, reference, self.client.problem(reply, attempt))
            return
        self._check_pushed(manifest, reference, reply)
        self._seen.saw(tag)
        if manifest.subject is not None and not reply.headers.get("OCI-Subject"):
            self._list_by_tag(manifest, manifest.subject.digest)

    def _settle_conflict(self, manifest: Manifest, reference: str, failed: CiRegistryError) -> None:
        """An immutable tag that holds just this manifest is a success, though registries refuse that, too."""
        found = self._manifests.head(reference) if isinstance(failed, ConflictError) else None
        if found is None or found.digest != manifest.digest:
            raise failed

    def _check_pushed(self, manifest: Manifest, reference: str, reply: Reply) -> None:
        # What the registry says it stored is the check of the copy; one that says nothing is asked.
        stored = reply.headers.get("Docker-Content-Digest")
        if not stored:
            found = self._manifests.head(reference)
            stored = found.digest if found else "nothing"
        if stored != manifest.digest:
            raise IntegrityError(
                f"pushing the manifest {self._named(reference)} failed: the registry stored {stored}, "
                f"not {manifest.digest}",
                hint="the registry, or a proxy in front of it, changes what it stores",
            )

    def is_new(self) -> bool:
        return self._seen.is_new()

    def tagged(self, tag: str) -> Descriptor | None:
        found = None if self._seen.lacks(tag) else self._manifests.head(tag)
        if found is not None:
            self._seen.saw(tag)
        return found

    # -- listing and deleting ------------------------------------------------------------------------------------

    def tags(self) -> list[str]:
        return sorted({tag for reply in self._tag_pages() for tag in strings(reply, "tags")})

    def _tag_pages(self, accepted: Collection[int] = ()) -> Iterator[Reply]:
        attempt = f"listing the tags of {self.location.name}"
        return pages(self.client, f"/v2/{self.name}/tags/list?n=1000", attempt, self._scopes, accepted)

    def referrers(self, digest: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        found = None if self._no_referrers_api else self._referrers_api(digest, artifact_type)
        if found is None:
            self._no_referrers_api = True
            found = listed_referrers(self, digest)
        if artifact_type is not None:
            found = [entry for entry in found if entry.artifact_type == artifact_type]
        return found

    def _referrers_api(self, digest: Digest, artifact_type: str | None) -> list[Descriptor] | None:
        query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
        path = f"/v2/{self.name}/referrers/{digest}{query}"
        found: list[Descriptor] = []
        first = True
        attempt = f"listing the referrers of {self._named(digest)}"
        for reply in pages(self.client, path, attempt, self._scopes, accepted=(400, 404, 405, 501)):
            if first and reply.status != 200:
                return None
            first = False
            self._check_listing(digest, reply)
            index = parse_manifest(reply.body, reply.headers.get("Content-Type") or "", f"the referrers of {digest}")
            found.extend(index.manifests)
        return found

    def _check_listing(self, digest: Digest, reply: Reply) -> None:
        """A list that is cut to pieces must not pass for an empty one: nothing else vouches for it."""
        if b'"manifests"' not in reply.body:
            raise RemoteError(f"listing the referrers of {self._named(digest)} failed: the answer is no index")

    def _list_by_tag(self, manifest: Manifest, subject: Digest) -> None:
        # One writer for each subject's list: those of different subjects do not meet, unless by chance.
        with self._fallback_locks[hash(subject) % len(self._fallback_locks)]:
            add_referrer(self, subject, manifest.as_referrer())

    def delete_tag(self, tag: str) -> None:
        self._delete(tag, f"deleting the tag {self._named(tag)}")

    def delete_manifest(self, descriptor: Descriptor) -> None:
        self._delete(descriptor.digest, f"deleting {self._named(descriptor.digest)}")
        self._manifests.forget(descriptor.digest)

    def _delete(self, reference: str, attempt: str) -> None:
        scopes = self._push | {f"repository:{self.name}:delete"}
        reply = self.client.request("DELETE", f"/v2/{self.name}/manifests/{reference}", scopes=scopes)
        if reply.status not in (200, 202, 204):
            raise self.client.problem(reply, attempt)

    # -- words ---------------------------------------------------------------------------------------------------

    def _named(self, reference: str) -> str:
        return named(self.location.name, reference)


class _Fetch:
    """A blob being read: opens on entry, so that the engine decides when the request is made."""

    def __init__(self, repository: RegistryRepository, descriptor: Descriptor, offset: int) -> None:
        self._repository, self._descriptor, self._offset = repository, descriptor, offset
        self._stream: Stream | None = None

    def __enter__(self) -> Reader:
        self._stream = self._repository.open_blob(self._descriptor, self._offset)
        wanted = self._descriptor
        if self._offset or wanted.size > _SMALL_BYTES or wanted.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            return self._stream
        content = self._stream.read_all(wanted.size + 1)
        if digest_of(content, wanted.digest.algorithm) == wanted.digest:
            self._repository.note_content(wanted, content)
        return BytesIO(content)

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
