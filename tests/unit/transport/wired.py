"""Clients of the code under test, for the scriptable registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ci_registry.credentials.chain import ANONYMOUS, Credential
from ci_registry.transport.auth import Login, RegistryAuthoriser, TokenRequest
from ci_registry.transport.exchange import Reply
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support.fake_registry import FakeRegistry

__all__ = ["authorised", "client_of", "login_as"]


def client_of(registry: FakeRegistry, retry_seconds: float = 5.0, **how: Any) -> Client:
    """A client without a login; its retries are over within seconds."""
    return Client(Origin.parse(registry.url), retry_seconds=retry_seconds, **how)


def login_as(user: str, password: str, **more: str) -> Credential:
    return Credential(user, password, source="a test", **more)


def authorised(
    registry: FakeRegistry,
    login: Login | Callable[[], Login] = ANONYMOUS,
    retry_seconds: float = 5.0,
    clock: Callable[[], float] | None = None,
    **how: Any,
) -> Client:
    """A client that logs in, its tokens carried as kinds do it."""
    origin = Origin.parse(registry.url)

    def send(request: TokenRequest, service: Origin) -> Reply:
        beside = Client(service, retry_seconds=retry_seconds, cancel=how.get("cancel"))
        try:
            return beside.request(request.method, request.url, headers=request.headers, body=request.body)
        finally:
            beside.close()

    find = login if callable(login) else lambda: login
    clocked = {"clock": clock} if clock else {}
    return Client(
        origin, authoriser=RegistryAuthoriser(origin, find, send, **clocked), retry_seconds=retry_seconds, **how
    )
