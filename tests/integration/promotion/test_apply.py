"""plan, apply and promote, from the command line to registries."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Exchange, Reply
from tests.support.images import ImageBuilder
from tests.support.process import wait_until
from tests.support.spaces import RegistrySpace
from tests.support.validator import validate_layout, validate_registry

from .conftest import Cli, Configure, outcomes, records, writes


@pytest.mark.usefixtures("config")
class TestPlanAndApply:
    def test_a_plan_is_saved_shown_and_applied(
        self, ci: Cli, folder: Path, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        index = images.index(shared_layers=1)
        dev.load(index, "team/app", "1.2")
        planned = ci("plan team/app:1.2 --from dev --to prod --to backup --save p.plan")
        assert planned.code == 0, planned.err
        name = hashlib.sha256((folder / "p.plan").read_bytes()).hexdigest()
        assert planned.out.splitlines()[-1] == f"plan sha256:{name}"
        assert "linux/amd64,linux/arm64/v8,linux/arm/v7" in planned.out
        assert "prod:team/app:1.2" in planned.out
        assert not writes(prod)
        assert not (folder / "backup").exists()
        content = (folder / "p.plan").read_bytes()
        assert content == json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()

        applied = ci("apply", "p.plan", "--expect", f"sha256:{name}", "--output", "json", "--receipt", "r.json")
        assert applied.code == 0, applied.err
        assert applied.result["receipt"] == json.loads((folder / "r.json").read_text())
        assert outcomes(applied) == ["promoted", "promoted"]
        assert validate_registry(prod.url, "team/app", "1.2").root == index.digest
        assert not validate_layout(folder / "backup/team/app/_layout", tag="1.2").problems
        assert not (folder / "p.plan.journal").exists()

    def test_applying_again_does_nothing(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        dev.load(images.image(), "app", "1")
        assert ci("plan app:1 --from dev --to prod --save p").code == 0
        assert ci("apply p").code == 0
        prod.clear()
        again = ci("apply p --output json")
        assert again.code == 0
        assert "nothing to do: everything is there already" in again.err
        assert outcomes(again) == ["unchanged"]
        assert prod.requests
        assert not writes(prod)

    def test_the_source_tag_moved(self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder) -> None:
        old, new = images.image(), images.image()
        dev.load(old, "app", "1")
        assert ci("plan app:1 --from dev --to prod --save p").code == 0
        dev.load(new, "app", "1")
        ran = ci("apply p")
        assert ran.code == 5
        assert old.digest in ran.last
        assert new.digest in ran.last
        assert not writes(prod)

    def test_the_destination_tag_moved(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        wanted, other = images.image(), images.image()
        dev.load(wanted, "app", "1")
        assert ci("plan app:1 --from dev --to prod --save p").code == 0
        prod.load(other, "app", "1")
        ran = ci("apply p")
        assert ran.code == 5
        assert f"holds {other.digest}" in ran.last
        assert wanted.digest in ran.last
        assert "found nothing there" in ran.last
        assert prod.repository("app").tags["1"] == other.digest

    def test_a_tag_that_moves_while_content_is_copied(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        wanted, other = images.image(), images.image()
        dev.load(wanted, "app", "1")
        assert ci("plan app:1 --from dev --to prod --save p").code == 0
        prod.script("PUT", "/manifests/sha256", actions.calling(lambda: prod.load(other, "app", "1")))
        ran = ci("apply p")
        assert ran.code == 5
        assert other.digest in ran.last
        assert prod.repository("app").tags["1"] == other.digest

    def test_promote_in_one_go_and_its_dry_run(
        self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
    ) -> None:
        image = images.image()
        dev.load(image, "app", "1.2")
        dry = ci("promote app:1.2 --from dev --to prod --dry-run --output json")
        assert dry.code == 0
        assert dry.document["schema"] == "plan/1"
        moves = dry.result["plan"]["edges"][0]["arrivals"][0]["moves"]
        assert moves["copy_blobs"] == 4
        assert not writes(prod)
        assert not writes(dev)
        ran = ci("promote app:1.2 --from dev --to prod --tag 1.2 --tag stable")
        assert ran.code == 0, ran.err
        assert "dev:app:1.2 -> prod:app:stable" in ran.err
        assert prod.repository("app").tags.items() >= {"1.2": image.digest, "stable": image.digest}.items()
        assert prod.count("PUT", "/blobs/uploads/", 201) == 4 + 3  # the image's, and two records with one config

    def test_by_digest_alone(self, ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder) -> None:
        image = images.image()
        dev.load(image, "app", "1")
        ran = ci("promote", f"app@{image.digest}", "--from", "dev", "--to", "prod")
        assert ran.code == 0, ran.err
        assert image.digest in prod.repository("app").manifests
        assert not prod.repository("app").tags

    def test_each_source_blob_is_read_once_for_three_destinations(
        self, ci: Cli, folder: Path, config: Configure, dev: FakeRegistry, images: ImageBuilder
    ) -> None:
        image = images.image(layers=4)
        dev.load(image, "app", "1")
        with FakeRegistry() as third, FakeRegistry() as fourth:
            config(
                f'  third: {{kind: registry, url: "{third.url}"}}\n  fourth: {{kind: registry, url: "{fourth.url}"}}\n'
            )
            assert ci("plan app:1 --from dev --to third --to fourth --to backup --save p").code == 0
            dev.clear()
            assert ci("apply p").code == 0
            for server in (third, fourth):
                assert not validate_registry(server.url, "app", "1").problems
        assert sorted(request.path for request in dev.matching("GET", "/blobs/")) == sorted(
            f"/v2/app/blobs/{digest}" for digest in image.blobs
        )


@pytest.mark.parametrize("atomic, code", [("plan", 7), ("image", 8)])
def test_one_destination_down(
    ci: Cli,
    folder: Path,
    config: Configure,
    dev: FakeRegistry,
    prod: FakeRegistry,
    images: ImageBuilder,
    atomic: str,
    code: int,
) -> None:
    with FakeRegistry() as down:
        config(f'  down: {{kind: registry, url: "{down.url}", retry_seconds: 0}}\n')
        dev.load(images.image(), "app", "1")
        order = f"app:1 --from dev --to prod --to down --to backup --atomic {atomic} --save p"
        assert ci("plan", order).code == 0
    ran = ci("apply p --receipt r.json")
    assert ran.code == code, ran.err
    assert "connection refused" in ran.last
    assert ("1" in prod.repository("app").tags) is (atomic == "image")
    receipt = json.loads((folder / "r.json").read_text())
    found = [line["outcome"] for line in receipt["edges"][0]["arrivals"]]
    done = "promoted" if atomic == "image" else "content"
    assert found == [done, "failed", done]
    assert "apply the same plan again" in receipt["advice"]


@pytest.mark.usefixtures("config")
def test_tags_are_put_back_when_one_is_refused(
    ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    old, new = images.image(), images.image()
    prod.load(old, "app", "a")
    prod.load(old, "app", "z")
    dev.load(new, "app", "1")
    assert ci("plan app:1 --from dev --to prod --tag a --tag new --tag z --save p").code == 0
    tags = prod.repository("app").tags

    def refuse_when_the_others_are_set(exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
        wait_until(lambda: tags.get("a") == tags.get("new") == new.digest, "the other tags")
        return actions.error(403, "DENIED", "not this one")(exchange, proceed)

    prod.script("PUT", "/manifests/z$", refuse_when_the_others_are_set, times=None)
    ran = ci("apply p --receipt r.json")
    assert ran.code == 8
    assert "not this one" in ran.last
    receipt = json.loads((folder / "r.json").read_text())
    found = {line["tag"]: line["outcome"] for line in receipt["edges"][0]["arrivals"]}
    assert found == {"a": "put-back", "new": "promoted", "z": "failed"}
    assert tags == {"a": old.digest, "new": new.digest, "z": old.digest}
    assert len(records(prod, "app", new.digest)) == 1


@pytest.mark.usefixtures("config")
def test_nothing_is_put_back_where_another_try_may_help(
    ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    old, new = images.image(), images.image()
    for tag in ("a", "b"):
        prod.load(old, "app", tag)
    dev.load(new, "app", "1")
    assert ci("plan app:1 --from dev --to prod --tag a --tag b --save p").code == 0
    failing = prod.script("PUT", "/manifests/b$", actions.status(500), times=None)
    ran = ci("apply p")
    assert ran.code in (7, 8)
    assert prod.repository("app").tags["b"] == old.digest
    assert prod.repository("app").tags["a"] == (new.digest if ran.code == 8 else old.digest)
    failing.times = 0
    assert ci("apply p").code == 0
    assert {prod.repository("app").tags[tag] for tag in ("a", "b")} == {new.digest}
    assert len(records(prod, "app", new.digest)) == 2


def test_against_docker_registry_with_the_fallback_tag(
    ci: Cli, folder: Path, registry: RegistrySpace, images: ImageBuilder, clean_environment: Path
) -> None:
    folder.joinpath("ci-registry.yaml").write_text(
        f'targets:\n  dev: {{kind: registry, url: "{registry.url}"}}\n'
        f'  prod: {{kind: registry, url: "{registry.url}", repository: "{registry.prefix}/prod/{{name}}"}}\n'
    )
    image = images.index(layers=1)
    registry.upload(image, "app", "1.2")
    ran = ci("promote", f"{registry.repository('app')}:1.2", "--from", "dev", "--to", "prod")
    assert ran.code == 0, ran.err
    found = registry.validate("prod/app", "1.2", referrers=True)
    assert found.root == image.digest
    assert not found.problems
    assert len(found.referrers) == 1


@pytest.mark.usefixtures("config")
def test_a_signal_leaves_everything_ready_to_go_on(
    ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    image = images.image([images.layer(3 << 20, opaque=True)])
    dev.load(image, "app", "1")
    assert ci("plan app:1 --from dev --to prod --save p").code == 0
    started: list[subprocess.Popen[bytes]] = []

    def act(exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
        if (exchange.content_length or 0) < 3 << 20:
            return proceed()
        exchange.break_after = 1 << 20
        try:
            return proceed()
        finally:
            started[0].send_signal(signal.SIGTERM)
            started[0].wait(20)

    prod.script("PUT", "/blobs/uploads/", act, times=None)
    command = [sys.executable, "-m", "ci_registry", "apply", "p", "--receipt", "r.json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    assert started[0].wait(30) == 143
    assert "apply the same plan again to go on" in json.loads((folder / "r.json").read_text())["advice"]
    assert prod.open_sessions == 1
    prod.clear()
    assert ci("apply p").code == 0
    assert prod.count("GET", "/blobs/uploads/", 204) == 1
    assert prod.open_sessions == 0
    assert validate_registry(prod.url, "app", "1").root == image.digest


@pytest.mark.usefixtures("config")
def test_a_dry_run_of_apply_writes_nothing(
    ci: Cli, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder, folder: Path
) -> None:
    dev.load(images.image(), "app", "1")
    assert ci("plan app:1 --from dev --to prod --save p").code == 0
    ran = ci("apply p --dry-run --output json")
    assert ran.code == 0
    assert ran.result["dry_run"] is True
    assert outcomes(ran) == ["not-run"]
    assert "dev:app:1 -> prod:app:1 (dry run)" in ran.err
    assert not writes(prod)
    assert not (folder / "p.journal").exists()


@pytest.mark.usefixtures("config")
def test_a_dry_run_says_how_many_pulls_are_left(ci: Cli, dev: FakeRegistry, images: ImageBuilder) -> None:
    def limited(_exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
        reply = proceed()
        assert reply is not None
        reply.headers.update({"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "42;w=21600"})
        return reply

    dev.load(images.image(), "app", "1")
    dev.script("*", "/manifests/", limited, times=None)
    ran = ci("promote app:1 --from dev --to prod --dry-run --output json")
    assert ran.code == 0
    [note] = ran.result["notes"]
    assert note.startswith("dev: 42 of 100 pulls in 6 hours are left")
    assert note in ran.err
