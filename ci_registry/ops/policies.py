"""The rules of a promotion: those of its configuration, and those that other packages bring along."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from ..engine import policy
from ..engine.policy import ENTRY_POINTS, Evidence, Rule
from ..errors import ConfigError
from .config import Policies

__all__ = ["rules_of"]


def rules_of(settings: Policies) -> tuple[list[Rule], bool]:
    """The rules, and whether they need to know what refers to an image."""
    rules = []
    if settings.require_platforms:
        rules.append(policy.require_platforms(settings.require_platforms))
    if settings.require_labels:
        rules.append(policy.require_labels(settings.require_labels))
    if settings.require_referrers:
        rules.append(policy.require_referrers(settings.require_referrers))
    if settings.max_age_days is not None:
        rules.append(policy.max_age(settings.max_age_days))
    if settings.require_promoted_from is not None:
        rules.append(policy.require_promoted_from(settings.require_promoted_from))
    if settings.forbid_change_requests:
        rules.append(policy.forbid_change_requests())
    own = [_own_rule(point) for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)]
    needs_referrers = bool(own or settings.require_referrers or settings.require_promoted_from)
    return [*rules, *own], needs_referrers


def _own_rule(point: EntryPoint) -> Rule:
    try:
        check = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the policy '{point.name}' can't be loaded from {point.value}: {error}",
            hint="mend or uninstall the package that brings it",
        ) from error
    return Rule(point.name, _guarded(point.name, check))


def _guarded(name: str, check: Callable[[Evidence], object]) -> Callable[[Evidence], tuple[bool, str]]:
    def ask(evidence: Evidence) -> tuple[bool, str]:
        try:
            answer = check(evidence)
        except Exception as bug:  # noqa: BLE001 - somebody else's code: a rule that breaks must refuse, not let pass
            return False, f"the rule broke: {type(bug).__name__}: {bug}"
        if isinstance(answer, tuple) and len(answer) == 2:
            return bool(answer[0]), str(answer[1])
        return False, f"the rule '{name}' gave {answer!r} in place of whether it is content, and why"

    return ask
