"""Reading from a registry, listing it, and what is remembered of it (`targets.registry`, `listing`, `fallback_tag`)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from ci_registry.errors import (
    AccessError,
    ConflictError,
    InputFileError,
    IntegrityError,
    NotFoundError,
    RemoteError,
    TransportError,
    UsageError,
)
from ci_registry.model.descriptor import Descriptor, Digest, digest_of
from ci_registry.model.manifest import OCI_MANIFEST, Manifest, parse_manifest
from ci_registry.targets.fallback_tag import add_referrer, fallback_tag, listed_referrers, remove_referrer
from ci_registry.targets.listing import repositories
from ci_registry.targets.registry import RegistryRepository
from ci_registry.transport.http import Client
from ci_registry.transport.origin import Origin
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Exchange, Reply
from tests.support.images import BuiltImage, ImageBuilder

CONTENT = random.Random(5).randbytes(200_000)
BLOB = Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(CONTENT), len(CONTENT))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.store.add_blob("app", BLOB.digest, CONTENT)
        yield server


def client_of(registry: FakeRegistry, retry_seconds: float = 3) -> Client:
    return Client(Origin.parse(registry.url), retry_seconds=retry_seconds)


def repository(registry: FakeRegistry, name: str = "app", retry_seconds: float = 3, **how: bool) -> RegistryRepository:
    return RegistryRepository(client_of(registry, retry_seconds), name, **how)


def read(place: RegistryRepository, offset: int = 0, blob: Descriptor = BLOB) -> bytes:
    out, buffer = bytearray(), memoryview(bytearray(30_000))
    with place.fetch(blob, offset) as stream:
        while count := stream.readinto(buffer):
            out += buffer[:count]
    return bytes(out)


def manifest_of(image: BuiltImage) -> Manifest:
    return parse_manifest(image.content, image.root.media_type)


# -- blobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 150_000, len(CONTENT) - 1])
def test_a_blob_from_an_offset(registry: FakeRegistry, redirected: bool, offset: int) -> None:
    registry.redirect_blobs = redirected
    assert read(repository(registry), offset) == CONTENT[offset:]
    served = registry.matching("GET", "sha256")[-1]
    assert served.response_bytes == len(CONTENT) - offset
    assert served.headers.get("range") == (f"bytes={offset}-{len(CONTENT) - 1}" if offset else None)
    assert served.headers["accept-encoding"] == "identity"


def without_ranges(exchange: Exchange, proceed: actions.Proceed) -> Reply | None:
    exchange.headers.pop("range", None)
    return proceed()


def test_a_registry_without_ranges_is_read_from_the_start_and_the_beginning_dropped(registry: FakeRegistry) -> None:
    registry.script("GET", "/blobs/", without_ranges, times=None)
    assert read(repository(registry), 150_000) == CONTENT[150_000:]


@pytest.mark.parametrize("value", ["bytes 0-199999/200000", "bytes */200000", "nonsense"])
def test_another_range_than_was_asked_for_is_not_taken(registry: FakeRegistry, value: str) -> None:
    registry.script("GET", "/blobs/", actions.header("Content-Range", value))
    with pytest.raises(RemoteError, match="from byte 150000 failed: the range that came back is"):
        read(repository(registry), 150_000)


def test_a_blob_that_is_shorter_than_its_manifest_says(registry: FakeRegistry) -> None:
    longer = Descriptor(BLOB.media_type, BLOB.digest, len(CONTENT) + 50)
    with pytest.raises(IntegrityError, match=f"not more than {len(CONTENT)} of the {len(CONTENT) + 50} bytes"):
        read(repository(registry), len(CONTENT), longer)


def test_a_download_that_breaks(registry: FakeRegistry) -> None:
    registry.script("GET", "/blobs/", actions.break_download(1000))
    place = repository(registry)
    buffer = memoryview(bytearray(len(CONTENT)))
    with place.fetch(BLOB) as stream:
        count = stream.readinto(buffer[:1000])
        assert (count, stream.readinto(buffer)) == (1000, 0), "the end came early, which its reader has to see"


@pytest.mark.parametrize(
    "action, kind, words",
    [
        (actions.error(404, "BLOB_UNKNOWN", "blob unknown"), NotFoundError, "the registry answered 404: BLOB_UNKNOWN"),
        (actions.error(403, "DENIED", "no"), AccessError, "the registry answered 403: DENIED no"),
        (actions.html(502), RemoteError, "the registry answered 502: 502 Bad Gateway"),
        (actions.drop(), TransportError, "broke"),
    ],
)
def test_a_blob_that_is_refused(
    registry: FakeRegistry, action: actions.Action, kind: type[Exception], words: str
) -> None:
    registry.script("GET", "/blobs/", action, times=None)
    with pytest.raises(kind, match=words):
        read(repository(registry, retry_seconds=0))


def test_a_blob_behind_a_redirect_is_there(registry: FakeRegistry) -> None:
    # A HEAD of a URL that is signed for GET would be refused, so it is not followed.
    registry.script("HEAD", "/blobs/", actions.status(307, {"Location": f"{registry.storage_url}/storage/x"}))
    place = repository(registry)
    assert place.exists([BLOB]) == {BLOB}
    assert [request.storage for request in registry.requests] == [False]


# -- manifests ---------------------------------------------------------------------------------------------------------


def test_a_manifest_behind_a_redirect(registry: FakeRegistry, images: ImageBuilder) -> None:
    # registry.k8s.io sends everything elsewhere.
    image = images.image()
    with FakeRegistry() as elsewhere:
        elsewhere.load(image, "real/app", "1")

        def away(exchange: Exchange, _proceed: actions.Proceed) -> Reply:
            return Reply(307, {"Location": exchange.target.replace("/v2/", f"{elsewhere.url}/v2/real/")})

        registry.script("*", "", away, times=None)
        elsewhere.page_size = 1
        elsewhere.store.repository("real/app").tags["2"] = image.digest
        place = repository(registry)
        assert place.resolve("1") == image.root
        assert place.manifest(place.resolve("1")).content == image.content
        assert place.tagged("1") == image.root
        assert place.tags() == ["1", "2"]


@pytest.mark.parametrize("how", [actions.corrupt(), actions.truncate(100), actions.replace_body(b"{}")])
@pytest.mark.parametrize("reference", ["tag", "digest"])
def test_altered_manifests(registry: FakeRegistry, images: ImageBuilder, how: actions.Action, reference: str) -> None:
    image = images.image()
    registry.load(image, "app", "1")
    registry.script("GET", "/manifests/", how, times=None)
    with pytest.raises(IntegrityError, match="gave bytes whose digest is sha256:"):
        repository(registry).resolve("1" if reference == "tag" else image.digest)


def test_a_manifest_named_by_another_algorithm_is_checked_and_keeps_its_name(
    registry: FakeRegistry, images: ImageBuilder
) -> None:
    image = images.image()
    name = digest_of(image.content, "sha512")
    registry.repository("app").manifests[name] = (image.root.media_type, image.content)
    assert repository(registry).resolve(name).digest == name
    registry.script("GET", "/manifests/", actions.corrupt())
    with pytest.raises(IntegrityError, match=f"not {name}"):
        repository(registry).resolve(name)


def test_a_manifest_is_looked_into_when_it_is_asked_for_and_read_once(registry: FakeRegistry) -> None:
    content = b'{"schemaVersion":2,"mediaType":"%b","layers":7}' % OCI_MANIFEST.encode()
    digest = digest_of(content)
    registry.store.put_manifest("app", OCI_MANIFEST, content, ["1"], "sha256")
    place = repository(registry)
    root = place.resolve("1")
    assert (root.digest, root.media_type, root.size) == (digest, OCI_MANIFEST, len(content))
    for _ in range(2):
        with pytest.raises(InputFileError, match="app:1 has no config, which an image manifest must have"):
            place.manifest(root)
    assert registry.count("GET", "/manifests/") == 1


def test_a_huge_manifest_is_not_read(registry: FakeRegistry, images: ImageBuilder) -> None:
    registry.load(images.image(), "app", "1")
    registry.script("GET", "/manifests/", actions.replace_body(b" " * (5 << 20)))
    with pytest.raises(RemoteError, match="answered with more than the 4194304 bytes"):
        repository(registry).resolve("1")


def test_schema_1_is_refused_with_a_sentence(registry: FakeRegistry) -> None:
    content = json.dumps({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": []}).encode()
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.store.put_manifest("app", kind, content, ["1"], "sha256")
    with pytest.raises(UsageError, match=r"is a Docker schema 1 manifest, an obsolete format") as failed:
        repository(registry).resolve("1")
    assert "Docker 1.10" in failed.value.hint


@pytest.mark.parametrize("spoil", [actions.without_header("Docker-Content-Digest"),
                                   actions.header("Docker-Content-Digest", "nonsense"),
                                   actions.header("Content-Length", "")])  # fmt: skip
def test_a_head_that_says_too_little_is_followed_by_a_get(
    registry: FakeRegistry, images: ImageBuilder, spoil: actions.Action
) -> None:
    image = images.image()
    registry.load(image, "app", "1")
    registry.script("HEAD", "", spoil, times=None)
    assert repository(registry).tagged("1") == image.root


def test_where_pulls_are_counted_tags_are_resolved_without_one(registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    registry.load(image, "app", "1")
    assert repository(registry, free_heads=True).resolve("1") == image.root
    assert registry.count("GET") == 0
    with pytest.raises(NotFoundError, match="the registry has no such tag"):
        repository(registry, free_heads=True).resolve("2")


@pytest.mark.parametrize("says", ["another", "nothing"])
def test_after_a_push_what_the_registry_stored_is_compared(
    registry: FakeRegistry, images: ImageBuilder, says: str
) -> None:
    image, other = images.image(), images.image()
    registry.load(other, "app", "1")
    for digest, content in image.blobs.items():
        registry.store.add_blob("app", digest, content)
    if says == "another":
        registry.script("PUT", "", actions.header("Docker-Content-Digest", other.digest))
    else:
        registry.script("PUT", "", actions.status(201))  # and it stores nothing
    with pytest.raises(IntegrityError, match=f"the registry stored {other.digest}, not {image.digest}"):
        repository(registry).put_manifest(manifest_of(image), "1")


# -- what there is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [False, True])
def test_tags_in_pages(registry: FakeRegistry, absolute: bool) -> None:
    registry.page_size, registry.absolute_links = 2, absolute
    names = [f"v{number}" for number in range(7)]
    registry.repository("app").tags.update(dict.fromkeys(names, "sha256:" + "0" * 64))
    assert repository(registry).tags() == names
    assert registry.count("GET", "/tags/list") == 4


def test_repositories_in_pages(registry: FakeRegistry) -> None:
    registry.page_size = 1
    registry.store.add_blob("other", BLOB.digest, CONTENT)
    assert repositories(client_of(registry)) == ["app", "other"]


@pytest.mark.parametrize(
    "link, words",
    [
        ('<http://elsewhere.example/v2/app/tags/list?n=2>; rel="next"', "at another host, http://elsewhere.example"),
        ('</v2/app/tags/list?n=1000>; rel="next"', "go round in a circle"),
        ('<ftp://x/>; rel="next"', "can't be asked"),
    ],
)
def test_pages_that_lead_astray(registry: FakeRegistry, link: str, words: str) -> None:
    registry.script("GET", "/tags/list", actions.header("Link", link), times=None)
    with pytest.raises(RemoteError, match=words):
        repository(registry).tags()


def test_a_link_to_something_else_is_no_next_page(registry: FakeRegistry) -> None:
    registry.script("GET", "/tags/list", actions.header("Link", '</v2/docs>; rel="help", </x>; rel="prev"'))
    assert repository(registry).tags() == []


@pytest.mark.parametrize("body", [b"[]", b"nothing", b'{"tags": "v1"}', b'{"tags": {"a": 1}}', b"[" * 60_000])
def test_an_answer_that_is_no_listing(registry: FakeRegistry, body: bytes) -> None:
    registry.script("GET", "/tags/list", actions.replace_body(body))
    with pytest.raises(RemoteError, match="not a listing"):
        repository(registry).tags()


def test_a_new_repository_is_seen_with_one_request(registry: FakeRegistry) -> None:
    place = repository(registry, "fresh")
    assert place.is_new()
    assert place.is_new()
    assert place.tagged("1") is None
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        actions.status(404, body=b"404 page not found"),
        actions.html(404),
        actions.error(403, "DENIED", "no listing"),
        actions.status(200, body=b"nothing"),
        actions.html(502),
    ],
)
def test_a_listing_that_is_not_offered_is_no_proof_of_a_new_repository(
    registry: FakeRegistry, images: ImageBuilder, answer: actions.Action
) -> None:
    image = images.image()
    registry.load(image, "app", "1")
    registry.script("GET", "/tags/list", answer, times=None)
    place = repository(registry, retry_seconds=0)
    assert not place.is_new()
    assert place.tagged("1") == image.root, "so a tag that must not move is seen"


def test_one_listing_answers_for_many_tags(registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    registry.load(image, "app", "1")
    place = repository(registry)
    assert not place.is_new()
    assert [place.tagged(tag) for tag in ("1", "2", "3")] == [image.root, None, None]
    assert [(request.method, request.status) for request in registry.requests] == [("GET", 200), ("HEAD", 200)]
    place.put_manifest(manifest_of(image), "2")
    assert place.tagged("2") == image.root


def test_very_many_tags_are_not_listed_to_the_end(registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    registry.load(image, "app", "v9")
    registry.page_size = 1
    registry.repository("app").tags.update({f"v{number}": image.digest for number in range(10)})
    place = repository(registry)
    assert not place.is_new()
    assert registry.count("GET") <= 4
    assert place.tagged("v9") == image.root


def test_a_tag_that_was_found_shows_that_it_is_not_new(registry: FakeRegistry, images: ImageBuilder) -> None:
    registry.load(images.image(), "app", "1")
    place = repository(registry)
    place.tagged("1")
    assert not place.is_new()
    assert registry.count("GET", "/tags/list") == 0


def test_a_long_lived_process_looks_again(
    registry: FakeRegistry, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.image()
    place = repository(registry)
    assert not place.is_new()
    assert place.tagged("1") is None
    registry.load(image, "app", "1")
    monkeypatch.setattr("ci_registry.targets.tag_memory._SECONDS", -1.0)
    assert place.tagged("1") == image.root


# -- referrers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [False, True])
def test_referrers_by_the_api(registry: FakeRegistry, images: ImageBuilder, filters: bool) -> None:
    image = images.with_referrers(images.image())
    registry.load(image, "app", "1")
    registry.filter_referrers, registry.page_size = filters, 1
    place = repository(registry)
    assert {entry.digest for entry in place.referrers(image.digest)} == {each.digest for each in image.referrers}
    wanted = image.referrers[1].document["artifactType"]
    (found,) = place.referrers(image.digest, wanted)
    assert (found.digest, found.artifact_type) == (image.referrers[1].digest, wanted)
    assert place.referrers(image.referrers[0].digest) == []


@pytest.mark.parametrize("body", [b"{}", b'{"schemaVersion": 2}'])
def test_an_answer_without_a_list_is_not_an_empty_list(registry: FakeRegistry, body: bytes) -> None:
    registry.script("GET", "/referrers/", actions.replace_body(body))
    with pytest.raises(RemoteError, match="the answer is no index"):
        repository(registry).referrers(BLOB.digest)


def test_referrers_by_the_tag_where_there_is_no_api(registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.with_referrers(images.image())
    registry.referrers_api = False
    registry.load(image, "app", "1")
    place = repository(registry)
    assert {entry.digest for entry in place.referrers(image.digest)} == {each.digest for each in image.referrers}
    assert place.referrers(image.referrers[0].digest) == []
    assert registry.count("GET", "/referrers/") == 1, "that there is no API is remembered"


def test_a_pushed_referrer_is_listed_under_the_tag(registry: FakeRegistry, images: ImageBuilder) -> None:
    image = images.with_referrers(images.image())
    registry.referrers_api = False
    place = repository(registry)
    for member in image.family():
        for digest, content in member.blobs.items():
            registry.store.add_blob("app", digest, content)
        place.put_manifest(manifest_of(member))
    listed = listed_referrers(place, image.digest)
    assert [(entry.digest, entry.artifact_type) for entry in listed] == [
        (each.digest, each.document["artifactType"]) for each in image.referrers
    ]
    before = registry.count("PUT")
    place.put_manifest(manifest_of(image.referrers[0]))
    assert registry.count("PUT") == before + 1, "an entry that is there is not written again"


class Tag:
    """A repository with nothing but one tag, which somebody else writes too."""

    def __init__(self, interfering: int = 0) -> None:
        self.entries: list[Descriptor] = []
        self.manifest_held: Manifest | None = None
        self.interfering = interfering
        self.writes = 0

    def resolve(self, reference: str) -> Descriptor:
        if self.manifest_held is None:
            raise NotFoundError(reference)
        return self.manifest_held.descriptor

    def manifest(self, descriptor: Descriptor) -> Manifest:
        assert self.manifest_held is not None
        return self.manifest_held

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        self.writes += 1
        if self.interfering:
            self.interfering -= 1
            return  # another client's list, made before ours, replaces it
        self.manifest_held = manifest


SUBJECT = Digest("sha256:" + "a" * 64)


def entry(letter: str) -> Descriptor:
    return Descriptor(OCI_MANIFEST, Digest("sha256:" + letter * 64), 7, artifact_type="x/y")


def test_an_entry_that_somebody_else_overwrote_is_written_again() -> None:
    tag = Tag(interfering=2)
    add_referrer(tag, SUBJECT, entry("b"))
    assert [each.digest for each in listed_referrers(tag, SUBJECT)] == [entry("b").digest]
    assert tag.writes == 3


def test_an_entry_that_is_always_overwritten_is_an_error() -> None:
    with pytest.raises(ConflictError, match="failed 5 times: somebody else writes that tag"):
        add_referrer(Tag(interfering=100), SUBJECT, entry("b"))


def test_an_entry_is_taken_out() -> None:
    tag = Tag()
    for letter in "bc":
        add_referrer(tag, SUBJECT, entry(letter))
    remove_referrer(tag, SUBJECT, entry("b").digest)
    assert [each.digest for each in listed_referrers(tag, SUBJECT)] == [entry("c").digest]
    writes = tag.writes
    remove_referrer(tag, SUBJECT, entry("d").digest)
    assert tag.writes == writes


def test_a_tag_that_holds_something_else(images: ImageBuilder) -> None:
    tag = Tag()
    tag.manifest_held = manifest_of(images.image())
    with pytest.raises(InputFileError, match=f"the tag sha256-{'a' * 64}, which should list referrers, holds"):
        listed_referrers(tag, SUBJECT)


def test_the_tag_of_a_subject() -> None:
    assert fallback_tag(SUBJECT) == "sha256-" + "a" * 64
    assert fallback_tag(Digest("sha512:" + "b" * 128)) == "sha512-" + "b" * 64
