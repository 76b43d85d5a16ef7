"""kind: registry over plain HTTP: it must be said, and a wrong scheme is named with the change."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_registry.errors import TlsError, UsageError
from tests.support.bench import Bench
from tests.support.images import ImageBuilder
from tests.support.servers import Authority, DockerRegistry, Nginx
from tests.support.spaces import RegistrySpace


def test_push_list_pull_and_verify(registry: RegistrySpace, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index(attestations=True)
    with Bench(tmp_path, {"dev": {"kind": "registry", "url": registry.url}}) as bench:
        bench.round_trip(image, f"dev:{registry.repository()}:1")
        assert registry.repository() in bench.target("dev").repositories()
        assert registry.validate().problems == []
        assert bench.notes == []


def test_https_against_plain_http(registry: RegistrySpace, images: ImageBuilder, tmp_path: Path) -> None:
    url = registry.url.replace("http://", "https://")
    with Bench(tmp_path, {"dev": {"kind": "registry", "url": url}}) as bench:
        error = bench.refused(images.image(), "dev:app:1")
        assert isinstance(error, TlsError)
        assert error.exit_code == 7
        assert error.sentence() == (
            f"target: the TLS handshake with {url} failed: what listens there answers in plain HTTP, not TLS; "
            f"write the address as {registry.url} if plain HTTP is wanted, or set the registry up for TLS."
        )


def test_plain_http_against_https(images: ImageBuilder, tmp_path: Path) -> None:
    authority = Authority()
    with DockerRegistry(tls=authority.issue(), in_memory=True) as server:
        url = server.url.replace("https://", "http://")
        with Bench(tmp_path, {"dev": {"kind": "registry", "url": url}}) as bench:
            error = bench.refused(images.image(), "dev:app:1")
            assert "Client sent an HTTP request to an HTTPS server" in error.message
            assert error.hint == "that port speaks TLS: write the address with https://"
            assert error.exit_code == 7


def test_plain_http_against_the_tls_port_of_nginx(images: ImageBuilder, tmp_path: Path) -> None:
    pair = Authority().issue()
    block = f"""server {{
        listen 127.0.0.1:@PORT@ ssl;
        ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
    }}"""
    with Nginx(block) as nginx:
        with Bench(tmp_path, {"dev": {"kind": "registry", "url": f"http://127.0.0.1:{nginx.port}"}}) as bench:
            error = bench.refused(images.image(), "dev:app:1")
        assert "The plain HTTP request was sent to HTTPS port" in error.message
        assert error.hint == "that port speaks TLS: write the address with https://"


def test_an_unconfigured_loopback_registry_may_be_plain(
    registry: RegistrySpace, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.image()
    registry.upload(image)
    with Bench(tmp_path, {}) as bench:
        assert bench.pull(f"docker://{registry.reference()}") == image.digest
        assert bench.notes == [
            f"{registry.host} is on this machine and speaks plain HTTP, so http://{registry.host} is used"
        ]


def test_a_web_server_that_is_no_registry(images: ImageBuilder, tmp_path: Path) -> None:
    with Nginx("server { listen 127.0.0.1:@PORT@; }") as nginx:
        with Bench(tmp_path, {"dev": {"kind": "registry", "url": f"http://127.0.0.1:{nginx.port}"}}) as bench:
            error = bench.refused(images.image(), "dev:app:1")
        assert "that is a web page, as from a web server (nginx/" in error.message
        assert "everything below /v2/" in error.hint


def test_a_url_with_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="something after the host"):
        Bench(tmp_path, {"dev": {"kind": "registry", "url": "http://localhost:5000/v2/"}})
