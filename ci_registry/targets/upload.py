"""An upload of one blob to a registry: one PUT, a streamed PATCH, or chunks (distribution-spec, "Pushing a blob").

A blob of known size goes in a single PUT, which costs one round trip. Bytes whose digest is known only at the end go
in one PATCH with a chunked body. Chunks with a Content-Length are used where the target asks for them (`chunk_bytes`,
for a proxy that limits request bodies or wants to know their length), and to go on with an upload that broke. Where
the size is not known either, each chunk is collected in memory first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import CiRegistryError, ConflictError, IntegrityError, RemoteError, TransportError
from ..model.descriptor import Descriptor, Digest
from ..transport.exchange import COMMIT_SECONDS, EarlyAnswerError, Exchange, Reply
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
        self._touched = offset > 0
        self._collected = bytearray()
        self._exchange: Exchange | None = None
        self._final = False
        self._chunk_left = 0

    @property
    def session(self) -> Session:
        """Enough to go on in another process. The Location holds no credential, but is not for logs either."""
        return {"location": self._location, "touched": self._touched, "minimum": self._minimum}

    # -- bytes ---------------------------------------------------------------------------------------------------

    def write(self, chunk: memoryview, patience_seconds: float | None = None) -> None:
        self._check_size(self.offset + len(chunk), more_may_come=True)
        if self._descriptor is None and self._chunk_bytes:
            self._collect(chunk, patience_seconds)
            return
        while len(chunk):
            exchange = self._exchange or self._begin()
            part = chunk[: self._chunk_left] if self._chunk_left else chunk
            self._send(exchange, part, patience_seconds)
            self.offset += len(part)
            chunk = chunk[len(part) :]
            if self._chunk_left:
                self._chunk_left -= len(part)
                if not self._chunk_left and not self._final:
                    self._end_chunk(patience_seconds)

    def _send(self, exchange: Exchange, part: memoryview, patience_seconds: float | None) -> None:
        exchange.patience(patience_seconds)
        self._touched = True
        try:
            exchange.send(part)
        except EarlyAnswerError as error:
            self._exchange = None
            raise self._refused(error.reply, exchange) from error
        except TransportError:
            exchange.close()
            self._exchange = None
            raise

    def _collect(self, chunk: memoryview, patience_seconds: float | None) -> None:
        """Keep bytes of unknown number until there are enough for a request of known length."""
        self._collected += chunk
        while len(self._collected) > self._chunk_bytes:
            self._send_collected("PATCH", self._location, self._chunk_bytes, patience_seconds)
            self._end_chunk(patience_seconds)

    def _send_collected(self, method: str, url: str, count: int, patience_seconds: float | None = None) -> None:
        self._exchange = self._start(method, url, count)
        part = bytes(self._collected[:count])
        del self._collected[:count]
        self._send(self._exchange, memoryview(part), patience_seconds)
        self.offset += count

    def _begin(self) -> Exchange:
        """Start the request that the next bytes go into."""
        descriptor = self._descriptor
        if descriptor is None:
            self._exchange = self._start("PATCH", self._location, None)
            return self._exchange
        left = descriptor.size - self.offset
        if self._chunk_bytes and left > self._chunk_bytes:
            left = self._chunk_bytes
            self._exchange = self._start("PATCH", self._location, left)
        else:
            self._final = True
            self._exchange = self._start("PUT", _with_digest(self._location, descriptor.digest), left)
        self._chunk_left = left
        return self._exchange

    def _start(self, method: str, url: str, length: int | None) -> Exchange:
        headers = {"Content-Type": "application/octet-stream"}
        if length and (self.offset or method == "PATCH"):
            # Both ends inclusive and without a unit (distribution-spec, "Pushing a blob in chunks").
            headers["Content-Range"] = f"{self.offset}-{self.offset + length - 1}"
        return self._client.begin(method, url, headers=headers, length=length, scopes=self._repository.push_scopes)

    def _end_chunk(self, patience_seconds: float | None = None) -> None:
        reply, exchange = self._finish(patience_seconds)
        if reply.status not in (202, 204):
            raise self._refused(reply, exchange)
        end = _RANGE.match(reply.headers.get("Range") or "")
        # distribution 2 ignores Content-Range: only what it says it has now shows that a chunk landed where it should
        if end and int(end.group(1)) + 1 != self.offset:
            raise TransportError(
                f"uploading to {self._repository.location.name} got out of step: the registry has "
                f"{int(end.group(1)) + 1} bytes of {self.offset}"
            )
        self._location = upload_location(self._repository, reply)

    def _finish(self, patience_seconds: float | None = None) -> tuple[Reply, Exchange]:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None  # noqa: S101 - only called with a request under way
        return exchange.finish(COMMIT_SECONDS if patience_seconds is None else patience_seconds), exchange

    # -- the end -------------------------------------------------------------------------------------------------

    def commit(self, digest: Digest) -> None:
        self._check_size(self.offset)
        if not self._final:
            if self._exchange is not None:
                self._end_chunk()
            self._start_last(digest)
        reply, exchange = self._finish()
        if reply.status not in (201, 200, 204):
            failed = self._refused(reply, exchange)
            # Where nothing may be written twice, somebody else brought the same blob meanwhile.
            if not isinstance(failed, ConflictError) or not self._is_there(digest):
                raise failed

    def _start_last(self, digest: Digest) -> None:
        """The request that closes the session, with what is left to send."""
        url = _with_digest(self._location, digest)
        if self._collected:
            self._send_collected("PUT", url, len(self._collected))
        else:
            self._exchange = self._start("PUT", url, 0)

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

    def _refused(self, reply: Reply, exchange: Exchange) -> CiRegistryError:
        """A refusal as an error: one that another try may cure is a `TransportError`."""
        attempt = f"uploading to {self._repository.location.name}"
        failed = self._client.problem(reply, attempt)
        if reply.status in RETRY_STATUSES or reply.status in (404, 416) or self._token_ended(reply, exchange):
            broken = TransportError(failed.message, hint=failed.hint)
            broken.retryable = True
            return broken
        return failed

    def _token_ended(self, reply: Reply, exchange: Exchange) -> bool:
        """Whether the registry no longer takes what was shown to it, and would take something else."""
        authoriser = self._client.authoriser
        return (
            reply.status in (401, 403)
            and authoriser is not None
            and "Authorization" in exchange.sent
            and authoriser.challenged(reply, self._repository.push_scopes, exchange.sent)
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
    if (here.is_tls and not there.is_tls) or _lost_its_port(here, there):
        unsafe = ", without TLS" if here.is_tls and not there.is_tls else ""
        raise RemoteError(
            f"uploading to {repository.location.name} failed: the registry at {here} sends uploads to {there}{unsafe}, "
            "so a proxy in front of it hides the real address",
            hint="set `proxy_set_header Host $http_host;` and `proxy_set_header X-Forwarded-Proto $scheme;` in nginx, "
            "or http.host or http.relativeurls in the registry",
        )
    return url


def _lost_its_port(here: Origin, there: Origin) -> bool:
    return there.host == here.host and there.port != here.port and there.has_default_port


def cancel_upload(repository: RegistryRepository, location: str) -> None:
    """Tell the registry to forget a session; that it may not is no concern of a run that is ending."""
    client = repository.client.for_cleanup()
    try:
        client.request("DELETE", location, scopes=repository.push_scopes)
    except CiRegistryError:
        return
    finally:
        client.close()


def continue_upload(repository: RegistryRepository, descriptor: Descriptor, session: Session) -> Upload | None:
    """Go on with a session from where the registry has it (GET of its Location); None when that can't be.

    `Range: 0-0` stands for no byte and for one byte alike: only a session that was never sent a byte is sure then.
    """
    location = str(session.get("location") or "")
    reply = repository.client.request("GET", location, scopes=repository.push_scopes)
    match = _RANGE.match(reply.headers.get("Range") or "")
    end = int(match.group(1)) if match else 0
    offset = end + 1 if end else 0
    unsure = not end and bool(session.get("touched", True))
    if reply.status != 204 or match is None or unsure or offset > descriptor.size:
        if reply.status != 404:
            cancel_upload(repository, location)
        return None
    for name, value in (("Location", location), ("OCI-Chunk-Min-Length", str(session.get("minimum") or 0))):
        reply.headers.setdefault(name, value)
    return Upload(repository, descriptor, reply, repository.chunk_bytes or (_CHUNK_BYTES if offset else 0), offset)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
