"""An image of the local docker daemon, as something that can be copied.

The daemon is asked first what it holds. It saves an image only as a whole and sends it only when it has written it to
its own disk, so nothing is saved when the targets have everything already. With the containerd image store the daemon
keeps manifests and compressed layers; then what it saves is an OCI layout, which is spooled and copied as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..adapters.docker_engine import DockerEngine, LocalImage, SaveStream
from ..errors import CiRegistryError, InputFileError, Interrupted, NotFoundError, RemoteError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import is_manifest
from ..model.reference import Reference
from ..transport.retry import Cancel
from .archive import Archive
from .archive_index import TarIndex
from .archive_tar import TarReader
from .base import Location, Source, Target
from .composed import ComposedImage
from .daemon_layers import LayerNames
from .daemon_origins import find_origins
from .prepare import prepare_image
from .prepared import Forgetful, KnownBlob, LayerMemory, OnEvent, Origins, Part, Prepared, PrepareEvent
from .spool import spooled

__all__ = ["DaemonImage", "OpenRepository", "local_image", "nearest_names"]

OpenRepository = Callable[[Reference], Source | None]
"""Opens a repository for a quick look; None where it is not to be asked."""

_V1_DOCUMENT_LIMIT = 1024 * 1024
_READ_BYTES = 1024 * 1024


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
        # By id, since a name may be moved between asking and saving.
        with self._saving(self.local.id, cancel) as stream:
            yield self._parts(stream)

    @contextmanager
    def _saving(self, reference: str, cancel: Cancel) -> Iterator[SaveStream]:
        try:
            with self._engine.save(reference, cancel.check) as stream:
                cancel.on_set(stream.abort)
                yield stream
        except RemoteError as error:
            cancel.check()
            raise error from error.__cause__

    def _parts(self, stream: SaveStream) -> Iterator[Part]:
        names = LayerNames(self.image_id, self.diff_ids)
        reader = TarReader(_StreamInput(stream), f"what the docker daemon saved of {self._reference}")

        def read(size: int) -> bytes | memoryview:
            with self._daemon_errors():
                return reader.read(size)

        with self._daemon_errors():
            for member in reader:
                if member.kind != "file":
                    continue
                if names.is_config(member.name):
                    yield Part(True, None, member.size, read, member.name)
                elif names.is_v1_document(member.name):
                    names.learn(reader.read_all(_V1_DOCUMENT_LIMIT, member.name))
                elif names.is_layer(member.name):
                    yield Part(False, names.layer(member.name), member.size, read, member.name)

    @contextmanager
    def _daemon_errors(self) -> Iterator[None]:
        """The daemon sends its errors into the middle of the tar, and ends it early when it is stopped."""
        try:
            yield
        except InputFileError as error:
            raise RemoteError(
                f"saving {self._reference} from the docker daemon failed: {error}",
                hint="see the daemon's log, and run it again",
            ) from error

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
        archive = self._spooled(cancel)
        prepared = archive.images[0].prepare(targets, memory, on_event, cancel)
        blob = KnownBlob(prepared.root).at(*(target.location for target in targets))
        memory.remember({self.local.id: [blob]})
        return prepared

    def _spooled(self, cancel: Cancel) -> Archive:
        with self._saving(self._reference, cancel) as stream:
            file = spooled(stream, self._spool_directory, self.location.name)
        self._open.callback(file.close)
        return Archive(TarIndex(file, self.location.name), self.location.name, "any")


def _has(target: Target, root: Descriptor) -> bool:
    """What is wrong with a target shows when it is written to."""
    try:
        return bool(target.exists([root]))
    except Interrupted:
        raise
    except CiRegistryError:
        return False


class _StreamInput:
    """What the daemon sends, as an `archive_tar.Input`."""

    def __init__(self, stream: SaveStream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")
        self.position = 0

    def take(self, size: int) -> memoryview:
        if not self._rest:
            self._rest = memoryview(self._stream.read(_READ_BYTES))
        part, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(part)
        return part

    def skip(self, size: int) -> bool:
        while size and (part := self.take(size)):
            size -= len(part)
        return not size
