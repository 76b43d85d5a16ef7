"""Challenges of a registry (RFC 9110, section 11), and whether the token service that one names may be asked."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from ..errors import CiRegistryError, RemoteError
from .origin import Origin, is_loopback

__all__ = ["Challenge", "check_realm", "parse_challenges", "preferred"]

_CHALLENGE = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9_-]*)(?:\s+(?![\s=])|(?=,)|$)")
_PARAMETER = re.compile(r'[\s,]*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Challenge(Struct, frozen=True):
    """One WWW-Authenticate challenge; `scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """All challenges of all WWW-Authenticate headers; several may share one header, joined by commas."""
    return [challenge for value in values for challenge in _parse_header(value)]


def _parse_header(value: str) -> Iterator[Challenge]:
    position = 0
    while position < len(value):
        scheme = _CHALLENGE.match(value, position)
        if not scheme:
            return
        position = scheme.end()
        parameters: dict[str, str] = {}
        while match := _PARAMETER.match(value, position):
            text = match.group(2)
            parameters[match.group(1).lower()] = re.sub(r"\\(.)", r"\1", text) if text is not None else match.group(3)
            position = match.end()
        yield Challenge(scheme.group(1).lower(), parameters)


def check_realm(realm: str, registry: Origin) -> Origin:
    """The origin of a token service, if credentials may go there.

    It must be https unless the registry is plain http, and must not be an internal address literal when the registry
    is not one itself: a registry could otherwise make us call services of this machine's network.
    """
    try:
        origin = Origin.parse(realm)
    except CiRegistryError as error:
        raise RemoteError(f"{registry} names the token service '{realm[:200]}', which is no address") from error
    if registry.is_tls and not origin.is_tls:
        raise RemoteError(
            f"{registry} names the token service {origin}, which is not https, so no credential is sent there",
            hint="the registry's token realm must be an https:// address",
        )
    if _is_internal(origin.host) and not _is_internal(registry.host):
        raise RemoteError(
            f"{registry} names the token service {origin}, an internal address, so it is not called",
            hint="the registry's token realm must be an address outside this machine's own network",
        )
    return origin


def _is_internal(host: str) -> bool:
    if is_loopback(host) or host.rstrip(".").endswith(".localhost"):
        return True
    address = _address(host)
    if address is None:
        return False
    return address.is_private or address.is_link_local or address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host literally is, also in the odd forms that resolvers take (127.1, 0x7f000001)."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def preferred(challenges: list[Challenge]) -> Challenge | None:
    """Bearer before Basic; others are not understood."""
    bearer = [c for c in challenges if c.scheme == "bearer" and c.parameters.get("realm")]
    plain = [c for c in challenges if c.scheme == "basic"]
    return next(iter(bearer + plain), None)
