"""Configured promotions: selectors, templates, many images, few requests."""

from __future__ import annotations

import pytest

from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import ImageBuilder

from .conftest import Cli, Configure, outcomes, writes


def promotion(**keys: str) -> str:
    lines = [f"    {key.rstrip('_')}: {value}" for key, value in {"from_": "dev", "to": "[prod]", **keys}.items()]
    return "promotions:\n  release:\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "tags, rename, expected",
    [
        ('{semver: ">=1.0 <2", newest: 2}', "{tag}", {"v1.10.0", "v1.9.0"}),
        ('{glob: "v1.*"}', "rel-{tag}", {"rel-v1.9.0", "rel-v1.10.0", "rel-v1.0.0"}),
        ('{regex: "v[0-9]+[.]9[.].*"}', "{tag}", {"v1.9.0"}),
    ],
)
def test_selectors_and_rename(
    ci: Cli,
    config: Configure,
    dev: FakeRegistry,
    prod: FakeRegistry,
    images: ImageBuilder,
    tags: str,
    rename: str,
    expected: set[str],
) -> None:
    config(promotion(repositories='{glob: "team/*"}', tags=tags, rename=f'"{rename}"'))
    for tag in ("v1.0.0", "v1.9.0", "v1.10.0", "v2.0.0", "latest"):
        dev.load(images.image(layers=1), "team/app", tag)
    dev.load(images.image(layers=1), "other/app", "v1.9.0")
    ran = ci("promote --promotion release")
    assert ran.code == 0, ran.err
    assert set(prod.repository("team/app").tags) == expected
    assert "other/app" not in prod.store.repositories


def test_a_repository_that_is_named_is_searched_alone(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(promotion(repositories='{glob: "team/*"}', tags='{glob: "v*"}'))
    for repository in ("team/a", "team/b"):
        for tag in ("v1", "w1"):
            dev.load(images.image(layers=1), repository, tag)
    assert ci("promote --promotion release team/a team/b:w1").code == 0
    assert set(prod.repository("team/a").tags) == {"v1"}
    assert set(prod.repository("team/b").tags) == {"w1"}


def test_signatures_and_lists_of_referrers_are_no_images(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(promotion(repositories='{glob: "*"}'))
    dev.referrers_api = False
    dev.load(images.with_referrers(images.with_signature(images.image(layers=1))), "app", "1")
    assert ci("promote --promotion release").code == 0
    assert set(prod.repository("app").tags) == {"1"}


def test_a_template_puts_images_into_repositories_of_its_own(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(promotion(repositories='{glob: "*/*"}'), prod_keys=', repository: "released/{path_dashed}"')
    dev.load(images.image(layers=1), "team/app", "1")
    assert ci("promote --promotion release").code == 0
    assert set(prod.repository("released/team-app").tags) == {"1"}


def test_images_stand_alone_in_a_bulk_promotion(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    config(promotion(repositories='{glob: "*"}'))
    for name in ("a", "b", "c"):
        dev.load(images.image(layers=1), name, "1")
    prod.script("PUT", "/v2/b/manifests/", actions.error(403, "DENIED", "not b"), times=None)
    ran = ci("promote --promotion release --output json")
    assert ran.code == 8
    assert "2 of 3 tags were set and 1 failed" in ran.last
    assert "not b" in ran.last
    assert outcomes(ran) == ["promoted", "failed", "promoted"]


@pytest.mark.parametrize(
    "keys, images_named, said",
    [
        ("", "team-a/app:1 team-b/app:1 --from dev --to prod", None),
        (', repository: "all/{name}"', "team-a/app:1 team-b/app:1 --from dev --to prod", "would both land in"),
        ("", "team-a/app:1 team-a/app:2 --from dev --to prod --tag 9", "would both write prod:team-a/app:9"),
    ],
)
def test_collisions_are_refused_before_anything_is_asked(
    ci: Cli,
    config: Configure,
    dev: FakeRegistry,
    prod: FakeRegistry,
    images: ImageBuilder,
    keys: str,
    images_named: str,
    said: str | None,
) -> None:
    config(prod_keys=keys)
    for repository, tag in (("team-a/app", "1"), ("team-a/app", "2"), ("team-b/app", "1")):
        dev.load(images.image(layers=1), repository, tag)
    ran = ci(f"plan {images_named}")
    if said is None:
        assert ran.code == 0
    else:
        assert ran.code == 2
        assert said in ran.last
        assert not dev.requests


class TestFewRequests:
    """A thousand tags of one repository whose images share five layers."""

    TAGS = 1000

    def load(self, server: FakeRegistry, images: ImageBuilder) -> None:
        shared = [images.layer(100) for _ in range(5)]
        for number in range(self.TAGS):
            server.load(images.image(0, shared=shared), "app", f"v{number}")

    def plan(self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry) -> tuple[int, int]:
        dev.clear()
        prod.clear()
        ran = ci("plan --promotion release --output json")
        assert ran.code == 0, ran.err
        assert len(ran.result["plan"]["edges"]) == self.TAGS
        assert not writes(prod)
        return len(dev.requests), len(prod.requests)

    def test_three_an_edge_at_most(
        self, ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        config(promotion(repositories='{glob: "app"}'))
        self.load(dev, images)
        # Catalog and tags; each manifest and each configuration once. The repository does not exist: one listing says
        # so, and nothing else is asked.
        assert self.plan(ci, dev, prod) == (2 + 2 * self.TAGS, 1)

        # All tags exist and hold something else: one HEAD each, and one for each layer that is shared.
        other = images.image(layers=1)
        for number in range(self.TAGS):
            prod.load(other, "app", f"v{number}")
        source, destination = self.plan(ci, dev, prod)
        assert source == 2 + 2 * self.TAGS
        assert destination == 1 + self.TAGS + 5 + 1  # and the first image's manifest, which has five layers to ask for
        assert source + destination <= 3 * self.TAGS + 10
        assert prod.count("HEAD", "/blobs/") == 5
