"""Layers on their way to registries that break, refuse and forget; and the manifest that is made of them."""

from __future__ import annotations

import gzip
import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_registry.adapters.compression import LayerCompressor, compressor_name
from ci_registry.engine.rehearsal import Rehearsal
from ci_registry.errors import AccessError, NotFoundError, RemoteError
from ci_registry.model.descriptor import Descriptor, Digest, digest_of
from ci_registry.model.manifest import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_LAYER_GZIP, OCI_MANIFEST
from ci_registry.ops.ledger import Ledger
from ci_registry.targets.archive import Archive, open_archive
from ci_registry.targets.archive_target import OciArchiveTarget
from ci_registry.targets.base import Mounted, Present, Target
from ci_registry.targets.composed import ComposedImage, compose, layer_form, plain_layer
from ci_registry.targets.prepared import KnownBlob, LayerMemory, Prepared, PrepareEvent
from ci_registry.targets.registry import RegistryRepository
from tests.support.docker25_archive import classic_members, write_tar
from tests.support.dockerd import layer_tar
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.places import copy_root, opened, read_blob
from tests.support.validator import validate_registry

SMALL = layer_tar({"small": b"s" * 5000})
BIG = layer_tar({"big": random.Random(4).randbytes(3_000_000)})


def by_us(layer: bytes) -> Descriptor:
    """What our compressor makes of a layer."""
    compressor = LayerCompressor()
    content = compressor.compress(layer) + compressor.finish()
    return Descriptor(DOCKER_LAYER_GZIP, digest_of(content), len(content))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    path = write_tar(tmp_path / "app.tar", classic_members([SMALL, BIG]))
    with open_archive(path, "app.tar") as found:
        yield found


@pytest.fixture
def target(fake_registry: FakeRegistry) -> Iterator[RegistryRepository]:
    with opened(fake_registry.url, "team/app") as found:
        yield found


def push(archive: Archive, *targets: Target, memory: LayerMemory | None = None) -> tuple[Prepared, list[PrepareEvent]]:
    events: list[PrepareEvent] = []
    prepared = archive.image().prepare(targets, memory, events.append)
    for number, target in enumerate(targets):
        if number not in prepared.failures:
            copy_root(prepared.source, prepared.root, target, "1")
    return prepared, [event for event in events if event.kind != "bytes"]


def test_layers_get_the_digests_that_our_compressor_makes(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository
) -> None:
    prepared, events = push(archive, target)
    layers = prepared.source.manifest(prepared.root).layers
    assert list(layers) == [by_us(SMALL), by_us(BIG)]
    assert {(event.kind, event.digest, event.count) for event in events if event.kind != "saving"} == {
        ("copied", layer.digest, layer.size) for layer in layers
    }
    # the small one, whose digest is known before, in one request; the big one as it comes
    assert fake_registry.count("PATCH") == 1
    assert validate_registry(fake_registry.url, "team/app", "1").problems == []
    assert fake_registry.open_sessions == 0


@pytest.mark.parametrize("action", [actions.break_upload(500_000), actions.drop()])
def test_an_upload_that_breaks_is_made_again(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository, action: actions.Action
) -> None:
    fake_registry.script("PATCH", "uploads", action)
    prepared, _ = push(archive, target)
    assert prepared.source.manifest(prepared.root).layers[1] == by_us(BIG)
    assert validate_registry(fake_registry.url, "team/app", "1").problems == []
    assert fake_registry.open_sessions == 0


def test_an_upload_that_always_breaks(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository
) -> None:
    fake_registry.script("PATCH", "uploads", actions.break_upload(500_000), times=None)
    fake_registry.script("PUT", "uploads", actions.break_upload(500_000), times=None)
    with pytest.raises(RemoteError) as caught:
        push(archive, target)
    assert (caught.value.exit_code, caught.value.side, caught.value.target) == (7, "target", target.location.name)
    assert fake_registry.open_sessions == 0


def test_a_refusal_is_not_asked_again(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository
) -> None:
    fake_registry.script("POST", "uploads", actions.error(403, "DENIED", "not yours"), times=None)
    with pytest.raises(AccessError) as caught:
        push(archive, target)
    assert caught.value.exit_code == 3
    assert fake_registry.count("POST") <= 2


