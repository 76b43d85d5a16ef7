"""The requests behind each row of the benchmarks, for fewer tags: exact, at the server, through the command line.

Times depend on the machine; these do not. What the engine does beneath is counted in `test_copy_counts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.benchmarks.workload import same_parts
from tests.support.cli import Ran, run_cli
from tests.support.fake_registry import FakeRegistry
from tests.support.images import BuiltImage, ImageBuilder

TAGS = 20
SHARED = 4
BLOBS = SHARED + 2 * TAGS
"""Of `TAGS` images with shared layers: those, and a layer and a configuration each."""

_KINDS = (
    ("uploads", "/blobs/uploads/"),
    ("blobs", "/blobs/"),
    ("manifests", "/manifests/"),
    ("tags", "/tags/list"),
    ("referrers", "/referrers/"),
    ("catalog", "/_catalog"),
)

Cli = Callable[..., Ran]


def made(server: FakeRegistry) -> dict[str, int]:
    """What was asked of a server, by verb and kind of thing; a mount is a kind of its own."""
    found: Counter[str] = Counter()
    for request in server.requests:
        kind = next(name for name, part in _KINDS if part in request.path)
        found[f"{request.method} {'mounts' if 'mount=' in request.path else kind}"] += 1
    server.clear()
    return dict(found)


def bytes_read(server: FakeRegistry) -> int:
    return sum(request.response_bytes for request in server.requests)


@pytest.fixture
def servers() -> Iterator[dict[str, FakeRegistry]]:
    with FakeRegistry() as dev, FakeRegistry() as prod, FakeRegistry() as second, FakeRegistry() as third:
        yield {"dev": dev, "prod": prod, "second": second, "third": third}


@pytest.fixture
def ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: dict[str, FakeRegistry]) -> Cli:
    """Runs `ci-registry` in a folder whose configuration has each server as a target; it has to succeed."""
    monkeypatch.chdir(tmp_path)
    targets = [f"  {name}: {{kind: registry, url: '{server.url}'}}" for name, server in servers.items()]
    promotion = "  all: {from: dev, to: [prod], repositories: {glob: app}, tags: {glob: '*'}}"
    text = "\n".join(["targets:", *targets, "promotions:", promotion, ""])
    tmp_path.joinpath("ci-registry.yaml").write_text(text, encoding="utf-8")

    def run(*arguments: str) -> Ran:
        ran = run_cli(monkeypatch, *arguments)
        assert ran.code == 0, ran.err
        return ran

    return run


def tagged(images: ImageBuilder, server: FakeRegistry, count: int = TAGS, repository: str = "app") -> list[BuiltImage]:
    """Load images that share layers, and have a layer and a configuration of their own."""
    shared = [images.layer(3000, opaque=True) for _ in range(SHARED)]
    built = [images.image(1, shared=shared) for _ in range(count)]
    for number, image in enumerate(built):
        server.load(image, repository, f"v{number}")
    return built


def test_one_image(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    servers["dev"].load(images.image(8), "app", "v1")
    ci("copy", "dev:app:v1", "prod:app:v1")
    assert made(servers["dev"]) == {"GET manifests": 1, "GET blobs": 9}
    assert made(servers["prod"]) == {
        "HEAD manifests": 1,
        "GET tags": 1,
        "POST uploads": 9,
        "PUT uploads": 9,
        "PUT manifests": 1,
    }


def test_all_tags(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    tagged(images, servers["dev"])
    ci("copy", "--all-tags", "dev:app", "prod:app")
    assert made(servers["dev"]) == {"GET tags": 1, "GET manifests": TAGS, "GET blobs": BLOBS}
    assert made(servers["prod"]) == {
        "GET tags": 1,
        "POST uploads": BLOBS,
        "PUT uploads": BLOBS,
        "PUT manifests": TAGS,
    }


def test_all_tags_with_nothing_to_do(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    for number, image in enumerate(tagged(images, servers["dev"])):
        servers["prod"].load(image, "app", f"v{number}")
    ci("copy", "--all-tags", "dev:app", "prod:app")
    assert made(servers["dev"]) == {"GET tags": 1, "GET manifests": TAGS}
    assert made(servers["prod"]) == {"GET tags": 1, "HEAD manifests": TAGS}


def test_all_tags_inside_one_registry(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    tagged(images, servers["dev"])
    ci("copy", "--all-tags", "dev:app", "dev:released")
    moved = [request for request in servers["dev"].requests if "/blobs/" in request.path]
    assert sum(request.request_bytes + request.response_bytes for request in moved) == 0
    assert made(servers["dev"]) == {
        "GET tags": 2,
        "GET manifests": TAGS,
        "POST mounts": BLOBS,
        "PUT manifests": TAGS,
    }


def test_requests_grow_linearly(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    found = []
    for count in (10, 20, 40):
        tagged(images, servers["dev"], count, f"app{count}")
        ci("copy", "--all-tags", f"dev:app{count}", f"prod:app{count}")
        found.append(sum(made(servers["dev"]).values()) + sum(made(servers["prod"]).values()))
    # Two listings; each blob is read, an upload opened and written; each manifest is read and put.
    once, each = 2 + 3 * SHARED, 2 + 3 * 2
    assert found == [once + each * count for count in (10, 20, 40)]


def test_promote(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    tagged(images, servers["dev"])
    ci("promote", "--promotion", "all")
    # As a copy, and the repositories, which are chosen by a pattern.
    assert made(servers["dev"]) == {"GET catalog": 1, "GET tags": 1, "GET manifests": TAGS, "GET blobs": BLOBS}
    records = {
        "HEAD blobs": 1,  # the empty configuration that all of them have
        "POST uploads": 1 + TAGS,
        "PUT uploads": 1 + TAGS,
        "PUT manifests": TAGS,
    }
    copy = {"GET tags": 1, "POST uploads": BLOBS, "PUT uploads": BLOBS, "PUT manifests": TAGS}
    # Content goes by digest; then each tag: its manifest is looked at, and put under it.
    tags = {"GET manifests": TAGS, "PUT manifests": TAGS, "GET tags": 1}
    assert made(servers["prod"]) == dict(Counter(records) + Counter(copy) + Counter(tags))


def test_promote_of_one_tag_with_nothing_to_do(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    image = images.image(4)
    for name in ("dev", "prod"):
        servers[name].load(image, "app", "v1")
    ci("promote", "app:v1", "--from", "dev", "--to", "prod")
    assert made(servers["dev"]) == {"GET manifests": 1, "GET blobs": 1}  # the configuration says age and commit
    assert made(servers["prod"]) == {"HEAD manifests": 1}


def test_one_source_to_three_destinations(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    image = images.image(4, layer_bytes=20_000)
    servers["dev"].load(image, "app", "v1")
    ci("push", "dev:app:v1", "--to", "prod", "--to", "second", "--to", "third")
    content = sum(len(blob) for blob in image.blobs.values()) + len(image.content)
    assert bytes_read(servers["dev"]) == content
    assert made(servers["dev"]) == {"GET manifests": 1, "GET blobs": 5}
    for name in ("prod", "second", "third"):
        assert made(servers[name])["PUT uploads"] == 5


def test_a_hundred_tags_on_one_digest(ci: Cli, servers: dict[str, FakeRegistry], images: ImageBuilder) -> None:
    servers["dev"].load(images.image(2), "app", "v1")
    ci("tag", "dev:app:v1", *(f"new{number}" for number in range(100)))
    # The listing says that none of the tags is there; the digest is asked for once.
    assert made(servers["dev"]) == {"GET manifests": 1, "PUT manifests": 100, "GET tags": 1, "HEAD manifests": 1}


def test_a_plan_of_many_tags_that_share_their_blobs(ci: Cli, servers: dict[str, FakeRegistry]) -> None:
    for name, seed in (("dev", 4), ("prod", 5)):  # the same tags, on other images
        for tag, image in same_parts(TAGS, seed):
            servers[name].load(image, "app", tag)
    ci("plan", "--promotion", "all", "--save", "plan.json")
    assert made(servers["dev"]) == {"GET catalog": 1, "GET tags": 1, "GET manifests": TAGS, "GET blobs": 1}
    # What each tag holds now; and for the one that brings the blobs, whether it, or its four layers, are there.
    assert made(servers["prod"]) == {"GET tags": 1, "HEAD manifests": TAGS + 1, "HEAD blobs": 4}
