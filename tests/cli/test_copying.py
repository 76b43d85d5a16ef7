"""push, pull, copy, tag, index create, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder, upload, write_layout
from tests.support.validator import validate_layout, validate_registry

from .conftest import Cli


def test_push_prints_each_pushed_reference_and_nothing_else(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    image = images.index()
    write_layout(image, folder / "hello", "1.0")
    where = ("--repository", "team/app", "--to", "dev", "--target", "backup")
    ran = ci("push", "oci:hello:1.0", *where, "--tag", "a", "--tag", "b")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{targets.host}/dev/team/app@{image.digest}",
        f"backup/team/app@{image.digest}",
    ]
    assert f"oci:hello:1.0 -> {targets.host}/dev/team/app:a" in ran.err
    for tag in ("a", "b"):
        assert not validate_registry(targets.url, "dev/team/app", tag).problems
        assert not validate_layout(folder / "backup/team/app/_layout", tag=tag).problems


def test_push_lands_under_the_namespace(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    upload(image, targets.url, "dev/team/app", "1")
    ran = ci("push", "dev:dev/team/app:1", "--target", "prod")
    assert ran.code == 0
    assert ran.out.strip() == f"{targets.host}/prod/dev/team/app@{image.digest}"


def test_push_of_a_source_without_a_name_wants_a_repository(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    write_layout(images.image(), folder / "hello", "1.0")
    ran = ci("push", "oci:hello:1.0", "--target", "dev")
    assert ran.code == 2
    assert ran.last == "ERROR the source has no name; give it one with --repository NAME."
    assert not targets.requests


def test_push_writes_the_digest_file(ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path) -> None:
    image = images.image()
    write_layout(image, folder / "hello", "1")
    ran = ci("push", "oci:hello", "--repository", "app", "--target", "dev", "--digest-file", "digest.txt")
    assert ran.code == 0
    assert (folder / "digest.txt").read_text() == f"{image.digest}\n"


@pytest.mark.parametrize("command", ["push", "copy", "copy --all-tags", "tag", "index create", "pull"])
def test_a_dry_run_reads_for_real_and_writes_nothing(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path, command: str
) -> None:
    upload(images.image(), targets.url, "dev/app", "1")
    before = len(targets.requests)
    arguments = {
        "push": ("push", "dev:dev/app:1", "--target", "prod", "--target", "backup"),
        "copy": ("copy", "dev:dev/app:1", "prod:prod/app:1"),
        "copy --all-tags": ("copy", "dev:dev/app", "prod:prod/app", "--all-tags"),
        "tag": ("tag", "dev:dev/app:1", "stable"),
        "index create": ("index", "create", "prod:prod/app:1", "dev:dev/app:1"),
        "pull": ("pull", "dev:dev/app:1", "oci:pulled:1"),
    }[command]
    ran = ci(*arguments, "--dry-run", "--output", "json")
    assert ran.code == 0
    assert ran.result["dry_run"] is True
    made = targets.requests[before:]
    assert made
    assert {request.method for request in made} <= {"GET", "HEAD"}
    assert not (folder / "backup").exists()
    assert not (folder / "pulled").exists()


def test_a_dry_run_counts_what_would_move(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image(layers=2)
    upload(image, targets.url, "dev/app", "1")
    ran = ci("copy", "dev:dev/app:1", "backup:app:1", "--dry-run", "--output", "json")
    assert ran.result["counts"]["blobs_copied"] == 3
    assert "would copy 3 blobs" in ran.err
    mounted = ci("copy", "dev:dev/app:1", "prod:prod/app:1", "--dry-run", "--output", "json")
    assert mounted.result["counts"]["blobs_mounted"] == 3


def test_tag_moves_no_byte(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.index()
    upload(image, targets.url, "dev/app", "1")
    before = len(targets.requests)
    assert ci("tag", "dev:dev/app:1", "stable", "latest").code == 0
    assert not [request for request in targets.requests[before:] if "/blobs/" in request.path]
    for tag in ("stable", "latest"):
        assert validate_registry(targets.url, "dev/app", tag).root == image.digest


def test_moving_an_immutable_tag_is_a_conflict_that_names_both_digests(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder
) -> None:
    old, new = images.image(), images.image()
    upload(old, targets.url, "prod/app", "v1")
    upload(new, targets.url, "dev/app", "v1")
    ran = ci("copy", "dev:dev/app:v1", "prod:prod/app:v1")
    assert ran.code == 5
    assert old.digest in ran.last
    assert new.digest in ran.last
    assert "immutable" in ran.last
    assert validate_registry(targets.url, "prod/app", "v1").root == old.digest
    assert ci("copy", f"dev:dev/app@{new.digest}", "prod:prod/app:w1").code == 0
    upload(old, targets.url, "dev/app", "v1")
    again = ci("copy", "dev:dev/app:v1", "prod:prod/app:v1", "--output", "json")
    assert again.code == 0
    assert again.result["images"][0]["destinations"][0]["outcome"] == "unchanged"


def test_copy_all_tags(ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path) -> None:
    for tag in ("1", "2", "3"):
        upload(images.image(), targets.url, "dev/app", tag)
    ran = ci("copy", "dev:dev/app", "backup:app", "--all-tags")
    assert ran.code == 0
    assert ci("list", "backup:app").out.split() == ["1", "2", "3"]
    assert "dev:dev/app -> backup:app (3 tags)" in ran.err


@pytest.mark.parametrize("referrers", [True, False])
def test_all_tags_leaves_signatures_to_referrers(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder, referrers: bool
) -> None:
    image = images.with_signature(images.image())
    upload(image, targets.url, "dev/app", "1")
    ran = ci("copy", "dev:dev/app", "backup:app", "--all-tags", *(["--referrers"] if referrers else []))
    assert ran.code == 0
    tags = ci("list", "backup:app").out.split()
    assert "1" in tags
    assert (len(tags) > 1) == referrers
    assert ("are left out; --referrers brings them" in ran.err) != referrers


def test_copy_brings_one_platform_of_an_index(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    index = images.index(attestations=True)
    upload(index, targets.url, "dev/app", "1")
    assert ci("copy", "dev:dev/app:1", "backup:app:amd", "--platform", "linux/amd64").code == 0
    inspected = ci("inspect", "backup:app:amd", "--output", "json").result
    assert inspected["platforms"] == ["linux/amd64"]
    ran = ci("copy", "dev:dev/app:1", "backup:app:s390", "--platform", "linux/s390x")
    assert ran.code == 4
    assert "its platforms are: linux/amd64" in ran.last


def test_index_create_joins_images_of_several_agents(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    for tag, platform in (("amd", "linux/amd64"), ("arm", "linux/arm64")):
        upload(images.image(platform=platform), targets.url, "dev/app", tag)
    ran = ci("index", "create", "prod:prod/app:v2", "dev:dev/app:amd", "dev:dev/app:arm", "--output", "json")
    assert ran.code == 0
    assert ran.result["images"][0]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert not validate_registry(targets.url, "prod/app", "v2").problems
    again = ci("index", "create", "prod:prod/app:v2", "dev:dev/app:amd", "dev:dev/app:arm", "--output", "json")
    assert again.result["images"][0]["destinations"][0]["outcome"] == "unchanged"
    twice = ci("index", "create", "prod:prod/app:w", "dev:dev/app:amd", "dev:dev/app:amd")
    assert twice.code == 0
    upload(images.image(platform="linux/amd64"), targets.url, "dev/app", "other")
    two = ci("index", "create", "prod:prod/app:x", "dev:dev/app:amd", "dev:dev/app:other")
    assert two.code == 2
    assert "two images are for linux/amd64" in two.last


def test_one_target_down_the_other_arrives(ci: Cli, targets: FakeRegistry, images: ImageBuilder, folder: Path) -> None:
    image = images.image()
    upload(image, targets.url, "dev/app", "1")
    with (folder / "ci-registry.yaml").open("a") as file:
        file.write('  down: {kind: registry, url: "http://127.0.0.1:1", retry_seconds: 0}\n')
    ran = ci("push", "dev:dev/app:1", "--target", "down", "--target", "backup")
    assert ran.code == 8
    assert "1 of 2 copies arrived and 1 failed" in ran.last
    assert "connection refused" in ran.last
    assert ran.out.strip() == f"backup/dev/app@{image.digest}"
