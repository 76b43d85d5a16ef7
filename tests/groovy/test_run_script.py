"""The script of the Jenkins library that finds or installs the tool on an agent."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "jenkins/resources/org/ciregistry/run.sh"
VERSION = "9.8.7"

# A stand-in for the package, without dependencies: it notes each start, and answers with its arguments.
PROGRAM = f"""
import json, os, sys

def main():
    if sys.argv[1:] == ["--version"]:
        print("ci-registry {VERSION}")
        return 0
    assert sys.argv[1] == "--arguments-from"
    arguments = json.loads(os.environ[sys.argv[2]])["arguments"]
    print("on stdout")
    if arguments == ["die"]:
        return 1
    with open(os.environ["CI_REGISTRY_RESULT_FILE"], "w") as file:
        json.dump({{"result": [sys.prefix, *arguments], "error": None}}, file)
    return 5
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / f"ci_registry-{VERSION}-py3-none-any.whl"
    info = f"ci_registry-{VERSION}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ci_registry_stand_in.py", PROGRAM)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: ci-registry\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nci-registry = ci_registry_stand_in:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


# A Python whose venv is quickly made and whose pip installs a tool that only knows its version and its place.
QUICK_PYTHON = f"""#!/bin/sh
[ "$2" = venv ] || exit 1
mkdir -p "$3/bin"
cat > "$3/bin/python" << 'END'
#!/bin/sh
[ "$2 $3" = "pip install" ] || exit 1
sleep 0.3
cat > "${{0%/*}}/ci-registry" << 'TOOL'
#!/bin/sh
[ "$1" != --version ] || {{ echo ci-registry {VERSION}; exit; }}
printf '{{"result": "%s", "error": null}}' "$0" > "$CI_REGISTRY_RESULT_FILE"
TOOL
chmod 755 "${{0%/*}}/ci-registry"
END
chmod 755 "$3/bin/python"
"""


