"""Origin: the scheme, host and port that a URL speaks to, and whether that is this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

from msgspec import Struct

from ..errors import UsageError

__all__ = ["Origin", "is_loopback", "normal_url"]

_PORTS = {"http": 80, "https": 443}
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_AUTHORITY_END = re.compile("[/?#]|$")


class Origin(Struct, frozen=True):
    """Where requests go. Two origins are equal exactly when credentials of one may be sent to the other."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """From `http[s]://host[:port][/...]`; the path is ignored."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise UsageError(f"'{url}' has a port that is not a number below 65536") from error
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UsageError(f"'{url}' is not an http:// or https:// address")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    @property
    def has_default_port(self) -> bool:
        return self.port == _PORTS[self.scheme]

    @property
    def netloc(self) -> str:
        """`host[:port]`, the port left out where the scheme implies it; what the Host header holds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.has_default_port else f"{host}:{self.port}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def normal_url(url: str) -> str:
    """The URL with its origin as `Origin` writes it, so that one begins with the other; the rest to the letter.

    What can't stand in a request line (blanks, letters beyond ASCII) is percent-encoded; a user part and a fragment go.
    """
    origin = Origin.parse(url)
    rest = url.partition("://")[2]
    match = _AUTHORITY_END.search(rest)
    path = rest[match.start() :].partition("#")[0] if match else ""
    path = quote(path, safe=_PUNCTUATION, encoding="latin-1", errors="replace")
    return f"{origin}{'' if path.startswith('/') else '/'}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host is literally this machine: 127.0.0.0/8, ::1 or `localhost`. Names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
