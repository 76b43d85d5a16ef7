"""Step: what really speaks there: TLS or plain HTTP, something else, or a proxy that lets nobody through."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from ...errors import CiRegistryError
from ...transport.connection import NETWORK_ERRORS, Connection
from ...transport.message import NoAnswerError, NotHttpError
from .case import Case
from .catalog import find
from .findings import Finding, fine

__all__ = ["protocol", "shown"]

_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION")
_TLS_KEYS = ("ca", "client_cert", "client_key", "fingerprint")
_ABOUT_CLIENTS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_EXPIRED", "UNSUPPORTED_CERT")


def protocol(case: Case) -> Iterator[Finding]:
    """The first bytes that come back."""
    yield from _tls(case) if case.origin.is_tls else _plain(case)


def _tls(case: Case) -> Iterator[Finding]:
    try:
        with case.connection(trusting=True) as connection:
            version, case.certificate = shown(connection)
    except ssl.SSLError as error:
        yield from _no_handshake(case, error)
        return
    except (*NETWORK_ERRORS, CiRegistryError) as error:
        yield _broken(case, error)
        return
    yield fine("protocol", f"{case.where} speaks {version}")


def shown(connection: Connection) -> tuple[str, bytes]:
    """Connect, and see what the server shows: its version of TLS, and its certificate in DER."""
    connection.connect()
    sock = connection.sock
    assert isinstance(sock, ssl.SSLSocket)  # noqa: S101 - only asked of https addresses
    return sock.version() or "TLS", sock.getpeercert(binary_form=True) or b""


def _no_handshake(case: Case, error: ssl.SSLError) -> Iterator[Finding]:
    """A handshake that fails with any certificate: no TLS at all, one too old, or one that wants a client's first."""
    text = f"{error.reason or ''} {error}"
    seen = f"the TLS handshake with {case.where} failed: {error.reason or error}"
    if any(mark in text for mark in _OLD_TLS):
        yield find("tls-too-old", seen, **case.values())
    elif any(mark in text for mark in _ABOUT_CLIENTS):
        yield fine("protocol", f"{case.where} speaks TLS")  # the step about trust tells the rest
    elif "ALERT" in text:  # only who speaks TLS sends one
        yield find("handshake-failed", seen, **case.values())
    elif _speaks_http(case):
        yield find(
            "http-on-https",
            seen,
            **case.values(netloc_of_http=_netloc(case, "http"), tls_settings_off=_tls_settings_off(case)),
        )
    elif isinstance(error, ssl.SSLEOFError) or "EOF" in text:
        yield find("dropped", seen, **case.values())
    elif "WRONG_VERSION" in text or "RECORD_LAYER" in text.upper().replace(" ", "_"):
        yield find("not-http", seen, **case.values())
    else:
        yield find("handshake-failed", seen, **case.values())


def _speaks_http(case: Case) -> bool:
    try:
        with case.connection(plain=True) as connection:
            connection.request("GET", "/v2/")
            connection.answer("GET").read(1024)
    except NETWORK_ERRORS:
        return False
    return True


def _tls_settings_off(case: Case) -> str:
    """Lines that end the settings which mean nothing without TLS, and are refused beside http://."""
    settings = case.target.settings
    ended = [f"{key}: null" for key in _TLS_KEYS if getattr(settings, key)]
    ended += ["insecure_skip_verify: false"] if settings.insecure_skip_verify else []
    return "\n".join(ended)


def _netloc(case: Case, scheme: str) -> str:
    """Host and port for the other scheme, whose own port is another."""
    origin = case.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == {"http": 80, "https": 443}[scheme] else f"{host}:{origin.port}"


def _plain(case: Case) -> Iterator[Finding]:
    try:
        with case.connection() as connection:
            target = "/v2/" if case.proxy is None else f"{case.origin}/v2/"
            connection.request("GET", target, connection.absolute_headers.items())
            response = connection.answer("GET")
            body = response.read(4096)
    except (NotHttpError, NoAnswerError) as error:
        yield _not_plain(case, error)
        return
    except (*NETWORK_ERRORS, CiRegistryError) as error:
        yield _broken(case, error)
        return
    refused = _proxy_answer(case, response.status, response.headers.get("X-Squid-Error") or "")
    if refused is not None:
        yield refused
    elif response.status == 400 and b"https" in body.lower():
        seen = f"{case.where} answered: {' '.join(body.decode('utf-8', 'replace').split())[:120]}"
        yield find("https-on-http", seen, **case.values(netloc_of_https=_netloc(case, "https")))
    else:
        yield fine("protocol", f"{case.where} speaks plain HTTP")


def _proxy_answer(case: Case, status: int, squid: str) -> Finding | None:
    proxy = case.proxy
    if proxy is None or (status != 407 and not squid):
        return None
    seen = f"the proxy {proxy} answered {status} {squid}".rstrip()
    code = "proxy-login" if status == 407 else "proxy-refuses"
    return find(code, seen, **case.values(proxy=proxy, said_by=proxy.said_by))


def _not_plain(case: Case, error: NotHttpError | NoAnswerError) -> Finding:
    if isinstance(error, NoAnswerError):
        return find("dropped", f"{case.where} closed the connection without an answer", **case.values())
    if "\\x15\\x03" in str(error):
        seen = f"{case.where} answered with a TLS alert"
        return find("https-on-http", seen, **case.values(netloc_of_https=_netloc(case, "https")))
    return find("not-http", f"{case.where} answered with something that is not HTTP", **case.values())


def _broken(case: Case, error: Exception) -> Finding:
    proxy, text = case.proxy, str(error)
    if proxy is not None and "Tunnel connection failed" in text:
        status = text.partition("failed: ")[2]
        code = "proxy-login" if status.startswith("407") else "proxy-refuses"
        seen = f"the proxy {proxy} answered {status} to CONNECT {case.origin.host}:{case.origin.port}"
        return find(code, seen, **case.values(proxy=proxy, said_by=proxy.said_by))
    if isinstance(error, TimeoutError):
        return find("timeout", f"{case.where} accepted the connection and then said nothing", **case.values())
    return find("dropped", f"the connection to {case.where} broke: {text or type(error).__name__}", **case.values())
