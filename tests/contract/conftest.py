"""Each test that asks for a `place` runs on every kind of place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.fake_registry import FakeRegistry

from .places import DockerRegistryPlace, FakeRegistryPlace, LayoutPlace, Place


@pytest.fixture(scope="session")
def foreign_friendly_registry() -> Iterator[DockerRegistry]:
    """A docker-registry that takes manifests whose layers have urls, as ours must be able to copy."""
    with DockerRegistry(in_memory=True, allow_urls=[".*"]) as server:
        yield server


SHARED = ["layout-tree", "docker-registry", "fake-registry", "fake-registry-1.0"]


@pytest.fixture(params=["layout", *SHARED])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place; `fake-registry-1.0` has no referrers API."""
    yield from made(request, tmp_path)


@pytest.fixture(params=SHARED)
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place that can hold several repositories."""
    yield from made(request, tmp_path)


@pytest.fixture(params=["layout", "layout-tree", "fake-registry", "fake-registry-1.0"])
def place_that_deletes_tags(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place where a tag can be removed and its manifest stays; distribution can't."""
    yield from made(request, tmp_path)


def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param.startswith("layout"):
        yield LayoutPlace(tmp_path / "images", plain=request.param == "layout")
    elif request.param == "docker-registry":
        found = DockerRegistryPlace(request.getfixturevalue("foreign_friendly_registry"))
        yield found
        found.close()
    else:
        server: FakeRegistry = request.getfixturevalue("fake_registry")
        server.referrers_api = request.param == "fake-registry"
        fake = FakeRegistryPlace(server)
        yield fake
        fake.close()