def test_a_target_that_refuses_does_not_stop_the_other(archive: Archive, fake_registry: FakeRegistry) -> None:
    fake_registry.script("*", "team/bad", actions.error(403, "DENIED", "not yours"), times=None)
    with opened(fake_registry.url, "team/bad") as bad, opened(fake_registry.url, "team/good") as good:
        prepared, events = push(archive, bad, good)
    assert {number: error.exit_code for number, error in prepared.failures.items()} == {0: 3}
    assert [event.where for event in events if event.kind == "copied"] == [good.location.name] * 2
    assert validate_registry(fake_registry.url, "team/good", "1").problems == []


def test_a_broken_upload_to_one_of_two_targets_is_made_again_for_it_alone(
    archive: Archive, fake_registry: FakeRegistry
) -> None:
    fake_registry.script("PATCH", "team/one", actions.break_upload(500_000))
    with opened(fake_registry.url, "team/one") as one, opened(fake_registry.url, "team/two") as two:
        prepared, events = push(archive, one, two)
    assert prepared.failures == {}
    copied = [event.where for event in events if event.kind == "copied" and event.digest == by_us(BIG).digest]
    assert sorted(copied) == [one.location.name, two.location.name]
    for name in ("one", "two"):
        assert validate_registry(fake_registry.url, f"team/{name}", "1").root == prepared.root.digest


def test_what_a_registry_forgot_is_sent_again(archive: Archive, fake_registry: FakeRegistry, tmp_path: Path) -> None:
    memory = Ledger(tmp_path / "ledger.json")
    with opened(fake_registry.url, "team/app") as target:
        push(archive, target, memory=memory)
    fake_registry.store.blobs.clear()
    fake_registry.store.repositories.clear()
    with opened(fake_registry.url, "team/app") as target:
        _, events = push(archive, target, memory=memory)
    assert [event.kind for event in events] == ["saving", "copied", "copied"]
    assert validate_registry(fake_registry.url, "team/app", "1").problems == []


@pytest.mark.parametrize("how", ["not done", "refused"])
def test_a_mount_that_fails_is_an_upload(
    archive: Archive, fake_registry: FakeRegistry, tmp_path: Path, how: str
) -> None:
    memory = Ledger(tmp_path / "ledger.json")
    if how == "refused":
        fake_registry.script("POST", "mount=", actions.error(405, "UNSUPPORTED", "no mounts"), times=None)
    fake_registry.mounts = False
    with opened(fake_registry.url, "team/one") as one, opened(fake_registry.url, "team/two") as two:
        push(archive, one, memory=memory)
        push(archive, two, memory=memory)
    assert fake_registry.count("POST", "mount=") == 2
    assert validate_registry(fake_registry.url, "team/two", "1").problems == []
    assert fake_registry.open_sessions == 0


def test_what_another_compressor_made_at_one_target_is_made_anew_for_both(
    archive: Archive, fake_registry: FakeRegistry, tmp_path: Path
) -> None:
    """The memory says wrongly that our compressor made it: the digest shows it, and both get the same layer."""
    content = gzip.compress(BIG, 1)
    blob = Descriptor(DOCKER_LAYER_GZIP, digest_of(content), len(content))
    with opened(fake_registry.url, "team/one") as one, opened(fake_registry.url, "team/two") as two:
        writer = one.writer(blob)
        assert not isinstance(writer, Present | Mounted)
        writer.write(memoryview(content))
        writer.commit(blob.digest)
        memory = Ledger(tmp_path / "ledger.json")
        memory.remember({digest_of(BIG): [KnownBlob(blob, compressor_name()).at(one.location)]})
        two.location = type(two.location)("elsewhere", two.location.repository, two.location.name)
        prepared, _ = push(archive, one, two, memory=memory)
    assert prepared.source.manifest(prepared.root).layers[1] == by_us(BIG)
    for name in ("one", "two"):
        assert validate_registry(fake_registry.url, f"team/{name}", "1").root == prepared.root.digest


def test_a_rehearsal_writes_nothing_and_knows_the_digest(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository
) -> None:
    events: list[PrepareEvent] = []
    rehearsed = archive.image().prepare([Rehearsal(target)], on_event=events.append)
    assert [request.method for request in fake_registry.requests if request.method not in ("GET", "HEAD")] == []
    prepared, really = push(archive, target)
    assert prepared.root == rehearsed.root
    assert {event for event in events if event.kind != "bytes"} == set(really)


