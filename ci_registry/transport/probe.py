"""What really speaks on a port of this machine."""

from __future__ import annotations

import http.client
import ssl

__all__ = ["answers_plain_http"]

_SECONDS = 3.0


def answers_plain_http(netloc: str) -> bool:
    """Whether `host:port` refuses a TLS handshake but answers an HTTP request to /v2/."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secure = http.client.HTTPSConnection(netloc, timeout=_SECONDS, context=context)
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
    plain = http.client.HTTPConnection(netloc, timeout=_SECONDS)
    try:
        plain.request("GET", "/v2/")
        plain.getresponse().read(1024)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        plain.close()
    return True
