"""The roles by name: what each builds, whether it has users, and what it is called and where it listens by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from ...errors import UsageError
from .cache import plan_cache
from .certs import plan_certs
from .nexus import CONNECTORS, plan_nexus
from .passwords import Login
from .plan import Options, Provision
from .proxy import plan_proxy
from .registry import plan_registry

__all__ = ["DEFAULTS", "HAS_LOGIN", "Default", "build"]


class Default(Struct, frozen=True):
    """What a role is called, and its port, unless a user says otherwise."""

    name: str
    port: int
    username: str = "ci"


DEFAULTS: Mapping[str, Default] = {
    "certs": Default("registry", 5000),
    "registry": Default("registry", 5000),
    "proxy": Default("proxied", 5443),
    "nexus": Default("nexus", CONNECTORS["docker-hosted"], "admin"),
    "cache": Default("cache", 5001),
}

HAS_LOGIN: Mapping[str, Callable[[Options], bool]] = {
    "certs": lambda _: False,
    "registry": lambda options: options.htpasswd,
    "proxy": lambda options: options.htpasswd,
    "nexus": lambda _: True,
    "cache": lambda _: False,
}


def build(role: str, options: Options, login: Login | None) -> Provision:
    """Work a role out; nothing is written."""
    if role == "certs":
        return plan_certs(options)
    if role == "registry":
        return plan_registry(options, login)
    if role == "proxy":
        return plan_proxy(options, login)
    if role == "cache":
        return plan_cache(options)
    if role == "nexus" and login is not None:
        return plan_nexus(options, login)
    raise UsageError(f"there is no role '{role}'", hint=f"there are: {', '.join(DEFAULTS)}")
