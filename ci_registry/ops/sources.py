"""Sources opened to be read. Images in the docker daemon and in classic archives are prepared first, since their
manifest is only known once their layers are compressed and at the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from ..engine.events import Event
from ..errors import CiRegistryError, UsageError
from ..model.descriptor import Descriptor
from ..model.reference import DOCKER_HUB, Reference
from ..targets.base import Source, Target
from .destinations import spool_directory
from .places import Place, Places

if TYPE_CHECKING:
    from ..targets.prepared import Preparable, PrepareEvent

__all__ = ["Opened", "open_for_looking", "open_source", "source_path"]


class Opened(Struct):
    """A source that can be copied from. `failures` are targets that could not be prepared, by position."""

    source: Source
    version: str | Descriptor
    failures: dict[int, CiRegistryError] = field(default_factory=dict)


def source_path(place: Place) -> str:
    """The path of a source without its host, by which a target decides where it lands; "" when it has no name."""
    if place.transport in ("docker-daemon", "docker-archive") and place.repository:
        reference = Reference.parse(place.repository)
        # `app` is docker.io/library/app to docker, but nobody who built it here means Docker Hub's library.
        is_bare = "/" not in place.repository and reference.host == DOCKER_HUB
        return place.repository if is_bare else reference.repository
    return place.repository


@contextmanager
def open_for_looking(places: Places, place: Place) -> Iterator[tuple[Source, str]]:
    """A source and the version that a place names in it, for commands that only look."""
    with ExitStack() as stack:
        if place.transport in ("target", "docker", "oci"):
            yield places.repository(place), _version(place)
            return
        opened = open_source(places, place, [], stack)
        version = opened.version if isinstance(opened.version, str) else opened.version.digest
        yield opened.source, version


def open_source(
    places: Places,
    place: Place,
    targets: Sequence[Target],
    stack: ExitStack,
    *,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Opened:
    """Open a place to copy from it to `targets`; `stack` closes what was opened, and removes what was spooled."""
    if place.transport in ("target", "docker", "oci"):
        return Opened(places.repository(place), _version(place))
    is_daemon = place.transport == "docker-daemon"
    image = _daemon_image(places, place, targets, stack) if is_daemon else _archive_image(places, place, stack)
    if not targets and not _has_manifest(image):
        raise UsageError(
            f"{place} has no manifest before it is pushed: layers are compressed on their way",
            hint="push or copy it first, then look at what arrived",
        )
    from .ledger import Ledger, ledger_path

    memory = Ledger(ledger_path(), places.notify, read_only=dry_run)
    prepared = image.prepare(targets, memory, lambda event: _tell(on_event, event), places.cancel)
    return Opened(prepared.source, prepared.root, prepared.failures)


def _version(place: Place) -> str:
    # A layout with one image needs no tag, so there "" stands for that image.
    return place.version if place.transport != "oci" else (place.digest or place.tag or "")


def _daemon_image(places: Places, place: Place, targets: Sequence[Target], stack: ExitStack) -> Preparable:
    from ..targets.daemon import DaemonImage

    hosts = {target.location.name.partition("/")[0] for target in targets}

    def open_repository(reference: Reference) -> Source | None:
        """Base images are looked up only in the registries that are pushed to: anything else would surprise."""
        return places.registry(reference.host).repository(reference.repository) if reference.host in hosts else None

    name = str(place).removeprefix("docker-daemon:")
    spool = spool_directory(places)
    image = DaemonImage(places.docker_engine(), name, open_repository=open_repository, spool_directory=spool)
    return stack.enter_context(image)


def _archive_image(places: Places, place: Place, stack: ExitStack) -> Preparable:
    import sys

    from ..targets.archive import open_archive

    source = sys.stdin.buffer if place.transport == "stdin" else Path(place.where)
    form = {"oci-archive": "oci", "docker-archive": "docker"}.get(place.transport, "any")
    archive = stack.enter_context(
        open_archive(source, str(place), form=form, spool_directory=spool_directory(places))  # type: ignore[arg-type]
    )
    version = f":{place.tag}" if place.tag and place.repository else place.tag or ""
    return archive.image(f"{place.repository}{version}")


def _has_manifest(image: Preparable) -> bool:
    from ..targets.archive_oci import OciArchiveImage

    return isinstance(image, OciArchiveImage)


def _tell(on_event: Callable[[Event], None], event: PrepareEvent) -> None:
    if event.kind == "left-out":
        on_event(Event("warning", event.where, event.digest, text=f"{event.where}: {event.text}, so it is left out"))
    elif event.kind != "saving":
        on_event(Event(event.kind, event.where, event.digest, count=event.count, text=event.text))
