"""What a target's `immutable_tags` and `protected_tags` say of a tag that `push`, `copy` or `tag` is about to move."""

from __future__ import annotations

from ..engine.delivery import TagGuard
from ..engine.tag_rules import TagRules
from ..errors import ConflictError
from ..kinds.settings import TargetSettings
from ..model.descriptor import Descriptor
from ..targets.base import Target

__all__ = ["tag_guard"]


def tag_guard(settings: TargetSettings) -> TagGuard | None:
    """Refuses to move tags that the target calls immutable or protected: the same digest is no move."""
    rules = TagRules.of(settings.immutable_tags, settings.protected_tags)
    if not rules.immutable and not rules.protected:
        return None

    def guard(target: Target, tag: str, found: Descriptor | None, wanted: Descriptor) -> None:
        if found is None or found.digest == wanted.digest:
            return
        if rules.is_immutable(tag):
            why, hint = "immutable (immutable_tags", "push under another tag"
        elif rules.is_protected(tag):
            why, hint = "protected (protected_tags", "move it with `ci-registry promote`, which leaves a record"
        else:
            return
        raise ConflictError(
            f"moving the tag {target.location.name}:{tag} was refused: it is {why} of target '{settings.name}') "
            f"and holds {found.digest}, not {wanted.digest}",
            hint=hint,
            target=settings.name,
        )

    return guard
