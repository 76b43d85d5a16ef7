"""Uploads as the scriptable registry takes them (distribution-spec, "Pushing blobs")."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from .fake_route import Refusal, Route, check_digest
from .fake_store import Session, Store
from .http_server import Exchange, Reply

__all__ = ["Uploads"]

_RANGE = re.compile(r"(\d+)-(\d+)")


class Uploads:
    """Sessions. Switches: `mounts` (else always 202), `single_post` (POST ?digest= is enough), `relative_locations`,
    `uploads_elsewhere` (Location is at `storage_url`, where an Authorization header is refused), `chunk_min_length`
    (announced, and demanded of all chunks but the last), `create_on_push` (else an unknown repository is 404),
    `verbatim_query`: the query of a Location must come back byte for byte (skopeo re-encodes it)."""

    url: str
    storage_url: str

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mounts = True
        self.single_post = False
        self.relative_locations = False
        self.uploads_elsewhere = False
        self.chunk_min_length: int | None = None
        self.create_on_push = True
        self.verbatim_query = True

    def start(self, exchange: Exchange, route: Route) -> Reply:
        """POST: open a session, mount, or take a whole small blob."""
        if route.reference:
            raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")
        self.check_repository(route.name)
        if not exchange.has_length:
            raise Refusal(411, "SIZE_INVALID", "length required")
        mount = exchange.argument("mount")
        if mount is not None and self.mounts:
            source = exchange.argument("from")
            if source and self.store.mount(check_digest(mount), source, route.name):
                return self._created(route.name, mount)
        session = self.store.open_session(route.name)
        digest = exchange.argument("digest")
        if digest is not None and self.single_post:
            session.append(exchange.pieces())
            return self._commit(session, check_digest(digest))
        return self._accepted(exchange, session, 202, with_range=False)

    def patch(self, exchange: Exchange, route: Route) -> Reply:
        """PATCH: a chunk, or a stream without Content-Range."""
        session = self._writable(exchange, route)
        if session.short_chunk:
            raise Refusal(400, "SIZE_INVALID", f"only the last chunk may be below {self.chunk_min_length} bytes")
        self._check_range(exchange, session)
        taken = session.append(exchange.pieces())
        session.short_chunk = "content-range" in exchange.headers and taken < (self.chunk_min_length or 0)
        return self._accepted(exchange, session, 202)

    def finish(self, exchange: Exchange, route: Route) -> Reply:
        """PUT: close the session, with the last bytes or all of them."""
        digest = check_digest(exchange.argument("digest"))
        session = self._writable(exchange, route)
        if "content-range" in exchange.headers:
            self._check_range(exchange, session)
        session.append(exchange.pieces())
        return self._commit(session, digest)

    def status(self, exchange: Exchange, route: Route) -> Reply:
        """GET: how far a session is."""
        session = self._session(exchange, route)
        session.settle()
        return self._accepted(exchange, session, 204)

    def cancel(self, exchange: Exchange, route: Route) -> Reply:
        """DELETE: give a session up."""
        self.store.close_session(self._session(exchange, route))
        return Reply(204)

    def check_repository(self, name: str) -> None:
        if not self.create_on_push and name not in self.store.repositories:
            raise Refusal(
                404, "NAME_UNKNOWN", f"The repository with name '{name}' does not exist in the registry", {"name": name}
            )

    def _state(self, exchange: Exchange) -> str:
        first = exchange.raw_query.partition("&")[0].removeprefix("_state=")
        return first if self.verbatim_query else quote(unquote(first), safe="=")

    def _session(self, exchange: Exchange, route: Route) -> Session:
        session = self.store.sessions.get(route.reference)
        if session is None or session.repository != route.name:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if self._state(exchange) not in session.states:
            raise Refusal(404, "BLOB_UPLOAD_INVALID", "blob upload invalid", "the query of the Location was changed")
        return session

    def _writable(self, exchange: Exchange, route: Route) -> Session:
        session = self._session(exchange, route)
        if not exchange.has_length:
            raise Refusal(411, "SIZE_INVALID", "length required")
        if not session.is_current(self._state(exchange)):
            raise Refusal(404, "BLOB_UPLOAD_INVALID", "blob upload invalid", "stale Location")
        kind = exchange.headers.get("content-type", "").partition(";")[0]
        if exchange.content_length != 0 and kind != "application/octet-stream":
            raise Refusal(415, "UNSUPPORTED", f"blob bytes must be application/octet-stream, not '{kind}'")
        return session

    def _check_range(self, exchange: Exchange, session: Session) -> None:
        text = exchange.headers.get("content-range")
        if text is None:
            return
        found = _RANGE.fullmatch(text)
        if not found:
            raise Refusal(400, "BLOB_UPLOAD_INVALID", f"Content-Range must be START-END, not '{text}'")
        first, last = int(found[1]), int(found[2])
        if first != len(session.data) or last - first + 1 != exchange.content_length:
            headers = {**self._location(exchange, session), "Range": _range(session)}
            raise Refusal(416, "RANGE_INVALID", "invalid content range", text, headers)

    def _commit(self, session: Session, digest: str) -> Reply:
        if not self.store.commit(session, digest):
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content", digest)
        return self._created(session.repository, digest)

    def _created(self, name: str, digest: str) -> Reply:
        path = f"/v2/{name}/blobs/{digest}"
        location = path if self.relative_locations else self.url + path
        return Reply(201, {"Location": location, "Docker-Content-Digest": digest})

    def _accepted(self, exchange: Exchange, session: Session, status: int, with_range: bool = True) -> Reply:
        headers = self._location(exchange, session)
        headers["Docker-Upload-UUID"] = session.id
        headers["Range"] = _range(session)
        if self.chunk_min_length and not with_range:
            headers["OCI-Chunk-Min-Length"] = str(self.chunk_min_length)
        return Reply(status, headers)

    def _location(self, exchange: Exchange, session: Session) -> dict[str, str]:
        path = f"/v2/{session.repository}/blobs/uploads/{session.id}?_state={session.renew()}"
        if self.uploads_elsewhere:
            return {"Location": self.storage_url + path}
        scheme = self.url.partition(":")[0]
        host = exchange.headers.get("host", "")
        return {"Location": path if self.relative_locations else f"{scheme}://{host}{path}"}


def _range(session: Session) -> str:
    # 0-0 stands for no byte as well as for one, which is what distribution sends.
    return f"0-{max(len(session.data) - 1, 0)}"
