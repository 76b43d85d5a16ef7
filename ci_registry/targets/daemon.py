"""An image of the local docker daemon, as something that can be copied.

The daemon is asked first what it holds. It saves an image only as a whole and sends it only when it has written it to
its own disk, so nothing is saved when the targets have everything already. With the containerd image store the daemon
keeps manifests and compressed layers; then what it saves is an OCI layout, which is spooled and copied as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..adapters.docker_engine import DockerEngine, LocalImage, SaveStream
from ..errors import CiRegistryError, Interrupted, NotFoundError, RemoteError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import is_manifest
from ..model.reference import Reference
from ..transport.retry import Cancel
from .base import Location, Source, Target
from .composed import ComposedImage
from .daemon_origins import find_origins
from .prepare import prepare_image
from .prepared import Forgetful, KnownBlob, LayerMemory, OnEvent, Origins, Part, Prepared, PrepareEvent

__all__ = ["DaemonImage", "OpenRepository", "local_image", "nearest_names"]

OpenRepository = Callable[[Reference], Source | None]
"""Opens a repository for a quick look; None where it is not to be asked."""


def local_image(engine: DockerEngine, reference: str) -> LocalImage:
    """What the daemon has under a name or id; raises `NotFoundError` with the nearest names that it has."""
    try:
        return engine.inspect(reference)
    except NotFoundError as error:
        raise NotFoundError(
            f"docker-daemon:{reference} was not found: the docker daemon at {engine.address} has no such image",
            hint=nearest_names(engine, reference),
        ) from error


def nearest_names(engine: DockerEngine, reference: str) -> str:
    """A hint with the local names that look like a wrong one."""
    names = [tag for image in engine.images() for tag in image.tags]
    if not names:
        return "it has no images with names; build or pull one first"
    import difflib

    near = difflib.get_close_matches(reference, names, 3, 0.5)
    same = [name for name in names if name.rpartition(":")[0] == reference.partition(":")[0]]
    shown = list(dict.fromkeys([*same, *near]))[:3]
    return f"did you mean {' or '.join(shown)}?" if shown else f"it has {', '.join(names[:5])}"


class DaemonImage:
    """One image of the daemon, found by `reference`.

    `open_repository` is used to look up where layers came from. Raises as `local_image` does.
    """

    config: bytes | None = None

    def __init__(
        self,
        engine: DockerEngine,
        reference: str,
        *,
        open_repository: OpenRepository = lambda _: None,
        spool_directory: Path | None = None,
    ) -> None:
        self._engine, self._reference = engine, reference
        self._open_repository, self._spool_directory = open_repository, spool_directory
        self.local = local_image(engine, reference)
        self.location = Location(f"docker-daemon:{engine.address}", "", f"docker-daemon:{reference}")
        self._open = ExitStack()

    @property
    def image_id(self) -> Digest:
        return self.local.id

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        return self.local.diff_ids

    def close(self) -> None:
        """Remove what was spooled."""
        self._open.close()

    def __enter__(self) -> DaemonImage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(
        self,
        targets: Sequence[Target],
        memory: LayerMemory | None = None,
        on_event: OnEvent = lambda _: None,
        cancel: Cancel | None = None,
    ) -> Prepared:
        """See `prepared.Preparable`. What comes back must be used before this object is closed."""
        if self.local.in_containerd:
            return self._prepare_stored(
                targets, memory or Forgetful(), on_event, Cancel() if cancel is None else cancel
            )
        return prepare_image(self, targets, memory, on_event, cancel)

    # -- the classic image store ---------------------------------------------------------------------------------

    @contextmanager
    def walk(self, cancel: Cancel) -> Iterator[Iterator[Part]]:
        from .daemon_save import saved_parts  # most pushes in a day save nothing

        # By id, since a name may be moved between asking and saving.
        with self._saving(self.local.id, cancel) as stream:
            yield saved_parts(stream, self._reference, self.image_id, self.diff_ids)

    @contextmanager
    def _saving(self, reference: str, cancel: Cancel) -> Iterator[SaveStream]:
        try:
            with self._engine.save(reference, cancel.check) as stream:
                cancel.on_set(stream.abort)
                yield stream
        except RemoteError as error:
            cancel.check()
            raise error from error.__cause__

    def origins(self, wanted: Collection[Digest], targets: Sequence[Target]) -> Origins:
        return find_origins(self._engine, self.local, wanted, targets, self._open_repository)

    # -- the containerd image store ------------------------------------------------------------------------------

    def _prepare_stored(
        self, targets: Sequence[Target], memory: LayerMemory, on_event: OnEvent, cancel: Cancel
    ) -> Prepared:
        """The image keeps its digest; what the targets have of it shows before anything is saved."""
        for known in memory.known([self.local.id]).get(self.local.id, ()):
            root = known.descriptor
            if is_manifest(root.media_type) and all(_has(target, root) for target in targets):
                return Prepared(ComposedImage(self.location, root, targets, None, None), root)
        on_event(PrepareEvent("saving", self.location.name))
        from .daemon_save import saved_archive

        with self._saving(self._reference, cancel) as stream:
            archive = saved_archive(stream, self.location.name, self._spool_directory)
        self._open.enter_context(archive)
        prepared = archive.images[0].prepare(targets, memory, on_event, cancel)
        blob = KnownBlob(prepared.root).at(*(target.location for target in targets))
        memory.remember({self.local.id: [blob]})
        return prepared


def _has(target: Target, root: Descriptor) -> bool:
    """What is wrong with a target shows when it is written to."""
    try:
        return bool(target.exists([root]))
    except Interrupted:
        raise
    except CiRegistryError:
        return False
