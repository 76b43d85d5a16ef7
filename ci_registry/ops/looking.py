"""Looking without touching: inspect, list, verify, targets."""

from __future__ import annotations

from typing import Any

from ..engine.image_config import labels_of, read_config
from ..engine.verify import verify as verify_image
from ..errors import CheckFailedError, CiRegistryError, NotFoundError, UsageError
from ..model.descriptor import Descriptor, Platform
from ..model.manifest import Manifest
from ..targets.base import Lister, Referrers, Source
from .places import Places
from .results import ImageReport, Part, RepositoryList, TagList, TargetLine, TargetList, VerifyReport

__all__ = ["inspect", "list_place", "list_targets", "raw_manifest", "verify"]


def raw_manifest(source: Source, version: str, platform: str | None = None) -> Manifest:
    """The manifest a version names, or its child for a platform."""
    manifest = source.manifest(source.resolve(version))
    if platform is None or not manifest.is_index:
        return manifest
    picked = manifest.pick(Platform.parse(platform))
    if picked is None:
        known = ", ".join(str(each) for each in manifest.platforms())
        raise NotFoundError(f"{source.location.name} has no image for {platform}", hint=f"its platforms are: {known}")
    return source.manifest(picked)


def inspect(
    source: Source, version: str, place: str, *, platform: str | None = None, referrers: bool = False
) -> ImageReport:
    """Everything that a manifest and its configuration say, and with `referrers` what refers to it."""
    manifest = raw_manifest(source, version, platform)
    config = read_config(source, manifest)
    subject = manifest.subject
    return ImageReport(
        place=place,
        reference=f"{source.location.name}@{manifest.digest}",
        media_type=manifest.media_type,
        digest=manifest.digest,
        size=manifest.descriptor.size,
        platforms=_platforms(manifest, config),
        manifests=[_part(child) for child in manifest.manifests],
        config=_part(manifest.config) if manifest.config else None,
        layers=[_part(layer) for layer in manifest.layers],
        labels=labels_of(config),
        created=config.get("created") if isinstance(config.get("created"), str) else None,
        annotations=dict(manifest.annotations or {}),
        artifact_type=manifest.artifact_type,
        subject=subject.digest if subject else None,
        referrers=_referrers(source, manifest) if referrers else None,
    )


def _platforms(manifest: Manifest, config: dict[str, Any]) -> list[str]:
    if manifest.is_index:
        return [str(platform) for platform in manifest.platforms()]
    return [str(Platform.from_json(config))] if config.get("os") else []


def _part(descriptor: Descriptor) -> Part:
    return Part(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=str(descriptor.platform) if descriptor.platform else None,
        artifact_type=descriptor.artifact_type,
        annotations=dict(descriptor.annotations),
    )


def _referrers(source: Source, manifest: Manifest) -> list[Part]:
    if not isinstance(source, Referrers):
        return []
    return [_part(referrer) for referrer in source.referrers(manifest.digest)]


def list_place(places: Places, text: str) -> RepositoryList | TagList:
    """The repositories of `TARGET` or `docker://HOST`, or the tags of a repository or layout."""
    if text.removesuffix(":") in places.config.targets:
        name = text.removesuffix(":")
        return RepositoryList(target=name, repositories=places.target(name).repositories())
    if text.startswith("docker://") and "/" not in text[9:].rstrip("/"):
        host = text[9:].rstrip("/")
        return RepositoryList(target=host, repositories=places.registry(host).repositories())
    place = places.parse(text)
    source = places.repository(place)
    if not isinstance(source, Lister):
        raise UsageError(f"{place} can't list its tags")
    return TagList(repository=source.location.name, tags=source.tags())


def verify(
    places: Places, place: str, source: Source, version: str, *, deep: bool
) -> tuple[VerifyReport, CiRegistryError | None]:
    """Check that all parts are there; the second part of the answer is the error when something is wrong."""
    found = verify_image(source, version, places.limiter, places.cancel, deep=deep)
    report = VerifyReport(
        place=place,
        digest=found.root.digest,
        platforms=[str(platform) for platform in found.platforms],
        manifests=found.manifests,
        blobs=found.blobs,
        bytes=found.total_bytes,
        deep=deep,
        problems=found.problems,
    )
    if not found.problems:
        return report, None
    more = f", and {len(found.problems) - 1} more problems" if len(found.problems) > 1 else ""
    return report, CheckFailedError(
        f"verifying {place} found that {found.problems[0]}{more}", hint="push or copy that image again"
    )


def list_targets(places: Places) -> TargetList:
    """Every configured target with its address, variables not expanded."""
    config = places.config
    effective = config.effective()
    lines = [
        TargetLine(
            name=name,
            kind=settings.kind,
            address=_address(effective["targets"][name]),
            built_in=name in effective["built_in"],
            namespace=settings.namespace,
        )
        for name, settings in config.targets.items()
    ]
    return TargetList(file=str(config.path) if config.path else None, targets=lines)


def _address(settings: dict[str, Any]) -> str:
    return str(settings.get("url") or settings.get("path") or "")
