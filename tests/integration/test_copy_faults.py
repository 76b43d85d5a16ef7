"""Whatever fails, and whenever: a tag is absent or its image is whole, and nothing stays open."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_registry.errors import Interrupted, RemoteError
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Exchange, Reply
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.process import wait_until
from tests.support.validator import validate_registry

from .copying import Copier

TROUBLE: dict[str, actions.Action] = {
    "refused": actions.error(403, "DENIED", "no"),
    "broken": actions.status(418),
    "dropped": actions.drop(),
    "answer lost": actions.drop_reply(),
    "altered": actions.replace_body(b"{}"),
    "cut": actions.break_download(20),
    "upload cut": actions.break_upload(30),
}


@pytest.fixture
def pair() -> Iterator[tuple[FakeRegistry, FakeRegistry]]:
    with FakeRegistry() as source, FakeRegistry() as target:
        yield source, target


def small_index(images: ImageBuilder) -> BuiltImage:
    return images.with_referrers(images.index(["linux/amd64", "linux/arm64"], layers=1, shared_layers=1), ["a/b"])


def check(target: FakeRegistry, image: BuiltImage, tag: str = "1", settles: bool = True) -> bool:
    """Whether the tag is there; if so everything is, and nothing is left open.

    Without `settles` the target was not able to hear of the end of an upload, or to tell of its beginning.
    """
    if settles:
        wait_until(lambda: target.open_sessions == 0, "uploads to be finished or cancelled", 5)
    held = target.repository("app").tags.get(tag)
    if held is None:
        return False
    found = validate_registry(target.url, "app", tag, referrers=True)
    assert (found.root, found.problems) == (image.digest, [])
    assert found.referrers == {each.digest for each in image.referrers}
    return True


def request_count(images: ImageBuilder, side: str) -> int:
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.load(small_index(images), "app", "1")
        copier.copy(copier.source(source.url), copier.target(target.url), referrers=True)
        return len((source if side == "source" else target).requests)


LASTING = [("refused", True), ("answer lost", True), ("altered", True)]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("trouble, lasting", [*((trouble, False) for trouble in TROUBLE), *LASTING])
def test_a_failure_at_each_request(trouble: str, side: str, lasting: bool) -> None:
    image = small_index(ImageBuilder(1))
    count = request_count(ImageBuilder(1), side)
    assert count > 10
    arrived = 0
    for number in range(1, count + 1, 4 if lasting else 1):
        with FakeRegistry() as source, FakeRegistry() as target, Copier.opened(retry_seconds=0.6) as copier:
            source.load(image, "app", "1")
            server = source if side == "source" else target
            server.script("*", "/v2/", TROUBLE[trouble], nth=number, times=None if lasting else 1)
            copy = copier.copy(copier.source(source.url), copier.target(target.url), referrers=True)
            server.clear()  # the judge is not hindered
            whole = check(target, image, settles=not (side == "target" and (lasting or trouble == "answer lost")))
            assert whole or copy.errors, f"request {number}: nothing arrived, and nobody said so"
            assert not (whole and copy.errors) or trouble == "answer lost", f"request {number}: {copy.errors}"
            arrived += whole
    if not lasting and trouble in ("dropped", "answer lost", "cut", "upload cut"):
        assert arrived == count, "one break is always overcome"


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_stop_at_each_request(side: str) -> None:
    image = small_index(ImageBuilder(1))
    for number in range(1, request_count(ImageBuilder(1), side) + 1, 2):
        with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
            source.load(image, "app", "1")
            server = source if side == "source" else target
            server.script("*", "/v2/", actions.calling(copier.cancel.set), nth=number)
            copier.add(copier.source(source.url), copier.target(target.url), referrers=True)
            with contextlib.suppress(Interrupted):
                copier.run()
            check(target, image)


def test_a_source_that_dies_midway(pair: tuple[FakeRegistry, FakeRegistry], images: ImageBuilder) -> None:
    source, target = pair
    image = images.image(6, layer_bytes=200_000)
    source.load(image, "app", "1")
    source.script("GET", "/blobs/", actions.break_download(1000), nth=4, times=1)
    source.script("*", "", actions.drop(), nth=5 + 3, times=None)
    with Copier.opened(retry_seconds=0.5) as copier:
        copy = copier.copy(copier.source(source.url), copier.target(target.url))
    (error,) = copy.errors
    assert error.side == "source"
    assert not check(target, image)


def test_one_destination_that_is_down_does_not_stop_the_other(images: ImageBuilder) -> None:
    image = images.index()
    with (
        FakeRegistry() as source,
        FakeRegistry() as good,
        FakeRegistry() as down,
        Copier.opened(retry_seconds=2) as copier,
    ):
        source.load(image, "app", "1")
        down.script("*", "", actions.status(503), times=None)
        copy = copier.copy(copier.source(source.url), copier.target(good.url), copier.target(down.url))
        assert check(good, image)
        (error,) = copy.errors
        assert (type(error), error.side) == (RemoteError, "target")
        assert copy.deliveries[0].error is None
        assert source.count("GET", "/blobs/") == len(image.blobs), "nothing was read for the one that is down"


def test_a_destination_that_stalls_is_finished_alone(images: ImageBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_registry.engine.transfer.STALL_SECONDS", 0.3)
    image = images.image([images.layer(8 << 20, opaque=True)])
    (big,) = [layer["digest"] for layer in image.document["layers"]]
    with FakeRegistry() as source, FakeRegistry() as good, FakeRegistry() as slow, Copier.opened() as copier:
        source.load(image, "app", "1")
        moved_on = threading.Event()

        def stall(exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
            moved_on.wait(20)  # reads nothing until the other one has its image
            return proceed()

        slow.script("PUT", f"/blobs/uploads/.*{big}", stall)
        good.script("PUT", "/manifests/1", actions.calling(moved_on.set))
        copy = copier.copy(copier.source(source.url), copier.target(good.url), copier.target(slow.url))
        assert copy.errors == []
        assert moved_on.is_set()
        assert check(good, image)
        assert check(slow, image)


def test_a_target_that_takes_three_requests_at_a_time(pair: tuple[FakeRegistry, FakeRegistry]) -> None:
    source, target = pair
    images = ImageBuilder(2)
    image = images.image(24)
    source.load(image, "app", "1")
    target.capacity, target.latency_seconds = 3, 0.01
    with Copier.opened(retry_seconds=20) as copier:
        copy = copier.copy(copier.source(source.url), copier.target(target.url))
    assert copy.errors == []
    assert check(target, image)
    assert target.count("*", status=429) > 0


# -- signals -----------------------------------------------------------------------------------------------------------


def start_copy(source: FakeRegistry, target: FakeRegistry, directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ci_registry", "copy", f"docker://{source.host}/app:1", f"docker://{target.host}/app:1",
         *options],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def stopped(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Exit code, and the last line of stderr; it has the five seconds that it promises."""
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, errors.splitlines()[-1]


