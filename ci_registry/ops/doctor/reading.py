"""Step: the other addresses that images are read from, a mirror or an address to pull from."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import CiRegistryError
from ...kinds.endpoint import Endpoint
from .case import Case
from .catalog import find
from .findings import Finding, fine

__all__ = ["reading"]

_CODES = {"mirror": "mirror-down", "pull_url": "pull-address-down"}


def reading(case: Case) -> Iterator[Finding]:
    """Ask each for `GET /v2/`. It comes last: what is pushed does not depend on it."""
    for key, endpoint in case.target.reading_endpoints().items():
        yield _asked(case, key, endpoint)


def _asked(case: Case, key: str, endpoint: Endpoint) -> Finding:
    address = f"{endpoint.origin}"
    client = case.client(endpoint)
    try:
        reply = client.request("GET", "/v2/", retry=False)
        if reply.status != 200:
            raise client.problem(reply, f"asking {address}/v2/")
    except CiRegistryError as error:
        hint = error.hint or f"start the registry at {address}"
        return find(_CODES[key], error.message, **case.values(address=address, hint=hint))
    return fine("reading", f"{address} ({key}) answers")
