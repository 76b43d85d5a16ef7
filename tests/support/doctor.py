"""What tests of doctor share: running it, reading its findings, broken certificates, and applying a cure as printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import trustme
import yaml

from ci_registry.ops.config import Config, load
from ci_registry.ops.doctor.examine import ask, examine
from ci_registry.ops.doctor.findings import Cure, DoctorReport, Finding
from ci_registry.ops.places import Places

from .certificates import KeyPair
from .process import temporary_directory

__all__ = [
    "OddAuthority",
    "apply",
    "codes",
    "diagnose",
    "diagnose_file",
    "only",
    "produces",
    "run_isolated",
    "self_signed",
    "write_targets",
]

F = TypeVar("F", bound=Callable[..., Any])
ROOT = Path(__file__).resolve().parents[2]


def produces(*_codes: str) -> Callable[[F], F]:
    """Marks the test that makes these findings happen; docs/doctor.md names it in the row of each."""
    return lambda function: function


def diagnose(
    targets: Mapping[str, Any],
    *questions: str,
    environ: Mapping[str, str] | None = None,
    writing: bool = False,
    certs_d: Path = Path("/nonexistent"),
) -> DoctorReport:
    """Doctor's report on a configuration that stands in no file."""
    environ = dict(os.environ) if environ is None else environ
    places = Places(Config({"targets": dict(targets)}, environ=environ), environ)
    return _diagnose(places, questions, writing, certs_d)


def diagnose_file(
    file: Path,
    *questions: str,
    environ: Mapping[str, str] | None = None,
    writing: bool = True,
    certs_d: Path | None = None,
) -> DoctorReport:
    """Doctor's report on a configuration file, as `ci-registry doctor` gives it."""
    environ = dict(os.environ) if environ is None else environ
    places = Places(load(file, environ, file.parent), environ)
    return _diagnose(places, questions, writing, certs_d or file.parent / "certs.d")


def _diagnose(places: Places, questions: Sequence[str], writing: bool, certs_d: Path) -> DoctorReport:
    try:
        return examine(places, ask(places, questions), dry_run=not writing, patience_seconds=3, certs_d=certs_d)
    finally:
        places.close()


def only(report: DoctorReport, code: str) -> Finding:
    """The finding with that code; it must be there once."""
    everything = [*report.machine.findings, *(each for check in report.targets for each in check.findings)]
    found = [each for each in everything if each.code == code]
    assert len(found) == 1, f"{code} not found once in {[(each.code, each.seen) for each in everything if each.code]}"
    assert found[0].seen
    assert found[0].meaning
    return found[0]


def codes(report: DoctorReport, *, worst: str = "warning") -> list[str]:
    """The codes of the targets' errors, and of their warnings unless `worst` is "error"."""
    wanted = {"error"} if worst == "error" else {"error", "warning"}
    return [each.code for check in report.targets for each in check.findings if each.severity in wanted]


# -- certificates ----------------------------------------------------------------------------------------------------


class OddAuthority:
    """A CA that signs whatever it is asked to; `certificate` is its file."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="odd certificates")
        self.folder = temporary_directory()
        self.certificate = self.folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def issue(
        self, name: str, *names: str, common_name: str | None = None, starts: float = -1, ends: float = 300
    ) -> KeyPair:
        """Certificate and key as files `name`.pem and .key; `starts` and `ends` in days from now."""
        now = datetime.now(timezone.utc)
        leaf = self._ca.issue_cert(
            *names,
            common_name=common_name,
            not_before=now + timedelta(days=starts),
            not_after=now + timedelta(days=ends),
        )
        pair = KeyPair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        leaf.private_key_pem.write_to_path(str(pair.key))
        leaf.cert_chain_pems[0].write_to_path(str(pair.certificate))
        return pair


def self_signed(name: str, *san: str) -> KeyPair:
    """As many a guide makes them, by one call of openssl; `san` such as "IP:127.0.0.1"."""
    folder = temporary_directory()
    pair = KeyPair(folder / "self.pem", folder / "self.key")
    command = [
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-days",
        "90",
    ]
    command += ["-keyout", str(pair.key), "-out", str(pair.certificate), "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName={','.join(san)}"] if san else []
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return pair


# -- another world ---------------------------------------------------------------------------------------------------


def run_isolated(script: str, folder: Path, *arguments: str, after: str = "true") -> subprocess.CompletedProcess[str]:
    """`ci-registry ARGUMENTS` in network and mount namespaces of its own, between two shell scripts. Needs root.

    Nothing of it outlives the call: no interface, no mount, no rule.
    """
    command = [
        "unshare",
        "--net",
        "--mount",
        "sh",
        "-ec",
        f'{script}\n"$@" && code=0 || code=$?\n{after}\nexit $code',
        "sh",
    ]
    command += [sys.executable, "-m", "ci_registry", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


# -- cures -----------------------------------------------------------------------------------------------------------


def write_targets(file: Path, targets: Mapping[str, Mapping[str, Any]]) -> Path:
    file.write_text(yaml.safe_dump({"targets": {name: dict(keys) for name, keys in targets.items()}}, sort_keys=False))
    return file


def apply(cure: Cure, file: Path, environ: dict[str, str], served: Path | None = None) -> None:
    """Do literally what a cure says: change the configuration `file`, run its commands, or edit the server's file."""
    if cure.kind == "set":
        document = yaml.safe_load(file.read_text())
        name = cure.where.removeprefix("targets.")
        document["targets"][name].update(yaml.safe_load("\n".join(cure.lines)))
        file.write_text(yaml.safe_dump(document, sort_keys=False))
    elif cure.kind == "run":
        _run("\n".join(cure.lines), file.parent, environ)
    elif cure.kind == "edit":
        assert served is not None
        served.write_text(_edited(served.read_text(), cure))
    else:
        raise AssertionError(f"a cure in words can't be applied: {cure.lines}")


def _run(script: str, folder: Path, environ: dict[str, str]) -> None:
    """Run the commands in a shell, and keep the variables that they export."""
    programs = str(Path(sys.executable).parent)
    environment = {**environ, "PATH": f"{programs}:{environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-ec", f"{script}\nenv -0 > .after"]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, f"{script}: {ended.stderr}"
    after = (folder / ".after").read_text().split("\0")
    environ.clear()
    environ.update(line.split("=", 1) for line in after if "=" in line)


def _edited(text: str, cure: Cure) -> str:
    """Lines put where the cure says: nginx's into the server block, in place of the same directive; squid's before the
    rule that it names."""
    if "squid.conf" in cure.where:
        before = cure.where.partition("`")[2].partition("`")[0]
        assert before in text
        return text.replace(before, "\n".join([*cure.lines, before]), 1)
    for line in cure.lines:
        words = line.rstrip(";").split()
        same = [old for old in text.splitlines() if old.split()[: len(words) - 1] == words[:-1]]
        text = text.replace(same[0], line, 1) if same else text.replace("server {", f"server {{\n{line}", 1)
    return text
