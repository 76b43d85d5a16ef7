"""Where files of a user lie (`user_folders`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_registry.user_folders import base_folder, cache_file, state_file


def test_files_lie_in_the_home_folder(clean_environment: Path) -> None:
    assert cache_file("a.json", {}) == clean_environment / ".cache" / "ci-registry" / "a.json"
    assert state_file("a.lock", {}) == clean_environment / ".local" / "state" / "ci-registry" / "a.lock"


def test_the_environment_says_otherwise() -> None:
    environ = {"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}
    assert cache_file("a.json", environ) == Path("/c/ci-registry/a.json")
    assert state_file("a.lock", environ) == Path("/s/ci-registry/a.lock")


@pytest.mark.parametrize("said", ["", "cache", "./cache", "~/cache"])
def test_a_folder_that_is_not_absolute_is_passed_over(said: str) -> None:
    assert base_folder("XDG_CACHE_HOME", {"XDG_CACHE_HOME": said}) == "~/.cache"
