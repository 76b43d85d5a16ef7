"""An upload of one blob to a registry: one PUT, a streamed PATCH, or chunks (distribution-spec, "Pushing a blob").

A blob of known size goes in a single PUT, which costs one round trip. Bytes whose digest is known only at the end go
in one PATCH with a chunked body. Chunks with a Content-Length are used where the target asks for them (`chunk_bytes`,
for a proxy that limits request bodies), and to go on with an upload that broke.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import CiRegistryError, ConflictError, IntegrityError, RemoteError, TransportError
from ..model.descriptor import Descriptor, Digest
from ..transport.exchange import EarlyAnswerError, Exchange, Reply
from ..transport.origin import Origin
from ..transport.retry import RETRY_STATUSES
from .base import Session

if TYPE_CHECKING:
    from .registry import RegistryRepository

__all__ = ["Upload", "continue_upload"]

_RANGE = re.compile(r"^(?:bytes=)?0-(\d+)$")
_CHUNK_BYTES = 16 * 1024 * 1024


class Upload:
    """Implements `targets.base.Writer` for a session that the registry opened."""

    def __init__(
        self,
        repository: RegistryRepository,
        descriptor: Descriptor | None,
        opened: Reply,
        chunk_bytes: int,
        offset: int = 0,
    ) -> None:
        self._repository, self._client = repository, repository.client
        self._descriptor = descriptor
        self._location = upload_location(repository, opened)
        self._minimum = _number(opened.headers.get("OCI-Chunk-Min-Length"))
        self._chunk_bytes = max(chunk_bytes, self._minimum) if chunk_bytes else 0
        self.offset = offset
        self._started_at = offset
        self._exchange: Exchange | None = None
        self._final = False
        self._chunk_left = 0

    @property
    def session(self) -> Session:
        """Enough to go on in another process. The Location holds no credential, but is not for logs either."""
        return {"location": self._location, "offset": self._started_at}

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:
        self._check_size(self.offset + len(chunk), more_may_come=True)
        while len(chunk):
            exchange = self._exchange or self._begin()
            exchange.patience(patience_seconds)
            part = chunk[: self._chunk_left] if self._chunk_left else chunk
            try:
                exchange.send(part)
            except EarlyAnswerError as error:
                self._exchange = None
                raise self._refused(error.reply) from error
            except TransportError:
                self._exchange = None
                raise
            self.offset += len(part)
            chunk = chunk[len(part) :]
            if self._chunk_left:
                self._chunk_left -= len(part)
                if not self._chunk_left and not self._final:
                    self._end_chunk()

    def _begin(self) -> Exchange:
        """Start the request that the next bytes go into."""
        size = self._descriptor.size if self._descriptor is not None else None
        headers = {"Content-Type": "application/octet-stream"}
        if size is None and not self._chunk_bytes:
            self._exchange = self._client.begin(
                "PATCH", self._location, headers=headers, length=None, scopes=self._repository.push_scopes
            )
            return self._exchange
        left = size - self.offset if size is not None else self._chunk_bytes
        if self._chunk_bytes and left > self._chunk_bytes:
            left = self._chunk_bytes
            # Both ends inclusive and without a unit (distribution-spec, "Pushing a blob in chunks").
            headers["Content-Range"] = f"{self.offset}-{self.offset + left - 1}"
            self._exchange = self._client.begin(
                "PATCH", self._location, headers=headers, length=left, scopes=self._repository.push_scopes
            )
        else:
            self._final = True
            assert self._descriptor is not None  # noqa: S101 - a size is only known with a descriptor
            if self.offset:
                headers["Content-Range"] = f"{self.offset}-{self.offset + left - 1}"
            url = _with_digest(self._location, self._descriptor.digest)
            self._exchange = self._client.begin(
                "PUT", url, headers=headers, length=left, scopes=self._repository.push_scopes
            )
        self._chunk_left = left
        return self._exchange

    def _end_chunk(self) -> None:
        reply = self._finish()
        if reply.status not in (202, 204):
            raise self._refused(reply)
        end = _RANGE.match(reply.headers.get("Range") or "")
        # distribution 2 ignores Content-Range: only what it says it has now shows that a chunk landed where it should
        if end and int(end.group(1)) + 1 != self.offset:
            raise TransportError(
                f"uploading to {self._repository.location.name} got out of step: the registry has "
                f"{int(end.group(1)) + 1} bytes of {self.offset}"
            )
        self._location = upload_location(self._repository, reply)
        self._started_at = self.offset

    def _finish(self) -> Reply:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None  # noqa: S101 - only called with a request under way
        return exchange.finish()

    def commit(self, digest: Digest) -> None:
        self._check_size(self.offset)
        if self._exchange is not None and self._final:
            reply = self._finish()
        else:
            if self._exchange is not None:
                self._end_chunk()
            reply = self._client.request(
                "PUT", _with_digest(self._location, digest), scopes=self._repository.push_scopes, retry=False
            )
        if reply.status not in (201, 200, 204):
            failed = self._refused(reply)
            # Where nothing may be written twice, somebody else brought the same blob meanwhile.
            if not isinstance(failed, ConflictError) or not self._is_there(digest):
                raise failed

    def _is_there(self, digest: Digest) -> bool:
        return bool(self._repository.exists([Descriptor("application/octet-stream", digest, self.offset)]))

    def _check_size(self, size: int, more_may_come: bool = False) -> None:
        """Keep the request as long as its Content-Length: the connection would hang or go out of step."""
        wanted = self._descriptor.size if self._descriptor is not None else size
        if self._descriptor is None or size == wanted or (more_may_come and size < wanted):
            return
        raise IntegrityError(
            f"uploading {self._descriptor.digest} to {self._repository.location.name} failed: there are {size} bytes, "
            f"and its manifest says {wanted}",
            hint="the source is damaged, or changed while it was read; run it again",
        )

    def _refused(self, reply: Reply) -> CiRegistryError:
        """A refusal as an error: one that another try may cure is a `TransportError`."""
        attempt = f"uploading to {self._repository.location.name}"
        failed = self._client.problem(reply, attempt)
        if reply.status in RETRY_STATUSES or reply.status in (404, 416) or self._token_ended(reply):
            broken = TransportError(failed.message, hint=failed.hint)
            broken.retryable = True
            return broken
        return failed

    def _token_ended(self, reply: Reply) -> bool:
        authoriser = self._client.authoriser
        return (
            reply.status in (401, 403)
            and authoriser is not None
            and authoriser.challenged(reply, self._repository.push_scopes, {"Authorization": "Bearer ended"})
        )

    def abort(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None
        cancel_upload(self._repository, self._location)


def upload_location(repository: RegistryRepository, reply: Reply) -> str:
    """The URL to upload to, from a Location that may be relative; its query is kept to the letter."""
    location = reply.headers.get("Location")
    if not location:
        raise RemoteError(f"starting an upload to {repository.location.name} failed: the answer has no Location")
    url = repository.client.url(location, reply.url)
    here, there = repository.client.origin, Origin.parse(url)
    if there != here and (there.host == here.host or (here.is_tls and not there.is_tls)):
        unsafe = ", without TLS" if here.is_tls and not there.is_tls else ""
        raise RemoteError(
            f"uploading to {repository.location.name} failed: the registry at {here} sends uploads to {there}{unsafe}, "
            "so a proxy in front of it hides the real address",
            hint="set `proxy_set_header Host $http_host;` and `proxy_set_header X-Forwarded-Proto $scheme;` in nginx, "
            "or http.host or http.relativeurls in the registry",
        )
    return url


def cancel_upload(repository: RegistryRepository, location: str) -> None:
    """Tell the registry to forget a session; that it may not is no concern of a run that is ending."""
    client = repository.client.for_cleanup()
    try:
        client.request("DELETE", location, scopes=repository.push_scopes, retry=False)
    except CiRegistryError:
        return
    finally:
        client.close()


def continue_upload(repository: RegistryRepository, descriptor: Descriptor, session: Session) -> Upload | None:
    """Go on with a session from where the registry has it (GET of its Location); None when it is gone.

    `Range: 0-0` stands for no byte and for one byte alike: only a session that never got a byte is sure then.
    """
    location = str(session["location"])
    reply = repository.client.request("GET", location, scopes=repository.push_scopes)
    if reply.status != 204:
        return None
    match = _RANGE.match(reply.headers.get("Range") or "")
    if match is None:
        return None
    end = int(match.group(1))
    offset = end + 1 if end else 0
    if offset > descriptor.size or (end == 0 and int(session["offset"]) != 0):
        cancel_upload(repository, location)
        return None
    if not reply.headers.get("Location"):
        reply.headers["Location"] = location
    return Upload(repository, descriptor, reply, _CHUNK_BYTES if offset else 0, offset)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
