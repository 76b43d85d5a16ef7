"""Makes a small real image for two platforms, out of nothing: an OCI layout that docker, podman and skopeo can read.

    python docs/demo/hello_image.py FOLDER [TAG]

The only layer holds one static program of a few hundred bytes, written here as machine code, so that the demonstration
needs neither a network nor Docker; a Docker daemon can run the image all the same.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
from pathlib import Path

MESSAGE = b"Hello from an image that ci-registry carried here.\n"
_BASE = 0x400000
_HEADERS = 64 + 56  # ELF header and one program header


def _amd64() -> bytes:
    """write(1, MESSAGE); exit(0)"""
    after = b"\xba" + struct.pack("<I", len(MESSAGE)) + b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    return b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\x8d\x35" + struct.pack("<i", len(after)) + after + MESSAGE


def _arm64() -> bytes:
    """The same for arm64; each instruction has four bytes, and the message follows the eighth."""
    distance = 7 * 4  # from `adr` to the message
    adr = 0x10000001 | ((distance & 3) << 29) | ((distance >> 2) << 5)
    move_length = 0xD2800002 | (len(MESSAGE) << 5)
    code = [0xD2800020, adr, move_length, 0xD2800808, 0xD4000001, 0xD2800000, 0xD2800BA8, 0xD4000001]
    return b"".join(struct.pack("<I", word) for word in code) + MESSAGE


def _program(machine: int, code: bytes) -> bytes:
    """A static ELF executable with one segment."""
    size = _HEADERS + len(code)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + code


def _layer(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("hello")
        member.size, member.mode = len(program), 0o755
        tar.addfile(member, io.BytesIO(program))
    return buffer.getvalue()


class _Layout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_json(self, document: dict[str, object], media_type: str) -> dict[str, object]:
        return self.add(json.dumps(document).encode(), media_type)


def _image(layout: _Layout, architecture: str, program: bytes) -> dict[str, object]:
    tar = _layer(program)
    config: dict[str, object] = {
        "created": "2026-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/hello"],
            "Labels": {"org.opencontainers.image.title": "hello", "org.opencontainers.image.revision": "demo"},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.add_json(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.add(gzip.compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    descriptor = layout.add_json(manifest, "application/vnd.oci.image.manifest.v1+json")
    return {**descriptor, "platform": {"architecture": architecture, "os": "linux"}}


def write_hello(folder: Path, tag: str = "1.0") -> str:
    """Write the layout; returns the digest of the index that `tag` names."""
    layout = _Layout(folder)
    index: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            _image(layout, "amd64", _program(62, _amd64())),
            _image(layout, "arm64", _program(183, _arm64())),
        ],
    }
    root = layout.add_json(index, "application/vnd.oci.image.index.v1+json")
    root["annotations"] = {"org.opencontainers.image.ref.name": tag}
    top = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [root]}
    (folder / "index.json").write_text(json.dumps(top))
    return str(root["digest"])


if __name__ == "__main__":
    sys.stdout.write(write_hello(Path(sys.argv[1]), *sys.argv[2:3]) + "\n")
