"""Listings of a registry that come in pages (distribution-spec, "Listing Tags"; the catalog is distribution's own)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

from ..errors import RemoteError
from ..transport.exchange import Reply
from ..transport.http import Client, Scopes
from ..transport.origin import Origin

__all__ = ["pages", "repositories", "strings"]

LISTING_LIMIT = 16 * 1024 * 1024
_PAGES = 10_000
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


def pages(client: Client, path: str, attempt: str, scopes: Scopes, accepted: Collection[int] = ()) -> Iterator[Reply]:
    """Each page of a listing, by its Link headers, verbatim. `accepted` statuses besides 200 end it, unjudged.

    A Link to another origin, or one that was followed before, is an error: credentials stay, and loops end.
    """
    url: str | None = client.url(path)
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) > _PAGES:
            raise RemoteError(f"{attempt} failed: the registry's pages go round in a circle")
        seen.add(url)
        reply = client.request("GET", url, scopes=scopes, limit=LISTING_LIMIT, follow=True)
        if reply.status != 200 and reply.status not in accepted:
            raise client.problem(reply, attempt)
        yield reply
        url = _next_page(client, reply, attempt) if reply.status == 200 else None


def _next_page(client: Client, reply: Reply, attempt: str) -> str | None:
    match = _NEXT.search(", ".join(reply.header_values("Link")))
    if match is None:
        return None
    url = client.url(match.group(1), reply.url)
    if Origin.parse(url) != Origin.parse(reply.url):
        raise RemoteError(f"{attempt} failed: the next page is said to be at another host, {Origin.parse(url)}")
    return url


def strings(reply: Reply, key: str) -> list[str]:
    """The list of names under `key`; distribution writes null for an empty one."""
    try:
        values = json.loads(reply.body).get(key)
    except (ValueError, AttributeError, RecursionError) as error:
        raise RemoteError(f"{reply.url} answered with something that is not a listing") from error
    if not isinstance(values, list | None):
        raise RemoteError(f"{reply.url} answered with something that is not a listing")
    return [str(value) for value in values or []]


def repositories(client: Client) -> list[str]:
    """All repositories of a registry, sorted; raises `AccessError` or `NotFoundError` where that is not offered."""
    found: set[str] = set()
    attempt = f"listing the repositories of {client.origin}"
    for reply in pages(client, "/v2/_catalog?n=1000", attempt, frozenset({"registry:catalog:*"})):
        found.update(strings(reply, "repositories"))
    return sorted(found)
