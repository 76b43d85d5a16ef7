"""Setting a tag where the registry may call it immutable.

Registries refuse to touch such a tag in words of their own (ECR: 400 TAG_INVALID, Nexus: 400, Harbor: 412). Targets
take the same digest for success; that another one is held is said here, with both digests, whoever refused it.
"""

from __future__ import annotations

from ..errors import ConflictError, NotFoundError
from ..model.manifest import Manifest
from ..targets.base import Target

__all__ = ["set_tag"]


def set_tag(target: Target, manifest: Manifest, tag: str) -> None:
    """Put a manifest under a tag. Raises `ConflictError` with both digests when the tag must not move."""
    try:
        target.put_manifest(manifest, tag)
    except ConflictError as error:
        raise ConflictError(
            f"setting {target.location.name}:{tag} to {manifest.digest} was refused; it holds "
            f"{_held(target, tag) or 'nothing'} ({error.message})",
            hint=error.hint or "the tag is immutable there; use another tag",
        ) from error


def _held(target: Target, tag: str) -> str | None:
    try:
        return target.resolve(tag).digest
    except NotFoundError:
        return None
