"""TLS itself: contexts made from settings, and handshakes that fail made into sentences."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from ..errors import CiRegistryError, ConfigError, TlsError, TransportError
from .origin import Origin
from .tls import TlsSettings

__all__ = ["check_fingerprint", "make_context", "tls_failure"]

# What OpenSSL calls these depends on its version and on the server's.
_PLAIN_HTTP = ("WRONG_VERSION_NUMBER", "record layer failure", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PROTOCOL")
_CLIENT_CERTIFICATE = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "HANDSHAKE_FAILURE", "UNKNOWN_CA")


def make_context(settings: TlsSettings, *, own: bool = True) -> ssl.SSLContext:
    """Raises `ConfigError` for a CA, certificate or key file that can't be used, naming the file and why."""
    context = ssl.create_default_context()
    for path in settings.ca_files:
        _load_ca(context, path)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate or the server's own may be the anchor
    if settings.client_cert is not None and own:
        _load_client(context, settings.client_cert, settings.client_key)
    if own and (settings.skip_verify or settings.fingerprint):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(path))
    except ssl.SSLError as error:
        raise ConfigError(
            f"the CA file {path} holds no certificate that can be read",
            hint="give a PEM file that begins with -----BEGIN CERTIFICATE-----",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the CA file {path} can't be read: {error.strerror}", hint="check `ca:`, or the certs.d folder"
        ) from error


def _load_client(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    for path in filter(None, (cert, key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(
                f"the client certificate or key {path} can't be read: {error.strerror}",
                hint="check `client_cert:` and `client_key:`, or the certs.d folder",
            ) from error
    try:
        # A password would be asked for on the terminal; an empty answer turns that into an error instead.
        context.load_cert_chain(str(cert), str(key) if key else None, password="")
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "KEY_VALUES_MISMATCH" in reason:
            raise ConfigError(
                f"the client key {key} does not belong to the client certificate {cert}",
                hint="give the key that the certificate was made with",
            ) from error
        raise ConfigError(
            f"the client certificate {cert} with key {key or cert} can't be loaded: {reason or error}",
            hint="both must be PEM files and the key must not have a password",
        ) from error


def check_fingerprint(origin: Origin, certificate: bytes, wanted: str) -> None:
    """Compare the sha256 of the server's DER certificate with the pinned one."""
    found = hashlib.sha256(certificate).hexdigest()
    if found != wanted.lower().replace(":", "").removeprefix("sha256"):
        raise TlsError(
            f"{origin} showed a certificate with the fingerprint sha256:{found}, not the pinned sha256:{wanted}",
            hint="if the certificate was renewed on purpose, change `fingerprint:`; otherwise somebody is in between",
        )


def tls_failure(origin: Origin, error: Exception) -> CiRegistryError | None:
    """The sentence for a failed handshake, None for another failure.

    What the certificate says is added by who can parse one.
    """
    if not isinstance(error, ssl.SSLError) or isinstance(error, TimeoutError):
        return None
    text = f"{error.reason or ''} {error}"
    attempt = f"the TLS handshake with {origin} failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(origin, attempt, error)
    if any(mark in text for mark in _PLAIN_HTTP):
        return TlsError(
            f"{attempt}: what listens there answers in plain HTTP, not TLS",
            hint=f"write the address as http://{origin.netloc} if plain HTTP is wanted, or set the registry up for TLS",
        )
    if any(mark in text for mark in _CLIENT_CERTIFICATE):
        refused = TlsError(
            f"{attempt}: the server wants a client certificate that it trusts ({error.reason or error})",
            hint="set `client_cert:` and `client_key:` of the target, signed by the CA the registry names in clientcas",
        )
        refused.about = "client certificate"
        return refused
    if "EOF" in text or "UNEXPECTED" in text:
        return TransportError(f"{attempt}: the server closed the connection", hint="check that this port speaks TLS")
    return TlsError(f"{attempt}: {error.reason or error}", hint="run `ci-registry doctor` for this target")


def _untrusted(origin: Origin, attempt: str, error: ssl.SSLCertVerificationError) -> TlsError:
    reason = error.verify_message or str(error)
    low = reason.lower()
    if "expired" in low or "not yet valid" in low:
        hint = "check this machine's clock first, then renew the certificate"
    elif "mismatch" in low or "not valid for" in low:
        hint = f"use a name that is in the certificate, or have it reissued with {origin.host} among its names"
    else:
        hint = "add the CA that signed it as `ca:` of the target, or pin the certificate with `fingerprint:`"
    untrusted = TlsError(f"{attempt}: its certificate is not trusted ({reason})", hint=hint)
    untrusted.about = "certificate"
    return untrusted
