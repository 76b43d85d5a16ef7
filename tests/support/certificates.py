"""Certificates for tests: an authority of our own, and what it signs, as files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from .process import temporary_directory

__all__ = ["Authority", "KeyPair"]


@dataclass(frozen=True)
class KeyPair:
    """PEM files: the certificate with its chain, and the private key."""

    certificate: Path
    key: Path

    def server_context(self, client_ca: Path | None = None) -> ssl.SSLContext:
        """For a server; with `client_ca`, clients must show a certificate signed by it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """A certificate authority; `certificate` is its PEM file."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="ci_registry tests")
        self._directory = temporary_directory()
        self._count = 0
        self.certificate = self._directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def issue(self, *names: str, **differences: Any) -> KeyPair:
        """A certificate for names and addresses (by default localhost and 127.0.0.1), good for servers and clients.

        `differences` are trustme's: `common_name` (alone, if there are no names), `not_before`, `not_after`.
        """
        self._count += 1
        names = names or (() if "common_name" in differences else ("localhost", "127.0.0.1"))
        leaf = self._ca.issue_cert(*names, **differences)
        pair = KeyPair(self._directory / f"{self._count}.cert", self._directory / f"{self._count}.key")
        leaf.private_key_pem.write_to_path(str(pair.key))
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(str(pair.certificate), append=True)
        return pair

    def client_context(self, identity: KeyPair | None = None) -> ssl.SSLContext:
        """A client's context that trusts only this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key)
        return context
