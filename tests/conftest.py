"""Fixtures of all tests: a clean environment, registries, images."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_registry import redaction

from .support.docker_registry import DockerRegistry
from .support.dockerd import Dockerd
from .support.fake_registry import FakeRegistry
from .support.images import ImageBuilder
from .support.spaces import RegistrySpace

# What the caller's shell, CI system or desktop would bring into the code under test.
_FOREIGN_PREFIXES = ("XDG_", "DOCKER_", "CI_", "AWS_", "JENKINS_", "BUILD_", "JOB_", "GIT_", "WORKSPACE", "NEXUS_")
_FOREIGN_NAMES = {
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("CI", "NODE_NAME", "EXECUTOR_NUMBER", "REQUEST_METHOD", "DBUS_SESSION_BUS_ADDRESS", "KUBERNETES_SERVICE_HOST"),
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "SOURCE_DATE_EPOCH"),
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home, and none of the caller's variables; returns the home. Child processes inherit it."""
    for name in os.environ:
        if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return home


@pytest.fixture(autouse=True)
def own_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of one test must not be masked in the messages of the next."""
    monkeypatch.setattr(redaction, "_process", redaction.Redactor())


@pytest.fixture(scope="session")
def docker_registry() -> Iterator[DockerRegistry]:
    """One plain docker-registry for all tests of a process; most want `registry` instead."""
    with DockerRegistry(in_memory=True) as server:
        yield server


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """One docker daemon for all tests of a process; give images names of your own."""
    with Dockerd() as daemon:
        yield daemon


@pytest.fixture
def registry(docker_registry: DockerRegistry) -> RegistrySpace:
    """This test's own repositories in a plain docker-registry."""
    return RegistrySpace(docker_registry)


@pytest.fixture
def fake_registry() -> Iterator[FakeRegistry]:
    """A fresh scriptable registry without authentication."""
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def images(request: pytest.FixtureRequest) -> ImageBuilder:
    """A builder whose images are the same in each run, and others than those of any other test."""
    return ImageBuilder(zlib.crc32(request.node.nodeid.encode()))