def uploading(target: FakeRegistry) -> bool:
    return any(session.data for session in list(target.store.sessions.values()))


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("moment", ["uploading", "waiting for the source", "waiting to try again", "opening"])
def test_a_signal_ends_a_copy_within_five_seconds_and_leaves_nothing(
    pair: tuple[FakeRegistry, FakeRegistry], tmp_path: Path, name: str, code: int, moment: str
) -> None:
    import signal

    source, target = pair
    images = ImageBuilder(3)
    source.load(images.image([images.layer(3 << 20, opaque=True) for _ in range(3)]), "app", "1")
    ready: Callable[[], bool]
    if moment == "uploading":
        source.script("GET", "/blobs/", actions.slow_download(64 << 10, 0.1), times=None)
        ready = lambda: uploading(target)  # noqa: E731
    elif moment == "waiting for the source":
        source.script("GET", "/manifests/", actions.delay(15), times=None)
        ready = lambda: source._in_flight > 0  # noqa: E731
    elif moment == "opening":
        target.script("POST", "", actions.delay(1.5), times=None)
        ready = lambda: target._in_flight > 0  # noqa: E731
    else:
        target.script("POST", "", actions.status(503, {"Retry-After": "60"}), times=None)
        ready = lambda: target.count("POST") > 0  # noqa: E731
    process = start_copy(source, target, tmp_path)
    wait_until(ready, moment)
    assert stopped(process, getattr(signal, name)) == (code, "ERROR interrupted.")
    assert target.repository("app").tags == {}
    wait_until(lambda: target.open_sessions == 0, "open uploads to be cancelled", 3)


def test_a_second_tag_that_is_refused_is_partly_done_and_says_what_moved(
    pair: tuple[FakeRegistry, FakeRegistry], images: ImageBuilder, tmp_path: Path
) -> None:
    source, target = pair
    image = images.image()
    source.load(image, "app", "1")
    target.script("PUT", "/manifests/second", actions.error(403, "DENIED", "not this tag"), times=None)
    config = tmp_path / "ci-registry.yaml"
    config.write_text(f"targets: {{to: {{kind: registry, url: '{target.url}', max_connections: 1}}}}")
    run = subprocess.run(
        [sys.executable, "-m", "ci_registry", "--config", str(config), "push", f"docker://{source.host}/app:1",
         "--target", "to", "--tag", "first", "--tag", "second"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert run.returncode == 8
    assert f"{target.host}/app:first had been set before" in run.stderr.splitlines()[-1]
    assert target.repository("app").tags == {"first": image.digest}
