"""A folder with a configuration, and a runner for the command line in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import Ran, run_cli
from tests.support.fake_registry import FakeRegistry

Cli = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ci(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `ci-registry ARGUMENTS` in the test's folder."""
    return lambda *arguments, stdin=b"": run_cli(monkeypatch, *arguments, stdin=stdin)


@pytest.fixture
def targets(folder: Path, fake_registry: FakeRegistry) -> FakeRegistry:
    """Targets `dev` and `prod` on one scriptable registry, under namespaces of their own, and `backup`, a folder."""
    folder.joinpath("ci-registry.yaml").write_text(
        f"""\
targets:
  dev: {{kind: registry, url: "{fake_registry.url}", namespace: dev, retry_seconds: 1}}
  prod: {{kind: registry, url: "{fake_registry.url}", namespace: prod, immutable_tags: ["v*"], retry_seconds: 1}}
  backup: {{kind: oci-layout, path: backup}}
""",
        encoding="utf-8",
    )
    return fake_registry
