"""What really speaks on a port of this machine."""

from __future__ import annotations

import ssl

from .connection import NETWORK_ERRORS, Connection, Dial
from .origin import Origin
from .tls import TlsSettings

__all__ = ["answers_plain_http"]

_SECONDS = 3.0


def answers_plain_http(netloc: str) -> bool:
    """Whether `host:port` refuses a TLS handshake but answers an HTTP request to /v2/."""
    secure = _connection(f"https://{netloc}")
    try:
        secure.connect()
    except ssl.SSLError:
        return _answers(netloc)
    except OSError:
        return False
    finally:
        secure.close()
    return False


def _answers(netloc: str) -> bool:
    plain = _connection(f"http://{netloc}")
    try:
        plain.request("GET", "/v2/")
        plain.answer("GET").read(1024)
    except NETWORK_ERRORS:
        return False
    finally:
        plain.close()
    return True


def _connection(address: str) -> Connection:
    """A connection that trusts any certificate; nothing secret is sent on it."""
    connection = Connection(Origin.parse(address), Dial(TlsSettings(skip_verify=True)), own=True)
    connection.timeout = _SECONDS
    return connection
