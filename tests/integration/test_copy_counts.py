"""How many requests a copy makes: exact numbers at the server, whatever the machine."""

from __future__ import annotations

import pytest

from ci_registry.engine.copy import CopyRequest, Destination
from tests.support.fake_registry import FakeRegistry
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.spaces import RegistrySpace
from tests.support.validator import validate_registry

from .copying import Copier


def counts(server: FakeRegistry, pattern: str = "") -> dict[str, int]:
    """Requests by verb."""
    found: dict[str, int] = {}
    for request in server.matching("*", pattern):
        found[request.method] = found.get(request.method, 0) + 1
    return found


def shapes(images: ImageBuilder) -> dict[str, BuiltImage]:
    return {
        "image": images.image(3),
        "index": images.index(shared_layers=2),
        "nested": images.index([images.image(), images.index(["linux/arm64", "linux/s390x"])]),
        "attested": images.index(attestations=True),
    }


@pytest.mark.parametrize("shape", ["image", "index", "nested", "attested"])
def test_a_fresh_copy(images: ImageBuilder, shape: str) -> None:
    image = shapes(images)[shape]
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.load(image, "app", "1")
        assert copier.copy(copier.source(source.url), copier.target(target.url)).errors == []
        # Each manifest and each blob is read once.
        assert counts(source) == {"GET": len(image.manifests) + len(image.blobs)}
        # The tag and the repository are looked for, then everything is sent: two requests a blob, one a manifest.
        assert counts(target) == {
            "HEAD": 1,
            "GET": 1,
            "POST": len(image.blobs),
            "PUT": len(image.blobs) + len(image.manifests),
        }


@pytest.mark.parametrize("shape", ["image", "index", "nested", "attested"])
def test_into_a_repository_that_exists_parts_are_asked_for(images: ImageBuilder, shape: str) -> None:
    image = shapes(images)[shape]
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        source.load(image, "app", "1")
        target.load(images.image(), "app", "other")
        assert copier.copy(copier.source(source.url), copier.target(target.url)).errors == []
        assert counts(source) == {"GET": len(image.manifests) + len(image.blobs)}
        assert counts(target) == {
            "HEAD": 1 + len(image.manifests) + len(image.blobs),  # the tag, each manifest, each blob
            "GET": 1,
            "POST": len(image.blobs),
            "PUT": len(image.blobs) + len(image.manifests),
        }


@pytest.mark.parametrize("shape", ["image", "index", "nested", "attested"])
def test_inside_one_registry_one_post_per_blob_and_no_blob_body(images: ImageBuilder, shape: str) -> None:
    image = shapes(images)[shape]
    with FakeRegistry() as registry, Copier.opened() as copier:
        registry.load(image, "from", "1")
        source, target = copier.source(registry.url, "from"), copier.target(registry.url, "to")
        assert copier.copy(source, target).errors == []
        assert validate_registry(registry.url, "to", "1").problems == []
    with FakeRegistry() as registry, Copier.opened() as copier:
        registry.load(image, "from", "1")
        source, target = copier.source(registry.url, "from"), copier.target(registry.url, "to")
        copier.copy(source, target)
        assert counts(registry, "/blobs/") == {"POST": len(image.blobs)}
        assert all("mount=" in request.path for request in registry.matching("POST"))
        assert sum(request.request_bytes + request.response_bytes for request in registry.matching("*", "/blobs/")) == 0
        # Two requests a manifest, and two to look for tag and repository.
        assert counts(registry, "/manifests/|/tags/") == {
            "GET": len(image.manifests) + 1,
            "HEAD": 1,
            "PUT": len(image.manifests),
        }


def test_a_real_registry_mounts_with_one_post_per_blob(registry: RegistrySpace, images: ImageBuilder) -> None:
    image = images.index(shared_layers=1)
    registry.upload(image, "from")
    before = len(registry.requests())
    with Copier.opened() as copier:
        source = copier.source(registry.url, registry.repository("from"))
        copy = copier.copy(source, copier.target(registry.url, registry.repository("to")))
    assert copy.errors == []
    assert registry.validate("to").problems == []
    made = registry.requests()[before:]
    blobs = [line for line in made if "/blobs/" in line.path and line.path.startswith(f"/v2/{registry.prefix}/to")]
    posts = [line for line in made if line.method == "POST"]
    assert len(posts) == len(image.blobs)
    assert all(line.status == 201 and "mount=" in line.path for line in posts)
    assert [line.method for line in made if "/from/blobs/" in line.path and line.method != "POST"] == []
    assert {line.method for line in blobs} <= {"POST", "HEAD", "GET"}  # the judge reads


