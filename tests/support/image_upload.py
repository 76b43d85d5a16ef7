"""Bringing built images to a registry over plain HTTP, or into an OCI layout directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from ci_registry.model.descriptor import Descriptor, Digest

from .image_builder import OCI_INDEX, BuiltImage, StreamedBlob, fallback_tag, json_bytes, referrer_entry
from .wire import Wire

__all__ = ["upload", "write_layout"]


def upload(
    image: BuiltImage,
    base_url: str,
    repository: str,
    tag: str | None = None,
    *,
    wire: Wire | None = None,
    referrers: bool = True,
) -> Digest:
    """Put an image, its referrers and its signatures into a registry, and return the root's digest.

    `wire` carries a login or TLS. Where the server doesn't index referrers, the fallback tag is written.
    """
    client = wire or Wire(base_url)
    try:
        _upload_one(client, image, repository, tag)
        if referrers:
            _upload_referrers(client, image, repository)
            for name, signature in image.signatures.items():
                upload(signature, base_url, repository, name, wire=client)
    finally:
        if wire is None:
            client.close()
    return image.digest


def write_layout(image: BuiltImage, directory: Path, tag: str | None = None, referrers: bool = True) -> Path:
    """Write an OCI image layout, or add to one (OCI image-spec, image-layout.md). Returns the directory."""
    for member in image.family() if referrers else [image]:
        for digest, content in {**member.blobs, **{d: m[1] for d, m in member.manifests.items()}}.items():
            _blob_path(directory, digest).write_bytes(content)
        for digest, blob in member.streamed.items():
            with _blob_path(directory, digest).open("wb") as file:
                file.writelines(blob.chunks())
    entries = [_layout_entry(image.root, tag)]
    if referrers:
        entries += [_layout_entry(member.root, None) for member in image.referrers]
        entries += [_layout_entry(member.root, name) for name, member in image.signatures.items()]
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    index = directory / "index.json"
    old = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    index.write_bytes(json_bytes({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": old + entries}))
    return directory


def _layout_entry(root: Descriptor, tag: str | None) -> dict[str, Any]:
    entry = root.to_json()
    if tag is not None:
        entry["annotations"] = {**root.annotations, "org.opencontainers.image.ref.name": tag}
    return entry


def _blob_path(directory: Path, digest: str) -> Path:
    algorithm, _, name = digest.partition(":")
    path = directory / "blobs" / algorithm / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _upload_one(client: Wire, image: BuiltImage, repository: str, tag: str | None) -> bool:
    """Put blobs and manifests; whether the server said that it indexed the root's subject."""
    for digest, content in image.blobs.items():
        _upload_blob(client, repository, digest, content)
    for digest, blob in image.streamed.items():
        _upload_blob(client, repository, digest, blob)
    indexed = False
    for digest, (media_type, content) in image.manifests.items():
        reference = tag if tag and digest == image.digest else digest
        path = f"/v2/{repository}/manifests/{reference}"
        answer = client.expect(201, "PUT", path, content, headers={"Content-Type": media_type})
        indexed = "oci-subject" in answer.headers
    return indexed


def _upload_blob(client: Wire, repository: str, digest: str, blob: bytes | StreamedBlob) -> None:
    if client.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
        return
    started = client.expect(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
    location = urljoin(started.url, started.headers["location"])
    separator = "&" if "?" in location else "?"
    size = len(blob) if isinstance(blob, bytes) else blob.size
    client.expect(
        201,
        "PUT",
        f"{location}{separator}digest={digest}",
        blob if isinstance(blob, bytes) else blob.chunks(),
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
    )


def _upload_referrers(client: Wire, image: BuiltImage, repository: str) -> None:
    for referrer in image.referrers:
        if not _upload_one(client, referrer, repository, None):
            _add_to_fallback(client, referrer, repository)
        _upload_referrers(client, referrer, repository)


def _add_to_fallback(client: Wire, referrer: BuiltImage, repository: str) -> None:
    document = referrer.document
    path = f"/v2/{repository}/manifests/{fallback_tag(document['subject']['digest'])}"
    old = client.expect((200, 404), "GET", path, headers={"Accept": OCI_INDEX})
    entries = old.json()["manifests"] if old.status == 200 else []
    root = referrer.root
    entries.append(referrer_entry(root.media_type, root.digest, root.size, document))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    client.expect(201, "PUT", path, json_bytes(index), headers={"Content-Type": OCI_INDEX})
