"""What the scriptable registry demands of a manifest before it stores it (distribution-spec, "Pushing Manifests")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .fake_route import Refusal, is_digest
from .images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

__all__ = ["accepts", "check_manifest"]

_INDEXES = {OCI_INDEX, DOCKER_LIST}
_TYPES = {OCI_MANIFEST, DOCKER_MANIFEST, *_INDEXES}

SizeOf = Callable[[str], int | None]
"""The size of stored content by digest, or None where it isn't there."""


def check_manifest(
    content: bytes, content_type: str, blob_size: SizeOf, manifest_size: SizeOf, foreign_allowed: bool, sparse: bool
) -> dict[str, Any]:
    """The parsed document; raises the refusal for one that is malformed or refers to something that is missing."""
    document = _parse(content, content_type)
    index = content_type in _INDEXES
    if index:
        children = _list(document, "manifests")
        missing = [] if sparse else _missing(children, manifest_size)
    else:
        blobs = [_object(document, "config"), *_list(document, "layers")]
        missing = _missing([blob for blob in blobs if not (foreign_allowed and blob.get("urls"))], blob_size)
    if document.get("subject") is not None:
        _check_descriptor(_object(document, "subject"))
    if missing:
        first, *_ = missing
        raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"Digest": first})
    return document


def accepts(accept: str | None, media_type: str) -> bool:
    """Whether an Accept header takes a type. Without the header, only Docker's own types are, as with distribution."""
    if accept is None:
        return media_type == DOCKER_MANIFEST
    offered = {part.partition(";")[0].strip() for part in accept.split(",")}
    return bool(offered & {media_type, "*/*", "application/*"})


def _parse(content: bytes, content_type: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        raise _invalid("not JSON") from None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise _invalid("schemaVersion is not 2")
    inside = document.get("mediaType")
    if content_type not in _TYPES:
        raise _invalid(f"unsupported content type '{content_type}'")
    if inside != content_type and (inside is not None or content_type in (DOCKER_MANIFEST, DOCKER_LIST)):
        raise _invalid(f"mediaType in manifest should be '{content_type}' not '{inside}'")
    return document


def _missing(descriptors: list[dict[str, Any]], size_of: SizeOf) -> list[str]:
    missing = []
    for descriptor in descriptors:
        _check_descriptor(descriptor)
        size = size_of(descriptor["digest"])
        if size is None:
            missing.append(descriptor["digest"])
        elif size != descriptor["size"]:
            raise Refusal(400, "SIZE_INVALID", "provided length did not match content length", descriptor)
    return missing


def _check_descriptor(descriptor: Mapping[str, Any]) -> None:
    if not is_digest(str(descriptor.get("digest"))) or not isinstance(descriptor.get("size"), int):
        raise _invalid(f"bad descriptor {descriptor}")
    if not descriptor.get("mediaType"):
        raise _invalid(f"descriptor without mediaType {descriptor}")


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise _invalid(f"'{key}' is not an object")
    return value


def _list(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise _invalid(f"'{key}' is not a list of descriptors")
    return value


def _invalid(detail: str) -> Refusal:
    return Refusal(400, "MANIFEST_INVALID", "manifest invalid", detail)
