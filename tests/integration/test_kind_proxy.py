"""Through squid: by `proxy:` and by the environment, with and without a password, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import TransportError
from tests.support.bench import Bench
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, DockerRegistry, Squid, free_port, htpasswd, wait_until
from tests.support.spaces import RegistrySpace

PASSWORD = "pass:w@rd/of squid"
QUOTED = "pass%3Aw%40rd%2Fof%20squid"
LIKE_DEBIAN = "acl SSL_ports port 443\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow all"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[DockerRegistry]:
    with DockerRegistry(tls=authority.issue("127.0.0.1", "registry.test"), in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def squid() -> Iterator[Squid]:
    with Squid() as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[Squid]:
    """squid that wants a login."""
    with Squid(users=htpasswd({"builder": PASSWORD}, bcrypt=False)) as server:
        yield server


@pytest.fixture(scope="module")
def strict() -> Iterator[Squid]:
    """squid that connects to port 443 alone, as it comes with Debian."""
    with Squid(rules=LIKE_DEBIAN) as server:
        yield server


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


def secured(server: DockerRegistry, authority: Authority, **settings: Any) -> dict[str, Any]:
    common = {"kind": "registry", "url": server.url, "ca": str(authority.certificate), "retry_seconds": 0}
    return {"dev": {**common, **settings}}


def named(server: DockerRegistry, authority: Authority, **settings: Any) -> dict[str, Any]:
    """The same registry under a name that no proxy setting takes for this machine."""
    return secured(
        server, authority, url=f"https://registry.test:{server.port}", connect_to=f"127.0.0.1:{server.port}", **settings
    )


def connects(squid: Squid, server: DockerRegistry) -> int:
    return sum(method == "CONNECT" and str(server.port) in where for method, where, _ in squid.requests())


def test_by_setting_tls_is_tunnelled(
    squid: Squid, secure: DockerRegistry, authority: Authority, images: ImageBuilder, tmp_path: Path
) -> None:
    with Bench(tmp_path, secured(secure, authority, proxy=squid.url)) as bench:
        bench.round_trip(images.index(), "dev:tunnelled:1")
    wait_until(lambda: connects(squid, secure) > 0, "squid's log")


def test_by_setting_plain_http_is_passed_on(
    squid: Squid, registry: RegistrySpace, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.index()
    with Bench(tmp_path, {"dev": {"kind": "registry", "url": registry.url, "proxy": squid.url}}) as bench:
        bench.push(image, f"dev:{registry.repository()}:1")
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
    wait_until(lambda: any(registry.prefix in url for _, url, _ in squid.requests()), "squid's log")


def test_by_environment(
    squid: Squid,
    secure: DockerRegistry,
    authority: Authority,
    image: BuiltImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", squid.url)
    seen = connects(squid, secure)
    with Bench(tmp_path, named(secure, authority)) as bench:
        bench.push(image, "dev:environment:1")
    wait_until(lambda: connects(squid, secure) > seen, "squid's log")


@pytest.mark.parametrize("exempt", ["registry.test", ".test", "registry.test:@PORT@", "10.0.0.0/8, *", "127.0.0.0/8"])
def test_no_proxy(
    secure: DockerRegistry,
    authority: Authority,
    image: BuiltImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exempt: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")  # where nobody is: using it fails
    monkeypatch.setenv("NO_PROXY", exempt.replace("@PORT@", str(secure.port)))
    targets = named(secure, authority, proxy="" if exempt == "127.0.0.0/8" else None)
    with Bench(tmp_path, targets) as bench:
        bench.push(image, "dev:direct:1")
    with Bench(tmp_path, secured(secure, authority)) as bench:
        bench.push(image, "dev:direct:2")  # this machine is never asked for through a proxy of the environment


def test_what_no_proxy_does_not_name(
    secure: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8,other.test,registry.test:1")
    with Bench(tmp_path, named(secure, authority)) as bench:
        error = bench.refused(image, "dev:app:1")
    assert "(the proxy set by HTTPS_PROXY) (connection refused)" in error.message


def test_with_a_password(
    guarded: Squid,
    secure: DockerRegistry,
    authority: Authority,
    registry: RegistrySpace,
    image: BuiltImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    proxy = guarded.url.replace("//", "//builder:${PROXY_PASSWORD}@")
    targets = secured(secure, authority, proxy=proxy)
    targets["plain"] = {"kind": "registry", "url": registry.url, "proxy": proxy}
    with Bench(tmp_path, targets) as bench:
        bench.push(image, "dev:password:1")
        bench.push(image, f"plain:{registry.repository()}:1")
        assert bench.pull(f"plain:{registry.repository()}:1") == image.digest
    monkeypatch.setenv("https_proxy", guarded.url.replace("//", f"//builder:{QUOTED}@"))
    with Bench(tmp_path, named(secure, authority)) as bench:
        bench.push(image, "dev:password:2")


@pytest.mark.parametrize("login", ["", "builder:wrong-password@"])
def test_without_the_password(
    guarded: Squid,
    secure: DockerRegistry,
    authority: Authority,
    registry: RegistrySpace,
    image: BuiltImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
) -> None:
    monkeypatch.setenv("https_proxy", guarded.url.replace("//", f"//{login}"))
    with Bench(tmp_path, named(secure, authority)) as bench:
        error = bench.refused(image, "dev:app:1")
    assert isinstance(error, TransportError)
    assert error.exit_code == 7
    cause = "did not accept that user and password" if login else "wants a login"
    where = f"the proxy 127.0.0.1:{guarded.port} (set by https_proxy)"
    assert f"{where} refused to connect to registry.test:{secure.port} (407" in error.message
    assert error.message.endswith(f"it {cause}")
    assert error.hint == f"write http://USER:PASSWORD@127.0.0.1:{guarded.port} into https_proxy"
    search = LeakSearch("wrong-password")
    search.look_at("error", error.sentence() + repr(error) + repr(error.__cause__))
    assert search.leaks == []
    with Bench(tmp_path, {"dev": {"kind": "registry", "url": registry.url, "proxy": guarded.url}}) as bench:
        plain = bench.refused(image, "dev:app:1")
    assert "(set by `proxy:`) refused to pass on a request to" in plain.message
    assert "(407 ERR_CACHE_ACCESS_DENIED): it wants a login" in plain.message


def test_connect_to_another_port_than_443_is_refused(
    strict: Squid, secure: DockerRegistry, authority: Authority, image: BuiltImage, tmp_path: Path
) -> None:
    with Bench(tmp_path, secured(secure, authority, proxy=strict.url)) as bench:
        error = bench.refused(image, "dev:app:1")
    assert f"refused to connect to {secure.host} (403 Forbidden)" in error.message
    assert error.hint == (
        f"allow CONNECT to port {secure.port} (squid: acl SSL_ports) in the proxy, or name 127.0.0.1 in NO_PROXY"
    )
    assert error.exit_code == 7


def test_what_the_proxy_can_not_reach(squid: Squid, authority: Authority, image: BuiltImage, tmp_path: Path) -> None:
    port = free_port()
    targets = {
        "dev": {"kind": "registry", "url": f"https://127.0.0.1:{port}", "proxy": squid.url, "retry_seconds": 0},
        "plain": {"kind": "registry", "url": f"http://127.0.0.1:{port}", "proxy": squid.url, "retry_seconds": 0},
    }
    with Bench(tmp_path, targets) as bench:
        error, plain = bench.refused(image, "dev:app:1"), bench.refused(image, "plain:app:1")
    assert f"refused to connect to 127.0.0.1:{port} (503 Service Unavailable)" in error.message
    assert f"refused to pass on a request to 127.0.0.1:{port} (503 ERR_CONNECT_FAIL)" in plain.message
    assert error.hint == f"check that 127.0.0.1:{port} can be reached from the proxy, or name it in NO_PROXY"


def test_a_proxy_that_is_not_there(image: BuiltImage, registry: RegistrySpace, tmp_path: Path) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    settings = {"kind": "registry", "url": registry.url, "proxy": proxy, "retry_seconds": 0}
    with Bench(tmp_path, {"dev": settings}) as bench:
        error = bench.refused(image, "dev:app:1")
    assert "(the proxy set by `proxy:`) (connection refused)" in error.message
