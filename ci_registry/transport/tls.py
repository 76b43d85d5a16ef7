"""TLS settings of one host, made into a context when first needed: plain HTTP does without the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    import ssl

__all__ = ["TlsSettings"]


class TlsSettings(Struct, frozen=True):
    """What one target says about TLS.

    `ca_files` are added to the system's trust store, each of their certificates trusted as it is, as Docker does.
    `fingerprint` is the sha256 of the server's certificate (hex, colons allowed) and stands in for chain and name.
    `skip_verify` trusts anything. Both, and the client certificate, are for the registry itself: another host that it
    sends us to (its storage) is verified as usual.
    """

    ca_files: tuple[Path, ...] = ()
    client_cert: Path | None = None
    client_key: Path | None = None
    fingerprint: str = ""
    skip_verify: bool = False
    _contexts: dict[bool, ssl.SSLContext] = field(default_factory=dict)

    def context(self, *, own: bool = True) -> ssl.SSLContext:
        """The context for the registry itself, or for other hosts; made once."""
        known = self._contexts.get(own)
        if known is None:
            from .handshake import make_context

            known = self._contexts[own] = make_context(self, own=own)
        return known
