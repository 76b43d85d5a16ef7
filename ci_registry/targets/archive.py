"""Archives of images, opened: files and standard input, compressed or not, in Docker's classic form or as OCI layouts.

A tar file is read in place. What can't be read in place (a pipe, a compressed file) is kept in a temporary file of
this process alone, as the one tar file it is; nothing is ever unpacked.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from ..adapters.compression import HEAD_BYTES, Prefixed, Readable, compression_of, decompressing
from ..errors import CiRegistryError, InputFileError, NotFoundError, ReferenceSyntaxError
from ..model.reference import Reference
from .archive_docker import MANIFEST_FILE, DockerArchiveImage, read_images
from .archive_index import TarIndex
from .archive_oci import FULL_NAME, OciArchive, OciArchiveImage
from .base import Location
from .disk import disk_errors
from .spool import Counted, spooled

__all__ = ["Archive", "ArchiveForm", "ArchivedImage", "open_archive"]

ArchivedImage = DockerArchiveImage | OciArchiveImage
ArchiveForm = Literal["any", "docker", "oci"]
_NEAREST = 5


def open_archive(
    source: Path | BinaryIO, name: str, *, form: ArchiveForm = "any", spool_directory: Path | None = None
) -> Archive:
    """Open a file, or a stream such as standard input, which is read to its end at once. Close what comes back.

    `name` is for people (`docker-archive:app.tar`, `-`). Raises `NotFoundError`, `InputFileError` for anything that
    is no archive of images, `StorageError` when a disk fails or is full.
    """
    file = _tar_file(source, name, spool_directory)
    try:
        return Archive(TarIndex(file, name), name, form)
    except BaseException:
        file.close()
        raise


def _tar_file(source: Path | BinaryIO, name: str, spool_directory: Path | None) -> BinaryIO:
    """A plain tar that can be read at any offset."""
    if isinstance(source, Path):
        file = _open_file(source, name)
        is_spooled = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    else:
        file, is_spooled = source, True
    raw = Counted(_Input(file, name))
    head = _head(raw)
    kind = compression_of(head)
    if not is_spooled and not kind:
        return file
    try:
        whole = Prefixed(head, raw)
        if kind:
            return spooled(decompressing(whole, kind, name), spool_directory, name, raw)
        return spooled(whole, spool_directory, name)
    finally:
        if isinstance(source, Path):
            file.close()


def _head(file: Readable) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (more := file.read(HEAD_BYTES - len(head))):
        head += more
    return head


def _open_file(path: Path, name: str) -> BinaryIO:
    try:
        with disk_errors(f"opening {name}", path):
            if path.is_dir():
                raise InputFileError(f"{name} is a directory, not an archive", hint=f"write oci:{path} for a layout")
            return path.open("rb", buffering=0)
    except CiRegistryError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise NotFoundError(f"{name} was not found: there is no file {path}") from error.__cause__
        raise


class _Input:
    """A file whose errors are ours."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int, /) -> bytes:
        with disk_errors("reading the archive", self._name):
            return self._file.read(size)


class Archive:
    """The images of an archive. Digests are kept where it is a complete OCI layout; a classic archive's images get a
    manifest when they are prepared."""

    def __init__(self, index: TarIndex, name: str, form: ArchiveForm) -> None:
        self.name = name
        self._index = index
        location = Location(f"archive:{name}", "", name)
        is_oci = "index.json" in index and "oci-layout" in index
        if form == "oci" and not is_oci:
            raise self._not_an_archive("is not an OCI layout", "docker-archive")
        oci = self._oci_images(OciArchive(index, location), form == "oci") if is_oci else []
        self.images: Sequence[ArchivedImage] = oci or (read_images(index, location) if MANIFEST_FILE in index else [])
        if not self.images:
            raise self._not_an_archive("holds no image", "oci-archive" if form == "docker" else "docker-archive")

    def _oci_images(self, archive: OciArchive, only_oci: bool) -> list[OciArchiveImage]:
        """None where the layout has less than `manifest.json` has: Docker 25.0 leaves out what it can't name."""
        grouped: dict[str, OciArchiveImage] = {}
        for entry in archive.entries:
            full = entry.descriptor.annotations.get(FULL_NAME)
            names = tuple(name for name in (full, entry.name) if name)
            known = grouped.get(entry.descriptor.digest)
            names = (*(known.names if known else ()), *names)
            grouped[entry.descriptor.digest] = OciArchiveImage(archive, entry.descriptor, names)
        images = list(grouped.values())
        if MANIFEST_FILE in self._index and not only_oci:
            with contextlib.suppress(CiRegistryError):
                for image in images:
                    archive.available(image.root)
                return images
            return []
        return images

    def _not_an_archive(self, what: str, other: str) -> InputFileError:
        if "repositories" in self._index and MANIFEST_FILE not in self._index:
            return InputFileError(
                f"{self.name} was saved by a Docker older than 1.10, whose images have no configuration",
                hint="load it into a newer Docker and save it again",
            )
        if not any(self._index):
            return InputFileError(f"{self.name} is empty", hint="see whether what should have made it failed")
        if MANIFEST_FILE not in self._index and "index.json" not in self._index:
            what += ": it has neither manifest.json nor index.json"
        return InputFileError(
            f"{self.name} {what}",
            hint=f"give an archive made by `docker save` or `skopeo copy`, or write {other}:FILE",
        )

    # -- choosing ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """What its images are called: names, bare tags, or `@N` for the Nth without one."""
        return [name for number, image in enumerate(self.images) for name in image.names or (f"@{number}",)]

    def image(self, reference: str = "") -> ArchivedImage:
        """The image of that name, tag or digest, or `@N` for the Nth; "" for the only one.

        Raises `NotFoundError` with the names that there are.
        """
        if not reference:
            return self._only()
        if reference.startswith("@") and reference[1:].isdigit():
            number = int(reference[1:])
            if number < len(self.images):
                return self.images[number]
        for exactly in (True, False):
            for image in self.images:
                if any(_is_called(name, reference, exactly) for name in image.names) or _has_digest(image, reference):
                    return image
        raise NotFoundError(f"{self.name} has no image called {reference}", hint=self._nearest(reference))

    def _only(self) -> ArchivedImage:
        if len(self.images) == 1:
            return self.images[0]
        raise NotFoundError(f"{self.name} holds {len(self.images)} images", hint=self._nearest(""))

    def _nearest(self, reference: str) -> str:
        names = self.names()
        near = difflib.get_close_matches(reference, names, 3)
        more = f" and {len(names) - _NEAREST} more" if len(names) > _NEAREST else ""
        listed = ", ".join(names[:_NEAREST]) + more
        return f"did you mean {' or '.join(near)}?" if near else f"name one of its images: {listed}"

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[ArchivedImage]:
        return iter(self.images)


def _is_called(name: str, wanted: str, exactly: bool) -> bool:
    if name == wanted or exactly:
        return name == wanted
    with contextlib.suppress(ReferenceSyntaxError):
        full = Reference.parse(name)
        if ":" not in wanted and "/" not in wanted and full.tag == wanted:
            return True
        other = Reference.parse(wanted)
        return (full.host, full.repository, full.version) == (other.host, other.repository, other.version)
    return False


def _has_digest(image: ArchivedImage, wanted: str) -> bool:
    if isinstance(image, OciArchiveImage):
        return image.root.digest == wanted.rpartition("@")[2]
    return image.image_id == wanted
