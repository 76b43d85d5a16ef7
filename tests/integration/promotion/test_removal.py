"""delete and prune."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder
from tests.support.spaces import RegistrySpace
from tests.support.validator import validate_registry

from .conftest import Cli, Configure, writes


@pytest.mark.usefixtures("config")
class TestDelete:
    def test_the_tag_alone(self, ci: Cli, prod: FakeRegistry, images: ImageBuilder) -> None:
        image = images.image()
        for tag in ("1", "stable", "latest"):
            prod.load(image, "app", tag)
        dry = ci("delete prod:app:1 --dry-run")
        assert dry.code == 0
        assert "also tagged latest, stable" in dry.out
        unasked = ci("delete prod:app:1")
        assert unasked.code == 2
        assert "add --yes" in unasked.last
        assert not writes(prod)
        ran = ci("delete prod:app:1 --yes --output json")
        assert ran.code == 0, ran.err
        assert ran.result["lines"][0]["done"] is True
        assert set(prod.repository("app").tags) == {"stable", "latest"}
        assert validate_registry(prod.url, "app", "stable").root == image.digest

    def test_where_only_images_can_be_deleted(self, ci: Cli, prod: FakeRegistry, images: ImageBuilder) -> None:
        prod.tag_deletion = False
        image, single = images.image(), images.image()
        for tag in ("1", "2"):
            prod.load(image, "app", tag)
        prod.load(single, "app", "alone")
        shared = ci("delete prod:app:1 --yes")
        assert shared.code == 3
        assert "alone is not possible, and nothing was removed" in shared.last
        assert "2 hold it too" in shared.last
        refused = ci("delete prod:app:1 --yes --image")
        assert refused.code == 5
        assert "the tag 2 holds it" in refused.last
        alone = ci("delete prod:app:alone --yes")
        assert alone.code == 3
        assert "add --image to remove the image itself" in alone.last
        assert set(prod.repository("app").tags) == {"1", "2", "alone"}
        assert ci("delete prod:app:alone --yes --image").code == 0
        assert set(prod.repository("app").tags) == {"1", "2"}
        assert single.digest not in prod.repository("app").manifests

    def test_what_an_index_or_a_record_names_stays(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        child = images.image()
        prod.load(images.index([child]), "app", "multi")
        prod.load(child, "app", "child")
        inside = ci("delete prod:app:child --image --yes")
        assert inside.code == 5
        assert "the index multi contains it" in inside.last
        old, new = images.image(), images.image()
        for tag, image in (("1", old), ("2", new)):
            dev.load(image, "app", tag)
            assert ci(f"promote app:{tag} --from dev --to prod --tag stable --tag {tag}").code == 0
        named = ci("delete prod:app:1 --image --yes")
        assert named.code == 5
        assert "a record of the tag stable names it" in named.last
        assert ci("delete prod:app:1 --yes").code == 0
        assert ci("rollback prod:app:stable").code == 0
        assert prod.repository("app").tags["stable"] == old.digest

    def test_protected_and_unknown_tags(
        self, ci: Cli, config: Configure, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config(prod_keys=', protected_tags: ["release-*"]')
        prod.load(images.image(), "app", "release-1")
        ran = ci("delete prod:app:release-1 --yes")
        assert ran.code == 6
        assert "the tag is protected" in ran.last
        assert ci("delete prod:app:none --yes").code == 4
        assert ci("delete prod:app --yes").code == 2
        assert not writes(prod)

    def test_deletion_that_is_switched_off(self, ci: Cli, prod: FakeRegistry, images: ImageBuilder) -> None:
        prod.deletion = False
        prod.load(images.image(), "app", "1")
        ran = ci("delete prod:app:1 --image --yes")
        assert ran.code == 3
        assert "405" in ran.last


def test_docker_registry_says_why_it_did_nothing(
    ci: Cli, registry: RegistrySpace, images: ImageBuilder, folder: Path
) -> None:
    folder.joinpath("ci-registry.yaml").write_text(f'targets:\n  own: {{kind: registry, url: "{registry.url}"}}\n')
    image = images.image()
    registry.upload(image, "app", "1")
    place = f"own:{registry.repository('app')}:1"
    ran = ci(f"delete {place} --yes")
    assert ran.code == 3
    assert "alone is not possible" in ran.last
    assert registry.validate("app", "1").root == image.digest
    assert ci(f"delete {place} --yes --image").code == 0
    assert registry.validate("app", "1").problems


class TestPrune:
    def load(self, server: FakeRegistry, images: ImageBuilder) -> None:
        for month in range(1, 9):
            image = images.image(1, created=f"2024-0{month}-01T00:00:00Z")
            server.load(image, "app", f"rc-{month}")
            if month == 2:
                server.load(image, "app", "stable")
        server.load(images.image(1), "app", "other")

    def test_old_tags_go_and_what_is_named_stays(
        self, ci: Cli, config: Configure, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config(prod_keys=', protected_tags: ["rc-1"]')
        self.load(prod, images)
        old = prod.repository("app").tags["rc-2"]
        command = "prune prod:app --keep 2 --match 'rc-[0-9]+' --protect rc-6"
        dry = ci(f"{command} --dry-run --output json")
        assert {line["tag"]: line["action"] for line in dry.result["lines"]} == {
            "other": "keep",
            "rc-1": "keep",
            "rc-2": "tag",
            "rc-3": "image",
            "rc-4": "image",
            "rc-5": "image",
            "rc-6": "keep",
            "rc-7": "keep",
            "rc-8": "keep",
            "stable": "keep",
        }
        assert not writes(prod)
        assert ci(command).code == 2
        first = ci(f"{command} --yes --most 1")
        assert first.code == 0
        assert "the limit of 1 in one run is reached" in first.out
        assert "rc-2" not in prod.repository("app").tags
        assert old in prod.repository("app").manifests
        assert ci(f"{command} --yes").code == 0
        assert set(prod.repository("app").tags) == {"other", "rc-1", "rc-6", "rc-7", "rc-8", "stable"}
        assert len(prod.repository("app").manifests) == 6
        for tag in prod.repository("app").tags:
            assert not validate_registry(prod.url, "app", tag).problems

    def test_what_another_tag_may_be_rolled_back_to_stays(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        made = [images.image(1, created=f"2024-0{month}-01T00:00:00Z") for month in (1, 2)]
        for number, image in enumerate(made):
            dev.load(image, "app", f"rc-{number}")
            assert ci(f"promote app:rc-{number} --from dev --to prod --tag live --tag rc-{number}").code == 0
        ran = ci("prune prod:app --keep 0 --match 'rc-.*' --yes")
        assert ran.code == 0
        assert "a record of the tag live names it" in ran.out
        assert set(prod.repository("app").tags) == {"live"}
        assert ci("rollback prod:app:live").code == 0
        assert prod.repository("app").tags["live"] == made[0].digest

    def test_a_folder_gives_its_blobs_back(
        self, ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder, folder: Path
    ) -> None:
        for month in (1, 2):
            dev.load(images.image(1, created=f"2024-0{month}-01T00:00:00Z"), "app", f"v{month}")
            assert ci(f"copy dev:app:v{month} backup:app:v{month}").code == 0
        ran = ci("prune backup:app --keep 1 --match 'v.*' --blobs --yes --output json")
        assert ran.code == 0, ran.err
        assert ci("list backup:app").out.split() == ["v2"]
        assert ci("verify backup:app:v2 --deep").code == 0

    def test_a_registry_collects_its_garbage_itself(
        self, ci: Cli, config: Configure, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        self.load(prod, images)
        ran = ci("prune prod:app --keep 7 --match 'rc-.*' --blobs --yes")
        assert ran.code == 0
        assert "registry garbage-collect" in ran.out

    @pytest.mark.parametrize(
        "options, said",
        [
            ("--keep 1 --match '('", "'(' is not a regular expression"),
            ("--keep -1 --match x", "-1 is not in the range"),
        ],
    )
    def test_wrong_usage(self, ci: Cli, config: Configure, prod: FakeRegistry, options: str, said: str) -> None:
        ran = ci(f"prune prod:app {options} --yes")
        assert ran.code == 2
        assert said in ran.last