class Agent:
    """A build agent with no ci-registry on its PATH, and a blank in the name of its workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "tool cache"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "WORKSPACE_TMP": str(folder / "work space@tmp"),
            "CI_REGISTRY_LIBRARY_VERSION": VERSION,
            "CI_REGISTRY_TOOL_CACHE": str(self.cache),
            "CI_REGISTRY_ARGUMENTS": json.dumps({"arguments": ["a b", "$HOME"]}),
        }

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(SCRIPT)],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, **environment: str) -> tuple[dict[str, Any], str]:
        """The document and the log."""
        return finish(self.start(**environment))

    def quick_python(self) -> dict[str, str]:
        python = self.folder / "quick-python"
        python.write_text(QUICK_PYTHON)
        python.chmod(0o755)
        return {"CI_REGISTRY_TOOL_PYTHON": str(python)}

    def put_on_path(self, text: str) -> dict[str, str]:
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        tool = programs / "ci-registry"
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)
        return {"PATH": f"{programs}:/usr/bin:/bin"}


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    output, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    document: dict[str, Any] = json.loads(output)
    return document, log


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_builds_at_the_same_time_install_it_once(agent: Agent) -> None:
    python = agent.quick_python()
    answers = [finish(process) for process in [agent.start(**python) for _ in range(4)]]
    assert sum("installing" in log for _, log in answers) == 1
    assert {document["result"] for document, _ in answers} == {str(agent.cache / VERSION / "bin/ci-registry")}
    assert sorted(path.is_symlink() for path in agent.cache.iterdir()) == [False, True]
    assert "installing" not in agent.run(**python)[1]


def test_a_broken_installation_is_replaced_and_a_killed_builds_lock_does_not_hold_up(agent: Agent) -> None:
    python = agent.quick_python()
    agent.run(**python)
    link = agent.cache / VERSION
    (link / "bin/ci-registry").unlink()
    lock = agent.cache / f"{VERSION}.lock"
    lock.mkdir()
    (lock / "owner").write_text("999999999\n")
    assert "installing" in agent.run(**python)[1]
    assert not lock.exists()


def test_it_comes_from_a_package_index_whose_login_shows_nowhere(agent: Agent, wheel: Path) -> None:
    page = wheel.parent / "ci-registry"
    page.mkdir()
    (page / "index.html").write_text(f'<a href="../{wheel.name}">{wheel.name}</a>')
    document, log = agent.run(CI_REGISTRY_TOOL_INDEX=wheel.parent.as_uri())
    assert document["result"][1:] == ["a b", "$HOME"]
    assert "on stdout" in log
    assert str(wheel.parent) not in log
    assert list((agent.folder / "work space@tmp").iterdir()) == []


def test_a_wheel_of_another_content_is_installed_beside_the_first(agent: Agent, wheel: Path) -> None:
    python = agent.quick_python()
    other = agent.folder / "other.whl"
    other.write_bytes(b"another")
    first, _ = agent.run(**python, CI_REGISTRY_TOOL_WHEEL=str(wheel))
    second, _ = agent.run(**python, CI_REGISTRY_TOOL_WHEEL=str(other))
    assert first["result"] != second["result"]


def test_the_right_version_on_path_is_used_as_it_is(agent: Agent) -> None:
    path = agent.put_on_path(
        f'[ "$1" != --version ] || {{ echo ci-registry {VERSION}; exit; }}\n'
        'echo \'{"result": "mine", "error": null}\' > "$CI_REGISTRY_RESULT_FILE"'
    )
    document, _ = agent.run(**path)
    assert document["result"] == "mine"
    assert not agent.cache.exists()


def test_another_version_on_path_is_not_taken_unless_any_will_do(agent: Agent) -> None:
    path = agent.put_on_path(
        '[ "$1" != --version ] || { echo ci-registry 1.0; exit; }\n'
        'echo \'{"result": "mine", "error": null}\' > "$CI_REGISTRY_RESULT_FILE"'
    )
    assert agent.run(**path, CI_REGISTRY_TOOL_VERSION="any")[0]["result"] == "mine"
    document, _ = agent.run(**path, **agent.quick_python(), CI_REGISTRY_TOOL_VERSION="1.1")
    assert document["error"]["message"] == "the installed ci-registry is not version 1.1"


@pytest.mark.parametrize(
    "environment, code, words",
    [
        ({"CI_REGISTRY_TOOL_VERSION": "1; touch pwned"}, "usage", "is not a version"),
        ({"CI_REGISTRY_TOOL_WHEEL": "/nowhere.whl"}, "usage", "is not on this agent"),
        ({"CI_REGISTRY_TOOL_CACHE": "/proc/nowhere"}, "storage", "can not be made"),
        ({"CI_REGISTRY_TOOL_PYTHON": "/nowhere/python"}, "tool", "installing ci-registry 9.8.7 on this agent failed"),
    ],
)
def test_what_is_wrong_with_the_tool_is_a_document_too(
    agent: Agent, environment: dict[str, str], code: str, words: str
) -> None:
    document, log = agent.run(**environment)
    assert document["error"]["code"] == code
    assert words in document["error"]["message"]
    assert document["error"]["message"] in log
    assert not (agent.folder / "pwned").exists()
    assert not agent.cache.exists() or list(agent.cache.iterdir()) == []


def test_a_tool_without_a_result_is_told_with_its_exit_code(agent: Agent) -> None:
    path = agent.put_on_path(f'[ "$1" != --version ] || {{ echo ci-registry {VERSION}; exit; }}\nexit 77')
    document, _ = agent.run(**path)
    assert (document["error"]["code"], document["error"]["exit"]) == ("no-result", 77)


def test_an_abort_leaves_nothing_behind(agent: Agent) -> None:
    ready = agent.folder / "ready"
    path = agent.put_on_path(
        f'[ "$1" != --version ] || {{ echo ci-registry {VERSION}; exit; }}\n'
        f"trap 'exit 143' TERM\n: > '{ready}'\nwhile :; do sleep 0.05; done"
    )
    process = agent.start(**path)
    while not ready.exists():
        assert process.poll() is None
    # as Jenkins does it: the children first, then their parents
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), 15)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143
    assert list((agent.folder / "work space@tmp").iterdir()) == []
