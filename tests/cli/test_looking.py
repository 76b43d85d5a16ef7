"""inspect, list, verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder, upload

from .conftest import Cli


def test_inspect_an_index(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    index = images.index(attestations=True)
    upload(index, targets.url, "app", "1")
    result = ci("inspect", "dev:app:1", "--output", "json").result
    assert result["digest"] == index.digest
    assert "unknown/unknown" not in result["platforms"]
    assert len(result["manifests"]) == len(index.document["manifests"])
    text = ci("inspect", "dev:app:1").out
    assert str(index.digest) in text
    assert "linux/amd64" in text


def test_inspect_an_image_shows_labels_and_layers(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image(layers=2, labels={"org.opencontainers.image.revision": "abc"}, created="2026-01-02T03:04:05Z")
    upload(image, targets.url, "app", "1")
    result = ci("inspect", "dev:app:1", "--output", "json").result
    assert result["labels"] == {"org.opencontainers.image.revision": "abc"}
    assert result["created"] == "2026-01-02T03:04:05Z"
    assert len(result["layers"]) == 2
    assert "org.opencontainers.image.revision=abc" in ci("inspect", "dev:app:1").out


def test_inspect_raw_writes_the_stored_bytes(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    upload(image, targets.url, "app", "1")
    assert ci("inspect", "dev:app:1", "--raw").out.encode() == image.content


def test_inspect_lists_referrers(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.with_referrers(images.image())
    upload(image, targets.url, "app", "1")
    result = ci("inspect", "dev:app:1", "--referrers", "--output", "json").result
    assert {entry["digest"] for entry in result["referrers"]} == {str(each.digest) for each in image.referrers}


def test_list_repositories_and_tags(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    for repository, tag in (("b/app", "2"), ("b/app", "1"), ("a/app", "1")):
        upload(images.image(), targets.url, repository, tag)
    assert ci("list", "dev").out.split() == ["a/app", "b/app"]
    ambiguous = ci("list", f"docker://{targets.host}")
    assert ambiguous.code == 2
    assert "could be any of the targets dev, prod" in ambiguous.last
    assert ci("list", "dev:b/app").out.split() == ["1", "2"]
    missing = ci("list", "dev:c/app")
    assert missing.code == 4
    assert "c/app" in missing.last


@pytest.mark.parametrize("deep", [True, False])
def test_verify(ci: Cli, targets: FakeRegistry, images: ImageBuilder, deep: bool) -> None:
    index = images.index()
    upload(index, targets.url, "app", "1")
    arguments = ("verify", "dev:app:1", *(("--deep",) if deep else ()))
    ran = ci(*arguments, "--output", "json")
    assert ran.code == 0
    assert ran.result["blobs"] == len(index.blobs)
    assert ran.result["manifests"] == len(index.manifests)
    victim = next(iter(index.blobs))
    targets.repository("app").blobs.remove(str(victim))
    ran = ci(*arguments, "--output", "json")
    assert ran.code == 6
    assert ran.document["error"]["code"] == "check-failed"
    assert any(str(victim) in problem for problem in ran.result["problems"])
    assert "is missing" in ran.last


def test_a_loopback_registry_may_speak_plain_http_with_one_notice(
    ci: Cli, fake_registry: FakeRegistry, images: ImageBuilder
) -> None:
    upload(images.image(), fake_registry.url, "app", "1")
    ran = ci("inspect", f"docker://{fake_registry.host}/app:1")
    assert ran.code == 0
    assert ran.err.count("speaks plain HTTP") == 1


def test_https_against_plain_http_names_the_change(ci: Cli, folder: Path, fake_registry: FakeRegistry) -> None:
    (folder / "ci-registry.yaml").write_text(
        f"targets: {{dev: {{kind: registry, url: 'https://{fake_registry.host}', retry_seconds: 0}}}}\n"
    )
    ran = ci("list", "dev:app")
    assert ran.code == 7
    assert "answers in plain HTTP" in ran.last
    assert f"http://{fake_registry.host}" in ran.last


def test_the_python_api_does_the_same(folder: Path, targets: FakeRegistry, images: ImageBuilder) -> None:
    import ci_registry

    image = images.image()
    upload(image, targets.url, "dev/app", "1")
    seen: list[str] = []
    with ci_registry.Session.from_file() as session:
        report = session.push("dev:dev/app:1", ["prod", "backup"], on_event=lambda event: seen.append(event.kind))
        assert {each.outcome for each in report.images[0].destinations} == {"copied"}
        assert session.inspect("backup:dev/app:1").digest == image.digest
        assert session.list("backup").repositories == ["dev/app"]
        assert not session.verify("backup:dev/app:1", deep=True).problems
        session.tag("backup:dev/app:1", ["stable"])
        receipt = session.promote("dev/app:1", source="dev", targets=["backup"], tags=["promoted"], approved_by="Ann")
        assert [line.outcome for edge in receipt.edges for line in edge.arrivals] == ["promoted"]
        assert session.inspect("backup:dev/app:promoted").digest == image.digest
        with pytest.raises(ci_registry.CiRegistryError) as caught:
            session.copy("dev:dev/none:1", "backup:none:1")
    assert caught.value.exit_code == 4
    assert "tagged" in seen