@pytest.mark.parametrize("tags", [1, 2])
def test_nothing_to_do_is_two_requests_a_tag(images: ImageBuilder, tags: int) -> None:
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        place, to = copier.source(source.url), copier.target(target.url)
        for number in range(tags):
            image = images.index()
            source.load(image, "app", f"v{number}")
            target.load(image, "app", f"v{number}")
            copier.add(place, to, reference=f"v{number}", tags=[f"v{number}"])
        copier.run()
        assert counts(source) == {"GET": tags}
        assert counts(target) == {"HEAD": tags}


def test_many_tags_that_are_there_cost_one_listing_more(images: ImageBuilder) -> None:
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        place, to = copier.source(source.url), copier.target(target.url)
        for number in range(20):
            image = images.image()
            source.load(image, "app", f"v{number}")
            target.load(image, "app", f"v{number}")
            copier.add(place, to, reference=f"v{number}", tags=[f"v{number}"])
        copier.run()
        assert counts(source) == {"GET": 20}
        assert counts(target) == {"HEAD": 20, "GET": 1}


def test_many_tags_with_shared_layers(images: ImageBuilder) -> None:
    shared = [images.layer() for _ in range(4)]
    with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
        place, to = copier.source(source.url), copier.target(target.url)
        for number in range(20):
            source.load(images.image(1, shared=shared), "app", f"v{number}")
            copier.add(place, to, reference=f"v{number}", tags=[f"v{number}"])
        copier.run()
        blobs = 4 + 20 + 20  # the shared ones, then a layer and a configuration each
        assert counts(source) == {"GET": 20 + blobs}
        assert counts(target) == {"GET": 1, "POST": blobs, "PUT": blobs + 20}
        assert validate_registry(target.url, "app", "v13").problems == []


def test_three_destinations_are_read_for_once(images: ImageBuilder) -> None:
    image = images.index()
    with FakeRegistry() as source, Copier.opened() as copier:
        source.load(image, "app", "1")
        with FakeRegistry() as one, FakeRegistry() as two, FakeRegistry() as three:
            targets = [copier.target(server.url) for server in (one, two, three)]
            assert copier.copy(copier.source(source.url), *targets).errors == []
            assert counts(source) == {"GET": len(image.manifests) + len(image.blobs)}
            for server in (one, two, three):
                assert validate_registry(server.url, "app", "1").problems == []


def test_a_second_tag_costs_one_request(images: ImageBuilder) -> None:
    image = images.image()

    def requests(*tags: str) -> int:
        with FakeRegistry() as source, FakeRegistry() as target, Copier.opened() as copier:
            source.load(image, "app", "1")
            copier.copy(copier.source(source.url), copier.target(target.url), tags=tags)
            assert target.repository("app").tags == dict.fromkeys(tags, image.digest)
            return len(target.requests)

    assert requests("1", "2") - requests("1") == 2, "to look for it, and to set it"


def test_a_login_costs_one_challenge_and_one_token(images: ImageBuilder) -> None:
    from ci_registry.targets.registry import RegistryRepository
    from tests.unit.transport.wired import authorised, login_as

    image = images.index()
    with (
        FakeRegistry() as source,
        FakeRegistry("bearer", {"alice": "wonder-land"}) as target,
        Copier.opened() as copier,
    ):
        source.load(image, "app", "1")
        client = authorised(target, login_as("alice", "wonder-land"))
        to = RegistryRepository(client, "app").for_writing()
        request = CopyRequest(copier.source(source.url), "1", [Destination(to, ("1",))])
        copy = copier.run_.add(request)
        copier.run()
        assert copy.errors == []
        assert target.count("*", status=401) == 1
        assert len(target.token_requests) == 1
