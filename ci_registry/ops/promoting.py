"""Promotions: from what a user asks for to a plan, and from a plan to a receipt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial

from msgspec import Struct, field

from .._version import __version__
from ..engine.apply import ApplyOrder, Journal, Phase, apply
from ..engine.events import Event
from ..engine.expansion import Judging, Wanted, Wish, expand
from ..engine.fan_out import Workers
from ..engine.legs import Shard
from ..engine.plan import Arrival, Atomic, PlacePin, Plan, SourceImage
from ..engine.policy import Evidence, check_forced
from ..engine.receipt import Receipt
from ..engine.selectors import is_referrer_tag, matching, newest_versions
from ..engine.tag_rules import IMMUTABLE, TagRules
from ..errors import CiRegistryError, ConflictError, NotFoundError, UsageError
from ..model.descriptor import Digest
from ..model.reference import Reference, check_tag
from ..targets.base import Lister, Remembering, Source, Target
from .build_facts import approver, build_facts, change_request
from .config import Promotion
from .places import Places
from .policies import rules_of
from .state import PlanJournal

__all__ = ["TOOL", "PromotionOrder", "apply_plan", "make_plan", "pin", "plan_of", "quota_notes", "tag_rules"]

TOOL = f"ci-registry {__version__}"
DEFAULT_VALID_HOURS = 168.0


class PromotionOrder(Struct, frozen=True):
    """What to promote. `images` are REPOSITORY[:TAG|@DIGEST] in the source target; `promotion` names a configured one.

    `tags` replace the source's tag. `forced` maps names of rules to why they are overridden.
    """

    images: Sequence[str] = ()
    source: str | None = None
    targets: Sequence[str] = ()
    tags: Sequence[str] = ()
    promotion: str | None = None
    atomic: Atomic | None = None
    referrers: bool = False
    forced: Mapping[str, str] = field(default_factory=dict)
    valid_hours: float = DEFAULT_VALID_HOURS


class _Image(Struct, frozen=True):
    """One source image and the tags that it is to have."""

    repository: str
    tag: str | None
    digest: Digest | None
    tags: tuple[str, ...]


def make_plan(places: Places, order: PromotionOrder) -> Plan:
    """Find out everything that a promotion would do. Reads only. What a policy refuses is in the plan's verdicts.

    Raises `UsageError` for orders that make no sense or collide, `NotFoundError` for what is not there.
    """
    settings = _settings(places, order)
    for tag in order.tags:
        check_tag(tag)
    rules, needs_referrers = rules_of(settings.policies)
    check_forced(order.forced, [*(rule.name for rule in rules), IMMUTABLE])
    workers = Workers(places.limiter, places.cancel)
    images = _images(places, workers, settings, order)
    judging = Judging(
        rules,
        order.forced,
        Evidence("", "", change_request=change_request(places.environ), promotion=settings.name or None),
        needs_referrers,
    )
    wishes = [_wish(places, settings, image) for image in images]
    edges = expand(workers, wishes, judging)
    return plan_of(
        places,
        settings.source,
        settings.targets,
        edges=edges,
        promotion=settings.name or None,
        atomic=order.atomic or (settings.atomic if settings.name else "plan"),
        # Whoever demands a signature or an SBOM at the source wants it at the destination too.
        referrers=order.referrers or bool(settings.policies.require_referrers),
        require_record=settings.policies.require_record,
        valid_hours=order.valid_hours,
    )


def plan_of(places: Places, source: str, targets: Sequence[str], *, valid_hours: float, **parts: object) -> Plan:
    """A plan of these parts, with its places pinned and its times set."""
    now = datetime.now(timezone.utc)
    values: dict[str, object] = {
        "tool": TOOL,
        "created": _text(now),
        "valid_until": _text(now + timedelta(hours=valid_hours)),
        "places": {name: pin(places, name) for name in dict.fromkeys((source, *targets))},
        **parts,
    }
    return Plan(**values)  # type: ignore[arg-type]


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def pin(places: Places, name: str) -> PlacePin:
    """Where a target's name leads now."""
    target = places.target(name)
    registry = target.repository("pin").location.store
    return PlacePin(kind=target.settings.kind, registry=registry, namespace=target.settings.namespace)


def _settings(places: Places, order: PromotionOrder) -> Promotion:
    """The configured promotion, with what the order says instead; or one made of the order alone."""
    if order.promotion is not None:
        configured = places.config.promotion(order.promotion, places.environ)
        if order.source or order.targets:
            raise UsageError(
                f"the promotion '{order.promotion}' says itself from where and to where it goes",
                hint="leave out --from and --to, or leave out --promotion",
            )
        return configured
    if not order.images:
        raise UsageError("nothing was named to promote", hint="name a REPOSITORY[:TAG], or --promotion NAME")
    if not order.source or not order.targets:
        raise UsageError("a promotion needs to know from where and to where", hint="add --from T and --to U")
    targets = tuple(name.removesuffix(":") for name in order.targets)
    if len(set(targets)) != len(targets):
        raise UsageError(f"a target is named twice: {', '.join(targets)}", hint="name each target once")
    return Promotion(source=order.source.removesuffix(":"), targets=targets)


# -- which images ----------------------------------------------------------------------------------------------------


