"""`make test-deps`, with stand-ins for dpkg-query, apt-get and id."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("install-packages.sh")
APT = """
echo "$@" >> "$STATE/apt"
cat "$POLICY_FILE" > "$STATE/policy-seen"
"$POLICY_FILE"; echo $? > "$STATE/policy-says"
if [ "$1" = install ] && [ -e "$STATE/stale" ]; then rm "$STATE/stale"; exit 100; fi
[ ! -e "$STATE/broken" ]
"""


@dataclass
class Machine:
    """A pretended machine: `state` holds what its programs saw, `policy` is its policy-rc.d."""

    state: Path

    @property
    def policy(self) -> Path:
        return self.state / "policy-rc.d"

    def run(self) -> subprocess.CompletedProcess[str]:
        (self.state / "list").write_text("skopeo\nsquid\n")
        environment = {
            "PATH": str(self.state / "bin"),
            "STATE": str(self.state),
            "POLICY_FILE": str(self.policy),
        }
        command = ["/bin/sh", str(SCRIPT), str(self.state / "list")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)

    def apt(self) -> list[str]:
        calls = self.state / "apt"
        return calls.read_text().splitlines() if calls.exists() else []

    def program(self, name: str, text: str) -> None:
        path = self.state / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Root's machine, where squid is missing."""
    pretended = Machine(tmp_path)
    for name in ("cat", "chmod", "mv", "rm"):
        pretended.program(name, f'exec /bin/{name} "$@"')
    pretended.program("dpkg-query", 'case "$4" in skopeo) echo -n installed ;; *) exit 1 ;; esac')
    pretended.program("apt-get", APT)
    pretended.program("id", "echo 0")
    pretended.program("java", "")
    pretended.program("python3", "")
    return pretended


def test_nothing_is_asked_of_apt_when_all_is_there(machine: Machine) -> None:
    machine.program("dpkg-query", "echo -n installed")
    assert machine.run().returncode == 0
    assert machine.apt() == []


def test_root_installs_what_is_missing_and_no_service_may_start(machine: Machine) -> None:
    result = machine.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.apt() == ["install -y -q --no-install-recommends squid"]
    assert (machine.state / "policy-says").read_text() == "101\n"
    assert not machine.policy.exists()


def test_an_earlier_policy_comes_back_even_after_a_failure(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    (machine.state / "broken").touch()
    assert machine.run().returncode == 1
    assert "exit 101" in (machine.state / "policy-seen").read_text()
    assert "exit 104" in machine.policy.read_text()
    assert list(machine.state.glob("policy-rc.d*")) == [machine.policy]


def test_old_package_lists_are_renewed_once(machine: Machine) -> None:
    (machine.state / "stale").touch()
    assert machine.run().returncode == 0
    assert [call.split()[0] for call in machine.apt()] == ["install", "update", "install"]


def test_others_are_told_the_names(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    result = machine.run()
    assert result.returncode == 1
    assert result.stderr.endswith("run 'make test-deps' as root, or ask for them: squid\n")
    assert machine.apt() == []


def test_java_and_the_venv_module_come_from_debian_where_there_are_none(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("python3", "exit 1")
    (machine.state / "bin/java").unlink()
    assert machine.run().stderr.endswith(": squid default-jre-headless python3-venv\n")
