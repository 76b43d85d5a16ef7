"""Steps: configuration, names, the daemon's view, TCP."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from ...errors import CiRegistryError, ConfigError
from ...transport.origin import is_loopback
from .case import Case
from .catalog import find
from .findings import Finding, fine, note
from .speaking import shown

__all__ = ["configuration", "daemon", "names", "tcp"]


def configuration(case: Case) -> Iterator[Finding]:
    """Whether the settings can be used here: files, pairs of keys, trust."""
    try:
        tls = case.dial.tls
        if case.origin.is_tls:
            tls.context()
    except ConfigError as error:
        yield _unusable(case, error)
        return
    yield fine("configuration", _described(case))
    if case.origin.is_tls and case.target.settings.insecure_skip_verify:
        shown = _shown_fingerprint(case)
        yield find("skip-verify", "the target says insecure_skip_verify", **case.values(fingerprint=shown))
    if not case.origin.is_tls and not is_loopback(case.origin.host) and not _stays_here(case):
        yield find("plain-http", f"the target is {case.origin}", **case.values())


def _unusable(case: Case, error: ConfigError) -> Finding:
    settings = case.target.settings
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) and "KEY_VALUES_MISMATCH" in (cause.reason or ""):
        fitting = _fitting_key(Path(settings.client_cert)) if settings.client_cert else None
        pair = {"client_cert": settings.client_cert, "client_key": settings.client_key, "fitting_key": fitting}
        return find("client-key-mismatch", error.message, target=case.name, **pair)
    lonely, _, rest = error.message.partition(" lies there without ")
    if rest:
        as_ca = f"{lonely.removesuffix('.cert')}.crt" if lonely.endswith(".cert") else None
        return find("certs-d-unpaired", error.message, lonely=lonely, as_ca=as_ca)
    return find("target-unusable", error.message, target=case.name, hint=error.hint or "correct it")


def _fitting_key(certificate: Path) -> Path | None:
    """The key beside a certificate that was made with it."""
    from ...adapters.x509 import KeyMaterial, belongs_together

    for key in sorted(certificate.parent.glob("*.key")):
        if belongs_together(KeyMaterial(certificate.read_bytes(), key.read_bytes())):
            return key
    return None


def _described(case: Case) -> str:
    settings = case.target.settings
    parts = [f"{settings.kind}, {case.origin}"]
    if settings.connect_to:
        parts.append(f"by way of {settings.connect_to}")
    if settings.mirror:
        parts.append(f"read through {settings.mirror}")
    return ", ".join(parts)


def _shown_fingerprint(case: Case) -> str:
    from ...adapters.x509 import facts_of

    try:
        with case.connection(trusting=True) as connection:
            facts = facts_of(shown(connection)[1])
    except (OSError, CiRegistryError):
        return ""
    return facts.fingerprint if facts else ""


def _stays_here(case: Case) -> bool:
    """Whether what is dialled is this machine, or a docker network on it."""
    return is_loopback(case.dialled[0]) or any(case.origin.host in each.names for each in case.surroundings.neighbours)


def names(case: Case) -> Iterator[Finding]:
    """Resolve what is dialled; where a proxy is in between, that is the proxy, who resolves the rest."""
    host, port = case.dialled
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        yield _unresolved(case, host, error)
        return
    case.addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    whose = f" (the proxy set by {case.proxy.said_by})" if case.proxy else ""
    if host in case.addresses:
        yield fine("names", f"{host} is an address{whose}")
    else:
        yield fine("names", f"{host}{whose} is {', '.join(case.addresses)}")


def _unresolved(case: Case, host: str, error: OSError | UnicodeError) -> Finding:
    seen = f"looking up '{host}' failed: {getattr(error, 'strerror', None) or error}"
    if case.proxy is not None:
        return find("proxy-unreachable", seen, **case.values(proxy=case.proxy, said_by=case.proxy.said_by))
    for neighbour in case.surroundings.neighbours:
        if host in neighbour.names:
            published = next(iter(neighbour.published.get(case.origin.port, ())), None)
            network = next(iter(neighbour.networks), "")
            values = case.values(host=host, container=neighbour.name, network=network, published=published)
            return find("name-only-in-network", seen, **values)
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return find("name-service-down", seen, **case.values(host=host))
    return find("no-such-host", seen, **case.values(host=host))


def daemon(case: Case) -> Iterator[Finding]:
    """What the docker daemon's own attempt comes to; only warnings, since we do without it."""
    reference = f"{case.target.shown}/{case.wire_repository or 'ci-registry/doctor'}"
    said = case.surroundings.daemon_says(reference)
    if said is None:
        return
    low = said.lower()
    seen = f"docker's daemon says: {said}"
    settings, certs_d = case.target.settings, f"/etc/docker/certs.d/{case.netloc}"
    if "no such host" in low or "server misbehaving" in low:
        address = case.addresses[0] if case.addresses else case.dialled[0]
        yield find("daemon-no-such-host", seen, **case.values(address=address, published=settings.connect_to))
    elif "unknown authority" in low or "certificate is not trusted" in low:
        yield find("daemon-unknown-authority", seen, **case.values(certs_d=certs_d, ca=settings.ca))
    elif "bad certificate" in low or "certificate required" in low:
        keys = {"client_cert": settings.client_cert, "client_key": settings.client_key}
        yield find("daemon-client-certificate", seen, **case.values(certs_d=certs_d, **keys))
    elif "http response to https client" in low:
        yield find("daemon-wants-tls", seen, **case.values())
    elif "connection refused" in low:
        yield find("daemon-refused", seen, **case.values())
    elif any(mark in low for mark in ("x509:", "dial tcp", "timeout", "deadline exceeded", "proxyconnect")):
        yield find("daemon-fails", seen, **case.values())
    else:
        yield fine("daemon", f"docker's daemon reaches {case.target.shown} as well")


def tcp(case: Case) -> Iterator[Finding]:
    """Whether something accepts connections where we dial."""
    host, port = case.dialled
    try:
        socket.create_connection((host, port), case.patience_seconds).close()
    except OSError as error:
        yield _not_connected(case, error)
        return
    yield fine("tcp", f"{case.where} accepts connections")
    if case.proxy is not None:
        yield note("proxy", f"requests go through {case.proxy}, set by {case.proxy.said_by}")


def _not_connected(case: Case, error: OSError) -> Finding:
    seen = f"connecting to {case.where} failed: {error.strerror or error}"
    if case.proxy is not None:
        return find("proxy-unreachable", seen, **case.values(proxy=case.proxy, said_by=case.proxy.said_by))
    if isinstance(error, TimeoutError):
        seen = f"connecting to {case.where} failed: no answer within {case.patience_seconds:g} seconds"
        return _unpublished(case, seen) or find("timeout", seen, **case.values())
    if isinstance(error, ConnectionRefusedError):
        if case.surroundings.container and is_loopback(case.dialled[0]):
            return find("localhost-in-container", seen, **case.values())
        return _unpublished(case, seen) or find("refused", seen, **case.values())
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EINVAL):
        return find("unreachable", seen, **case.values())
    return find("refused", seen, **case.values())


def _unpublished(case: Case, seen: str) -> Finding | None:
    """Whether Nexus itself says that the port in question is the right one."""
    from ...kinds.nexus import Nexus

    if not isinstance(case.target, Nexus):
        return None
    checks = case.target.checks()
    if not any(check.about == "connector" and check.level == "ok" for check in checks):
        return None
    repository = getattr(case.target.settings, "nexus_repository", None) or "docker"
    return find("connector-not-published", seen, **case.values(repository=repository))
