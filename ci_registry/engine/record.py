"""Records: what each promotion leaves at its destination, as an OCI artifact that refers to the promoted image.

The artifact's subject is the promoted digest, its layer one in-toto v1 statement. What `history` needs stands in the
annotations, which a listing of referrers repeats, so one request a digest is enough. Nothing here is signed: a record
is evidence of what this program did, and no proof against somebody who may write to the repository.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from ..errors import CiRegistryError, InputFileError, NotFoundError
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_BYTES,
    OCI_MANIFEST,
    RECORD_TYPE,
    Manifest,
    dump,
    parse_manifest,
)
from ..targets.base import Mounted, Present, Referrers, Source, Target
from .image_config import read_small

__all__ = [
    "PREDICATE_TYPE",
    "Promoted",
    "Record",
    "make_record",
    "prepare_for_records",
    "read_statement",
    "records_of",
    "write_record",
]

PREDICATE_TYPE = "urn:ci-registry:promotion:v1"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
IN_TOTO_JSON = "application/vnd.in-toto+json"
_PREFIX = "vnd.ci-registry.promotion."


class Promoted(Struct, frozen=True):
    """One tag that was moved, and everything a record says of it.

    `facts` are about the build: job, build URL, cause and so on, from a fixed list and never a whole environment.
    """

    where: str
    tag: str
    subject: Descriptor
    previous: str | None
    previous_record: str | None
    kind: str
    promotion: str | None
    plan: str
    source: str
    tool: str
    time: str
    approved_by: str | None = None
    commit: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    forced: tuple[Mapping[str, str], ...] = ()


class Record(Struct, frozen=True):
    """A record as a listing of referrers shows it. `subject` is the digest that the tag was moved to."""

    descriptor: Descriptor
    subject: str
    tag: str
    time: str
    previous: str | None = None
    previous_record: str | None = None
    promotion: str | None = None
    kind: str = "promotion"
    plan: str = ""
    source: str = ""
    tool: str = ""
    approved_by: str | None = None
    build_url: str | None = None
    commit: str | None = None

    @property
    def digest(self) -> str:
        return str(self.descriptor.digest)


def make_record(promoted: Promoted) -> tuple[Manifest, bytes]:
    """The artifact's manifest, and the statement that is its layer. The same input gives the same bytes."""
    statement = json.dumps(_statement(promoted), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    subject = promoted.subject
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": RECORD_TYPE,
        "config": EMPTY_CONFIG.to_json(),
        "layers": [Descriptor(IN_TOTO_JSON, digest_of(statement), len(statement)).to_json()],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
        "annotations": _annotations(promoted),
    }
    return parse_manifest(dump(document)), statement


def _statement(promoted: Promoted) -> dict[str, Any]:
    digest = promoted.subject.digest
    predicate = {
        "kind": promoted.kind,
        "promotion": promoted.promotion,
        "repository": promoted.where,
        "tag": promoted.tag,
        "previous": promoted.previous,
        "previousRecord": promoted.previous_record,
        "source": promoted.source,
        "plan": promoted.plan,
        "tool": promoted.tool,
        "time": promoted.time,
        "approvedBy": promoted.approved_by,
        "commit": promoted.commit,
        "build": dict(promoted.facts),
        "forced": [dict(each) for each in promoted.forced],
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": promoted.where, "digest": {digest.algorithm: digest.hex}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _annotations(promoted: Promoted) -> dict[str, str]:
    said = {
        "tag": promoted.tag,
        "time": promoted.time,
        "kind": promoted.kind,
        "promotion": promoted.promotion,
        "previous": promoted.previous,
        "previous-record": promoted.previous_record,
        "plan": promoted.plan,
        "source": promoted.source,
        "tool": promoted.tool,
        "approved-by": promoted.approved_by,
        "build-url": promoted.facts.get("BUILD_URL"),
        "commit": promoted.commit,
    }
    annotations = {f"{_PREFIX}{key}": value for key, value in said.items() if value}
    return {"org.opencontainers.image.created": promoted.time, **annotations}


def prepare_for_records(target: Target) -> None:
    """Put what all records share: the empty configuration. Once for each repository, before its first record."""
    if not target.exists([EMPTY_CONFIG]):
        _put_blob(target, EMPTY_CONFIG, EMPTY_CONFIG_BYTES)


def write_record(target: Target, promoted: Promoted) -> Digest:
    """Write a record; returns its digest. Where there is no referrers API, the fallback tag lists it."""
    manifest, statement = make_record(promoted)
    _put_blob(target, manifest.layers[0], statement)
    target.put_manifest(manifest)
    return manifest.digest


def _put_blob(target: Target, descriptor: Descriptor, content: bytes) -> None:
    opened = target.writer(descriptor)
    if isinstance(opened, Present | Mounted):
        return
    try:
        opened.write(memoryview(content))
        opened.commit(descriptor.digest)
    except CiRegistryError:
        opened.abort()
        raise


def records_of(place: Source, digest: str, tag: str | None = None) -> list[Record]:
    """The records of a digest, oldest first, of one tag or of all. Empty where the place lists no referrers."""
    if not isinstance(place, Referrers):
        return []
    found = []
    for referrer in place.referrers(Digest(digest), RECORD_TYPE):
        record = _record(place, digest, referrer)
        if record is not None and tag in (None, record.tag):
            found.append(record)
    return sorted(found, key=lambda record: record.time)


def _record(place: Source, subject: str, referrer: Descriptor) -> Record | None:
    said = dict(referrer.annotations)
    if f"{_PREFIX}tag" not in said:  # some registries list referrers without their annotations
        try:
            said = dict(place.manifest(referrer).annotations or {})
        except NotFoundError:
            return None
    values = {key.removeprefix(_PREFIX): value for key, value in said.items() if key.startswith(_PREFIX)}
    if "tag" not in values or "time" not in values:
        return None
    return Record(
        referrer,
        subject,
        values["tag"],
        values["time"],
        previous=values.get("previous"),
        previous_record=values.get("previous-record"),
        promotion=values.get("promotion"),
        kind=values.get("kind", "promotion"),
        plan=values.get("plan", ""),
        source=values.get("source", ""),
        tool=values.get("tool", ""),
        approved_by=values.get("approved-by"),
        build_url=values.get("build-url"),
        commit=values.get("commit"),
    )


def read_statement(place: Source, record: Record) -> dict[str, Any]:
    """The in-toto statement of a record; raises `InputFileError` when it holds something else."""
    manifest = place.manifest(record.descriptor)
    try:
        document = json.loads(read_small(place, manifest.layers[0]))
    except (ValueError, IndexError) as error:
        raise InputFileError(f"the record {record.digest} holds no statement") from error
    if not isinstance(document, dict):
        raise InputFileError(f"the record {record.digest} holds no statement")
    return document
