"""Records, history, rollback and diff."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.cli import run_cli
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import ImageBuilder
from tests.support.spaces import RegistrySpace

from .conftest import RECORD_TYPE, Cli, Configure, records, writes

JENKINS = {
    "JOB_NAME": "team/app",
    "BUILD_NUMBER": "42",
    "BUILD_URL": "https://jenkins.example.org/job/team/42/",
    "GIT_URL": "https://someone:hunter2secret@git.example.org/app.git",
    "GIT_COMMIT": "0123456789abcdef",
    "CI_REGISTRY_CAUSE": "Started by timer",
    "AWS_SECRET_ACCESS_KEY": "not-for-records",
    "MY_OWN_VARIABLE": "nor-this",
}


def statement(server: FakeRegistry, repository: str, record: str) -> dict[str, object]:
    document = json.loads(server.repository(repository).manifests[record][1])
    content = server.store.blobs[document["layers"][0]["digest"]]
    loaded: dict[str, object] = json.loads(content)
    return loaded


@pytest.mark.usefixtures("config")
class TestRecords:
    def test_it_says_who_what_and_why_and_nothing_else_of_the_environment(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in JENKINS.items():
            monkeypatch.setenv(name, value)
        old = images.image()
        new = images.image(labels={"org.opencontainers.image.revision": "c0ffee"})
        prod.load(old, "app", "1")
        dev.load(new, "app", "1")
        ran = ci("promote app:1 --from dev --to prod --approved-by 'Ann Example' --output json")
        assert ran.code == 0, ran.err
        [entry] = records(prod, "app", new.digest)
        assert ran.result["receipt"]["edges"][0]["arrivals"][0]["record"] == entry["digest"]
        said = statement(prod, "app", entry["digest"])
        assert said["_type"] == "https://in-toto.io/Statement/v1"
        assert said["subject"] == [{"name": f"{prod.host}/app", "digest": {"sha256": new.digest.hex}}]
        predicate = said["predicate"]
        assert isinstance(predicate, dict)
        assert predicate["approvedBy"] == "Ann Example"
        assert predicate["previous"] == old.digest
        assert predicate["commit"] == "c0ffee"
        assert predicate["plan"] == ran.result["receipt"]["plan"]
        assert predicate["tool"].startswith("ci-registry ")
        assert predicate["build"] == {
            **{name: JENKINS[name] for name in ("JOB_NAME", "BUILD_NUMBER", "BUILD_URL", "GIT_COMMIT")},
            "GIT_URL": "https://git.example.org/app.git",
            "CI_REGISTRY_CAUSE": "Started by timer",
        }
        stored = b"".join(prod.store.blobs.values()) + b"".join(c for _, c in prod.repository("app").manifests.values())
        for secret in (b"hunter2secret", b"not-for-records", b"nor-this"):
            assert secret not in stored

    def test_a_record_that_cant_be_written_is_reported(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        image = images.image()
        dev.load(image, "app", "1")
        prod.script("PUT", "/manifests/sha256", actions.error(403, "DENIED", "no artifacts here"), nth=2)
        ran = ci("promote app:1 --from dev --to prod --output json")
        assert ran.code == 0
        assert "WARN the record of" in ran.err
        assert "no artifacts here" in ran.result["receipt"]["edges"][0]["arrivals"][0]["record_problem"]
        assert prod.repository("app").tags["1"] == image.digest

    def test_a_record_that_is_required(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config("promotions:\n  r:\n    from: dev\n    to: [prod]\n    policies: {require_record: true}\n")
        image = images.image()
        dev.load(image, "app", "1")
        assert ci("plan --promotion r app:1 --save p").code == 0
        prod.script("PUT", "/manifests/sha256", actions.error(403, "DENIED", "no artifacts here"), nth=2)
        ran = ci("apply p")
        assert ran.code == 7
        assert "its record, which is required, could not be written" in ran.last
        assert not records(prod, "app", image.digest)
        assert ci("apply p").code == 0
        assert len(records(prod, "app", image.digest)) == 1

    def test_copies_leave_records_where_they_are(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
    ) -> None:
        dev.load(images.with_referrers(images.image()), "app", "1")
        assert ci("promote app:1 --from dev --to prod --referrers").code == 0
        assert ci("copy prod:app:1 backup:copied:1 --referrers").code == 0
        listed = ci("inspect backup:copied:1 --referrers --output json").result["referrers"]
        assert len(listed) == 2
        assert RECORD_TYPE not in {each["artifact_type"] for each in listed}


@pytest.mark.usefixtures("config")
class TestHistory:
    def test_moves_gaps_and_rollback(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        one, two, three, alien = images.image(), images.image(), images.image(), images.image()
        for tag, image in (("1", one), ("2", two), ("3", three)):
            dev.load(image, "app", tag)
        for tag in ("1", "2"):
            assert ci(f"promote app:{tag} --from dev --to prod --tag stable --tag {tag}").code == 0
        prod.load(alien, "app", "stable")
        assert ci("promote app:3 --from dev --to prod --tag stable").code == 0

        entries = ci("history prod:app:stable --output json").result["entries"]
        assert [(entry["digest"], entry["gap"]) for entry in entries] == [
            (three.digest, False),
            (alien.digest, True),
            (two.digest, False),
            (one.digest, False),
        ]
        assert [entry["previous"] for entry in entries] == [alien.digest, None, one.digest, None]
        shown = ci("history prod:app:stable").out
        assert "moved by somebody else" in shown
        assert "they are evidence, and no proof" in shown

        back = ci("rollback prod:app:stable --output json")
        assert back.code == 0, back.err
        assert prod.repository("app").tags["stable"] == alien.digest
        assert back.result["receipt"]["kind"] == "rollback"
        refused = ci("rollback prod:app:stable --digest sha256:" + "0" * 64)
        assert refused.code == 4
        # The record of the rollback says where the tag came from, so another one goes back there.
        assert ci("rollback prod:app:stable").code == 0
        assert prod.repository("app").tags["stable"] == three.digest
        kinds = [e["kind"] for e in ci("history prod:app:stable --output json").result["entries"]]
        assert kinds == ["rollback", "rollback", "promotion", None, "promotion", "promotion"]

    def test_of_all_tags(self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder) -> None:
        dev.load(images.image(), "app", "1")
        prod.load(images.image(), "app", "foreign")
        assert ci("promote app:1 --from dev --to prod --tag a --tag b").code == 0
        entries = ci("history prod:app --output json").result["entries"]
        assert [(entry["tag"], entry["gap"]) for entry in entries] == [("a", False), ("b", False), ("foreign", True)]

    def test_nothing_to_roll_back_to(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        dev.load(images.image(), "app", "1")
        prod.load(images.image(), "app", "alien")
        assert ci("promote app:1 --from dev --to prod").code == 0
        first = ci("rollback prod:app:1")
        assert first.code == 4
        assert "it held nothing before its promotion" in first.last
        alien = ci("rollback prod:app:alien")
        assert alien.code == 4
        assert "which no promotion has put there" in alien.last
        assert "--digest" in alien.last

    def test_a_dry_run_of_a_rollback_writes_nothing(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        old, new = images.image(), images.image()
        dev.load(old, "app", "1")
        dev.load(new, "app", "2")
        for tag in ("1", "2"):
            assert ci(f"promote app:{tag} --from dev --to prod --tag s").code == 0
        prod.clear()
        ran = ci("rollback prod:app:s --dry-run --output json")
        assert ran.result["plan"]["edges"][0]["arrivals"][0]["after"] == old.digest
        assert not writes(prod)


def test_from_a_clean_home_against_docker_registry(
    registry: RegistrySpace, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No referrers API there: the fallback tag lists the records."""
    one, two = images.index(layers=1), images.image()
    registry.upload(one, "dev/app", "1")
    registry.upload(two, "dev/app", "2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ci-registry.yaml").write_text(
        f'targets:\n  dev: {{kind: registry, url: "{registry.url}"}}\n'
        f'  prod: {{kind: registry, url: "{registry.url}", repository: "{registry.prefix}/prod/{{name}}"}}\n'
    )
    source, target = registry.repository("dev/app"), f"prod:{registry.repository('prod/app')}"
    for tag in ("1", "2"):
        moved = run_cli(monkeypatch, "promote", f"{source}:{tag}", "--from", "dev", "--to", "prod", "--tag", "live")
        assert moved.code == 0, moved.err

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(elsewhere))
    place = f"docker://{registry.host}/{registry.repository('prod/app')}:live"
    shown = run_cli(monkeypatch, "history", place, "--output", "json")
    assert [entry["digest"] for entry in shown.result["entries"]] == [two.digest, one.digest]
    assert not any(entry["gap"] for entry in shown.result["entries"])

    os.replace(tmp_path / "ci-registry.yaml", elsewhere / "ci-registry.yaml")
    back = run_cli(monkeypatch, "rollback", f"{target}:live")
    assert back.code == 0, back.err
    assert registry.validate("prod/app", "live").root == one.digest


@pytest.mark.usefixtures("config")
def test_diff(ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder) -> None:
    same, old, new = images.image(), images.image(), images.image()
    for server, tags in ((dev, {"1": same, "2": new, "3": new}), (prod, {"1": same, "2": old, "x": old})):
        for tag, image in tags.items():
            server.load(image, "app", tag)
    dev.load(new, "fresh", "1")
    prod.load(old, "other", "1")
    ran = ci("diff --from dev --to prod --output json")
    assert ran.code == 0
    assert ran.result["same"] == 1
    assert [(line["state"], line["repository"], line["tag"]) for line in ran.result["lines"]] == [
        ("different", "app", "2"),
        ("missing", "app", "3"),
        ("extra", "app", "x"),
        ("missing", "fresh", "1"),
        ("extra", "other", "1"),
    ]
    assert not writes(dev)
    assert not writes(prod)
    checked = ci("diff --from dev --to prod --check app")
    assert checked.code == 6
    assert "1 missing, 1 different, 1 extra" in checked.last
    assert "different  prod:app:2" in checked.out
    assert ci("diff --from dev --to prod --check other").code == 6
    named = ci("diff --from dev --to prod app:1")
    assert named.code == 2
