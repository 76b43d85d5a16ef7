"""What commands answer: typed, JSON-able, with their schemas made from these very types.

A document on stdout is `{"schema": NAME/VERSION, "result": ..., "error": ...}`; NAME is the command's.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = [
    "ChainLink",
    "ChainReport",
    "ConfigReport",
    "CopiedImage",
    "CopyReport",
    "Delivered",
    "ErrorReport",
    "ImageReport",
    "LoginReport",
    "Part",
    "RepositoryList",
    "TagList",
    "TargetLine",
    "TargetList",
    "VerifyReport",
    "error_report",
]


class ErrorReport(Struct, frozen=True, kw_only=True):
    """Why something failed. `code` is a stable word, `exit` the exit code it stands for."""

    code: str
    exit: int
    message: str
    hint: str = ""
    side: str | None = None
    target: str | None = None


def error_report(error: Any) -> ErrorReport:
    """An error of `errors.py` as data."""
    return ErrorReport(
        code=error.code,
        exit=error.exit_code,
        message=error.message,
        hint=error.hint,
        side=error.side,
        target=error.target,
    )


class Delivered(Struct, frozen=True, kw_only=True):
    """An image at one destination. `outcome`: copied, unchanged or failed; `previous`: what each moved tag held."""

    target: str
    repository: str
    reference: str
    tags: list[str]
    outcome: str
    previous: dict[str, str | None] = field(default_factory=dict)
    error: ErrorReport | None = None


class CopiedImage(Struct, frozen=True, kw_only=True):
    """One image and where it went. `digest` is "" when the source could not be read."""

    source: str
    digest: str
    media_type: str
    platforms: list[str]
    destinations: list[Delivered]


class CopyReport(Struct, frozen=True, kw_only=True):
    """`push`, `pull`, `copy`, `tag`. `counts` are totals: blobs and bytes moved, mounted, present."""

    dry_run: bool
    images: list[CopiedImage]
    counts: dict[str, int]
    notes: list[str] = []


class Part(Struct, frozen=True, kw_only=True):
    """One thing an image is made of."""

    media_type: str
    digest: str
    size: int
    platform: str | None = None
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)


class ImageReport(Struct, frozen=True, kw_only=True):
    """`inspect`. For an index `manifests` holds its children; for an image `config` and `layers` are set."""

    place: str
    reference: str
    media_type: str
    digest: str
    size: int
    platforms: list[str]
    manifests: list[Part] = []
    config: Part | None = None
    layers: list[Part] = []
    labels: dict[str, str] = field(default_factory=dict)
    created: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: str | None = None
    referrers: list[Part] | None = None


class RepositoryList(Struct, frozen=True, kw_only=True):
    """`list TARGET`."""

    target: str
    repositories: list[str]


class TagList(Struct, frozen=True, kw_only=True):
    """`list TARGET:REPOSITORY`."""

    repository: str
    tags: list[str]


class VerifyReport(Struct, frozen=True, kw_only=True):
    """`verify`. `problems` has one sentence for each part that is missing or wrong."""

    place: str
    digest: str
    platforms: list[str]
    manifests: int
    blobs: int
    bytes: int
    deep: bool
    problems: list[str]


class TargetLine(Struct, frozen=True, kw_only=True):
    """One configured target."""

    name: str
    kind: str
    address: str
    built_in: bool
    namespace: str | None = None


class TargetList(Struct, frozen=True, kw_only=True):
    """`targets`."""

    file: str | None
    targets: list[TargetLine]


class LoginReport(Struct, frozen=True, kw_only=True):
    """`login`, `logout`, `credentials set` and `credentials rm`. `kept_in` says where, "" when nothing is kept;
    `checked` whether the registry accepted it, `removed` whether there was one to remove."""

    target: str
    host: str
    username: str | None
    kept_in: str = ""
    checked: bool = False
    removed: bool = False


class ChainLink(Struct, frozen=True, kw_only=True):
    """One link of the credential chain. `outcome`: won, lost, no answer, unavailable, skipped, error."""

    source: str
    outcome: str
    detail: str


class ChainReport(Struct, frozen=True, kw_only=True):
    """`credentials explain`."""

    target: str
    host: str
    links: list[ChainLink]


class ConfigReport(Struct, frozen=True, kw_only=True):
    """`config validate` and `init`."""

    file: str | None
    problems: list[str] = []
    notes: list[str] = []
