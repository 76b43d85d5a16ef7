"""The classic form of `docker save`: `manifest.json` names a configuration and uncompressed layers per image.

Docker 1.10 and newer, skopeo, podman, bazel and jib write it; some of them compress the layers in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from ..adapters.compression import HEAD_BYTES, compression_of, decompressing
from ..errors import InputFileError
from ..model.descriptor import Digest, digest_of
from ..transport.retry import Cancel
from .archive_index import TarIndex
from .archive_tar import Member, inside
from .base import Location, Target
from .prepare import CONFIG_LIMIT, prepare_image
from .prepared import LayerMemory, OnEvent, Origins, Part, Prepared

__all__ = ["MANIFEST_FILE", "DockerArchiveImage", "diff_ids_of", "read_images"]

MANIFEST_FILE = "manifest.json"
_MANIFEST_LIMIT = 16 * 1024 * 1024


class DockerArchiveImage(Struct, frozen=True):
    """One image of an archive. `layers` are its members in the order of `diff_ids`, links followed."""

    index: TarIndex
    location: Location
    names: tuple[str, ...]
    config: bytes
    layers: tuple[Member, ...]
    diff_ids: tuple[Digest, ...]

    @property
    def image_id(self) -> Digest:
        return digest_of(self.config)

    def prepare(
        self,
        targets: Sequence[Target],
        memory: LayerMemory | None = None,
        on_event: OnEvent = lambda _: None,
        cancel: Cancel | None = None,
    ) -> Prepared:
        """See `prepared.Preparable`."""
        return prepare_image(self, targets, memory, on_event, cancel)

    @contextmanager
    def walk(self, cancel: Cancel) -> Iterator[Iterator[Part]]:  # noqa: ARG002 - a file does not keep us waiting
        yield self._parts()

    def _parts(self) -> Iterator[Part]:
        for diff_id, member in zip(self.diff_ids, self.layers, strict=True):
            with self.index.open(member) as raw:
                head = raw.read(HEAD_BYTES) or b""
            kind = compression_of(head)
            with self.index.open(member) as reader:
                where = f"{member.name} in {self.location.name}"
                read = decompressing(reader, kind, where).read if kind else reader.read
                yield Part(False, diff_id, None if kind else member.size, read, member.name)

    def origins(self, wanted: Collection[Digest], targets: Sequence[Target]) -> Origins:  # noqa: ARG002
        return Origins()  # an archive does not say where its layers came from


def read_images(index: TarIndex, location: Location) -> list[DockerArchiveImage]:
    """The images that `manifest.json` lists. Raises `InputFileError` for what can't be understood."""
    document = _json(index.read(MANIFEST_FILE, _MANIFEST_LIMIT), f"{MANIFEST_FILE} in {index.where}")
    if not isinstance(document, list) or not document:
        raise InputFileError(f"reading {index.where} failed: its {MANIFEST_FILE} lists no image")
    return [_image(index, location, entry) for entry in document]


def _image(index: TarIndex, location: Location, entry: object) -> DockerArchiveImage:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("Config"), str):
        raise InputFileError(f"reading {index.where} failed: an image in its {MANIFEST_FILE} has no Config")
    paths = entry.get("Layers") or []
    config_name = inside(entry["Config"], index.where)
    config = index.read(config_name, CONFIG_LIMIT)
    _check_config(config_name, config, index.where)
    diff_ids = diff_ids_of(config, f"{config_name} in {index.where}")
    if not isinstance(paths, list) or len(paths) != len(diff_ids):
        raise InputFileError(
            f"reading {index.where} failed: its {MANIFEST_FILE} and the configuration {config_name} disagree about "
            f"the number of layers"
        )
    layers = tuple(_layer(index, str(path)) for path in paths)
    names = tuple(str(name) for name in entry.get("RepoTags") or [])
    return DockerArchiveImage(index, location, names, config, layers, diff_ids)


def _layer(index: TarIndex, path: str) -> Member:
    member = index.find(inside(path, index.where))
    if member is None:
        raise InputFileError(
            f"reading {index.where} failed: the layer {path} that its {MANIFEST_FILE} names is not in it",
            hint="the file was cut off or changed; save the image again",
        )
    return member


def _check_config(name: str, config: bytes, where: str) -> None:
    """The name of a configuration is usually its digest; then it has to be right."""
    stem = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
    is_digest = len(stem) == 64 and all(char in "0123456789abcdef" for char in stem)
    if is_digest and digest_of(config).hex != stem:
        raise InputFileError(
            f"reading {where} failed: the configuration {name} has the digest {digest_of(config)}",
            hint="the file was changed or damaged; save the image again",
        )


def diff_ids_of(config: bytes, where: str) -> tuple[Digest, ...]:
    """The diffIDs in an image configuration (OCI image-spec, config.md, `rootfs`)."""
    document = _json(config, where)
    rootfs = document.get("rootfs") if isinstance(document, dict) else None
    values = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(values, list):
        raise InputFileError(f"{where} is not an image configuration: it has no rootfs.diff_ids")
    return tuple(Digest(str(value)) for value in values)


def _json(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{where} is not JSON: {error}") from error
