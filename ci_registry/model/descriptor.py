"""Digest, Platform and Descriptor (OCI image-spec, descriptor.md).

Sizes are bytes. A `Descriptor` is immutable and hashable by (digest, size), so it can key sets of wanted blobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ..errors import InputFileError, ReferenceSyntaxError

if TYPE_CHECKING:
    import hashlib

__all__ = ["Descriptor", "Digest", "Platform", "digest_of", "new_hash"]

_is_digest = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}|sha384:[a-f0-9]{96}").fullmatch
_SIZES = 1 << 63  # a size is an int64 (OCI image-spec, descriptor.md)


class Digest(str):
    """`algorithm:hex`, checked (OCI image-spec, descriptor.md#digests). A plain `str` in every other respect."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if not _is_digest(text):
            raise ReferenceSyntaxError(
                f"'{text}' is not a digest", hint="write it as sha256: followed by 64 lower-case hexadecimal digits"
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, for people."""
        return self.hex[:12]


def new_hash(algorithm: str) -> hashlib._Hash:
    """A fresh hash object for a digest's algorithm."""
    import hashlib  # 3 ms for OpenSSL, which a run that finds nothing to do can spare

    return hashlib.new(algorithm)


def digest_of(content: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of some bytes."""
    hashed = new_hash(algorithm)
    hashed.update(content)
    return Digest(f"{algorithm}:{hashed.hexdigest()}")


class Platform(Struct, frozen=True):
    """Where an image runs: `os/architecture[/variant]`, with `os.version` kept for Windows."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From `linux/arm64/v8` or `windows/amd64:10.0.17763`."""
        name, _, version = text.partition(":")
        parts = name.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise ReferenceSyntaxError(f"'{text}' is not a platform", hint="write OS/ARCHITECTURE, as in linux/amd64")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else "", version)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        return cls(
            str(value.get("os") or ""),
            str(value.get("architecture") or ""),
            str(value.get("variant") or ""),
            str(value.get("os.version") or ""),
        )

    def satisfies(self, wanted: Platform) -> bool:
        """Whether an image for this platform answers a wish for `wanted`; arm64 and arm64/v8 are the same."""
        return (
            (self.os, self.architecture) == (wanted.os, wanted.architecture)
            and (not wanted.variant or _variant(self) == _variant(wanted))
            and (not wanted.os_version or self.os_version.startswith(wanted.os_version))
        )


def _variant(platform: Platform) -> str:
    return "v8" if platform.architecture == "arm64" and not platform.variant else platform.variant


class Descriptor(Struct, frozen=True, eq=False):
    """What points at content: media type, digest, size in bytes, and what else the pointing manifest says.

    Two that point at the same are equal, whatever else is said of it.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Descriptor):
            return NotImplemented
        return self.digest == other.digest and self.media_type == other.media_type and self.size == other.size

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct has one of its own, which does not ask __eq__

    def __hash__(self) -> int:
        return hash(self.digest)

    @classmethod
    def from_json(cls, value: object, where: str = "manifest") -> Descriptor:
        """Read one descriptor object; raises `InputFileError` naming `where` when something in it is unsound."""
        if not isinstance(value, dict):
            raise InputFileError(f"{where} holds a descriptor that is not an object")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _SIZES:
            raise InputFileError(f"{where} holds a descriptor without a valid size")
        try:
            digest = Digest(str(value.get("digest", "")))
        except ReferenceSyntaxError as error:
            raise InputFileError(f"{where} holds a descriptor whose digest is wrong: {error}") from error
        annotations, urls, platform = value.get("annotations") or {}, value.get("urls") or [], value.get("platform")
        if not isinstance(annotations, dict):
            raise InputFileError(f"{where} holds a descriptor whose annotations are not an object")
        if not isinstance(urls, list):
            raise InputFileError(f"{where} holds a descriptor whose urls are not a list")
        return cls(
            media_type=str(value.get("mediaType") or ""),
            digest=digest,
            size=size,
            platform=Platform.from_json(platform) if isinstance(platform, dict) else None,
            annotations={str(k): str(v) for k, v in annotations.items()} if annotations else {},
            artifact_type=str(value.get("artifactType") or ""),
            urls=tuple(str(url) for url in urls) if urls else (),
        )

    def to_json(self) -> dict[str, Any]:
        """The descriptor as it is written into an index."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform is not None:
            out["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.os_version:
                out["platform"]["os.version"] = self.platform.os_version
            if self.platform.variant:
                out["platform"]["variant"] = self.platform.variant
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        if self.urls:
            out["urls"] = list(self.urls)
        return out
