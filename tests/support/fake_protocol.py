"""The distribution-spec's endpoints as the scriptable registry serves them, over a `Store`."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from .fake_manifests import accepts, check_manifest
from .fake_route import Refusal, Route, check_digest, is_digest, is_tag, parse_route
from .fake_store import Repository, Store
from .fake_uploads import Uploads
from .http_server import Exchange, Reply

__all__ = ["Protocol"]

_BYTE_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_IMMUTABLE = {
    "ecr": Refusal(
        400,
        "TAG_INVALID",
        "The image tag already exists in the repository and cannot be overwritten because the repository is immutable.",
    ),
    "nexus": Refusal(400, "MANIFEST_INVALID", "Repository does not allow updating assets"),
    "harbor": Refusal(412, "PRECONDITION", "Failed to process request due to the tag configured as immutable."),
}


class Protocol(Uploads):
    """All endpoints. Switches besides those of `Uploads`:

    `referrers_api` (else 404 and no OCI-Subject), `filter_referrers`; `deletion` and `tag_deletion`; `page_size`: the
    most entries of one page of tags, catalog and referrers; `absolute_links`; `immutable`: "ecr", "nexus" or "harbor"
    refuse a tag that exists, in their words; `redirect_blobs`: blob GETs are 307 to `storage_url`, which refuses an
    Authorization header, HEAD and an old signature (`expire_storage_urls`); `warnings`: texts for Warning headers;
    `digest_header`: send Docker-Content-Digest; `tag_parameters`: take PUT by digest with `?tag=`;
    `max_manifest_bytes`; `foreign_layers`: layers with urls may be absent; `sparse_indexes`: children may be absent;
    `catalog`.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.referrers_api = True
        self.filter_referrers = True
        self.deletion = True
        self.tag_deletion = True
        self.page_size: int | None = None
        self.absolute_links = False
        self.immutable: str | None = None
        self.redirect_blobs = False
        self.warnings: list[str] = []
        self.digest_header = True
        self.tag_parameters = False
        self.max_manifest_bytes = 4 << 20
        self.foreign_layers = True
        self.sparse_indexes = False
        self.catalog = True
        self._signature = secrets.token_hex(8)
        self._handlers: Mapping[tuple[str, str], Callable[[Exchange, Route], Reply]] = {
            ("GET", "ping"): lambda _exchange, _route: _json({}),
            ("HEAD", "ping"): lambda _exchange, _route: _json({}),
            ("GET", "catalog"): self._catalog,
            ("GET", "tags"): self._tags,
            ("GET", "referrers"): self._referrers,
            ("GET", "manifest"): self._get_manifest,
            ("HEAD", "manifest"): self._get_manifest,
            ("PUT", "manifest"): self._put_manifest,
            ("DELETE", "manifest"): self._delete_manifest,
            ("GET", "blob"): self._get_blob,
            ("HEAD", "blob"): self._get_blob,
            ("DELETE", "blob"): self._delete_blob,
            ("POST", "upload"): self.start,
            ("PATCH", "upload"): self.patch,
            ("PUT", "upload"): self.finish,
            ("GET", "upload"): self.status,
            ("DELETE", "upload"): self.cancel,
        }

    def handle(self, exchange: Exchange, route: Route) -> Reply:
        """Answer one request, or raise a `Refusal`."""
        handler = self._handlers.get((exchange.method, route.kind))
        if handler is None:
            raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")
        return handler(exchange, route)

    def storage(self, exchange: Exchange) -> Reply:
        """The second origin: blob bytes by signed URL, and uploads where `uploads_elsewhere` sent them."""
        if "authorization" in exchange.headers:
            return Reply(400, {"Content-Type": "application/xml"}, b"<Error>Only one auth mechanism allowed</Error>")
        try:
            if exchange.path.startswith("/v2/"):
                return self.handle(exchange, parse_route(exchange))
            return self._signed(exchange)
        except Refusal as refusal:
            return refusal.reply()

    def expire_storage_urls(self) -> None:
        """Signed URLs handed out so far get 403 from now on."""
        self._signature = secrets.token_hex(8)

    def _signed(self, exchange: Exchange) -> Reply:
        digest = exchange.path.rpartition("/")[2]
        if exchange.method != "GET" or exchange.argument("X-Signature") != self._signature:
            return Reply(403, {"Content-Type": "application/xml"}, b"<Error>SignatureDoesNotMatch</Error>")
        content = self.store.blobs.get(digest)
        return Reply(404) if content is None else _ranged(exchange, content, {})

    def _get_blob(self, exchange: Exchange, route: Route) -> Reply:
        digest = check_digest(route.reference)
        content = self.store.blob(route.name, digest)
        if content is None:
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)
        if self.redirect_blobs and exchange.method == "GET":
            return Reply(307, {"Location": f"{self.storage_url}/storage/{digest}?X-Signature={self._signature}"})
        return _ranged(exchange, content, self._digest_header(digest))

    def _delete_blob(self, _exchange: Exchange, route: Route) -> Reply:
        self._check_deletion()
        repository = self._known(route)
        if route.reference not in repository.blobs:
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry", route.reference)
        repository.blobs.discard(route.reference)
        return Reply(202)

    def _get_manifest(self, exchange: Exchange, route: Route) -> Reply:
        digest = self._known(route, "MANIFEST_UNKNOWN").resolve(route.reference)
        if digest is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown", {"reference": route.reference})
        media_type, content = self.store.repository(route.name).manifests[digest]
        if not accepts(exchange.headers.get("accept"), media_type):
            raise Refusal(404, "MANIFEST_UNKNOWN", f"manifest found, but accept header does not support {media_type}")
        return Reply(200, {"Content-Type": media_type, **self._digest_header(digest)}, content)

    def _put_manifest(self, exchange: Exchange, route: Route) -> Reply:
        self.check_repository(route.name)
        content = self._manifest_body(exchange)
        content_type = exchange.headers.get("content-type", "").partition(";")[0].strip()
        document = check_manifest(
            content,
            content_type,
            lambda digest: _size(self.store.blob(route.name, digest)),
            lambda digest: self._manifest_size(route.name, digest),
            self.foreign_layers,
            self.sparse_indexes,
        )
        tags = self._wanted_tags(exchange, route)
        digest = self._store_manifest(route, content_type, content, tags)
        headers = {"Location": f"{self.url}/v2/{route.name}/manifests/{digest}", **self._digest_header(digest)}
        if self.referrers_api and document.get("subject"):
            headers["OCI-Subject"] = document["subject"]["digest"]
        if self.tag_parameters and tags and is_digest(route.reference):
            headers["OCI-Tag"] = ", ".join(tags)
        return Reply(201, headers)

    def _manifest_body(self, exchange: Exchange) -> bytes:
        if not exchange.has_length:
            raise Refusal(411, "SIZE_INVALID", "length required")
        if (exchange.content_length or 0) > self.max_manifest_bytes:
            raise Refusal(413, "MANIFEST_INVALID", f"manifest exceeds {self.max_manifest_bytes} bytes")
        return exchange.body()

    def _wanted_tags(self, exchange: Exchange, route: Route) -> list[str]:
        if is_digest(route.reference):
            return [value for key, value in exchange.query if key == "tag"] if self.tag_parameters else []
        if not is_tag(route.reference):
            raise Refusal(400, "TAG_INVALID", "manifest tag did not match URI", route.reference)
        return [route.reference]

    def _store_manifest(self, route: Route, media_type: str, content: bytes, tags: list[str]) -> str:
        algorithm = route.reference.partition(":")[0] if is_digest(route.reference) else "sha256"
        with self.store.lock:
            if self.immutable and any(tag in self.store.repository(route.name).tags for tag in tags):
                raise _IMMUTABLE[self.immutable]
            digest = self.store.put_manifest(route.name, media_type, content, tags, algorithm)
            if is_digest(route.reference) and digest != route.reference:
                self.store.delete_manifest(route.name, digest)
                raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content", route.reference)
        return digest

    def _manifest_size(self, name: str, digest: str) -> int | None:
        held = self.store.repository(name).manifests.get(digest)
        return None if held is None else len(held[1])

    def _delete_manifest(self, _exchange: Exchange, route: Route) -> Reply:
        self._check_deletion()
        repository = self._known(route)
        if not is_digest(route.reference) and not self.tag_deletion:
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        digest = repository.resolve(route.reference)
        if digest is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown", route.reference)
        with self.store.lock:
            if is_digest(route.reference):
                self.store.delete_manifest(route.name, digest)
            else:
                del repository.tags[route.reference]
        return Reply(202)

    def _check_deletion(self) -> None:
        if not self.deletion:
            raise Refusal(405, "UNSUPPORTED", "The operation is unsupported.")

    def _tags(self, exchange: Exchange, route: Route) -> Reply:
        if route.reference != "list":
            raise Refusal(404, "UNSUPPORTED", "no such endpoint")
        page, link = self._page(exchange, sorted(self._known(route).tags))
        # null instead of an empty list is what distribution says after the last tag went.
        return _json({"name": route.name, "tags": page or None}, link)

    def _catalog(self, exchange: Exchange, _route: Route) -> Reply:
        if not self.catalog:
            raise Refusal(404, "UNSUPPORTED", "no catalog here")
        with self.store.lock:
            names = sorted(name for name, held in self.store.repositories.items() if held.manifests or held.blobs)
        page, link = self._page(exchange, names)
        return _json({"repositories": page}, link)

    def _referrers(self, exchange: Exchange, route: Route) -> Reply:
        if not self.referrers_api:
            return Reply(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
        subject = check_digest(route.reference)
        with self.store.lock:
            found = self.store.repository(route.name).referrers(subject)
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        kind = exchange.argument("artifactType")
        if kind and self.filter_referrers:
            found = [entry for entry in found if entry.get("artifactType") == kind]
            headers["OCI-Filters-Applied"] = "artifactType"
        by_digest = {entry["digest"]: entry for entry in found}
        page, link = self._page(exchange, sorted(by_digest))
        index = {
            "schemaVersion": 2,
            "mediaType": headers["Content-Type"],
            "manifests": [by_digest[digest] for digest in page],
        }
        return _json(index, {**link, **headers})

    def _page(self, exchange: Exchange, names: list[str]) -> tuple[list[str], dict[str, str]]:
        """The page asked for by `n` and `last`, and the Link header if there are more."""
        asked = exchange.argument("n")
        if asked is not None and not asked.isdigit():
            raise Refusal(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", asked)
        last = exchange.argument("last") or ""
        rest = [name for name in names if name > last]
        limits = [limit for limit in (int(asked) if asked else None, self.page_size) if limit is not None]
        size = min(limits) if limits else len(rest)
        page = rest[:size]
        if len(rest) <= size or not page:
            return page, {}
        others = "".join(f"&{quote(k)}={quote(v, safe='')}" for k, v in exchange.query if k not in ("n", "last"))
        target = f"{exchange.path}?last={quote(page[-1], safe='')}&n={size}{others}"
        return page, {"Link": f'<{self.url if self.absolute_links else ""}{target}>; rel="next"'}

    def _known(self, route: Route, code: str = "NAME_UNKNOWN") -> Repository:
        held = self.store.repositories.get(route.name)
        if held is None:
            raise Refusal(404, code, "repository name not known to registry", {"name": route.name})
        return held

    def _digest_header(self, digest: str) -> dict[str, str]:
        return {"Docker-Content-Digest": digest} if self.digest_header else {}


def _size(content: bytes | None) -> int | None:
    return None if content is None else len(content)


def _ranged(exchange: Exchange, content: bytes, headers: dict[str, str]) -> Reply:
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    found = _BYTE_RANGE.fullmatch(exchange.headers.get("range", ""))
    if not found or exchange.method == "HEAD":
        return Reply(200, headers, content)
    first = int(found[1])
    last = min(int(found[2] or len(content) - 1), len(content) - 1)
    if first > last:
        return Reply(416, {**headers, "Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Reply(206, headers, memoryview(content)[first : last + 1])


def _json(document: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    return Reply(
        200, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(document).encode()
    )
