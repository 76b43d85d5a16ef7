"""Policies, immutable and protected tags, and overriding them."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from ci_registry.engine.policy import Evidence
from ci_registry.ops import policies
from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder

from .conftest import Cli, Configure, outcomes, records, writes

SBOM = "application/vnd.example.sbom.v1"


def release(rules: str) -> str:
    return f"promotions:\n  release:\n    from: dev\n    to: [prod]\n    policies: {rules}\n"


def own_rule(evidence: Evidence) -> tuple[bool, str]:
    return evidence.labels.get("tested") == "yes", "the label tested must be yes"


def broken_rule(evidence: Evidence) -> tuple[bool, str]:
    raise ZeroDivisionError("oh")


def test_every_rule_that_fails_is_named(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    config(release("{require_platforms: [linux/amd64, linux/s390x], require_labels: [maintainer], max_age_days: 30}"))
    dev.load(images.image(), "app", "1")
    ran = ci("plan --promotion release app:1 --save p --output json")
    assert ran.code == 6
    for said in ("require_platforms: it has no image for linux/s390x", "maintainer is not set", "max_age_days: it was"):
        assert said in ran.last
    verdicts = ran.result["plan"]["edges"][0]["verdicts"]
    assert [(each["rule"], each["passed"]) for each in verdicts] == [
        ("require_platforms", False),
        ("require_labels", False),
        ("max_age_days", False),
    ]
    assert not (folder / "p").exists()
    assert ci("promote --promotion release app:1").code == 6
    assert not writes(prod)


def test_content_rules_pass(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(
        release(
            "{require_platforms: [linux/arm64], require_labels: [org.example.team], max_age_days: 100000, "
            f"require_referrers: [{SBOM}], forbid_change_requests: true}}"
        )
    )
    index = images.index(annotations={"org.example.team": "a"})
    dev.load(images.with_referrers(index, [SBOM]), "app", "1")
    ran = ci("promote --promotion release app:1")
    assert ran.code == 0, ran.err
    # What was demanded at the source is brought along.
    assert SBOM in {entry["artifactType"] for entry in prod.repository("app").referrers(index.digest)}


def test_what_refers_to_it(ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder) -> None:
    config(release(f"{{require_referrers: [{SBOM}]}}"))
    dev.load(images.image(), "app", "1")
    ran = ci("plan --promotion release app:1")
    assert ran.code == 6
    assert f"nothing of type {SBOM} refers to it; found: none" in ran.last


def test_no_change_request(
    ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(release("{forbid_change_requests: true}"))
    dev.load(images.image(), "app", "1")
    monkeypatch.setenv("CHANGE_ID", "17")
    ran = ci("plan --promotion release app:1")
    assert ran.code == 6
    assert "this is the build of change request 17" in ran.last


def test_promoted_through_the_stage_before(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(
        "promotions:\n"
        "  staging: {from: dev, to: [prod]}\n"
        "  final: {from: prod, to: [backup], policies: {require_promoted_from: staging}}\n"
    )
    image = images.image()
    dev.load(image, "app", "1")
    prod.load(image, "app", "sneaked")
    refused = ci("plan --promotion final app:sneaked")
    assert refused.code == 6
    assert "the promotion 'staging' has no record for it" in refused.last
    assert ci("promote --promotion staging app:1").code == 0
    assert ci("promote --promotion final app:1").code == 0


def test_forcing_one_rule_is_recorded(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    config(release("{require_labels: [maintainer], max_age_days: 1}"))
    image = images.image()
    dev.load(image, "app", "1")
    forced = '--force max_age_days --reason "hotfix 42"'
    other = ci(f"plan --promotion release app:1 {forced}")
    assert other.code == 6
    assert "require_labels" in other.last
    assert "max_age_days: it" not in other.last
    both = f"{forced} --force require_labels"
    assert ci(f"plan --promotion release app:1 {both} --save p").code == 0
    applied = ci("apply p --output json")
    assert applied.code == 0
    assert applied.result["receipt"]["edges"][0]["forced"] == {
        "max_age_days": "hotfix 42",
        "require_labels": "hotfix 42",
    }
    [entry] = records(prod, "app", image.digest)
    layer = json.loads(prod.repository("app").manifests[entry["digest"]][1])["layers"][0]
    predicate = json.loads(prod.store.blobs[layer["digest"]])["predicate"]
    assert [(each["rule"], each["reason"]) for each in predicate["forced"]] == [
        ("require_labels", "hotfix 42"),
        ("max_age_days", "hotfix 42"),
    ]


@pytest.mark.parametrize(
    "options, said",
    [
        ("--force max_age_days", 'add --reason "..."'),
        ("--reason why", "add --force RULE"),
        ("--force no_such --reason why", "its rules are: immutable_tags"),
    ],
)
def test_forcing_wrongly(ci: Cli, config: Configure, dev: FakeRegistry, options: str, said: str) -> None:
    ran = ci(f"plan app:1 --from dev --to prod {options}")
    assert ran.code == 2
    assert said in ran.last
    assert not dev.requests


@pytest.mark.parametrize(
    "rule, labels, code, said",
    [
        ("own_rule", {"tested": "yes"}, 0, ""),
        ("own_rule", {}, 6, "by mine: the label tested must be yes"),
        ("broken_rule", {}, 6, "the rule broke: ZeroDivisionError: oh"),
        ("no_such_rule", {}, 2, "the policy 'mine' can't be loaded"),
    ],
)
def test_a_rule_of_ones_own(
    ci: Cli,
    config: Configure,
    dev: FakeRegistry,
    images: ImageBuilder,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    labels: dict[str, str],
    code: int,
    said: str,
) -> None:
    point = EntryPoint("mine", f"{__name__}:{rule}", "ci_registry.policies")
    monkeypatch.setattr(policies, "entry_points", lambda group: EntryPoints([point]))
    dev.load(images.image(labels=labels), "app", "1")
    ran = ci("plan app:1 --from dev --to prod")
    assert ran.code == code, ran.err
    assert said in ran.err


class TestTagsThatMustNotMove:
    @pytest.mark.parametrize("rule", ["ecr", "nexus", "harbor", "ours"])
    def test_another_digest_is_a_conflict_and_the_same_is_success(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, rule: str
    ) -> None:
        if rule == "ours":
            config(prod_keys=", immutable_tags: true")
        else:
            prod.immutable = rule
        old, new = images.image(), images.image()
        prod.load(old, "app", "1")
        dev.load(new, "app", "1")
        dev.load(old, "app", "old")
        for command in ("promote app:1 --from dev --to prod", "copy dev:app:1 prod:app:1"):
            ran = ci(command)
            assert ran.code == 5, ran.err
            assert old.digest in ran.last
            assert new.digest in ran.last
        assert prod.repository("app").tags["1"] == old.digest
        same = ci("promote app:old --from dev --to prod --tag 1 --output json")
        assert same.code == 0
        assert outcomes(same) == ["unchanged"]

    @pytest.mark.parametrize("rule", ["ecr", "nexus", "harbor"])
    def test_somebody_else_brings_the_same_at_the_same_time(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, rule: str
    ) -> None:
        prod.immutable = rule
        image = images.image()
        dev.load(image, "app", "1")

        def race(exchange: object, proceed: object) -> object:
            prod.load(image, "app", "1")
            assert callable(proceed)
            return proceed()

        prod.script("PUT", "/manifests/1$", race)  # type: ignore[arg-type]
        ran = ci("promote app:1 --from dev --to prod --output json")
        assert ran.code == 0, ran.err
        assert outcomes(ran) == ["promoted"]

    def test_forced(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config(prod_keys=', immutable_tags: ["v*"]')
        new = images.image()
        prod.load(images.image(), "app", "v1")
        dev.load(new, "app", "v1")
        ran = ci("promote app:v1 --from dev --to prod --force immutable_tags --reason 'the build was broken'")
        assert ran.code == 0, ran.err
        assert prod.repository("app").tags["v1"] == new.digest

    def test_protected_tags_move_by_promotion_alone(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config(prod_keys=', protected_tags: ["stable"]')
        old, new = images.image(), images.image()
        prod.load(old, "app", "stable")
        prod.load(new, "app", "1")
        dev.load(new, "app", "1")
        for command in ("copy dev:app:1 prod:app:stable", "tag prod:app:1 stable"):
            ran = ci(command)
            assert ran.code == 5
            assert "it is protected (protected_tags of target 'prod')" in ran.last
            assert "ci-registry promote" in ran.last
        assert ci("promote app:1 --from dev --to prod --tag stable").code == 0
        assert ci("tag prod:app:1 stable").code == 0
