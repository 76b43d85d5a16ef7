"""Archives as Docker 25 and newer save them: an OCI layout and the classic `manifest.json` in one tar.

Modelled on what `docker save` of 25.0 and 28.0 writes, with either image store, and checked before it is handed out:
skopeo reads them both as `docker-archive:` and as `oci-archive:`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .images import OCI_INDEX, BuiltImage

__all__ = ["Members", "classic_members", "write_docker25", "write_tar"]

Members = dict[str, bytes]


def write_tar(path: Path, members: Mapping[str, bytes] | Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar of these files, or of ready headers with their bytes."""
    entries = [(_info(name), content) for name, content in members.items()] if isinstance(members, Mapping) else members
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    return info


def classic_members(layers: Sequence[bytes], tags: Sequence[str] | None = ("app:1",), labels: str = "") -> Members:
    """The members of an archive as Docker up to 24 saves it: uncompressed layers in directories of their own."""
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"made-for": labels}},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        }
    )
    ids = [hashlib.sha256(f"v1 {number} {_digest(layer)}".encode()).hexdigest() for number, layer in enumerate(layers)]
    names = [f"{each}/layer.tar" for each in ids]
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    return {**dict(zip(names, layers, strict=True)), config_name: config, "manifest.json": _json(manifest)}


def write_docker25(
    path: Path,
    image: BuiltImage,
    tags: Sequence[str] = ("docker.io/library/app:1",),
    *,
    omit: Iterable[str] = (),
    null_index: bool = False,
) -> Path:
    """Save an image or an index as the containerd image store does.

    `omit` are digests of children of an index: their content is left out, and that of what only they refer to.
    `null_index` is the flaw of 25.0, which lists nothing in index.json when an image is saved by digest.
    """
    lost = set(omit)
    members = {_path(digest): content for digest, content in _kept(image, lost).items()}
    entries = [_entry(image, tag) for tag in tags] or [image.root.to_json()]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None if null_index else entries}
    members["index.json"] = _json(index)
    members["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    members["manifest.json"] = _json([_classic_entry(image, lost, tags)])
    _check(members, lost)
    return write_tar(path, dict(sorted(members.items())))


def _kept(image: BuiltImage, lost: set[str]) -> dict[str, bytes]:
    """All content but that which only lost children need."""
    kept = {digest: content for digest, (_, content) in image.manifests.items() if digest not in lost}
    needed = {part["digest"] for content in kept.values() for part in _parts(json.loads(content))}
    return kept | {digest: content for digest, content in image.blobs.items() if digest in needed}


def _parts(document: Mapping[str, Any]) -> list[Any]:
    return [document["config"], *document["layers"]] if "config" in document else []


def _entry(image: BuiltImage, tag: str) -> dict[str, Any]:
    annotations = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
    return {**image.root.to_json(), "annotations": annotations}


def _classic_entry(image: BuiltImage, lost: set[str], tags: Sequence[str]) -> dict[str, Any]:
    """manifest.json is about the first platform that is there."""
    for digest, (_, content) in image.manifests.items():
        document = json.loads(content)
        if digest not in lost and "config" in document:
            return {
                "Config": _path(document["config"]["digest"]),
                "RepoTags": [tag.removeprefix("docker.io/library/") for tag in tags] or None,
                "Layers": [_path(layer["digest"]) for layer in document["layers"]],
            }
    raise AssertionError("no platform of the image is left")


def _check(members: Members, lost: set[str]) -> None:
    """Every blob is what its name says, and all that manifest.json names is there."""
    for name, content in members.items():
        if name.startswith("blobs/"):
            assert name == _name(content), name
    entry = json.loads(members["manifest.json"])[0]
    diff_ids = json.loads(members[entry["Config"]])["rootfs"]["diff_ids"]
    for name, diff_id in zip(entry["Layers"], diff_ids, strict=True):
        layer = members[name]
        plain = gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer
        assert layer.startswith(b"\x28\xb5\x2f\xfd") or _digest(plain) == diff_id, name
    assert not any(_path(digest) in members for digest in lost)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _name(content: bytes) -> str:
    return _path(_digest(content))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
