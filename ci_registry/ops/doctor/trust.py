"""Step: TLS: chain, names, dates, and what the server wants to see of the client."""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CiRegistryError, TlsError
from ...transport.connection import NETWORK_ERRORS
from .case import Case
from .catalog import find
from .findings import Finding, fine

if TYPE_CHECKING:
    from ...adapters.x509 import CertificateFacts

__all__ = ["client_certificate", "is_about_client", "tls"]

# OpenSSL's X509_V_ERR_* (openssl-verify(1)).
_NOT_YET, _EXPIRED, _SELF_SIGNED_LEAF = 9, 10, 18
_NAME, _ADDRESS = 62, 64
_SOON = timedelta(days=30)


def tls(case: Case) -> Iterator[Finding]:
    """Nothing for plain HTTP."""
    if not case.origin.is_tls:
        return
    from ...adapters.x509 import facts_of

    facts = facts_of(case.certificate)
    try:
        with case.connection() as connection:
            connection.connect()
    except ssl.SSLCertVerificationError as error:
        yield _untrusted(case, error, facts)
        return
    except TlsError as error:  # the pinned fingerprint
        yield find("fingerprint-changed", error.message, **case.values(fingerprint=facts.fingerprint if facts else ""))
        return
    except ssl.SSLError as error:
        if not is_about_client(error):
            yield find("handshake-failed", f"the handshake failed: {error.reason or error}", **case.values())
            return
        yield client_certificate(case, error.reason or str(error))
        return
    except (*NETWORK_ERRORS, CiRegistryError) as error:
        yield find("dropped", f"the connection to {case.where} broke: {error}", **case.values())
        return
    yield from _trusted(case, facts)


def _trusted(case: Case, facts: CertificateFacts | None) -> Iterator[Finding]:
    if facts is None:
        return
    how = "pinned by its fingerprint" if case.dial.tls.fingerprint else f"issued by '{facts.issuer}'"
    how = "not verified" if case.dial.tls.skip_verify else how
    yield fine("tls", f"the certificate of '{facts.subject}' is {how}, until {facts.not_after:%Y-%m-%d}")
    if facts.not_after - datetime.now(timezone.utc) < _SOON:
        seen = f"the certificate ends on {facts.not_after:%Y-%m-%d %H:%M} UTC"
        yield find("expires-soon", seen, **case.values(**_dates(facts)))


def is_about_client(error: ssl.SSLError) -> bool:
    """Whether the server ended the handshake because of what it was, or was not, shown."""
    text = f"{error.reason or ''} {error}"
    marks = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "ALERT_CERTIFICATE", "HANDSHAKE_FAILURE")
    return "ALERT" in text and any(mark in text for mark in marks)


def client_certificate(case: Case, reason: str) -> Finding:
    """The server did not like what it was, or was not, shown."""
    from ...adapters.x509 import facts_in_file

    shown = case.dial.tls.client_cert
    made = _can_be_made(case)
    seen = f"the server refused the handshake: {reason}"
    if shown is None:
        return find("client-certificate-needed", seen, **case.values(**made))
    facts = next(iter(facts_in_file(shown)), None)
    values = {
        "client_cert": shown,
        "subject": facts.subject if facts else "?",
        "issuer": facts.issuer if facts else "?",
    }
    return find("client-certificate-refused", seen, **case.values(**values, **made))


def _can_be_made(case: Case) -> dict[str, object]:
    """A client's pair beside the target's CA, where `provision` put them."""
    folder = case.near_ca()
    if folder is None or not (folder / "client.pem").exists():
        return {}
    return {"made_cert": folder / "client.pem", "made_key": folder / "client.key"}


def _untrusted(case: Case, error: ssl.SSLCertVerificationError, facts: CertificateFacts | None) -> Finding:
    seen = f"the certificate is not accepted: {error.verify_message}"
    if facts is None:
        return find("handshake-failed", seen, **case.values())
    values = case.values(
        issuer=facts.issuer,
        fingerprint=facts.fingerprint,
        names=", ".join(facts.names[:8]) or "no name at all",
        certified=next((name for name in facts.names if not name.startswith("*")), None),
        common_name=facts.common_name,
        **_dates(facts),
        **_saved(case),
    )
    return find(_code(error.verify_code, facts), seen, **values)


def _code(verify_code: int, facts: CertificateFacts) -> str:
    if verify_code == _EXPIRED:
        return "expired"
    if verify_code == _NOT_YET:
        return "not-yet-valid"
    if verify_code in (_NAME, _ADDRESS):
        return "name-mismatch" if facts.names else "common-name-only"
    if verify_code == _SELF_SIGNED_LEAF or facts.is_self_signed:
        return "self-signed"
    return "unknown-authority"


def _dates(facts: CertificateFacts) -> dict[str, object]:
    return {
        "not_before": f"{facts.not_before:%Y-%m-%d %H:%M} UTC",
        "not_after": f"{facts.not_after:%Y-%m-%d %H:%M} UTC",
        "now": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    }


def _saved(case: Case) -> dict[str, object]:
    """Where the certificate could be kept: beside the configuration, named after the host."""
    file = case.config_file
    folder = (file.parent if file else Path()) / "certs"
    name = "".join(c if c.isalnum() or c in ".-" else "_" for c in case.origin.host)
    return {"saved_folder": shlex.quote(str(folder)), "saved": shlex.quote(str(folder / f"{name}.pem"))}
