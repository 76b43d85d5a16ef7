"""skopeo as an independent judge, kept away from the user's own login files and registries.conf."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from .process import find_program

__all__ = ["skopeo", "skopeo_config", "skopeo_copy", "skopeo_raw"]


def skopeo(*arguments: str, timeout_seconds: float = 60, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run `skopeo ARGUMENTS`; with `check`, a failure raises AssertionError with what it said."""
    with tempfile.TemporaryDirectory(prefix="ci-registry-test-") as home:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": home,
            "XDG_RUNTIME_DIR": home,
            "REGISTRY_AUTH_FILE": f"{home}/auth.json",
            "TMPDIR": home,
        }
        command = [find_program("skopeo"), "--insecure-policy", *arguments]
        result = subprocess.run(command, capture_output=True, env=environment, timeout=timeout_seconds, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"skopeo {' '.join(arguments)}: {result.stderr.decode(errors='replace')}")
    return result


def skopeo_raw(image: str, *options: str) -> bytes:
    """The manifest bytes of `docker://HOST/NAME:TAG` (or any other transport)."""
    return skopeo("inspect", "--raw", *_insecure(image, ""), *options, image).stdout


def skopeo_config(image: str, *options: str) -> Mapping[str, Any]:
    """The image configuration."""
    loaded: Mapping[str, Any] = json.loads(skopeo("inspect", "--config", *_insecure(image, ""), *options, image).stdout)
    return loaded


def skopeo_copy(source: str, target: str, *options: str) -> None:
    """Copy everything, indexes whole, digests kept."""
    insecure = [*_insecure(source, "src-"), *_insecure(target, "dest-")]
    skopeo("copy", "--all", "--preserve-digests", *insecure, *options, source, target)


def _insecure(image: str, side: str) -> list[str]:
    return [f"--{side}tls-verify=false"] if image.startswith("docker://") else []
