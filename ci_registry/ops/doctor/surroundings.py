"""What all cases share: the docker daemon, if there is one, and whether this is a container."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ...adapters.docker_containers import ContainerEngine, DaemonFacts, Neighbour
from ...errors import CiRegistryError

__all__ = ["Surroundings", "container_kind"]

T = TypeVar("T")

_CGROUP_MARKS = ("docker", "kubepods", "containerd", "libpod")


def container_kind(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """What kind of container this process runs in: docker, podman, kubernetes or container; "" for none."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    marks = f"{_text(root / 'proc/1/cgroup')}{_text(root / 'proc/self/mountinfo')}"
    if any(f"/{mark}" in marks for mark in _CGROUP_MARKS) and "/docker/containers/" in marks:
        return "docker"
    return "container" if environ.get("container") else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


class Surroundings:
    """Asked once, by whichever target comes first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._lock = threading.Lock()
        self._engine = ContainerEngine(environ)
        self._answers: dict[str, object] = {}
        self.daemon_problem: CiRegistryError | None = None

    @cached_property
    def container(self) -> str:
        return container_kind(self.environ)

    @property
    def daemon(self) -> DaemonFacts | None:
        """The daemon's facts; None when it can't be reached, and `daemon_problem` says why."""
        return self._once("facts", self._engine.facts, None)

    @property
    def neighbours(self) -> list[Neighbour]:
        """The running containers; none where there is no daemon."""
        return self._once("neighbours", self._engine.neighbours, [])

    @property
    def daemon_address(self) -> str:
        return self._engine.address

    def daemon_says(self, reference: str) -> str | None:
        """The daemon's own error about a registry, "" when it got through; None where there is no daemon."""
        if self.daemon is None:
            return None
        return self._once(reference, lambda: self._engine.look_at_registry(reference), None)

    def close(self) -> None:
        self._engine.close()

    def _once(self, key: str, ask: Callable[[], T], otherwise: T) -> T:
        with self._lock:
            if key not in self._answers:
                try:
                    self._answers[key] = ask()
                except CiRegistryError as error:
                    self.daemon_problem = error
                    self._answers[key] = otherwise
            answer: T = self._answers[key]  # type: ignore[assignment]  # what `ask` gave for this key
            return answer
