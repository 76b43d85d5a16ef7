"""Rules that say whether an image may be promoted: pure functions of evidence, all asked, none skipped.

A rule is a function that takes `Evidence` and returns whether it is content, and why. Rules of other packages are
found by the entry point group `ci_registry.policies`; the entry point's name is the rule's name:

    [options.entry_points]
    ci_registry.policies =
        only_signed = our_rules:only_signed

    def only_signed(evidence: Evidence) -> tuple[bool, str]:
        return "signed-by" in evidence.labels, "the label signed-by must be set"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial

from msgspec import Struct, field

from ..errors import CiRegistryError, ConflictError, RefusedError, UsageError
from ..model.descriptor import Platform
from .plan import Edge, Plan, Verdict, reference_text

__all__ = [
    "ENTRY_POINTS",
    "Evidence",
    "Rule",
    "check_forced",
    "forbid_change_requests",
    "judge",
    "max_age",
    "refusal",
    "require_labels",
    "require_platforms",
    "require_promoted_from",
    "require_referrers",
]

ENTRY_POINTS = "ci_registry.policies"

Judgement = tuple[bool, str]


class Evidence(Struct, frozen=True):
    """What is known of one image when it is judged.

    `labels` are those that every platform's image has, and the manifest's annotations; `created` the oldest time among
    its images; `referrer_types` the artifact types that refer to it at the source; `promoted_by` the promotions with a
    record for it there; `change_request` the build's CHANGE_ID.
    """

    reference: str
    digest: str
    platforms: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    referrer_types: frozenset[str] = frozenset()
    promoted_by: frozenset[str] = frozenset()
    change_request: str | None = None
    promotion: str | None = None


class Rule(Struct, frozen=True):
    """A rule with its name, which `--force` takes."""

    name: str
    check: Callable[[Evidence], Judgement]


# -- the rules of the configuration file -----------------------------------------------------------------------------


def require_platforms(wanted: Sequence[str]) -> Rule:
    return Rule("require_platforms", partial(_platforms, wanted))


def _platforms(wanted: Sequence[str], evidence: Evidence) -> Judgement:
    held = [Platform.parse(platform) for platform in evidence.platforms]
    missing = [text for text in wanted if not any(each.satisfies(Platform.parse(text)) for each in held)]
    if missing:
        return False, f"it has no image for {', '.join(missing)}; its platforms are {_listed(evidence.platforms)}"
    return True, f"it holds {', '.join(wanted)}"


def require_labels(wanted: Sequence[str]) -> Rule:
    return Rule("require_labels", partial(_labels, wanted))


def _labels(wanted: Sequence[str], evidence: Evidence) -> Judgement:
    missing = [label for label in wanted if not evidence.labels.get(label)]
    if missing:
        return False, f"{', '.join(missing)} is not set" if len(missing) == 1 else f"{', '.join(missing)} are not set"
    return True, f"{', '.join(wanted)} set"


def require_referrers(wanted: Sequence[str]) -> Rule:
    return Rule("require_referrers", partial(_referrers, wanted))


def _referrers(wanted: Sequence[str], evidence: Evidence) -> Judgement:
    missing = [kind for kind in wanted if kind not in evidence.referrer_types]
    if missing:
        return False, f"nothing of type {', '.join(missing)} refers to it; found: {_listed(evidence.referrer_types)}"
    return True, f"{', '.join(wanted)} found"


def max_age(days: float) -> Rule:
    return Rule("max_age_days", partial(_age, days))


def _age(days: float, evidence: Evidence) -> Judgement:
    if evidence.created is None:
        return False, "it does not say when it was created"
    age = (evidence.now - evidence.created).total_seconds() / 86400
    if age > days:
        return False, f"it was created {age:.0f} days ago, and {days:g} are allowed"
    return True, f"it was created {max(age, 0):.0f} days ago"


def require_promoted_from(promotion: str) -> Rule:
    return Rule("require_promoted_from", partial(_promoted, promotion))


def _promoted(promotion: str, evidence: Evidence) -> Judgement:
    if promotion in evidence.promoted_by:
        return True, f"the promotion '{promotion}' has a record for it"
    return False, f"the promotion '{promotion}' has no record for it; found: {_listed(evidence.promoted_by)}"


def forbid_change_requests() -> Rule:
    return Rule("forbid_change_requests", _change_request)


def _change_request(evidence: Evidence) -> Judgement:
    if evidence.change_request:
        return False, f"this is the build of change request {evidence.change_request}"
    return True, "this is no build of a change request"


def _listed(values: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(sorted(values)) or "none"


# -- judging ---------------------------------------------------------------------------------------------------------


def judge(rules: Sequence[Rule], evidence: Evidence, forced: Mapping[str, str]) -> list[Verdict]:
    """Ask every rule. `forced` maps names of rules to why their refusal is overridden."""
    verdicts = []
    for rule in rules:
        passed, reason = rule.check(evidence)
        verdicts.append(
            Verdict(rule=rule.name, passed=passed, reason=reason, forced=None if passed else forced.get(rule.name))
        )
    return verdicts


def check_forced(forced: Mapping[str, str], rules: Sequence[str]) -> None:
    """Raise `UsageError` for a forced rule that nobody would ask, or that has no reason."""
    for name, reason in forced.items():
        if name not in rules:
            raise UsageError(
                f"--force {name} names no rule of this promotion", hint=f"its rules are: {', '.join(sorted(rules))}"
            )
        if not reason.strip():
            raise UsageError(f"--force {name} needs a reason", hint='add --reason "..."')


def refusal(plan: Plan) -> CiRegistryError | None:
    """The error that a plan's verdicts amount to, naming every rule that failed; None when it may be applied.

    Tags that must not move are conflicts; a conflict decides the exit code.
    """
    found = plan.refusals
    if not found:
        return None
    causes = "; ".join(f"{_source(edge)} by {verdict.rule}: {verdict.reason}" for edge, verdict in found[:5])
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    conflicts = [verdict for _, verdict in found if verdict.conflict]
    rules = sorted({verdict.rule for _, verdict in found})
    kind = ConflictError if conflicts else RefusedError
    message = f"the promotion was refused: {causes}{more}"
    return kind(message, hint=f'mend that, or override it with --force {rules[0]} --reason "..."')


def _source(edge: Edge) -> str:
    source = edge.source
    return reference_text(source.target, source.repository, source.tag, source.digest)
