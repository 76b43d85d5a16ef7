"""The names and addresses under which people will reach what runs on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address

from ...errors import UsageError

__all__ = ["check_name", "host_names", "is_address", "server_names"]

_ELSEWHERE = ("192.0.2.1", 9)  # RFC 5737: no packet is sent, the kernel only says which address it would use


def server_names(name: str, extra: Iterable[str] = ()) -> list[str]:
    """Everything a server's certificate should be good for: localhost, the container, this machine, and `extra`."""
    names = ["localhost", name, *host_names(), "127.0.0.1", "::1", *_own_addresses(), *extra]
    return list(dict.fromkeys(_checked(each) for each in names if each))


def host_names() -> list[str]:
    """This machine's name, and its full name where it has one."""
    own = socket.gethostname()
    full = socket.getfqdn(own)
    return [
        each
        for each in dict.fromkeys([own, full])
        if each not in ("", "localhost") and not each.endswith(".arpa") and _is_name(each)
    ]


def check_name(name: str) -> str:
    """A name for a container, a target and a host at once. Raises `UsageError`."""
    import re

    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
        raise UsageError(f"'{name}' can't name a target and a container", hint="use small letters, digits and -")
    return name


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _own_addresses() -> list[str]:
    found = []
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)]
    except OSError:
        found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            found.append(probe.getsockname()[0])
        except OSError:
            pass
    return [each.partition("%")[0] for each in found]


def _checked(name: str) -> str:
    if not is_address(name) and not _is_name(name.removeprefix("*.")):
        raise UsageError(f"'{name}' is neither a host name nor an address", hint="give --san NAME once for each name")
    return name


def _is_name(text: str) -> bool:
    import re

    return len(text) < 254 and all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}", part) for part in text.split("."))
