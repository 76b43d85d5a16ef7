"""A plan: which digest goes where, under which tag, and what was found when it was made. Pure data.

A plan is canonical JSON (sorted keys, no spaces), and its name is the sha256 of that file, kept outside it. An edge is
one source image with all its destinations; an arrival is one reference at a destination, with the digest there before
and after.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec
from msgspec import Struct, field

from ..errors import InputFileError
from ..model.descriptor import Descriptor, Digest, digest_of

__all__ = [
    "Arrival",
    "Edge",
    "Moves",
    "PlacePin",
    "Plan",
    "SourceImage",
    "Verdict",
    "dump_plan",
    "plan_digest",
    "read_plan",
    "reference_text",
]

SCHEMA = "plan/1"

Atomic = Literal["plan", "image"]


class PlacePin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which place a target's name meant when the plan was made: its kind, its registry or folder, its namespace."""

    kind: str
    registry: str
    namespace: str | None = None


class SourceImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promoted. `tag` is None for an image that was named by digest."""

    target: str
    repository: str
    tag: str | None
    digest: str
    media_type: str
    size: int

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, Digest(self.digest), self.size)


class Moves(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to move for one arrival; blobs that an earlier arrival of the plan brings there count as present."""

    copy_blobs: int = 0
    copy_bytes: int = 0
    mount_blobs: int = 0
    mount_bytes: int = 0
    present_blobs: int = 0


class Arrival(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reference at a destination. Without a `tag` the image goes there by digest alone.

    `before` is what the tag held when the plan was made; by digest, whether the image was there.
    """

    target: str
    repository: str
    tag: str | None
    before: str | None
    after: str
    moves: Moves

    @property
    def key(self) -> str:
        """Its name in journals and receipts."""
        return reference_text(self.target, self.repository, self.tag, self.after)


class Verdict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one rule says. `forced` is why a refusal was overridden; `conflict` tells a tag that must not move."""

    rule: str
    passed: bool
    reason: str
    forced: str | None = None
    conflict: bool = False

    @property
    def refuses(self) -> bool:
        return not self.passed and self.forced is None


class Edge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image with its destinations. `created` is the image's own time; `commit` its source's, from its labels."""

    source: SourceImage
    arrivals: list[Arrival]
    platforms: list[str] = []
    created: str | None = None
    commit: str | None = None
    verdicts: list[Verdict] = []


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole plan. `kind` tells a rollback from a promotion; times are RFC 3339, in UTC."""

    schema: str = SCHEMA
    tool: str
    kind: Literal["promotion", "rollback"] = "promotion"
    promotion: str | None = None
    created: str
    valid_until: str
    atomic: Atomic
    referrers: bool = False
    require_record: bool = False
    places: dict[str, PlacePin] = field(default_factory=dict)
    edges: list[Edge] = []

    @property
    def arrivals(self) -> list[Arrival]:
        return [arrival for edge in self.edges for arrival in edge.arrivals]

    @property
    def refusals(self) -> list[tuple[Edge, Verdict]]:
        """Every verdict that stands in the way."""
        return [(edge, verdict) for edge in self.edges for verdict in edge.verdicts if verdict.refuses]


def reference_text(target: str, repository: str, tag: str | None, digest: str) -> str:
    """`TARGET:REPOSITORY:TAG`, or `TARGET:REPOSITORY@DIGEST` where there is no tag."""
    return f"{target}:{repository}:{tag}" if tag else f"{target}:{repository}@{digest}"


def dump_plan(plan: Plan) -> bytes:
    """The plan as the bytes of its file."""
    document = msgspec.to_builtins(plan, enc_hook=str)  # a digest is a str of its own class
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def plan_digest(content: bytes) -> Digest:
    """The name of a plan: the sha256 of its file."""
    return digest_of(content)


def read_plan(content: bytes, where: str) -> Plan:
    """Understand the bytes of a plan's file. Raises `InputFileError` for another version and for anything else."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputFileError(f"{where} is not a plan: it is not JSON") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith("plan/"):
        raise InputFileError(f"{where} is not a plan", hint="make one with `ci-registry plan --save FILE`")
    if schema != SCHEMA:
        tool = document.get("tool") or "another version"
        raise InputFileError(
            f"{where} is a plan of another version: it says {schema}, made by {tool}, and this version reads {SCHEMA}",
            hint="make the plan again with this version",
        )
    try:
        plan = msgspec.convert(document, Plan)
        _check_digests(plan)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputFileError(f"{where} is not a sound plan: {error}", hint="make the plan again") from error
    return plan


def _check_digests(plan: Plan) -> None:
    for edge in plan.edges:
        digest = edge.source.descriptor.digest
        for arrival in edge.arrivals:
            if arrival.after != digest:
                raise ValueError(f"{arrival.key} would get {arrival.after}, which is not its source")
            if arrival.before is not None:
                Digest(arrival.before)
