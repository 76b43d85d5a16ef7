"""Manifests and indexes: media types, parsing, and `successors()`, the one function that knows what refers to what.

Bytes are never written again: a parsed manifest keeps the bytes it came from, since any other serialisation has
another digest (OCI image-spec, manifest.md and image-index.md; Docker image manifest v2, schema 2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from ..errors import InputFileError, UsageError
from .descriptor import Descriptor, Digest, Platform, digest_of

__all__ = [
    "ACCEPT",
    "DOCKER_CONFIG",
    "DOCKER_LAYER_GZIP",
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "EMPTY_CONFIG",
    "EMPTY_CONFIG_BYTES",
    "INDEX_TYPES",
    "MANIFEST_LIMIT",
    "MANIFEST_TYPES",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER_GZIP",
    "OCI_MANIFEST",
    "RECORD_TYPE",
    "Manifest",
    "dump",
    "is_attestation",
    "is_foreign",
    "is_index",
    "is_manifest",
    "opening_type",
    "parse_manifest",
]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
RECORD_TYPE = "application/vnd.ci-registry.promotion.v1+json"
"""Artifact type of our promotion records: they belong to where they were made, and no copy takes them along."""
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_SCHEMA1_TYPES = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
_FOREIGN_DOCKER = "application/vnd.docker.image.rootfs.foreign."
_FOREIGN_OCI = "application/vnd.oci.image.layer.nondistributable."

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT}) | INDEX_TYPES

# Sent with every manifest request. Without OCI types in it, distribution answers 404 for OCI content. Schema 1 is
# asked for last, so that an old image is recognised and refused with a sentence instead of "not found".
ACCEPT = ", ".join(
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT, DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1]
)

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Largest manifest in bytes that is read or written (OCI distribution-spec, "Pushing Manifests")."""

EMPTY_CONFIG_BYTES = b"{}"
EMPTY_CONFIG = Descriptor(
    OCI_EMPTY, Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"), 2
)


def is_index(media_type: str) -> bool:
    return media_type in INDEX_TYPES


def is_manifest(media_type: str) -> bool:
    """Whether content of this type is stored as a manifest (and not as a blob)."""
    return media_type in MANIFEST_TYPES


