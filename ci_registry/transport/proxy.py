"""Which proxy a request goes through: the target's own, or the environment's with its NO_PROXY list.

NO_PROXY entries may be `*`, a name, `.domain`, `*.domain`, an address, a CIDR range, each with an optional `:port`, as
Go's httpproxy reads them; loopback is never sent to a proxy of the environment. Lower-case variables win, and
HTTP_PROXY in capitals is ignored under CGI (REQUEST_METHOD), where a client could set it.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from ..errors import ConfigError
from ..redaction import remember_secret, shown
from .origin import Origin, is_loopback

__all__ = ["Proxy", "bypassed", "choose_proxy"]


class Proxy(Struct, frozen=True):
    """An HTTP proxy; `said_by` is what set it, for messages."""

    host: str
    port: int
    said_by: str
    authorization: str = ""

    def __repr__(self) -> str:
        return shown(self, "host", "port", "said_by")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, said_by: str) -> Proxy:
        """From `http://[user:password@]host[:port]`; a missing scheme is http."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port or 3128
        except ValueError as error:
            raise ConfigError(f"the proxy in {said_by} has a port that is not a number") from error
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError(
                f"the proxy in {said_by} is not an http:// address",
                hint="write http://HOST:PORT, also for https targets: they are tunnelled through it",
            )
        login = ""
        if parts.username:
            password = unquote(parts.password or "")
            remember_secret(password)
            pair = f"{unquote(parts.username)}:{password}"
            login = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(parts.hostname, port, said_by, login)


def choose_proxy(origin: Origin, configured: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for an origin, or None. `configured` is the target's `proxy:`, `""` meaning none at all."""
    if configured is not None:
        return Proxy.parse(configured, "`proxy:`") if configured else None
    name = _variable(environ, f"{origin.scheme}_proxy") or _variable(environ, "all_proxy")
    if name is None or not environ[name]:
        return None
    no_proxy = _variable(environ, "no_proxy")
    if is_loopback(origin.host) or (no_proxy and bypassed(origin, environ[no_proxy])):
        return None
    return Proxy.parse(environ[name], name)


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    if name in environ:
        return name
    upper = name.upper()
    if upper not in environ or (upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
        return None
    return upper


def bypassed(origin: Origin, no_proxy: str) -> bool:
    """Whether a NO_PROXY list names this origin."""
    return any(_entry_matches(origin, entry.strip().lower()) for entry in no_proxy.split(",") if entry.strip())


def _entry_matches(origin: Origin, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_range(origin.host, entry)
    host, port = _split_port(entry)
    if port is not None and port != origin.port:
        return False
    name = origin.host.lower()
    if host.startswith("*."):
        host = host[1:]
    return name.endswith(host) if host.startswith(".") else name == host or name.endswith("." + host)


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:]) if rest[1:].isdigit() else None
    host, colon, port = entry.rpartition(":")
    if colon and ":" not in host and port.isdigit():
        return host, int(port)
    return entry, None


def _in_range(host: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False
