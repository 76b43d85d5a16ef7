"""Each mistake its sentence and its exit code."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import ImageBuilder

from .conftest import Cli, Configure, writes


@pytest.fixture
def plan(ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder) -> str:
    """A good plan, as `p`."""
    dev.load(images.image(), "app", "1")
    assert ci("plan app:1 --from dev --to prod --save p").code == 0
    return "p"


def changed(folder: Path, **keys: object) -> None:
    document = json.loads((folder / "p").read_bytes())
    (folder / "p").write_text(json.dumps({**document, **keys}))


@pytest.mark.usefixtures("plan")
class TestPlanFile:
    def test_of_another_version(self, ci: Cli, folder: Path) -> None:
        changed(folder, schema="plan/9", tool="ci-registry 9.1")
        ran = ci("apply p")
        assert ran.code == 2
        assert "p is a plan of another version: it says plan/9, made by ci-registry 9.1" in ran.last

    @pytest.mark.parametrize(
        "content, said",
        [
            ("no JSON", "p is not a plan: it is not JSON"),
            ("[]", "p is not a plan"),
            ('{"schema": "receipt/1"}', "p is not a plan"),
            ('{"schema": "plan/1"}', "p is not a sound plan: Object missing required field `tool`"),
        ],
    )
    def test_that_is_none(self, ci: Cli, folder: Path, content: str, said: str) -> None:
        (folder / "p").write_text(content)
        ran = ci("apply p")
        assert ran.code == 2
        assert said in ran.last

    def test_that_is_not_there(self, ci: Cli) -> None:
        ran = ci("apply nowhere")
        assert ran.code == 2
        assert "there is no file nowhere" in ran.last

    def test_that_is_not_the_expected_one(self, ci: Cli, prod: FakeRegistry) -> None:
        prod.clear()
        ran = ci(f"apply p --expect sha256:{'0' * 64}")
        assert ran.code == 6
        assert "p is not the plan that was expected: it is sha256:" in ran.last
        assert not prod.requests
        assert ci("apply p --expect latest").code == 2

    def test_whose_edge_was_changed_by_hand(self, ci: Cli, folder: Path) -> None:
        document = json.loads((folder / "p").read_bytes())
        document["edges"][0]["arrivals"][0]["after"] = "sha256:" + "0" * 64
        (folder / "p").write_text(json.dumps(document))
        ran = ci("apply p")
        assert ran.code == 2
        assert "which is not its source" in ran.last

    def test_whose_verdicts_refuse_it(self, ci: Cli, folder: Path, prod: FakeRegistry) -> None:
        document = json.loads((folder / "p").read_bytes())
        document["edges"][0]["verdicts"] = [{"rule": "max_age_days", "passed": False, "reason": "too old"}]
        (folder / "p").write_text(json.dumps(document))
        ran = ci("apply p")
        assert ran.code == 6
        assert "by max_age_days: too old" in ran.last
        assert not writes(prod)

    def test_that_is_out_of_date(self, ci: Cli, folder: Path) -> None:
        changed(folder, valid_until="2020-01-01T00:00:00Z")
        ran = ci("apply p")
        assert ran.code == 5
        assert "was valid until 2020-01-01T00:00:00Z" in ran.last

    def test_whose_target_leads_elsewhere_now(
        self, ci: Cli, folder: Path, dev: FakeRegistry, prod: FakeRegistry
    ) -> None:
        file = folder / "ci-registry.yaml"
        file.write_text(file.read_text().replace(prod.url, dev.url))
        ran = ci("apply p")
        assert ran.code == 5
        assert f"target 'prod' is registry {dev.url} here, and was registry {prod.url}" in ran.last

    def test_whose_target_is_not_configured(self, ci: Cli, folder: Path) -> None:
        file = folder / "ci-registry.yaml"
        file.write_text(file.read_text().replace("prod:", "production:"))
        ran = ci("apply p")
        assert ran.code == 4
        assert "there is no target 'prod'" in ran.last

    def test_that_somebody_else_applies(self, ci: Cli, folder: Path, prod: FakeRegistry) -> None:
        with (folder / "p.journal").open("w") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX)
            ran = ci("apply p")
        assert ran.code == 5
        assert "another process is applying it" in ran.last
        assert not writes(prod)

    @pytest.mark.parametrize(
        "options, said",
        [
            ("--phase content --shard 5/4", "there is no shard 5 of 4"),
            ("--phase content --shard 0/4", "there is no shard 0 of 4"),
            ("--phase content --shard two", "'two' is not a shard"),
            ("--shard 1/4", "add --phase content"),
            ("--phase tags --shard 1/4", "add --phase content"),
        ],
    )
    def test_shards_out_of_range(self, ci: Cli, options: str, said: str) -> None:
        ran = ci(f"apply p {options}")
        assert ran.code == 2
        assert said in ran.last

    def test_a_destination_that_vanishes_midway(self, ci: Cli, prod: FakeRegistry) -> None:
        prod.script("PUT", "/manifests/sha256", actions.status(404), times=None)
        ran = ci("apply p")
        assert ran.code == 4
        assert "pushing the manifest" in ran.last
        assert "target" in ran.last

    def test_a_source_that_vanishes(self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry) -> None:
        dev.store.repositories.clear()
        ran = ci("apply p")
        assert ran.code == 4
        assert ran.last.startswith("ERROR source: ")
        assert not writes(prod)


class TestJournal:
    def test_of_another_plan_is_begun_anew(
        self, ci: Cli, plan: str, folder: Path, dev: FakeRegistry, images: ImageBuilder
    ) -> None:
        (folder / "p.journal").write_text(f'{{"journal":1,"plan":"sha256:{"1" * 64}","begun":"2020"}}\n{{"tag":"x"}}\n')
        ran = ci("apply p")
        assert ran.code == 0
        assert "p.journal was about another plan, and is begun anew" in ran.err

    def test_fresh_ignores_it(self, ci: Cli, plan: str, folder: Path, prod: FakeRegistry) -> None:
        prod.script("PUT", "/manifests/1$", actions.status(500), times=20)
        assert ci("apply p").code == 7
        prod.clear()
        before = (folder / "p.journal").read_text()
        assert '"state":"tagging"' in before
        assert ci("apply p --fresh").code == 0

    def test_a_torn_last_line_is_no_trouble(self, ci: Cli, plan: str, folder: Path, prod: FakeRegistry) -> None:
        prod.script("PUT", "/manifests/1$", actions.status(500), times=20)
        assert ci("apply p").code == 7
        prod.clear()
        with (folder / "p.journal").open("a") as journal:
            journal.write('{"tag":"prod:app:1","sta')
        assert ci("apply p").code == 0


class TestOrders:
    @pytest.mark.parametrize(
        "order, code, said",
        [
            ("plan", 2, "nothing was named to promote"),
            ("plan app:1 --from dev", 2, "add --from T and --to U"),
            ("plan app:1 --from dev --to prod --to prod", 2, "a target is named twice"),
            ("plan app:1 --from nowhere --to prod", 4, "there is no target 'nowhere'"),
            ("plan app:none --from dev --to prod", 4, "the registry has no such tag"),
            ("plan none:1 --from dev --to prod", 4, "/none:1 was not found"),
            ("plan app:1 --from dev --to prod --tag no/tag", 2, "'no/tag' is not a valid tag"),
            ("plan --promotion none", 4, "there is no promotion 'none'"),
            ("plan --promotion r --from dev", 2, "leave out --from and --to"),
            ("plan --promotion bare", 2, "names no repositories"),
            ("plan --promotion empty", 4, "found nothing to promote"),
            ("history prod:none:1", 4, "/none:1 was not found"),
            ("history prod:app@sha256:" + "0" * 64, 2, "history is about tags"),
            ("rollback prod:app", 2, "write TARGET:REPOSITORY:TAG"),
            ("receipt merge none.json", 2, "there is no file none.json"),
        ],
    )
    def test_that_make_no_sense(
        self, ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder, order: str, code: int, said: str
    ) -> None:
        config(
            "promotions:\n"
            '  r: {from: dev, to: [prod], repositories: {glob: "*"}}\n'
            "  bare: {from: dev, to: [prod]}\n"
            '  empty: {from: dev, to: [prod], repositories: {glob: "*"}, tags: {semver: ">=9"}}\n'
        )
        dev.load(images.image(), "app", "1")
        ran = ci(order)
        assert ran.code == code, ran.err
        assert said in ran.last

    def test_a_range_that_does_not_parse(self, ci: Cli, config: Configure) -> None:
        config('promotions:\n  r: {from: dev, to: [prod], tags: {semver: ">>1"}}\n')
        ran = ci("plan --promotion r app")
        assert ran.code == 2
        assert "promotions.r.tags.semver" in ran.last

    def test_receipts_of_different_plans(
        self, ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder, folder: Path
    ) -> None:
        dev.load(images.image(), "app", "1")
        for name in ("a", "b"):
            assert ci(f"promote app:1 --from dev --to prod --tag {name} --receipt {name}.json").code == 0
        ran = ci("receipt merge a.json b.json")
        assert ran.code == 2
        assert "a.json and b.json are receipts of different plans" in ran.last
        (folder / "c.json").write_text("{}")
        assert ci("receipt merge a.json c.json").code == 2
