"""Random images with real content in memory, the same for the same seed. Sizes are bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from ci_registry.model.descriptor import Descriptor, Digest, Platform

__all__ = [
    "COSIGN_PAYLOAD",
    "DOCKER_CONFIG",
    "DOCKER_FOREIGN",
    "DOCKER_LAYER",
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "IN_TOTO",
    "MANIFEST_ACCEPT",
    "OCI",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_FOREIGN",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "REFERRER_TYPES",
    "Blobs",
    "BuiltImage",
    "ImageBuilder",
    "Layer",
    "StreamedBlob",
    "digest_of",
    "fallback_tag",
    "json_bytes",
    "referrer_entry",
]

Blobs = dict[str, bytes]
Manifests = dict[str, tuple[str, bytes]]

OCI = "application/vnd.oci.image."
OCI_MANIFEST = OCI + "manifest.v1+json"
OCI_INDEX = OCI + "index.v1+json"
OCI_CONFIG = OCI + "config.v1+json"
OCI_LAYER = OCI + "layer.v1.tar"
OCI_FOREIGN = OCI + "layer.nondistributable.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
IN_TOTO = "application/vnd.in-toto+json"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
REFERRER_TYPES = ("application/vnd.example.sbom.v1", "application/vnd.example.sig.v1")
MANIFEST_ACCEPT = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])


def digest_of(content: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def fallback_tag(digest: str) -> str:
    """The tag under which referrers of a digest are listed where there is no referrers API (distribution-spec)."""
    return digest.replace(":", "-")


@dataclass(frozen=True)
class StreamedBlob:
    """Incompressible bytes too many to hold: a random block of 1 MiB, numbered, over and over."""

    size: int
    seed: int

    def chunks(self) -> Iterator[bytes]:
        block = random.Random(self.seed).randbytes(1 << 20)
        for number, start in enumerate(range(0, self.size, len(block))):
            yield (number.to_bytes(8, "big") + block[8:])[: self.size - start]

    def digest(self) -> Digest:
        sha = hashlib.sha256()
        for chunk in self.chunks():
            sha.update(chunk)
        return Digest(f"sha256:{sha.hexdigest()}")


@dataclass(frozen=True)
class Layer:
    """A layer ready for a manifest; `content` is None for one that only its `urls` know."""

    descriptor: Descriptor
    content: bytes | StreamedBlob | None
    diff_id: Digest


@dataclass(frozen=True)
class BuiltImage:
    """An image, index or artifact with all it is made of.

    `manifests` maps digest to (media type, bytes), children before what refers to them, `root` last. `referrers` have
    this image, or one in this index, as their subject; `signatures` are cosign's, by their tag. `blobs` leaves
    out foreign layers.
    """

    root: Descriptor
    manifests: Manifests
    blobs: Blobs
    streamed: dict[str, StreamedBlob] = field(default_factory=dict)
    referrers: list[BuiltImage] = field(default_factory=list)
    signatures: dict[str, BuiltImage] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        return self.root.digest

    @property
    def content(self) -> bytes:
        """The bytes of the root manifest."""
        return self.manifests[self.digest][1]

    @property
    def document(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded

    def digests(self) -> set[str]:
        """Everything this image consists of, without referrers and signatures."""
        return {*self.manifests, *self.blobs, *self.streamed}

    def family(self) -> Iterator[BuiltImage]:
        """This image and, recursively, everything that refers to it."""
        yield self
        for other in (*self.referrers, *self.signatures.values()):
            yield from other.family()


class ImageBuilder:
    """Makes images from a seed; every call gives new content, and the same calls on the same seed the same bytes."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def layer(
        self, size: int = 1000, media_type: str = OCI_LAYER + "+gzip", opaque: bool = False, algorithm: str = "sha256"
    ) -> Layer:
        """A tar of one random file of `size` bytes, compressed as the media type says; `opaque`: exactly `size` bytes
        that are no tar at all."""
        if opaque:
            content = self._random.randbytes(size)
            diff_id = digest_of(content)
        else:
            tar = _tar(f"data-{self._random.getrandbits(32):08x}", self._random.randbytes(size))
            diff_id = digest_of(tar)
            content = _compress(tar, media_type)
        return Layer(Descriptor(media_type, digest_of(content, algorithm), len(content)), content, diff_id)

    def streamed_layer(self, size: int) -> Layer:
        """An opaque layer of any size that is never in memory as a whole."""
        blob = StreamedBlob(size, self._random.getrandbits(32))
        digest = blob.digest()
        return Layer(Descriptor(OCI_LAYER, digest, size), blob, digest)

    def foreign_layer(
        self, url: str = "https://example.invalid/layer", docker: bool = False, present: bool = False
    ) -> Layer:
        """A non-distributable layer; unless `present`, no registry has its bytes."""
        layer = self.layer(500, DOCKER_FOREIGN if docker else OCI_FOREIGN)
        return replace(
            layer, descriptor=structs.replace(layer.descriptor, urls=(url,)), content=layer.content if present else None
        )

    def image(
        self,
        layers: int | Sequence[Layer] = 3,
        layer_bytes: int = 1000,
        platform: str = "linux/amd64",
        docker: bool = False,
        opaque: bool = False,
        zstd: bool = False,
        shared: Sequence[Layer] = (),
        subject: BuiltImage | None = None,
        annotations: dict[str, str] | None = None,
        created: str = "2024-01-02T03:04:05Z",
        labels: dict[str, str] | None = None,
        media_type_field: bool = True,
    ) -> BuiltImage:
        """One image. `layers` is a number of new layers or ready ones; `shared` come before them.

        `media_type_field=False` leaves `mediaType` out of the manifest, which OCI allows.
        """
        if isinstance(layers, int):
            kind = DOCKER_LAYER if docker else OCI_LAYER + ("+zstd" if zstd else "+gzip")
            layers = [self.layer(layer_bytes, kind, opaque) for _ in range(layers)]
        layers = [*shared, *layers]
        where = Platform.parse(platform)
        config = json_bytes(_config(where, layers, created, labels or {}, self._random.getrandbits(64)))
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": Descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, digest_of(config), len(config)).to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
        }
        media_type = str(manifest["mediaType"])
        if not media_type_field:
            del manifest["mediaType"]
        built = _built(media_type, manifest, {digest_of(config): config}, layers, subject, annotations)
        return replace(built, root=structs.replace(built.root, platform=where))

    def index(
        self,
        children: Iterable[str | BuiltImage] = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7"),
        docker: bool = False,
        attestations: bool = False,
        layers: int = 2,
        layer_bytes: int = 1000,
        shared_layers: int = 0,
        subject: BuiltImage | None = None,
        annotations: dict[str, str] | None = None,
    ) -> BuiltImage:
        """An index over ready images or indexes, or over new images for the platforms named.

        `attestations` adds an entry of buildx's kind for each image; `shared_layers` are in all new images.
        """
        kind = DOCKER_LAYER if docker else OCI_LAYER + "+gzip"
        shared = [self.layer(layer_bytes, kind) for _ in range(shared_layers)]
        images = [
            self.image(layers, layer_bytes, child, docker, shared=shared) if isinstance(child, str) else child
            for child in children
        ]
        if attestations:
            images += [self._attestation(image) for image in images]
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_LIST if docker else OCI_INDEX,
            "manifests": [image.root.to_json() for image in images],
        }
        built = _built(str(manifest["mediaType"]), manifest, {}, [], subject, annotations)
        return replace(
            built,
            manifests={k: v for part in (*images, built) for k, v in part.manifests.items()},
            blobs={k: v for image in images for k, v in image.blobs.items()},
            streamed={k: v for image in images for k, v in image.streamed.items()},
            referrers=[referrer for image in images for referrer in image.referrers],
            signatures={k: v for image in images for k, v in image.signatures.items()},
        )

    def artifact(
        self,
        subject: BuiltImage | None = None,
        artifact_type: str = "application/vnd.example.sbom.v1",
        size: int = 200,
        annotations: dict[str, str] | None = None,
    ) -> BuiltImage:
        """An artifact with the empty config and one opaque layer (OCI image-spec 1.1, manifest.md)."""
        layer = self.layer(size, artifact_type + "+json", opaque=True)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": Descriptor(OCI_EMPTY, digest_of(b"{}"), 2).to_json(),
            "layers": [layer.descriptor.to_json()],
        }
        return _built(OCI_MANIFEST, manifest, {digest_of(b"{}"): b"{}"}, [layer], subject, annotations)

    def with_referrers(self, image: BuiltImage, types: Sequence[str] = REFERRER_TYPES) -> BuiltImage:
        """The same image with one artifact of each type referring to it."""
        return replace(image, referrers=[*image.referrers, *(self.artifact(image, kind) for kind in types)])

    def with_signature(self, image: BuiltImage, suffix: str = "sig") -> BuiltImage:
        """The same image with what cosign stores under `sha256-HEX.sig` (or `.att`, `.sbom`)."""
        payload = json_bytes({"critical": {"image": {"docker-manifest-digest": image.digest}}, "optional": None})
        layer = Layer(
            Descriptor(
                COSIGN_PAYLOAD,
                digest_of(payload),
                len(payload),
                annotations={"dev.cosignproject.cosign/signature": self._random.randbytes(64).hex()},
            ),
            payload,
            digest_of(payload),
        )
        signature = self.image([layer])
        return replace(image, signatures={**image.signatures, f"{fallback_tag(image.digest)}.{suffix}": signature})

    def _attestation(self, image: BuiltImage) -> BuiltImage:
        built = self.image([self.layer(300, IN_TOTO, opaque=True)], platform="unknown/unknown")
        annotations = {
            "vnd.docker.reference.digest": str(image.digest),
            "vnd.docker.reference.type": "attestation-manifest",
        }
        return replace(built, root=structs.replace(built.root, annotations=annotations))


