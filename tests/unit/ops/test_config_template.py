"""The first file that `init` writes is right as it is and with all its examples in use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci_registry.errors import StorageError, UsageError
from ci_registry.kinds.settings import KINDS
from ci_registry.ops.config import load, problems
from ci_registry.ops.config.template import TEMPLATE, write_first_file


def test_the_first_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "ci-registry.yaml"
    write_first_file(file)
    config = load(None, {}, tmp_path)
    assert config.path == file
    assert config.target("dev").url == "http://localhost:5000"
    assert config.notes() == []
    assert list(config.targets) == ["dev", "local", "dockerhub", "ecr"]


def test_all_its_examples_load_together(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(re.sub(r"^( *)#(?=\S)", r"\1", TEMPLATE, flags=re.MULTILINE))
    assert problems(file, {}, tmp_path) == []
    environ = {"PROXIED_PASSWORD": "p4ssword", "JENKINS_TOKEN": "t0ken"}
    config = load(file, environ, tmp_path)
    assert {config.target(name).kind for name in config.targets} == set(KINDS)
    assert config.promotion("release").targets == ("ecr", "hub")
    assert config.jenkins_server().token == "t0ken"
    assert config.notes() == []


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ci-registry.yaml"
    file.write_text("mine")
    with pytest.raises(UsageError) as caught:
        write_first_file(file)
    assert caught.value.exit_code == 2
    assert caught.value.message == f"{file} exists already and is left as it is"
    assert file.read_text() == "mine"


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be written: No such file or directory"):
        write_first_file(tmp_path / "no" / "ci-registry.yaml")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from ci_registry.ops.config.template import write_first_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
write_first_file(Path({str(tmp_path / "c.yaml")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert f"StorageError: {tmp_path}/c.yaml can't be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []
