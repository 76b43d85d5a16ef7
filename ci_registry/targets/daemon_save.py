"""What the docker daemon saves, read as it comes: the layers of an image, or an archive of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..adapters.docker_engine import SaveStream
from ..errors import InputFileError, RemoteError
from ..model.descriptor import Digest
from .archive import Archive
from .archive_index import TarIndex
from .archive_tar import TarReader
from .daemon_layers import LayerNames
from .prepared import Part
from .spool import spooled

__all__ = ["saved_archive", "saved_parts"]

_V1_DOCUMENT_LIMIT = 1024 * 1024
_READ_BYTES = 1024 * 1024


def saved_parts(stream: SaveStream, name: str, image_id: Digest, diff_ids: Sequence[Digest]) -> Iterator[Part]:
    """The configuration and the layers of one image, in the order in which they come."""
    names = LayerNames(image_id, diff_ids)
    reader = TarReader(_StreamInput(stream), f"what the docker daemon saved of {name}")

    def read(size: int) -> bytes | memoryview:
        with _daemon_errors(name):
            return reader.read(size)

    with _daemon_errors(name):
        for member in reader:
            if member.kind != "file":
                continue
            if names.is_config(member.name):
                yield Part(True, None, member.size, read, member.name)
            elif names.is_v1_document(member.name):
                names.learn(reader.read_all(_V1_DOCUMENT_LIMIT, member.name))
            elif names.is_layer(member.name):
                yield Part(False, names.layer(member.name), member.size, read, member.name)


def saved_archive(stream: SaveStream, name: str, spool_directory: Path | None) -> Archive:
    """All that is saved, spooled; close what comes back."""
    file = spooled(stream, spool_directory, name)
    try:
        with _daemon_errors(name):
            return Archive(TarIndex(file, name), name, "any")
    except BaseException:
        file.close()
        raise


@contextmanager
def _daemon_errors(name: str) -> Iterator[None]:
    """The daemon sends its errors into the middle of the tar, and ends it early when it is stopped."""
    try:
        yield
    except InputFileError as error:
        raise RemoteError(
            f"saving {name} from the docker daemon failed: {error}", hint="see the daemon's log, and run it again"
        ) from error


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
