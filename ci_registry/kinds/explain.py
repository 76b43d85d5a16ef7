"""Refusals that more than one kind of registry gives, with what is known about their causes."""

from __future__ import annotations

import re

from ..errors import CiRegistryError, ConfigError, RemoteError
from ..transport.exchange import Reply

__all__ = ["explain_refusal", "is_page"]


def is_page(reply: Reply) -> bool:
    """Whether an answer is a web page and not a registry's."""
    kind = (reply.headers.get("Content-Type") or "").lower()
    return "html" in kind or reply.body.lstrip()[:1] == b"<"


def explain_refusal(reply: Reply, failed: CiRegistryError) -> CiRegistryError:
    """Recognise who answered where it was no registry."""
    if reply.status not in (404, 405) or not is_page(reply):
        return failed
    server = re.sub(r"[^ -~]", "", reply.headers.get("Server") or "")[:40]
    if server.startswith("Nexus/"):
        return ConfigError(
            f"{failed.message}; {server.partition(' ')[0]} answers there with its web interface, not with a registry",
            hint="use the port of the docker repository's own connector, or the path of the repository "
            "(kind: nexus, url: https://HOST:8081/repository/NAME); the web interface belongs into `api:`",
        )
    who = f" ({server})" if server else ""
    return RemoteError(
        f"{failed.message}; that is a web page, as from a web server{who} and not from a registry",
        hint="check the address and its port; a proxy in front must pass on everything below /v2/",
    )
