"""Setting a tag where the registry may call it immutable.

Registries refuse to touch such a tag in words of their own (ECR: 400 TAG_INVALID, Nexus: 400, Harbor: 412), and even
when it would not change. What counts is the digest: the same is success, another one is a conflict that names both.
"""

from __future__ import annotations

from ..errors import ConflictError, NotFoundError
from ..model.manifest import Manifest
from ..targets.base import Target

__all__ = ["set_tag"]


def set_tag(target: Target, manifest: Manifest, tag: str) -> bool:
    """Put a manifest under a tag; False when it was there already. Raises `ConflictError` with both digests."""
    try:
        target.put_manifest(manifest, tag)
    except ConflictError as error:
        held = _held(target, tag)
        if held == manifest.digest:
            return False
        raise ConflictError(
            f"setting {target.location.name}:{tag} to {manifest.digest} was refused; it holds {held or 'nothing'} "
            f"({error.message})",
            hint=error.hint or "the tag is immutable there; use another tag",
        ) from error
    return True


def _held(target: Target, tag: str) -> str | None:
    try:
        return target.resolve(tag).digest
    except NotFoundError:
        return None
