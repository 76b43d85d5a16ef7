"""Every `sh` block of README.md and docs/ runs as it stands, in a folder with targets on real registries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.examples import ROOT, blocks, launcher, run_script

# Documents whose examples need servers of their own are run by the tests of their subject.
ELSEWHERE = {"docs/registries.md", "docs/jenkins.md", "docs/doctor.md", "docs/provision.md"}
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if blocks(path) and path.relative_to(ROOT).as_posix() not in ELSEWHERE
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What the documents take for granted: an image in build/hello, and a configuration."""
    subprocess.run([sys.executable, ROOT / "docs/demo/hello_image.py", tmp_path / "build/hello", "1.0"], check=True)
    with DockerRegistry(in_memory=True, delete=True) as dev, DockerRegistry(in_memory=True, delete=True) as prod:
        config = f"""\
targets:
  dev: {{kind: registry, url: "{dev.url}"}}
  prod: {{kind: registry, url: "{prod.url}"}}
  backup: {{kind: oci-layout, path: backup}}
"""
        (tmp_path / "ci-registry.yaml").write_text(config, encoding="utf-8")
        yield tmp_path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_run(document: str, folder: Path) -> None:
    script = "\n".join(blocks(ROOT / document))
    ran = run_script(script, folder, launcher(folder))
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


def test_the_readme_has_a_jenkinsfile_of_about_ten_lines() -> None:
    jenkinsfile = blocks(ROOT / "README.md", "groovy")[0]
    assert len(jenkinsfile.splitlines()) <= 12


def test_the_demonstration_ends_with_the_digest_in_two_places(tmp_path: Path) -> None:
    script = f'sh "{ROOT}/docs/demo.sh"'
    ran = run_script(script, tmp_path, launcher(tmp_path), XDG_DATA_HOME=str(tmp_path / "data"))
    assert ran.returncode == 0, ran.stderr
    first, second = (line.split() for line in ran.stdout.splitlines()[-2:])
    assert first[0] == "local:demo/hello:1.0"
    assert second[0] == "backup:demo/hello:1.0"
    assert first[1] == second[1]
    assert first[1].startswith("sha256:")
