"""What a build step uses: arguments from the environment, the result in a file, a private docker configuration."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = "targets:\n  dev: {kind: registry, url: 'http://127.0.0.1:5000'}\n  disk: {kind: oci-layout, path: images}\n"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "ci-registry.yaml").write_text(CONFIG)
    return subprocess.run(
        [sys.executable, "-m", "ci_registry", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        cwd=folder,
        timeout=60,
    )


def test_a_command_line_comes_out_of_a_variable_and_its_result_goes_into_a_file(tmp_path: Path) -> None:
    line = json.dumps({"arguments": ["docker-config", "--", "a b $HOME", "dev", "dockerhub"]})
    done = run(tmp_path, "--arguments-from", "LINE", LINE=line, CI_REGISTRY_RESULT_FILE="result.json")
    folder = tmp_path / "a b $HOME"
    assert (done.returncode, done.stdout) == (0, f"{folder}/bin\n")
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["result"] == {
        "folder": str(folder),
        "path": f"{folder}/bin",
        "hosts": ["127.0.0.1:5000", "docker.io"],
    }
    assert json.loads((folder / "config.json").read_text()) == {
        "credHelpers": dict.fromkeys(["127.0.0.1:5000", "docker.io", "https://index.docker.io/v1/"], "ci-registry")
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600


def test_a_failure_is_a_result_too(tmp_path: Path) -> None:
    line = json.dumps({"arguments": ["docker-config", "docker", "disk"]})
    done = run(tmp_path, "--arguments-from", "LINE", LINE=line, CI_REGISTRY_RESULT_FILE="result.json")
    assert done.returncode == 2
    assert json.loads((tmp_path / "result.json").read_text())["error"]["code"] == "usage"
    assert done.stderr.startswith("ERROR target 'disk' is a folder")
    assert done.stdout == ""


def test_a_result_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "targets", CI_REGISTRY_RESULT_FILE="/nowhere/result.json")
    assert done.returncode == 7
    assert done.stderr.startswith("ERROR writing the output failed: No such file or directory")


@pytest.mark.parametrize(
    "arguments, environment, words",
    [
        (["LINE"], {}, "the environment variable LINE is not set"),
        (["LINE"], {"LINE": "push x"}, "LINE is not a command line"),
        (["LINE"], {"LINE": '{"arguments": [1]}'}, "LINE is not a command line"),
        ([], {}, "--arguments-from takes one name"),
    ],
)
def test_a_variable_that_holds_no_command_line_is_refused(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = run(tmp_path, "--arguments-from", *arguments, CI_REGISTRY_RESULT_FILE="result.json", **environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert words in json.loads((tmp_path / "result.json").read_text())["error"]["message"]


def test_a_docker_configuration_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/config.json").write_text("{")
    done = run(tmp_path, "docker-config", "docker", "dev", DOCKER_CONFIG=str(tmp_path / "users"))
    assert done.returncode == 2
    assert "it is not JSON" in done.stderr
    assert not (tmp_path / "docker").exists()
