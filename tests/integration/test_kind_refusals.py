"""What a registry may not make us do with a credential, and credentials that are not for it."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError, CiRegistryError, RemoteError, TlsError
from tests.support.bench import Bench
from tests.support.http_server import Exchange, HttpServer, Reply
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, DockerRegistry, TokenServer, free_port

PASSWORD = "kept-from-strangers"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_REGISTRY_DEV_USERNAME", "builder")
    monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", PASSWORD)


class Listener:
    """A server that keeps what it hears."""

    def __init__(self, authority: Authority, answer: Callable[[Exchange], Reply]) -> None:
        self.heard: list[Exchange] = []
        self._answer = answer
        context = authority.issue("registry.test", "127.0.0.1", "localhost").server_context()
        self._server = HttpServer(self._hear, free_port(), context)
        self.port = self._server.port

    def _hear(self, exchange: Exchange) -> Reply:
        self.heard.append(exchange)
        return self._answer(exchange)

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    try:
        yield
    finally:
        for listener in listeners:
            listener.stop()


def challenge(realm: str) -> Reply:
    return Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})


def token(_: Exchange) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, b'{"token": "t"}')


def refused(image: BuiltImage, folder: Path, authority: Authority, registry: Listener) -> CiRegistryError:
    """Push to a registry of another name than this machine's."""
    settings = {
        "kind": "registry",
        "url": f"https://registry.test:{registry.port}",
        "connect_to": f"127.0.0.1:{registry.port}",
        "ca": str(authority.certificate),
        "retry_seconds": 0,
    }
    with Bench(folder, {"dev": settings}) as bench:
        error = bench.refused(image, "dev:app:1")
    search = LeakSearch(PASSWORD)
    search.look_at("error", error.sentence() + repr(error) + repr(error.__cause__))
    assert search.leaks == []
    return error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.1.2.3", "[::1]"])
def test_a_realm_at_an_internal_host(authority: Authority, image: BuiltImage, tmp_path: Path, host: str) -> None:
    inside = Listener(authority, token)
    registry = Listener(authority, lambda _: challenge(f"https://{host}:{inside.port}/latest/meta-data"))
    with listening(inside, registry):
        error = refused(image, tmp_path, authority, registry)
        assert inside.heard == []
    assert isinstance(error, RemoteError)
    assert error.exit_code == 7
    assert error.message == (
        f"https://registry.test:{registry.port} names the token service https://{host}:{inside.port}, an internal "
        "address, so it is not called"
    )


def test_a_realm_without_tls(authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    registry = Listener(authority, lambda _: challenge("http://tokens.example.org/token"))
    with listening(registry):
        error = refused(image, tmp_path, authority, registry)
    assert "http://tokens.example.org, which is not https, so no credential is sent there" in error.message


def test_a_realm_that_sends_us_elsewhere(authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    """Only the host that the registry named gets the password, not one that this host names."""
    other = Listener(authority, token)

    def answer(exchange: Exchange) -> Reply:
        here = f"https://{exchange.headers['host']}"
        if exchange.path == "/token":
            return Reply(307, {"Location": f"https://registry.test:{other.port}/token"})
        return challenge(f"{here}/token")

    registry = Listener(authority, answer)
    with listening(other, registry):
        error = refused(image, tmp_path, authority, registry)
        assert other.heard == []
    assert isinstance(error, RemoteError)
    assert "for a token failed: it answered 307" in error.message


def test_a_token_service_has_its_own_address_and_certificate(
    authority: Authority, images: ImageBuilder, tmp_path: Path
) -> None:
    """`connect_to` and `fingerprint` are meant for the registry: the service beside it is dialled and verified."""
    image = images.image()
    service_context = authority.issue("127.0.0.1").server_context()
    with (
        TokenServer({"builder": PASSWORD}, context=service_context) as tokens,
        DockerRegistry(token=tokens, tls=Authority().issue("127.0.0.1"), in_memory=True) as registry,
    ):
        pem = ssl.get_server_certificate(("127.0.0.1", registry.port))
        pinned: dict[str, Any] = {
            "kind": "registry",
            "url": registry.url,
            "connect_to": registry.host,
            "fingerprint": hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(),
        }
        with Bench(tmp_path, {"dev": pinned}) as bench:
            error = bench.refused(image, "dev:app:1")
            assert isinstance(error, TlsError)
            assert f"the TLS handshake with {tokens.realm.removesuffix('/token')} failed" in error.message
            assert tokens.requests == []
        with Bench(tmp_path, {"dev": {**pinned, "ca": str(authority.certificate)}}) as bench:
            bench.push(image, "dev:app:1")
            assert {request.account for request in tokens.requests} == {"builder"}


def test_a_credential_for_another_port(
    image: BuiltImage, tmp_path: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_REGISTRY_DEV_USERNAME")
    monkeypatch.delenv("CI_REGISTRY_DEV_PASSWORD")
    folder = clean_environment / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {"127.0.0.1:1": {"auth": "YnVpbGRlcjpwYXNz"}}}))
    with (
        DockerRegistry(users={"builder": "pass"}, in_memory=True) as registry,
        Bench(tmp_path, {"dev": {"kind": "registry", "url": registry.url}}) as bench,
    ):
        error = bench.refused(image, "dev:app:1")
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert error.message.startswith(
        f"{registry.url} wants a user name and password, and no credential was found for it"
    )
    assert f"`ci-registry login {registry.host}`" in error.hint
