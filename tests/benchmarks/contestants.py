"""The tools that are compared: whether they are here, their versions, and how each is asked to do the work."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = [
    "OURS",
    "PEERS",
    "Peer",
    "crane_copy",
    "oras_copy",
    "our_interpreter",
    "our_program",
    "ours",
    "present_peers",
    "regctl_copy",
    "skopeo_copy",
    "skopeo_sync",
]

OURS = "ci_registry"


@dataclass(frozen=True)
class Peer:
    """Another tool: the program, and what prints its version."""

    program: str
    version: tuple[str, ...]

    def find_version(self) -> str | None:
        """Its version, None when it is not on PATH."""
        if shutil.which(self.program) is None:
            return None
        said = subprocess.run(
            [self.program, *self.version], capture_output=True, text=True, check=False, timeout=20
        ).stdout
        return _version_line(said)


def _version_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    tagged = [line.partition(":")[2].strip() for line in lines if line.startswith(("VCSTag", "Version"))]
    return (tagged or lines or ["unknown"])[0]


PEERS = {
    "skopeo": Peer("skopeo", ("--version",)),
    "crane": Peer("crane", ("version",)),
    "regctl": Peer("regctl", ("version",)),
    "oras": Peer("oras", ("version",)),
    "docker": Peer("docker", ("--version",)),
}


def present_peers() -> dict[str, str | None]:
    """The peers and their versions; None for one that is absent, which is then not measured."""
    programs = {name: peer.find_version() for name, peer in PEERS.items()}
    return {**programs, "python-dxf": _installed("python-dxf")}


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def our_program() -> Path:
    """The `ci-registry` on PATH, as anybody starts it."""
    found = shutil.which("ci-registry")
    if found is None:
        raise SystemExit("ci-registry is not on PATH: use `make bench`, which installs it, or put .venv/bin there")
    return Path(found)


def our_interpreter() -> str:
    """The Python that it runs in: what a start costs is counted in starts of that one."""
    with our_program().open(encoding="utf-8") as script:
        return script.readline().removeprefix("#!").strip()


def ours(*arguments: str) -> list[str]:
    return [str(our_program()), *arguments]


def _skopeo(command: str) -> list[str]:
    # As root, skopeo remembers in /var/lib where it has seen a blob, and would not do the work of a later run.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    return [*nobody, "skopeo", "--insecure-policy", command, "--all", *insecure]


def skopeo_copy(source: str, destination: str) -> list[str]:
    return [*_skopeo("copy"), "-q", f"docker://{source}", f"docker://{destination}"]


def skopeo_sync(source: str, destination: str, *options: str) -> list[str]:
    """All tags of a repository; they land below `destination` under the repository's last name."""
    return [*_skopeo("sync"), *options, "--src", "docker", "--dest", "docker", source, destination]


def crane_copy(source: str, destination: str, *options: str) -> list[str]:
    return ["crane", "copy", *options, source, destination]


def regctl_copy(source: str, destination: str) -> list[str]:
    hosts = sorted({place.partition("/")[0] for place in (source, destination)})
    plain = [option for host in hosts for option in ("--host", f"reg={host},tls=disabled")]
    return ["regctl", *plain, "image", "copy", source, destination]


def oras_copy(source: str, destination: str) -> list[str]:
    return ["oras", "cp", "--from-plain-http", "--to-plain-http", source, destination]
