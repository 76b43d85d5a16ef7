"""Targets `dev`, `prod` and `backup`, and the command line in a folder with their configuration."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Ran, run_cli
from tests.support.fake_registry import FakeRegistry

Cli = Callable[..., Ran]
Configure = Callable[..., None]
RECORD_TYPE = "application/vnd.ci-registry.promotion.v1+json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ci(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `ci-registry` with the words of each text, split as a shell does."""
    return lambda *texts: run_cli(monkeypatch, *(word for text in texts for word in shlex.split(text)))


@pytest.fixture
def dev() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def prod() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def config(folder: Path, dev: FakeRegistry, prod: FakeRegistry) -> Configure:
    """Writes a configuration with the targets `dev`, `prod` and `backup`, and what a test adds."""

    def write(more: str = "", prod_keys: str = "") -> None:
        folder.joinpath("ci-registry.yaml").write_text(
            f"""\
targets:
  dev: {{kind: registry, url: "{dev.url}", retry_seconds: 1}}
  prod: {{kind: registry, url: "{prod.url}", retry_seconds: 1{prod_keys}}}
  backup: {{kind: oci-layout, path: backup}}
{more}""",
            encoding="utf-8",
        )

    write()
    return write


def writes(server: FakeRegistry) -> list[str]:
    """The requests to a server that were not for reading."""
    return [f"{request.method} {request.path}" for request in server.requests if request.method not in ("GET", "HEAD")]


def records(server: FakeRegistry, repository: str, digest: str) -> list[dict[str, Any]]:
    """The promotion records that refer to a digest."""
    found = server.repository(repository).referrers(digest)
    return [entry for entry in found if entry.get("artifactType") == RECORD_TYPE]


def outcomes(ran: Ran) -> list[str]:
    """What became of each arrival, from a JSON answer."""
    return [line["outcome"] for edge in ran.result["receipt"]["edges"] for line in edge["arrivals"]]
