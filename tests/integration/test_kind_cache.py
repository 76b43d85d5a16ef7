"""mirror: reading through a pull-through registry, and from the origin where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import IntegrityError
from tests.support.bench import Bench
from tests.support.http_server import Exchange, HttpServer, Reply
from tests.support.images import BuiltImage, ImageBuilder, upload
from tests.support.servers import DockerRegistry, Nginx, free_port
from tests.support.spaces import RegistrySpace


@pytest.fixture
def image(registry: RegistrySpace, images: ImageBuilder) -> BuiltImage:
    """An image that the origin has."""
    image = images.index()
    registry.upload(image)
    return image


def mirrored(registry: RegistrySpace, mirror: str, **settings: Any) -> dict[str, Any]:
    return {"dev": {"kind": "registry", "url": registry.url, "mirror": mirror, **settings}}


@pytest.fixture
def cache(registry: RegistrySpace) -> Iterator[DockerRegistry]:
    with DockerRegistry(proxy=registry.url, in_memory=True) as server:
        yield server


def test_reading_goes_through_the_cache_and_writing_to_the_origin(
    registry: RegistrySpace, cache: DockerRegistry, image: BuiltImage, images: ImageBuilder, tmp_path: Path
) -> None:
    with Bench(tmp_path, mirrored(registry, cache.url)) as bench:
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
        before = registry.count("GET", "/blobs/")
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
        assert registry.count("GET", "/blobs/") == before  # the second time the cache had them
        bench.push(images.image(), f"dev:{registry.repository('other')}:1")
        assert bench.notes == []
    assert cache.count("GET", "/blobs/") == 2 * len(image.blobs)
    assert cache.count("POST", "/blobs/uploads/") == 0
    assert registry.validate("other").problems == []


def test_what_the_mirror_lacks_comes_from_the_origin(
    registry: RegistrySpace, image: BuiltImage, tmp_path: Path
) -> None:
    with DockerRegistry(in_memory=True) as empty, Bench(tmp_path, mirrored(registry, empty.url)) as bench:
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
        assert bench.notes == []
        assert empty.count("GET", "/manifests/") >= 1


def test_a_mirror_that_is_down_is_left_out_with_one_notice(
    registry: RegistrySpace, image: BuiltImage, tmp_path: Path
) -> None:
    mirror = f"http://127.0.0.1:{free_port()}"
    with Bench(tmp_path, mirrored(registry, mirror)) as bench:
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
        assert len(bench.notes) == 1
        assert bench.notes[0].startswith(f"the mirror {mirror} is left out, {registry.host}/")
        assert "nothing listens on" in bench.notes[0]


def test_a_mirror_that_fails_is_left_out_with_one_notice(
    registry: RegistrySpace, image: BuiltImage, tmp_path: Path
) -> None:
    block = "server { listen 127.0.0.1:@PORT@; return 503; }"
    with Nginx(block) as nginx, Bench(tmp_path, mirrored(registry, f"http://127.0.0.1:{nginx.port}")) as bench:
        assert bench.pull(f"dev:{registry.repository()}:1") == image.digest
        assert len(bench.notes) == 1
        assert "the registry answered 503: 503 Service Temporarily Unavailable" in bench.notes[0]


def test_the_password_of_the_origin_stays_away_from_the_mirror(
    images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_REGISTRY_DEV_PASSWORD", "only-for-the-origin")
    heard: list[str | None] = []

    def answer(exchange: Exchange) -> Reply:
        heard.append(exchange.headers.get("authorization"))
        return Reply(401, {"WWW-Authenticate": 'Basic realm="mirror"'})

    image = images.image()
    mirror = HttpServer(answer)
    try:
        with DockerRegistry(users={"u": "only-for-the-origin"}, in_memory=True) as origin:
            settings = {"kind": "registry", "url": origin.url, "mirror": mirror.url, "username": "u"}
            with Bench(tmp_path, {"dev": settings}) as bench:
                bench.push(image, "dev:app:1")
                assert bench.pull("dev:app:1") == image.digest
                assert "wants a user name and password" in bench.notes[0]
    finally:
        mirror.stop()
    assert heard == [None]


def test_damaged_bytes_of_the_mirror_are_found_and_named(
    registry: RegistrySpace, cache: DockerRegistry, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.image(1)
    registry.upload(image, "broken")
    layer = str(image.document["layers"][0]["digest"])
    with DockerRegistry(in_memory=True) as mirror:
        upload(image, mirror.url, registry.repository("broken"), "1")
        path = mirror.blob_path(layer)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
        with Bench(tmp_path, mirrored(registry, mirror.url)) as bench:
            with pytest.raises(IntegrityError):
                bench.pull(f"dev:{registry.repository('broken')}:1")
            assert bench.notes == [f"the mirror {mirror.url} holds damaged bytes of {layer}: clean it or leave it out"]