def _images(places: Places, workers: Workers, settings: Promotion, order: PromotionOrder) -> list[_Image]:
    named = [Reference.parse_bare(text) for text in order.images]
    whole = [reference.repository for reference in named if not reference.tag and not reference.digest]
    if not settings.name:
        return _distinct([_named(settings, order, reference) for reference in named])
    images = [_named(settings, order, reference) for reference in named if reference.tag or reference.digest]
    if not named:
        whole = _repositories(places, settings)
    target = places.target(settings.source)
    sources = [target.repository(repository) for repository in whole]
    listed = workers.all([(source.location.host, partial(_tags, source)) for source in sources])
    for repository, tags in zip(whole, listed, strict=True):
        images += [_renamed(settings, order, repository, tag) for tag in _selected(settings, tags)]
    if not images:
        raise NotFoundError(
            f"the promotion '{settings.name}' found nothing to promote at '{settings.source}'",
            hint="check its `repositories:` and `tags:` against `ci-registry list`",
        )
    return _distinct(images)


def _distinct(images: Sequence[_Image]) -> list[_Image]:
    return list({(image.repository, image.tag, image.digest): image for image in images}.values())


def _named(settings: Promotion, order: PromotionOrder, reference: Reference) -> _Image:
    if reference.digest is not None:
        own = (reference.tag,) if reference.tag else ()
        return _Image(reference.repository, reference.tag, reference.digest, _new_tags(order.tags or own))
    return _renamed(settings, order, reference.repository, reference.tag or "latest")


def _renamed(settings: Promotion, order: PromotionOrder, repository: str, tag: str) -> _Image:
    new = _new_tags(order.tags or (settings.rename.format_map({"tag": tag}),))
    return _Image(repository, tag, None, new)


def _new_tags(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_tag(tag) for tag in tags))


def _repositories(places: Places, settings: Promotion) -> list[str]:
    selector = settings.repositories
    if selector is None:
        raise UsageError(
            f"the promotion '{settings.name}' names no repositories",
            hint=f"name some on the command line, or set promotions.{settings.name}.repositories",
        )
    known = places.target(settings.source).repositories()
    return matching(known, glob=selector.glob, regex=selector.regex)


def _tags(source: Source) -> list[str]:
    if not isinstance(source, Lister):
        raise UsageError(f"{source.location.name} can't list its tags", hint="name the tags to promote")
    return [tag for tag in source.tags() if not is_referrer_tag(tag)]


def _selected(settings: Promotion, tags: Sequence[str]) -> list[str]:
    selector = settings.tags
    if selector is None:
        return list(tags)
    if selector.semver is not None:
        return newest_versions(tags, selector.semver, selector.newest)
    return matching(tags, glob=selector.glob, regex=selector.regex)


def _wish(places: Places, settings: Promotion, image: _Image) -> Wish:
    source = places.target(settings.source).repository(image.repository)
    if isinstance(source, Remembering):
        source.remember()
    wanted = []
    for name in settings.targets:
        target = places.target(name)
        landed = target.landing(image.repository)
        place = target.repository(landed, writing=True)
        wanted += [Wanted(place, name, landed, tag, tag_rules(places, name)) for tag in image.tags or (None,)]
    return Wish(source, settings.source, image.repository, image.tag, image.digest, tuple(wanted))


def tag_rules(places: Places, target: str) -> TagRules:
    settings = places.target(target).settings
    return TagRules.of(settings.immutable_tags, settings.protected_tags)


# -- carrying out ----------------------------------------------------------------------------------------------------


def apply_plan(
    places: Places,
    plan: Plan,
    digest: str,
    journal: Journal,
    *,
    phase: Phase = "both",
    shard: Shard | None = None,
    is_fresh: bool = False,
    dry_run: bool = False,
    approved_by: str | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> tuple[Receipt, dict[str, int], CiRegistryError | None]:
    """Carry out a plan: its receipt, the counts of what moved, and what it failed with.

    Raises `ConflictError` when a target leads elsewhere than when the plan was made.
    """
    check_pins(places, plan)
    order = ApplyOrder(
        plan,
        digest,
        source_of=lambda source: _source(places, source),
        target_of=lambda arrival: _target(places, arrival),
        prepare=lambda arrival: places.target(arrival.target).prepare_repository(arrival.repository),
        journal=journal,
        tool=TOOL,
        uploads=journal if isinstance(journal, PlanJournal) else None,
        phase=phase,
        shard=shard,
        is_fresh=is_fresh,
        dry_run=dry_run,
        approved_by=approver(places.environ, approved_by),
        build=build_facts(places.environ),
    )
    return apply(order, places.limiter, places.cancel, on_event)


def check_pins(places: Places, plan: Plan) -> None:
    """Raise `ConflictError` when a target's name does not mean here what it meant where the plan was made."""
    for name, pinned in plan.places.items():
        here = pin(places, name)
        if here != pinned:
            raise ConflictError(
                f"the plan does not fit this configuration: target '{name}' is {_place(here)} here, and was "
                f"{_place(pinned)} when the plan was made",
                hint="use the same configuration, or make the plan again",
                target=name,
            )


def _place(pinned: PlacePin) -> str:
    where = re.sub(r"^layout:", "", pinned.registry)
    return f"{pinned.kind} {where}" + (f" (namespace {pinned.namespace})" if pinned.namespace else "")


def _source(places: Places, source: SourceImage) -> Source:
    return places.target(source.target).repository(source.repository)


def _target(places: Places, arrival: Arrival) -> Target:
    return places.target(arrival.target).repository(arrival.repository, writing=True)


def quota_notes(places: Places, plan: Plan) -> list[str]:
    """What the plan's targets said about how many pulls are left, one line each."""
    notes = []
    for name in plan.places:
        ask = getattr(places.target(name), "quota", None)
        quota = ask() if ask is not None else None
        if quota is not None:
            reads = sum(1 for edge in plan.edges if edge.source.target == name)
            notes.append(f"{name}: {quota}; applying this plan reads at least {reads} manifests there")
    return notes