@pytest.mark.parametrize("rehearsing", [False, True])
def test_the_copy_that_follows_neither_asks_for_layers_nor_sends_them_again(
    archive: Archive, fake_registry: FakeRegistry, target: RegistryRepository, rehearsing: bool
) -> None:
    place: Target = Rehearsal(target) if rehearsing else target
    prepared = archive.image().prepare([place])
    manifest = prepared.source.manifest(prepared.root)
    before = len(fake_registry.requests)
    assert place.exists(manifest.layers) == set(manifest.layers)
    assert all(type(place.writer(layer)) is Present for layer in manifest.layers)
    assert len(fake_registry.requests) == before
    # the configuration is for the copy to bring
    assert manifest.config is not None
    assert place.exists([manifest.config]) == set()


def test_memory_stays_bounded(tmp_path: Path, fake_registry: FakeRegistry) -> None:
    block = os.urandom(1 << 20)
    path = tmp_path / "app.tar"
    write_tar(path, classic_members([layer_tar({f"f{number}": block * 12}) for number in range(4)]))
    with open_archive(path, "app.tar") as archive:
        target = OciArchiveTarget(tmp_path / "out.tar", "out.tar")
        tracemalloc.start()
        prepared = archive.image().prepare([target])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        copy_root(prepared.source, prepared.root, target, "1")
    target.finish()
    assert peak < 32 << 20


# -- the manifest ------------------------------------------------------------------------------------------------------

CONFIG = Descriptor(DOCKER_CONFIG, digest_of(b"{}"), 2)
OCI = "application/vnd.oci.image."


def test_the_manifest_is_docker_s_unless_a_place_is_oci_s(archive: Archive, tmp_path: Path, target: Target) -> None:
    tar = OciArchiveTarget(tmp_path / "out.tar", "out.tar")
    assert archive.image().prepare([target]).root.media_type == DOCKER_MANIFEST
    assert archive.image().prepare([tar]).root.media_type == OCI_MANIFEST
    assert archive.image().prepare([tar, target]).root.media_type == OCI_MANIFEST


@pytest.mark.parametrize(
    "layer, oci, media_types",
    [
        (OCI_LAYER_GZIP, False, (DOCKER_MANIFEST, DOCKER_LAYER_GZIP)),
        (DOCKER_LAYER_GZIP, True, (OCI_MANIFEST, OCI_LAYER_GZIP)),
        (f"{OCI}layer.v1.tar", False, (DOCKER_MANIFEST, "application/vnd.docker.image.rootfs.diff.tar")),
        (f"{OCI}layer.v1.tar+zstd", False, (OCI_MANIFEST, f"{OCI}layer.v1.tar+zstd")),
    ],
)
def test_media_types_of_the_manifest(layer: str, oci: bool, media_types: tuple[str, str]) -> None:
    manifest = compose(CONFIG, [Descriptor(layer, digest_of(b"x"), 1)], oci)
    assert (manifest.media_type, manifest.layers[0].media_type) == media_types


def test_forms_of_layers() -> None:
    assert layer_form("application/vnd.example+json") is None
    assert layer_form(plain_layer(Digest(digest_of(b"x")), 1).media_type) == ""


def test_a_prepared_image_as_a_source(archive: Archive, target: RegistryRepository) -> None:
    prepared = archive.image().prepare([target])
    source = prepared.source
    manifest = source.manifest(prepared.root)
    assert manifest.config is not None
    assert source.resolve("whatever") == source.resolve(prepared.root.digest) == prepared.root
    everything = {prepared.root, manifest.config, *manifest.layers}
    assert source.exists(everything) == everything
    assert gzip.decompress(read_blob(source, manifest.layers[1])) == BIG
    assert digest_of(read_blob(source, manifest.config)) == manifest.config.digest
    with pytest.raises(NotFoundError, match="has no sha256:"):
        source.resolve(digest_of(b"other"))
    with pytest.raises(NotFoundError, match="at none of its targets any more"):
        source.fetch(Descriptor(DOCKER_LAYER_GZIP, digest_of(b"other"), 5))


def test_an_image_without_layers(tmp_path: Path, fake_registry: FakeRegistry, target: RegistryRepository) -> None:
    with open_archive(write_tar(tmp_path / "empty.tar", classic_members([])), "empty.tar") as archive:
        prepared, events = push(archive, target)
    assert prepared.source.manifest(prepared.root).layers == ()
    assert events == []
    assert isinstance(prepared.source, ComposedImage)
    assert validate_registry(fake_registry.url, "team/app", "1").problems == []
