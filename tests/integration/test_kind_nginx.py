"""A registry behind nginx, which does TLS and asks for a login (htpasswd): set up right, and in each wrong way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError, CiRegistryError, NotFoundError, RemoteError
from tests.support.bench import Bench
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, DockerRegistry, Nginx, free_port, htpasswd
from tests.support.spaces import RegistrySpace

PASSWORD = "pass:word-of-nginx"
RIGHT = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def passwords() -> str:
    return htpasswd({"builder": PASSWORD}, bcrypt=False)


@contextmanager
def front(
    authority: Authority, passwords: str, backend: str, headers: str = RIGHT, options: str = "client_max_body_size 0;"
) -> Iterator[Nginx]:
    """nginx with TLS and the login, as the documentation of ci-registry has it but for what a test changes."""
    pair = authority.issue()
    users = authority.certificate.parent / "htpasswd"
    users.write_text(passwords)
    block = f"""server {{
        listen 127.0.0.1:@PORT@ ssl;
        ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
        {options}
        location /v2/ {{
            auth_basic "registry"; auth_basic_user_file {users};
            proxy_pass {backend}; proxy_http_version 1.1; proxy_request_buffering off; {headers}
        }}
    }}"""
    with Nginx(block) as nginx:
        yield nginx


def proxied(nginx: Nginx, authority: Authority, **settings: Any) -> dict[str, Any]:
    login = {"username": "builder", "password": "${PROXIED_PASSWORD}"}
    url = f"https://127.0.0.1:{nginx.port}"
    return {"proxied": {"kind": "registry", "url": url, "ca": str(authority.certificate), **login, **settings}}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXIED_PASSWORD", PASSWORD)


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


def test_login_push_list_pull_and_verify(
    registry: RegistrySpace, authority: Authority, passwords: str, images: ImageBuilder, tmp_path: Path
) -> None:
    with front(authority, passwords, registry.url) as nginx, Bench(tmp_path, proxied(nginx, authority)) as bench:
        judge = [f"--creds=builder:{PASSWORD}", f"--cert-dir={authority.certificate.parent}"]
        bench.round_trip(images.index(), f"proxied:{registry.repository()}:1", judge)
        asked = [status for _, _, status in nginx.requests() if status == 401]
        assert len(asked) <= 4  # one each for us and for skopeo's two runs


def test_bcrypt_in_the_registry_itself(image: BuiltImage, tmp_path: Path) -> None:
    with DockerRegistry(users={"builder": PASSWORD}, in_memory=True) as server:
        settings = {"kind": "registry", "url": server.url, "username": "builder", "password": "${PROXIED_PASSWORD}"}
        with Bench(tmp_path, {"own": settings}) as bench:
            bench.round_trip(image, "own:app:1", [f"--creds=builder:{PASSWORD}"])


def test_apr1_in_the_registry_itself(image: BuiltImage, passwords: str, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(passwords)
    auth = {"auth": {"htpasswd": {"realm": "test", "path": str(users)}}}
    with DockerRegistry(extra=auth, in_memory=True) as server:
        settings = {"kind": "registry", "url": server.url, "username": "builder", "password": "${PROXIED_PASSWORD}"}
        with Bench(tmp_path, {"own": settings}) as bench:
            error = bench.refused(image, "own:app:1")
    assert isinstance(error, AccessError)
    assert error.message == (
        f"{server.url} refused user 'builder' from targets.own.password in the configuration (401)"
    )
    assert "htpasswd file must hold bcrypt entries" in error.hint


def failure(image: BuiltImage, nginx: Nginx, authority: Authority, folder: Path, **settings: Any) -> CiRegistryError:
    with Bench(folder, proxied(nginx, authority, retry_seconds=0, **settings)) as bench:
        return bench.refused(image, "proxied:team/app:1")


def test_a_wrong_password(
    registry: RegistrySpace,
    authority: Authority,
    passwords: str,
    image: BuiltImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROXIED_PASSWORD", "not-the-password")
    with front(authority, passwords, registry.url) as nginx:
        error = failure(image, nginx, authority, tmp_path)
        assert len(nginx.requests()) <= 3  # a wrong password is not tried again and again
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert error.message.startswith(
        f"https://127.0.0.1:{nginx.port} refused user 'builder' from targets.proxied.password"
    )
    search = LeakSearch("not-the-password")
    search.look_at("error", error.sentence() + repr(error.__cause__))
    assert search.leaks == []


def test_nobody_logged_in(
    registry: RegistrySpace, authority: Authority, passwords: str, image: BuiltImage, tmp_path: Path
) -> None:
    with front(authority, passwords, registry.url) as nginx:
        error = failure(image, nginx, authority, tmp_path, username=None, password=None)
    assert isinstance(error, AccessError)
    assert "wants a user name and password, and no credential was found for it" in error.message
    assert f"ci-registry login 127.0.0.1:{nginx.port}" in error.hint


def test_a_limit_on_bodies(
    registry: RegistrySpace, authority: Authority, passwords: str, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.image([images.layer(3_000_000, opaque=True)])
    with front(authority, passwords, registry.url, options="client_max_body_size 1m;") as nginx:
        error = failure(image, nginx, authority, tmp_path)
        assert isinstance(error, RemoteError)
        assert error.exit_code == 7
        assert "failed: the registry answered 413: 413 Request Entity Too Large" in error.message
        assert error.hint.endswith("`client_max_body_size 0;` in nginx, or `chunk_bytes:` of the target")
        with Bench(tmp_path, proxied(nginx, authority, chunk_bytes=900_000)) as bench:
            bench.push(image, f"proxied:{registry.repository()}:1")
    assert registry.validate().problems == []


def test_a_host_header_without_its_port(
    registry: RegistrySpace, authority: Authority, passwords: str, image: BuiltImage, tmp_path: Path
) -> None:
    headers = "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;"
    with front(authority, passwords, registry.url, headers) as nginx:
        error = failure(image, nginx, authority, tmp_path)
    assert f"the registry at https://127.0.0.1:{nginx.port} sends uploads to https://127.0.0.1," in error.message
    assert "proxy_set_header Host $http_host;" in error.hint


def test_no_forwarded_scheme(
    registry: RegistrySpace, authority: Authority, passwords: str, image: BuiltImage, tmp_path: Path
) -> None:
    with front(authority, passwords, registry.url, "proxy_set_header Host $http_host;") as nginx:
        error = failure(image, nginx, authority, tmp_path)
    here = f"127.0.0.1:{nginx.port}"
    assert f"the registry at https://{here} sends uploads to http://{here}, without TLS, so" in error.message
    assert "X-Forwarded-Proto $scheme;" in error.hint


def test_the_host_of_the_inside(
    registry: RegistrySpace, authority: Authority, passwords: str, image: BuiltImage, tmp_path: Path
) -> None:
    headers = "proxy_set_header Host registry:5000; proxy_redirect off;"
    with front(authority, passwords, registry.url, headers) as nginx:
        error = failure(image, nginx, authority, tmp_path)
    assert "sends uploads to http://registry:5000, without TLS" in error.message
    assert "proxy_set_header Host $http_host;" in error.hint


def test_a_backend_that_is_down(authority: Authority, passwords: str, image: BuiltImage, tmp_path: Path) -> None:
    with front(authority, passwords, f"http://127.0.0.1:{free_port()}") as nginx:
        error = failure(image, nginx, authority, tmp_path)
    assert isinstance(error, RemoteError)
    assert "failed: the registry answered 502: 502 Bad Gateway" in error.message
    assert "<" not in error.message


def test_a_proxy_that_does_not_cover_the_api(
    registry: RegistrySpace, authority: Authority, image: BuiltImage, tmp_path: Path
) -> None:
    pair = authority.issue()
    block = f"""server {{
        listen 127.0.0.1:@PORT@ ssl;
        ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
        location /registry/ {{ proxy_pass {registry.url}/; }}
    }}"""
    with (
        Nginx(block) as nginx,
        Bench(tmp_path, proxied(nginx, authority)) as bench,
        pytest.raises(CiRegistryError) as caught,
    ):
        bench.pull("proxied:team/app:1")
    assert not isinstance(caught.value, NotFoundError)
    assert "that is a web page, as from a web server (nginx" in caught.value.message