def is_foreign(descriptor: Descriptor) -> bool:
    """Whether a layer may be absent from the registry because its `urls` say where it really is."""
    return bool(descriptor.urls) or descriptor.media_type.startswith((_FOREIGN_DOCKER, _FOREIGN_OCI))


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether an index entry is a build attestation: kept in a copy, ignored when a platform is picked."""
    return descriptor.annotations.get("vnd.docker.reference.type") == "attestation-manifest" or (
        descriptor.platform is not None and descriptor.platform.os == "unknown"
    )


class Manifest(Struct, frozen=True):
    """A manifest or an index, with the exact bytes it was read from.

    `config` and `layers` are empty for an index, `manifests` for an image; `subject` is what an artifact refers to.
    """

    descriptor: Descriptor
    content: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] | None = None

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def media_type(self) -> str:
        return self.descriptor.media_type

    @property
    def is_index(self) -> bool:
        return is_index(self.media_type)

    def blobs(self) -> Iterator[Descriptor]:
        """Config and layers, as they stand, duplicates included."""
        if self.config is not None:
            yield self.config
        yield from self.layers

    def successors(self) -> Iterator[Descriptor]:
        """Everything that must be at a destination before this manifest: child manifests, config, layers.

        A `subject` is not among them: it may be pushed before or after its referrers (distribution-spec).
        """
        yield from self.manifests
        yield from self.blobs()

    def platforms(self) -> list[Platform]:
        """The platforms of an index, attestations left out."""
        return [child.platform for child in self.manifests if child.platform and not is_attestation(child)]

    def pick(self, wanted: Platform) -> Descriptor | None:
        """The child of an index for a platform, exact variant first."""
        fits = [d for d in self.manifests if d.platform and not is_attestation(d) and d.platform.satisfies(wanted)]
        fits.sort(key=lambda d: d.platform is None or d.platform.variant != wanted.variant)
        return fits[0] if fits else None

    def as_referrer(self) -> Descriptor:
        """How this manifest is listed among the referrers of its subject (distribution-spec, "Listing Referrers")."""
        kind = self.artifact_type or (self.config.media_type if self.config else "")
        return Descriptor(
            self.media_type,
            self.digest,
            self.descriptor.size,
            annotations=dict(self.annotations or {}),
            artifact_type=kind,
        )


def parse_manifest(content: bytes, media_type: str = "", where: str = "the manifest") -> Manifest:
    """Understand the bytes of a manifest.

    `media_type` is the Content-Type or the descriptor's type; the document's own `mediaType` wins. `where` names the
    manifest in errors. Raises `InputFileError` for bytes that are no manifest, `UsageError` for schema 1.
    """
    document = _load(content, where)
    kind = _media_type(document, media_type.partition(";")[0].strip(), where)
    descriptor = Descriptor(kind, digest_of(content), len(content))
    _check_kind(document, kind, where)
    annotations = document.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise InputFileError(f"the annotations of {where} are not an object")
    return Manifest(
        descriptor,
        content,
        config=_descriptor(document, "config", where),
        layers=_descriptors(document, "blobs" if kind == OCI_ARTIFACT else "layers", where),
        manifests=_descriptors(document, "manifests", where),
        subject=_descriptor(document, "subject", where),
        artifact_type=str(document.get("artifactType") or ""),
        annotations={str(k): str(v) for k, v in annotations.items()},
    )


def opening_type(content: bytes, media_type: str) -> str:
    """The type of a manifest whose first bytes say the same as its Content-Type; "" where it has to be parsed to know.

    Every tool writes schemaVersion and mediaType first, and reading all of a manifest costs as much as getting it.
    """
    kind = media_type.partition(";")[0].strip()
    opening = b"".join(content[:256].split())
    stated = opening.startswith(b'{"schemaVersion":2,"mediaType":"%b"' % kind.encode("utf-8", "replace"))
    return kind if stated and kind in MANIFEST_TYPES else ""


def dump(document: Mapping[str, Any]) -> bytes:
    """Bytes of a manifest that we make ourselves: compact, in the order given."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _load(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > MANIFEST_LIMIT:
        raise InputFileError(f"{where} has {len(content)} bytes, more than the {MANIFEST_LIMIT} a manifest may have")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{where} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputFileError(f"{where} is not a JSON object")
    return document


def _media_type(document: Mapping[str, Any], stated: str, where: str) -> str:
    kind = str(document.get("mediaType") or "")
    if document.get("schemaVersion") == 1 or not _SCHEMA1_TYPES.isdisjoint({kind, stated}):
        raise UsageError(
            f"{where} is a Docker schema 1 manifest, an obsolete format that this program does not copy",
            hint="push the image again with Docker 1.10 or newer, which writes schema 2",
        )
    kind = kind or stated
    if kind not in MANIFEST_TYPES:
        kind = _guess(document)
    if not kind:
        raise InputFileError(f"{where} is neither an image manifest nor an index (type '{stated or 'unknown'}')")
    return kind


def _check_kind(document: Mapping[str, Any], kind: str, where: str) -> None:
    """Refuse a document that is two things at once: clients would disagree on what it holds (CVE-2021-41190)."""
    for key in ("config", "layers", "blobs") if is_index(kind) else ("manifests",):
        if document.get(key):
            raise InputFileError(f"{where} is an {'index' if is_index(kind) else 'image manifest'} with '{key}' in it")
    if kind in (OCI_MANIFEST, DOCKER_MANIFEST) and not document.get("config"):
        raise InputFileError(f"{where} has no config, which an image manifest must have")


def _guess(document: Mapping[str, Any]) -> str:
    # OCI allows the mediaType to be absent, and some servers answer with application/json.
    if isinstance(document.get("manifests"), list):
        return OCI_INDEX
    return OCI_MANIFEST if isinstance(document.get("config"), dict) else ""


def _descriptor(document: Mapping[str, Any], key: str, where: str) -> Descriptor | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputFileError(f"the {key} of {where} is not an object")
    return Descriptor.from_json(value, where)


def _descriptors(document: Mapping[str, Any], key: str, where: str) -> tuple[Descriptor, ...]:
    values = document.get(key) or []
    if not isinstance(values, list):
        raise InputFileError(f"'{key}' of {where} is not a list")
    return tuple(Descriptor.from_json(value, where) for value in values)
