"""A real docker daemon for tests: its own data, socket and process id, no network of its own. Needs root."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .process import ServerProcess, find_program, temporary_directory, wait_until

__all__ = ["Dockerd", "layer_tar"]


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed layer with these files, the same bytes for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Dockerd:
    """A running dockerd; a context manager. `host` is for DOCKER_HOST."""

    def __init__(self, options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._directory = temporary_directory(in_memory=True)
        self.socket = self._directory / "docker.sock"
        self.host = f"unix://{self.socket}"
        # Contexts and logins of the caller must not decide anything.
        self._client_environment = {"PATH": os.environ["PATH"], "HOME": str(self._directory), "DOCKER_HOST": self.host}
        command = [
            *("dockerd", "--data-root", str(self._directory / "data"), "--exec-root", str(self._directory / "exec")),
            *("-H", self.host, "--pidfile", str(self._directory / "pid"), "--storage-driver", "overlay2"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false", *options),
        ]
        self.process = ServerProcess(command, self._directory / "log", {"DOCKER_HOST": "", **(environment or {})})
        try:
            wait_until(lambda: not self.process.alive or self.answers(), "dockerd")
            assert self.process.alive, self.process.log()[-3000:]
        except AssertionError:
            self.stop()
            raise

    def __enter__(self) -> Dockerd:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, grace_seconds: float = 10) -> None:
        self.process.stop(grace_seconds)
        for mounted in _mounts_below(self._directory):  # after a kill
            subprocess.run([find_program("umount"), "-l", mounted], check=False, timeout=10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def answers(self) -> bool:
        return self.socket.exists() and self.run("version", check=False).returncode == 0

    def run(
        self, *arguments: str, stdin: bytes | None = None, check: bool = True, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """`docker ARGUMENTS` on this daemon; with `check`, a failure raises AssertionError with what it said."""
        result = subprocess.run(
            [find_program("docker"), *arguments],
            input=stdin,
            capture_output=True,
            env=self._client_environment,
            timeout=timeout_seconds,
            check=False,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)}: {result.stderr.decode(errors='replace')}")
        return result

    def inspect(self, image: str, template: str = "{{.Id}}") -> str:
        return self.run("image", "inspect", "--format", template, image).stdout.decode().strip()

    def build(self, tag: str, layers: Sequence[Mapping[str, bytes]], base: str = "scratch", extra: str = "") -> str:
        """Build an image with one layer per mapping of file names to contents; returns its id."""
        lines = [f"FROM {base}"]
        files: dict[str, bytes] = {}
        for number, layer in enumerate(layers):
            files |= {f"layer{number}/{name}": content for name, content in layer.items()}
            lines.append(f"COPY layer{number}/ /")
        files["Dockerfile"] = "\n".join([*lines, extra, ""]).encode()
        self.run("build", "-q", "-t", tag, "-", stdin=layer_tar(files))
        return self.inspect(tag)

    def save(self, *images: str) -> bytes:
        return self.run("save", *images).stdout

    def save_to(self, path: Path, *images: str) -> Path:
        path.write_bytes(self.save(*images))
        return path


def _mounts_below(directory: Path) -> list[str]:
    """The mount points in a directory, the deepest first. A bind mount within one file system shows only there."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{directory}/")), reverse=True)