def referrer_entry(media_type: str, digest: str, size: int, document: dict[str, Any]) -> dict[str, Any]:
    """How a manifest is listed among the referrers of its subject (distribution-spec, "Listing Referrers")."""
    kind = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
    entry = {"mediaType": media_type, "digest": str(digest), "size": size}
    if kind:
        entry["artifactType"] = kind
    if document.get("annotations"):
        entry["annotations"] = document["annotations"]
    return entry


def _built(
    media_type: str,
    manifest: dict[str, Any],
    blobs: Blobs,
    layers: Sequence[Layer],
    subject: BuiltImage | None,
    annotations: dict[str, str] | None,
) -> BuiltImage:
    if subject is not None:
        root = subject.root
        manifest["subject"] = {"mediaType": root.media_type, "digest": str(root.digest), "size": root.size}
    if annotations:
        manifest["annotations"] = annotations
    content = json_bytes(manifest)
    digest = digest_of(content)
    whole: Blobs = {layer.descriptor.digest: layer.content for layer in layers if isinstance(layer.content, bytes)}
    streamed: dict[str, StreamedBlob] = {
        layer.descriptor.digest: layer.content for layer in layers if isinstance(layer.content, StreamedBlob)
    }
    return BuiltImage(
        Descriptor(media_type, digest, len(content), artifact_type=str(manifest.get("artifactType", ""))),
        {digest: (media_type, content)},
        {**blobs, **whole},
        streamed,
    )


def _config(
    platform: Platform, layers: Sequence[Layer], created: str, labels: dict[str, str], nonce: int
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Cmd": ["/hello"], "Env": [f"BUILD={nonce:016x}"], **({"Labels": labels} if labels else {})},
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": created, "created_by": f"ADD layer {number}"} for number in range(len(layers))],
    }
    if platform.variant:
        config["variant"] = platform.variant
    if platform.os_version:
        config["os.version"] = platform.os_version
    return config


def _tar(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _compress(tar: bytes, media_type: str) -> bytes:
    if media_type.endswith("zstd"):
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(tar)
    return gzip.compress(tar, compresslevel=1, mtime=0) if media_type.endswith("gzip") else tar


def json_bytes(document: dict[str, Any]) -> bytes:
    """A document as the tests write it; not the form that the code under test writes."""
    return json.dumps(document, indent=1).encode()
