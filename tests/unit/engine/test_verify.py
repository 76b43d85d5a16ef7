"""Are all parts there, and are they right: `engine.verify`, `engine.rehearsal`, `engine.events`."""

from __future__ import annotations

import threading

import pytest

from ci_registry.engine.copy import CopyRequest, Destination, Run
from ci_registry.engine.events import Counts, Event
from ci_registry.engine.rehearsal import Rehearsal
from ci_registry.engine.verify import Findings, verify
from ci_registry.errors import AccessError, Interrupted, NotFoundError
from ci_registry.model.descriptor import Platform
from ci_registry.targets.base import Mounted
from ci_registry.transport.limiter import Limiter
from ci_registry.transport.retry import Cancel
from tests.support.images import ImageBuilder

from .places import MemoryPlace, blob_of
from .test_transfer import at


def looked_at(place: MemoryPlace, reference: str = "1", deep: bool = False, cancel: Cancel | None = None) -> Findings:
    limiter = Limiter()
    return verify(
        place, reference, lambda _: limiter, Cancel() if cancel is None else cancel, deep=deep, retry_seconds=5
    )


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_image(images: ImageBuilder, deep: bool) -> None:
    image = images.index(["linux/amd64", "linux/arm64"], attestations=True, shared_layers=1)
    place = MemoryPlace("place").load(image)
    found = looked_at(place, deep=deep)
    assert found.problems == []
    assert found.root == image.root
    assert found.platforms == [Platform.parse("linux/amd64"), Platform.parse("linux/arm64")]
    assert (found.manifests, found.blobs) == (len(image.manifests), len(image.blobs))
    assert found.total_bytes == sum(map(len, image.blobs.values()))
    assert {digest for digest, _ in place.reads} == (set(image.blobs) if deep else set())


@pytest.mark.parametrize("deep", [False, True])
def test_everything_that_is_missing_is_told(images: ImageBuilder, deep: bool) -> None:
    one, other = images.image(), images.image()
    image = images.index([one, other])
    place = MemoryPlace("place").load(image)
    layer, size = one.document["layers"][0]["digest"], one.document["layers"][0]["size"]
    del place.blobs[layer]
    del place.manifests[other.digest]
    assert looked_at(place, deep=deep).problems == sorted(
        [
            f"blob {layer} ({size} bytes) is missing",
            f"manifest {other.digest} ({other.root.size} bytes) is missing",
        ]
    )


def test_altered_bytes_are_found_by_reading_them(images: ImageBuilder) -> None:
    image = images.image()
    place = MemoryPlace("place").load(image)
    layer = image.document["layers"][0]["digest"]
    place.blobs[layer] = bytes(len(place.blobs[layer]))
    assert looked_at(place).problems == []
    (problem,) = looked_at(place, deep=True).problems
    assert layer in problem
    assert "whose digest is sha256:" in problem


def test_foreign_layers_may_be_absent(images: ImageBuilder) -> None:
    place = MemoryPlace("place").load(images.image([images.layer(), images.foreign_layer()]))
    for deep in (False, True):
        assert looked_at(place, deep=deep).problems == []


def test_a_break_is_read_on(images: ImageBuilder) -> None:
    place = MemoryPlace("place", piece_bytes=100).load(images.image())
    place.before_read = at(300)
    assert looked_at(place, deep=True).problems == []
    assert 300 in [offset for _, offset in place.reads]


def test_what_could_not_be_looked_at_is_no_finding_but_an_error(images: ImageBuilder) -> None:
    place = MemoryPlace("place").load(images.image())

    def refuse() -> None:
        raise AccessError("not for you")

    place.before_exists = refuse
    with pytest.raises(AccessError, match="not for you"):
        looked_at(place)
    with pytest.raises(NotFoundError):
        looked_at(place, "other")


def test_it_can_be_stopped(images: ImageBuilder) -> None:
    cancel = Cancel()
    place = MemoryPlace("place", piece_bytes=10).load(images.image())
    place.before_read = lambda offset: cancel.set(143) if offset > 50 else None
    with pytest.raises(Interrupted):
        looked_at(place, deep=True, cancel=cancel)


# -- dry runs ----------------------------------------------------------------------------------------------------------


def test_a_rehearsal_says_what_would_move_and_moves_nothing(images: ImageBuilder) -> None:
    old, new = images.image(), images.image()
    source, target = MemoryPlace("source").load(images.index([old, new])), MemoryPlace("target").load(old, "old")
    target.before_open = lambda: pytest.fail("an upload was opened")
    target.before_put = lambda _: pytest.fail("a manifest was put")
    run = Run(lambda _: Limiter(), Cancel())
    copy = run.add(CopyRequest(source, "1", [Destination(Rehearsal(target), ("1",))]))
    run.run()
    assert copy.errors == []
    assert source.reads == []
    assert (run.counts.blobs_copied, run.counts.bytes_written) == (len(new.blobs), sum(map(len, new.blobs.values())))
    assert (run.counts.manifests, run.counts.tags) == (1, 1)
    assert target.tags_held == {"old": old.digest}


def test_a_rehearsal_takes_mounts_to_succeed(images: ImageBuilder) -> None:
    image = images.image()
    target = MemoryPlace("target").load(image)
    rehearsal = Rehearsal(target)
    there, missing = blob_of(next(iter(image.blobs.values()))), blob_of(b"other")
    assert rehearsal.writer(missing, ["one", "two"]) == Mounted("one")
    assert type(rehearsal.writer(there, ["one"])).__name__ == "Present"
    assert rehearsal.location == target.location


# -- counting ----------------------------------------------------------------------------------------------------------


def test_events_are_counted_from_many_threads() -> None:
    counts = Counts()
    kinds = ["copied", "mounted", "present", "left-out", "manifest", "tagged", "unchanged", "bytes", "warning"]

    def work() -> None:
        for _ in range(500):
            for kind in kinds:
                counts.add(Event(kind, count=3))  # type: ignore[arg-type]

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.to_json() == {
        "blobs_copied": 2000,
        "blobs_mounted": 2000,
        "blobs_present": 2000,
        "blobs_left_out": 2000,
        "manifests": 2000,
        "tags": 2000,
        "tags_unchanged": 2000,
        "bytes_read": 6000,
        "bytes_written": 6000,
    }
