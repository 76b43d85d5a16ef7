"""Images of a real docker daemon pushed to a real registry: digests, what is sent again, and what is not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ci_registry.adapters.docker_engine import DockerEngine
from ci_registry.errors import CiRegistryError, NotFoundError
from ci_registry.model.manifest import DOCKER_MANIFEST, Manifest
from ci_registry.model.reference import Reference
from ci_registry.ops.ledger import Ledger
from ci_registry.targets.archive import open_archive
from ci_registry.targets.base import Source, Target
from ci_registry.targets.daemon import DaemonImage
from ci_registry.targets.layout import LayoutRepository
from ci_registry.targets.prepared import PrepareEvent
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support.dockerd import Dockerd
from tests.support.images import ImageBuilder
from tests.support.places import copy_root, opened
from tests.support.skopeo import skopeo_config, skopeo_raw
from tests.support.spaces import RegistrySpace


class Pushing:
    """Pushes images of the daemon, and tells what that took."""

    def __init__(self, dockerd: Dockerd, registry: RegistrySpace, ledger: Path) -> None:
        self.dockerd, self.registry = dockerd, registry
        self.engine = DockerEngine({"DOCKER_HOST": dockerd.host})
        self.ledger = ledger
        self.prefix = f"t{secrets.token_hex(4)}"
        self.events: list[PrepareEvent] = []
        self.failures: dict[int, CiRegistryError] = {}
        self.read_from: list[str] = []

    def name(self, short: str = "app:1") -> str:
        return f"{self.prefix}/{short}"

    def push(self, name: str, *targets: Target, remembering: bool = True) -> Manifest:
        """Push to targets under the tag 1; `events` are those of this push."""
        self.events = []
        memory = Ledger(self.ledger) if remembering else None
        with DaemonImage(self.engine, self.name(name), open_repository=self._origin) as image:
            prepared = image.prepare(targets, memory, self.events.append)
            self.failures = prepared.failures
            for number, target in enumerate(targets):
                if number not in prepared.failures:
                    manifest = copy_root(prepared.source, prepared.root, target, "1")
        return manifest

    def push_to(self, repository: str, name: str = "app:1", remembering: bool = True) -> Manifest:
        with self.open(repository) as target:
            return self.push(name, target, remembering=remembering)

    def open(self, repository: str) -> AbstractContextManager[RegistryRepository]:
        return opened(self.registry.url, self.registry.repository(repository))

    def _origin(self, reference: Reference) -> Source | None:
        self.read_from.append(str(reference))
        if reference.host != self.registry.host:
            return None
        return RegistryRepository(Client(Origin.parse(self.registry.url), retry_seconds=1), reference.repository)

    def kinds(self, *wanted: str) -> list[str]:
        return [event.kind for event in self.events if event.kind in wanted]


@pytest.fixture
def pushing(dockerd: Dockerd, registry: RegistrySpace, tmp_path: Path) -> Iterator[Pushing]:
    found = Pushing(dockerd, registry, tmp_path / "ledger" / "layers.json")
    yield found
    found.engine.close()


def layer(size: int = 3000) -> dict[str, bytes]:
    return {f"file-{secrets.token_hex(4)}": os.urandom(size)}


def test_what_was_pushed_can_be_pulled_by_digest_and_is_the_same_image(pushing: Pushing) -> None:
    image_id = pushing.dockerd.build(pushing.name(), [layer(), layer(2_500_000), layer(50)], extra="LABEL a=b")
    manifest = pushing.push_to("app")

    assert manifest.media_type == DOCKER_MANIFEST
    assert manifest.config is not None
    assert manifest.config.digest == image_id
    assert pushing.registry.validate("app", "1").problems == []
    assert skopeo_raw(f"docker://{pushing.registry.reference()}") == manifest.content
    pushing.dockerd.run("image", "rm", "-f", image_id)
    reference = pushing.registry.reference("app", manifest.digest)
    pushing.dockerd.run("pull", "-q", reference)
    assert pushing.dockerd.inspect(reference) == image_id


def test_an_unchanged_image_takes_a_handful_of_requests_and_no_save(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    first = pushing.push_to("app")
    before = len(pushing.registry.requests())
    again = pushing.push_to("app")
    assert again.digest == first.digest
    assert pushing.events == []
    requests = pushing.registry.requests()[before:]
    assert {line.method for line in requests} == {"HEAD", "GET", "PUT"}
    assert not any("uploads" in line.path for line in requests)
    assert len(requests) <= 5


def test_one_changed_layer(pushing: Pushing) -> None:
    same = [layer(), layer(1_500_000)]
    pushing.dockerd.build(pushing.name(), [*same, layer()])
    pushing.push_to("app")
    pushing.dockerd.build(pushing.name(), [*same, layer()])
    before = pushing.registry.count("POST", "uploads")
    manifest = pushing.push_to("app")
    assert pushing.kinds("saving", "copied", "present", "mounted") == ["present", "present", "saving", "copied"]
    assert sum(event.count for event in pushing.events if event.kind == "bytes") < 100_000
    # the layer and the configuration
    assert pushing.registry.count("POST", "uploads") - before == 2
    assert pushing.registry.validate("app", "1").root == manifest.digest


def test_a_new_label_sends_no_layer(pushing: Pushing) -> None:
    layers = [layer(), layer()]
    pushing.dockerd.build(pushing.name(), layers)
    pushing.push_to("app")
    pushing.dockerd.build(pushing.name(), layers, extra="LABEL revision=2")
    manifest = pushing.push_to("app")
    assert pushing.kinds("saving", "copied", "bytes") == ["saving"]
    assert skopeo_config(f"docker://{pushing.registry.reference()}")["config"]["Labels"] == {"revision": "2"}
    assert pushing.registry.validate("app", "1").root == manifest.digest


def test_another_repository_of_the_same_registry_mounts_what_is_known(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    first = pushing.push_to("app")
    second = pushing.push_to("other")
    assert second.digest == first.digest
    mounted = [event for event in pushing.events if event.kind == "mounted"]
    # the configuration too
    assert [event.text for event in mounted] == [pushing.registry.repository("app")] * 3
    assert pushing.kinds("saving", "copied") == []
    assert pushing.registry.validate("other", "1").problems == []


def test_a_registry_that_lost_what_the_ledger_remembers(pushing: Pushing, tmp_path: Path) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    first, second = LayoutRepository(tmp_path / "one"), LayoutRepository(tmp_path / "one-again")
    pushing.push("app:1", first)
    (tmp_path / "one").rename(tmp_path / "lost")
    fresh = LayoutRepository(tmp_path / "one")
    assert pushing.push("app:1", fresh).digest == pushing.push("app:1", second).digest
    assert fresh.exists(list(fresh.manifest(fresh.resolve("1")).blobs()))


def test_the_digest_does_not_depend_on_what_is_remembered(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    assert pushing.push_to("app").digest == pushing.push_to("elsewhere", remembering=False).digest
    assert pushing.kinds("saving", "copied") == ["saving", "copied", "copied"]


def test_docker_save_through_a_pipe_gives_the_same_digest(pushing: Pushing, tmp_path: Path) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)], extra="LABEL a=b")
    manifest = pushing.push_to("app")
    pushing.dockerd.save_to(tmp_path / "app.tar", pushing.name())
    with (
        (tmp_path / "app.tar").open("rb") as file,
        open_archive(file, "-", spool_directory=tmp_path) as archive,
        pushing.open("piped") as target,
    ):
        prepared = archive.image(pushing.name()).prepare([target])
        copy_root(prepared.source, prepared.root, target, "1")
    assert pushing.registry.validate("piped", "1").root == manifest.digest


def test_an_image_with_the_same_layer_twice(pushing: Pushing) -> None:
    twice = layer()
    pushing.dockerd.build(pushing.name(), [twice, layer(), {**twice}])
    manifest = pushing.push_to("app")
    assert pushing.registry.validate("app", "1").problems == []
    assert len(manifest.layers) == 3


def test_several_targets_are_served_by_one_save(pushing: Pushing, tmp_path: Path) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    layout = LayoutRepository(tmp_path / "layout")
    with pushing.open("one") as one, pushing.open("two") as two:
        manifest = pushing.push("app:1", one, two, layout)
    assert pushing.kinds("saving", "copied") == ["saving"] + ["copied"] * 6
    assert sum(event.count for event in pushing.events if event.kind == "bytes") < 1_600_000
    for name in ("one", "two"):
        assert pushing.registry.validate(name, "1").root == manifest.digest
    assert layout.resolve("1").digest == manifest.digest


def test_a_layer_that_one_of_two_targets_has_is_sent_to_the_other_alone(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    pushing.push_to("one")
    with pushing.open("one") as one, opened(pushing.registry.url, "t0/elsewhere") as two:
        two.location = type(two.location)("another store", two.location.repository, two.location.name)
        manifest = pushing.push("app:1", one, two)
    copied = {event.where for event in pushing.events if event.kind == "copied"}
    assert copied == {two.location.name}
    assert pushing.registry.validate("one", "1").root == manifest.digest


def test_one_bad_target_does_not_keep_the_others_from_getting_it(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name(), [layer(), layer(1_500_000)])
    with pushing.open("app") as good, opened("http://127.0.0.1:1", "app", retry_seconds=0) as bad:
        pushing.push("app:1", bad, good)
        assert list(pushing.failures) == [0]
        assert pushing.failures[0].exit_code == 7
        assert (pushing.failures[0].side, pushing.failures[0].target) == ("target", bad.location.name)
        with pytest.raises(CiRegistryError, match="nothing listens") as caught:
            pushing.push("app:1", bad)
    assert caught.value.side == "target"
    assert pushing.registry.validate("app", "1").problems == []


# -- where layers came from --------------------------------------------------------------------------------------------


def pull_base(pushing: Pushing, images: ImageBuilder, repository: str = "library/busybox") -> Manifest:
    """A base image in the registry and in the daemon, whose compression is not ours."""
    image = images.image(2, docker=True)
    pushing.registry.upload(image, repository)
    reference = pushing.registry.reference(repository)
    pushing.dockerd.run("pull", "-q", reference)
    pushing.dockerd.run("tag", reference, pushing.name("base:1"))
    with pushing.open(repository) as target:
        return target.manifest(target.resolve("1"))


@pytest.mark.parametrize("remembering", [True, False])
def test_the_layers_of_a_base_image_are_mounted_with_their_digests(
    pushing: Pushing, images: ImageBuilder, remembering: bool
) -> None:
    base = pull_base(pushing, images)
    pushing.dockerd.build(pushing.name(), [layer()], base=pushing.name("base:1"))
    manifest = pushing.push_to("app", remembering=remembering)
    assert [each.digest for each in manifest.layers[:2]] == [each.digest for each in base.layers]
    mounted = [event.text for event in pushing.events if event.kind == "mounted"]
    assert mounted == [pushing.registry.repository("library/busybox")] * 2
    assert pushing.kinds("copied") == ["copied"]
    assert pushing.registry.validate("app", "1").problems == []
    again = pushing.push_to("app", remembering=remembering)
    assert again.digest == manifest.digest


def test_an_image_that_was_pulled_keeps_its_manifest(pushing: Pushing, images: ImageBuilder) -> None:
    base = pull_base(pushing, images)
    manifest = pushing.push_to("copy", "base:1")
    assert manifest.digest == base.digest
    assert pushing.kinds("copied") == []
    assert pushing.registry.validate("copy", "1").root == base.digest


def test_a_platform_of_an_index_that_was_pulled_keeps_its_manifest(pushing: Pushing, images: ImageBuilder) -> None:
    index = images.index(["linux/arm64/v8", "linux/amd64"], docker=True)
    pushing.registry.upload(index, "multi")
    pushing.dockerd.run("pull", "-q", "--platform", "linux/amd64", pushing.registry.reference("multi"))
    pushing.dockerd.run("tag", pushing.registry.reference("multi"), pushing.name("multi:1"))
    manifest = pushing.push_to("copy", "multi:1")
    assert manifest.digest == index.document["manifests"][1]["digest"]


def test_a_base_image_that_its_registry_lost(pushing: Pushing, images: ImageBuilder) -> None:
    base = pull_base(pushing, images, "gone")
    pushing.dockerd.build(pushing.name(), [layer()], base=pushing.name("base:1"))
    with pushing.open("gone") as target:
        target.delete_manifest(base.descriptor)
    pushing.push_to("app")
    assert pushing.kinds("copied") == ["copied"] * 3
    assert pushing.registry.validate("app", "1").problems == []


def test_only_registries_that_can_be_asked_are_asked(pushing: Pushing, images: ImageBuilder) -> None:
    pull_base(pushing, images)
    pushing.dockerd.build(pushing.name(), [layer()])
    pushing.push_to("app")
    # unrelated to any image that was pulled
    assert pushing.read_from == []


# -- names -------------------------------------------------------------------------------------------------------------


def test_an_image_that_is_not_there(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name("application:1"), [layer()])
    with pytest.raises(NotFoundError) as caught:
        DaemonImage(pushing.engine, pushing.name("aplication:1"))
    assert caught.value.exit_code == 4
    assert pushing.name("aplication:1") in str(caught.value)
    assert pushing.name("application:1") in caught.value.hint


def test_another_tag_of_the_same_repository_is_near(pushing: Pushing) -> None:
    pushing.dockerd.build(pushing.name("application:1"), [layer()])
    with pytest.raises(NotFoundError) as caught:
        DaemonImage(pushing.engine, pushing.name("application:2024.12"))
    assert pushing.name("application:1") in caught.value.hint


def test_an_image_by_its_id(pushing: Pushing) -> None:
    image_id = pushing.dockerd.build(pushing.name(), [layer()])
    for reference in (image_id, image_id.removeprefix("sha256:")[:12]):
        assert DaemonImage(pushing.engine, reference).image_id == image_id


def test_tagging_a_local_image(pushing: Pushing) -> None:
    image_id = pushing.dockerd.build(pushing.name(), [layer()])
    pushing.engine.tag(pushing.name(), pushing.name("app").partition(":")[0], "2")
    assert pushing.dockerd.inspect(pushing.name("app:2")) == image_id
    assert pushing.name("app:2") in [tag for image in pushing.engine.images() for tag in image.tags]
    with pytest.raises(NotFoundError, match="tagging none:1 as x:1 failed"):
        pushing.engine.tag("none:1", "x", "1")
