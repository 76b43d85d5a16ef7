"""Uploads to a registry: one PUT, chunks, streams, and going on after a break (`targets.upload`)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ci_registry.errors import IntegrityError, RemoteError, TransportError
from ci_registry.model.descriptor import Descriptor, Digest, digest_of
from ci_registry.targets.base import Mounted, Present, Writer
from ci_registry.targets.registry import RegistryRepository
from ci_registry.targets.upload import upload_location
from ci_registry.transport.exchange import Reply as Answer
from ci_registry.transport.http import Client
from ci_registry.transport.message import Headers
from ci_registry.transport.origin import Origin
from tests.support.fake_registry import FakeRegistry, actions
from tests.unit.transport.wired import authorised, login_as

CONTENT = random.Random(3).randbytes(300_000)
LAYER = "application/vnd.oci.image.layer.v1.tar"
BLOB = Descriptor(LAYER, digest_of(CONTENT), len(CONTENT))
SESSION = "/blobs/uploads/."


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


def repository(registry: FakeRegistry, chunk_bytes: int = 0, client: Client | None = None) -> RegistryRepository:
    client = client or Client(Origin.parse(registry.url), retry_seconds=3)
    return RegistryRepository(client, "app", chunk_bytes=chunk_bytes).for_writing()


def begin(place: RegistryRepository, blob: Descriptor | None = BLOB, session: object = None) -> Writer:
    opened = place.writer(blob, session=session)  # type: ignore[arg-type]
    assert not isinstance(opened, Present | Mounted)
    return opened


def write(writer: Writer, content: bytes = CONTENT, piece_bytes: int = 40_000) -> None:
    for start in range(0, len(content), piece_bytes):
        writer.write(memoryview(content)[start : start + piece_bytes])


def send(place: RegistryRepository, blob: Descriptor | None = BLOB, content: bytes = CONTENT) -> None:
    writer = begin(place, blob)
    write(writer, content)
    writer.commit(digest_of(content))


def held(registry: FakeRegistry, content: bytes = CONTENT) -> bool:
    return registry.store.blob("app", digest_of(content)) == content and registry.open_sessions == 0


def ranges(registry: FakeRegistry) -> list[tuple[str, str]]:
    """Method and Content-Range of each request with a part of a blob."""
    sent = [request for request in registry.matching("*", SESSION) if request.method in ("PATCH", "PUT")]
    return [(request.method, request.headers.get("content-range", "")) for request in sent]


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
def test_a_blob_of_known_size_goes_in_one_put(registry: FakeRegistry, relative: bool) -> None:
    registry.relative_locations = relative
    send(repository(registry))
    assert held(registry)
    assert [(request.method, request.request_bytes) for request in registry.requests] == [
        ("POST", 0),
        ("PUT", len(CONTENT)),
    ]
    assert registry.requests[0].headers["content-length"] == "0"
    assert registry.requests[1].headers["content-length"] == str(len(CONTENT))


def test_an_empty_blob(registry: FakeRegistry) -> None:
    send(repository(registry), Descriptor(LAYER, digest_of(b""), 0), b"")
    assert held(registry, b"")


def test_chunks_of_the_size_that_the_target_says(registry: FakeRegistry) -> None:
    send(repository(registry, chunk_bytes=100_000))
    assert held(registry)
    assert ranges(registry) == [("PATCH", "0-99999"), ("PATCH", "100000-199999"), ("PUT", "200000-299999")]


def test_chunks_are_as_large_as_the_server_wants_at_least(registry: FakeRegistry) -> None:
    registry.chunk_min_length = 150_000
    send(repository(registry, chunk_bytes=1000))
    assert held(registry)
    assert ranges(registry) == [("PATCH", "0-149999"), ("PUT", "150000-299999")]


def test_the_servers_least_size_alone_makes_no_chunks(registry: FakeRegistry) -> None:
    registry.chunk_min_length = 1000
    send(repository(registry))
    assert ranges(registry) == [("PUT", "")]


def test_a_blob_smaller_than_a_chunk_goes_in_one_put(registry: FakeRegistry) -> None:
    send(repository(registry, chunk_bytes=len(CONTENT)))
    assert ranges(registry) == [("PUT", "")]


def test_bytes_whose_digest_is_known_at_the_end_are_streamed(registry: FakeRegistry) -> None:
    send(repository(registry), None)
    assert held(registry)
    patch, put = registry.matching("PATCH")[0], registry.matching("PUT")[0]
    assert patch.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in patch.headers
    assert (patch.request_bytes, put.request_bytes) == (len(CONTENT), 0)


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001, 250_000])
def test_bytes_of_unknown_number_in_chunks_of_known_length(registry: FakeRegistry, size: int) -> None:
    # For proxies that limit a request, or want its length, and layers that are compressed on their way.
    registry.chunk_min_length = 50_000
    send(repository(registry, chunk_bytes=100_000), None, CONTENT[:size])
    assert held(registry, CONTENT[:size])
    parts = [request for request in registry.matching("*", SESSION) if request.method in ("PATCH", "PUT")]
    assert all(part.request_bytes <= 100_000 and "content-length" in part.headers for part in parts)


def test_the_query_of_a_location_comes_back_to_the_letter(registry: FakeRegistry) -> None:
    # Every Location of the fake registry has one that must not be re-encoded, in each reply another.
    registry.verbatim_query = True
    send(repository(registry, chunk_bytes=70_000))
    assert held(registry)
    assert registry.count("PATCH") == 4


def test_uploads_at_another_host_get_no_credential() -> None:
    with FakeRegistry("bearer", {"alice": "wonder-land"}) as registry:
        registry.uploads_elsewhere = True
        client = authorised(registry, login_as("alice", "wonder-land"))
        send(repository(registry, chunk_bytes=100_000, client=client))
        assert held(registry)
        elsewhere = [request for request in registry.requests if request.storage]
        assert len(elsewhere) == 3
        assert all("authorization" not in request.headers for request in elsewhere)


# -- addresses that a proxy spoils -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "here, location, words",
    [
        ("https://r.example:5000", "https://r.example/v2/x", "sends uploads to https://r.example, so a proxy"),
        ("https://r.example", "http://r.example/v2/x", "http://r.example, without TLS"),
        ("https://r.example", "http://registry:5000/v2/x", "http://registry:5000, without TLS"),
        ("http://r.example:5000", "http://r.example/v2/x", "sends uploads to http://r.example, so"),
    ],
)
def test_a_location_that_a_proxy_has_spoiled(here: str, location: str, words: str) -> None:
    client = Client(Origin.parse(here))
    reply = Answer("POST", f"{here}/v2/app/blobs/uploads/", 202, Headers([("Location", location)]))
    with pytest.raises(RemoteError, match=words) as failed:
        upload_location(RegistryRepository(client, "app"), reply)
    assert "proxy_set_header" in failed.value.hint


def test_an_answer_without_a_location(registry: FakeRegistry) -> None:
    registry.script("POST", "", actions.without_header("Location"))
    with pytest.raises(RemoteError, match="the answer has no Location"):
        repository(registry).writer(BLOB)


# -- going on ----------------------------------------------------------------------------------------------------------


def finish(writer: Writer, content: bytes, digest: Digest = BLOB.digest) -> None:
    write(writer, content)
    writer.commit(digest)


def broken_writer(place: RegistryRepository) -> Writer:
    """A writer whose connection breaks before its end."""
    writer = begin(place)
    with pytest.raises(TransportError):
        finish(writer, CONTENT)
    return writer


def break_off(registry: FakeRegistry, place: RegistryRepository, after: int, keep: bool = True) -> Writer:
    registry.script("*", SESSION, actions.break_upload(after, keep))
    return broken_writer(place)


@pytest.mark.parametrize("chunk_bytes", [0, 100_000])
@pytest.mark.parametrize("after", [2, 70_000, 299_999])
def test_a_broken_upload_goes_on_from_what_the_registry_has(
    registry: FakeRegistry, chunk_bytes: int, after: int
) -> None:
    place = repository(registry, chunk_bytes)
    after = min(after, (chunk_bytes or after + 1) - 1)
    dead = break_off(registry, place, after)
    again = begin(place, session=dead.session)
    assert again.offset == after
    write(again, CONTENT[after:])
    again.commit(BLOB.digest)
    assert held(registry)
    assert registry.count("POST") == 1
    sent = [request.request_bytes for request in registry.matching("*", SESSION)]
    assert sum(sent) == len(CONTENT), "no byte was sent twice"


def test_a_chunk_on_the_way_back_is_no_larger_than_the_target_says(registry: FakeRegistry) -> None:
    registry.chunk_min_length = 60_000
    place = repository(registry, chunk_bytes=50_000)
    dead = break_off(registry, place, 10_000)
    registry.requests.clear()
    again = begin(place, session=dead.session)
    write(again, CONTENT[10_000:])
    again.commit(BLOB.digest)
    assert held(registry)
    assert max(request.request_bytes for request in registry.requests) == 60_000


@pytest.mark.parametrize("after", [0, 1])
def test_one_byte_and_none_look_alike_so_it_begins_again(registry: FakeRegistry, after: int) -> None:
    # Range: 0-0 stands for both (distribution); going on would put one byte too many.
    place = repository(registry)
    dead = break_off(registry, place, after) if after else _touched(registry, place)
    again = begin(place, session=dead.session)
    assert again.offset == 0
    write(again)
    again.commit(BLOB.digest)
    assert held(registry), "and the old session is gone"


def _touched(registry: FakeRegistry, place: RegistryRepository) -> Writer:
    registry.script("PUT", SESSION, actions.drop())
    return broken_writer(place)


def test_a_session_that_was_never_sent_a_byte_is_used(registry: FakeRegistry) -> None:
    place = repository(registry)
    unused = begin(place)
    again = begin(place, session=unused.session)
    write(again)
    again.commit(BLOB.digest)
    assert held(registry)
    assert registry.count("POST") == 1
    assert ranges(registry) == [("PUT", "")]


def test_a_session_that_is_gone_is_begun_anew(registry: FakeRegistry) -> None:
    place = repository(registry)
    dead = break_off(registry, place, 70_000)
    registry.store.sessions.clear()
    again = begin(place, session=dead.session)
    assert again.offset == 0
    write(again)
    again.commit(BLOB.digest)
    assert held(registry)


@pytest.mark.parametrize(
    "spoil",
    [
        actions.without_header("Range"),
        actions.header("Range", "nonsense"),
        actions.header("Range", "0-999999"),
        actions.status(400),
        actions.status(500),
    ],
)
def test_a_status_that_makes_no_sense_ends_the_session(registry: FakeRegistry, spoil: actions.Action) -> None:
    place = repository(registry)
    dead = break_off(registry, place, 70_000)
    registry.script("GET", SESSION, spoil, times=None)
    again = begin(place, session=dead.session)
    write(again)
    again.commit(BLOB.digest)
    assert held(registry)
    assert registry.count("DELETE", SESSION) == 1


def test_all_bytes_are_there_and_only_the_end_is_missing(registry: FakeRegistry) -> None:
    place = repository(registry, chunk_bytes=100_000)
    registry.script("PUT", SESSION, actions.break_upload(100_000))
    again = begin(place, session=broken_writer(place).session)
    assert again.offset == len(CONTENT)
    again.commit(BLOB.digest)
    assert held(registry)


def test_a_registry_that_lost_count_is_noticed(registry: FakeRegistry) -> None:
    # distribution 2 ignores Content-Range: only its own count shows that a chunk landed where it should.
    registry.script("PATCH", "", actions.header("Range", "0-5"))
    writer = begin(repository(registry, chunk_bytes=100_000))
    with pytest.raises(TransportError, match="the registry has 6 bytes of 100000"):
        write(writer)
    writer.abort()


def test_416_is_a_reason_to_ask_how_far_it_is(registry: FakeRegistry) -> None:
    place = repository(registry, chunk_bytes=100_000)
    registry.script("PATCH", "", actions.error(416, "RANGE_INVALID", "out of step"), nth=2)
    writer = begin(place)
    with pytest.raises(TransportError):
        write(writer)
    again = begin(place, session=writer.session)
    assert again.offset == 100_000
    write(again, CONTENT[100_000:])
    again.commit(BLOB.digest)
    assert held(registry)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_is_refused_on_its_way(registry: FakeRegistry, known: bool) -> None:
    big = bytes(30 << 20)
    registry.script("*", SESSION, actions.html(413, "<title>413 Request Entity Too Large</title>"), times=None)
    writer = begin(repository(registry), Descriptor(LAYER, digest_of(big), len(big)) if known else None)
    with pytest.raises(RemoteError, match="413 Request Entity Too Large") as failed:
        finish(writer, big, digest_of(big))
    assert "client_max_body_size" in failed.value.hint
    assert not isinstance(failed.value, TransportError)
    registry.clear()
    writer.abort()
    assert registry.open_sessions == 0


def test_wrong_bytes_are_refused_and_nothing_is_left(registry: FakeRegistry) -> None:
    writer = begin(repository(registry), Descriptor(LAYER, digest_of(b"other"), len(CONTENT)))
    write(writer)
    with pytest.raises(IntegrityError, match="DIGEST_INVALID"):
        writer.commit(digest_of(b"other"))
    writer.abort()
    assert registry.open_sessions == 0


@pytest.mark.parametrize("extra", [-1, 1])
def test_another_number_of_bytes_than_was_said_does_not_get_out(registry: FakeRegistry, extra: int) -> None:
    writer = begin(repository(registry))
    content = (CONTENT + b"x")[: len(CONTENT) + extra]
    with pytest.raises(IntegrityError, match=f"there are {len(content)} bytes, and its manifest says {len(CONTENT)}"):
        finish(writer, content)
    writer.abort()
    assert registry.open_sessions == 0


def test_an_abort_cancels_the_session_and_never_fails(registry: FakeRegistry) -> None:
    writer = begin(repository(registry))
    write(writer, CONTENT[:50_000])
    writer.abort()
    writer.abort()
    assert registry.open_sessions == 0
    other = begin(repository(registry))
    registry.script("DELETE", "", actions.drop(), times=None)
    other.abort()


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_bytes", [0, 100_000])
def test_a_token_that_ends_in_the_middle_of_an_upload(chunk_bytes: int) -> None:
    with FakeRegistry("bearer", {"alice": "wonder-land"}) as registry:
        place = repository(registry, chunk_bytes, authorised(registry, login_as("alice", "wonder-land")))
        writer = begin(place)
        if chunk_bytes:
            write(writer, CONTENT[:100_000])
        done = writer.offset
        registry.expire_tokens()
        with pytest.raises(TransportError):
            finish(writer, CONTENT[done:])
        again = begin(place, session=writer.session)
        write(again, CONTENT[again.offset :])
        again.commit(BLOB.digest)
        assert held(registry)
        assert again.offset == len(CONTENT)
        assert len(registry.token_requests) == 2


def test_a_password_that_is_withdrawn_in_the_middle_is_not_tried_again() -> None:
    with FakeRegistry("basic", {"alice": "wonder-land"}) as registry:
        place = repository(registry, 100_000, authorised(registry, login_as("alice", "wonder-land")))
        writer = begin(place)
        registry.tokens.service.users.clear()
        with pytest.raises(Exception, match="refused user 'alice'"):
            write(writer)
        assert registry.count("*", status=401) == 2, "the first challenge, and the refused chunk"


# -- mounting ----------------------------------------------------------------------------------------------------------


def with_blob(registry: FakeRegistry) -> None:
    registry.store.add_blob("base", BLOB.digest, CONTENT)


def test_a_mount_is_one_request(registry: FakeRegistry) -> None:
    with_blob(registry)
    assert repository(registry).writer(BLOB, ["base"]) == Mounted("base")
    assert [request.method for request in registry.requests] == ["POST"]
    assert held(registry)


def test_a_mount_that_is_not_done_is_the_upload(registry: FakeRegistry) -> None:
    writer = repository(registry).writer(BLOB, ["base"])
    assert not isinstance(writer, Mounted | Present)
    write(writer)
    writer.commit(BLOB.digest)
    assert held(registry)
    assert [request.method for request in registry.requests] == ["POST", "PUT"]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_mount_from_where_we_may_not_read_becomes_an_upload(auth: str) -> None:
    allowed = {"alice": {"app": "pull,push"}}
    with FakeRegistry(auth, {"alice": "wonder-land"}, allowed) as registry:
        with_blob(registry)
        if auth == "basic":
            challenge = {"WWW-Authenticate": 'Basic realm="base"'}
            registry.script("POST", "from=base", actions.status(401, challenge), times=None)
        place = repository(registry, client=authorised(registry, login_as("alice", "wonder-land")))
        assert place.tagged("1") is None, "the login is good"
        writer = place.writer(BLOB, ["base"])
        assert not isinstance(writer, Mounted | Present)
        finish(writer, CONTENT)
        assert held(registry)


def test_a_registry_that_is_not_to_be_asked_for_mounts(registry: FakeRegistry) -> None:
    with_blob(registry)
    place = RegistryRepository(Client(Origin.parse(registry.url)), "app", mounts=False)
    assert not isinstance(place.writer(BLOB, ["base"]), Mounted)
    assert "mount" not in registry.requests[0].path


def test_a_chunk_that_is_not_answered_in_time_is_a_break(registry: FakeRegistry) -> None:
    registry.script("PATCH", "", actions.delay(1))
    writer = begin(repository(registry, chunk_bytes=100_000))
    with pytest.raises(TransportError, match="in time"):
        writer.write(memoryview(CONTENT), 0.2)
