"""Places opened to be written to; archives and the docker daemon get what they hold when everything is in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import CiRegistryError, UsageError
from ..targets.base import Target
from .places import Place, Places

if TYPE_CHECKING:
    from ..targets.archive_target import Finishable

__all__ = ["Destinations", "spool_directory"]


def spool_directory(places: Places) -> Path | None:
    """Where temporary files go: the build's own folder on a Jenkins agent, else the system's."""
    folder = places.environ.get("WORKSPACE_TMP")
    return Path(folder) if folder and Path(folder).is_dir() else None


class Destinations:
    """The destinations of one run. Leaving it without `finish` drops what archives were given."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._pending: dict[Place, Target] = {}

    def open(self, place: Place) -> Target:
        """The place's repository or archive; the same object for the same place."""
        place = replace(place, tag=None, digest=None)
        if place.transport in ("target", "docker", "oci"):
            return self._places.repository(place, writing=True)
        if place not in self._pending:
            self._pending[place] = self._new(place)
        return self._pending[place]

    def _new(self, place: Place) -> Target:
        spool = spool_directory(self._places)
        if place.transport == "docker-daemon":
            from ..targets.daemon_target import DaemonTarget

            return DaemonTarget(self._places.docker_engine(), place.repository, spool_directory=spool)
        if place.transport == "docker-archive":
            from ..targets.archive_docker_target import DockerArchiveTarget

            file = Path(place.where)
            return DockerArchiveTarget(file, str(place), repository=place.repository, spool_directory=spool)
        if place.transport == "oci-archive":
            from ..targets.archive_target import OciArchiveTarget

            return OciArchiveTarget(Path(place.where), str(place), spool_directory=spool)
        raise UsageError(f"{place} can't be written to", hint="name a target, an archive, a layout or docker-daemon:")

    def finish(self, place: Place) -> CiRegistryError | None:
        """Write what a place was given; None when that went well or there was nothing to do."""
        target = self._pending.pop(replace(place, tag=None, digest=None), None)
        if target is None:
            return None
        finishable: Finishable = target  # type: ignore[assignment]
        try:
            finishable.finish()
        except CiRegistryError as error:
            return error.on("target", target.location.name)
        return None

    def drop(self) -> None:
        """Forget what is not finished; nothing of it is left behind."""
        for target in self._pending.values():
            finishable: Finishable = target  # type: ignore[assignment]
            finishable.drop()
        self._pending.clear()
