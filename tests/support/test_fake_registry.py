"""The scriptable registry keeps the specification, refuses what it must, and misbehaves as told."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import pytest

from .certificates import Authority
from .fake_registry import FakeRegistry, actions
from .images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, BuiltImage, ImageBuilder, digest_of, upload
from .servers import skopeo_copy, skopeo_raw, wait_until
from .spaces import RegistrySpace
from .validator import validate_registry
from .wire import Answer, Wire

BYTES = {"Content-Type": "application/octet-stream"}
ANY = {"Accept": "*/*"}


@pytest.fixture
def wire(fake_registry: FakeRegistry) -> Iterator[Wire]:
    with Wire(fake_registry.url) as client:
        yield client


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["errors"][0]["code"]


def begin(wire: Wire) -> str:
    answer = wire.expect(202, "POST", "/v2/app/blobs/uploads/", b"")
    return urljoin(answer.url, answer.headers["location"])


def put(wire: Wire, location: str, content: bytes, digest: str | None = None) -> Answer:
    return wire.request("PUT", f"{location}&digest={digest or digest_of(content)}", content, BYTES)


@pytest.mark.parametrize("options", [{}, {"redirect_blobs": True}, {"relative_locations": True}, {"mounts": False}])
def test_skopeo_copies_from_and_to_it(
    fake_registry: FakeRegistry, registry: RegistrySpace, images: ImageBuilder, options: dict[str, bool]
) -> None:
    image = images.index(attestations=True)
    fake_registry.verbatim_query = False
    vars(fake_registry).update(options)
    registry.upload(image)
    skopeo_copy(f"docker://{registry.reference()}", f"docker://{fake_registry.host}/a/b:1")
    skopeo_copy(f"docker://{fake_registry.host}/a/b:1", f"docker://{registry.reference('back')}")
    assert skopeo_raw(f"docker://{fake_registry.host}/a/b:1") == image.content
    assert validate_registry(fake_registry.url, "a/b", "1").problems == []
    assert registry.validate("back").digests == image.digests()
    assert (fake_registry.count("GET", "/storage/") > 0) == ("redirect_blobs" in options)
    assert fake_registry.open_sessions == 0


def test_skopeo_logs_in_with_basic_and_bearer(images: ImageBuilder) -> None:
    image = images.image()
    for mode in ("basic", "bearer"):
        with FakeRegistry(mode, users={"u": "p"}) as server:
            server.verbatim_query = False
            server.load(image, "a", "1")
            login = ["--src-creds", "u:p", "--dest-creds", "u:p"]
            skopeo_copy(f"docker://{server.host}/a:1", f"docker://{server.host}/b:1", *login)
            assert server.repository("b").tags == {"1": image.digest}
            assert len(server.token_requests) > 0 if mode == "bearer" else server.token_requests == []


def test_chunks_must_follow_each_other(fake_registry: FakeRegistry, wire: Wire) -> None:
    first = wire.expect(202, "PATCH", begin(wire), b"12345", {**BYTES, "Content-Range": "0-4"})
    assert first.headers["range"] == "0-4"
    gap = wire.request("PATCH", first.headers["location"], b"89", {**BYTES, "Content-Range": "7-8"})
    assert code(gap) == (416, "RANGE_INVALID")
    status = wire.expect(204, "GET", gap.headers["location"])
    assert status.headers["range"] == "0-4"
    second = wire.expect(202, "PATCH", status.headers["location"], b"67", {**BYTES, "Content-Range": "5-6"})
    assert put(wire, second.headers["location"], b"", digest_of(b"1234567")).status == 201
    assert fake_registry.store.blob("app", digest_of(b"1234567")) == b"1234567"


def test_the_query_of_a_location_must_come_back_unchanged(wire: Wire) -> None:
    location = begin(wire)
    assert re.search(r"\?_state=[0-9a-f]+-a%2Fb%2Bc==$", location)
    assert code(put(wire, location.replace("==", "%3D%3D"), b"x")) == (404, "BLOB_UPLOAD_INVALID")
    stale = begin(wire)
    wire.expect(202, "PATCH", stale, b"1", BYTES)
    assert code(put(wire, stale, b"2")) == (404, "BLOB_UPLOAD_INVALID")


def test_refuses_bad_uploads(fake_registry: FakeRegistry, wire: Wire) -> None:
    fake_registry.chunk_min_length = 10
    assert code(put(wire, begin(wire), b"x", digest_of(b"y"))) == (400, "DIGEST_INVALID")
    assert code(wire.request("PATCH", begin(wire), b"1", {**BYTES, "Content-Range": "bytes 0-0"}))[0] == 400
    assert code(wire.request("PATCH", begin(wire), b"1", {"Content-Type": "text/plain"})) == (415, "UNSUPPORTED")
    short = wire.expect(202, "PATCH", begin(wire), b"1", {**BYTES, "Content-Range": "0-0"})
    again = wire.request("PATCH", short.headers["location"], b"2", {**BYTES, "Content-Range": "1-1"})
    assert code(again) == (400, "SIZE_INVALID")
    gone = begin(wire)
    wire.expect(204, "DELETE", gone)
    assert code(put(wire, gone, b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert code(wire.request("POST", "/v2/App/blobs/uploads/", b"")) == (400, "NAME_INVALID")
    fake_registry.create_on_push = False
    assert code(wire.request("POST", "/v2/new/blobs/uploads/", b"")) == (404, "NAME_UNKNOWN")


def test_mounts_or_opens_a_session(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.image()
    digest = next(iter(image.blobs))
    fake_registry.load(image, "a")
    assert wire.request("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a", b"").status == 201
    assert wire.request("HEAD", f"/v2/b/blobs/{digest}").status == 200
    assert wire.request("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=zzz", b"").status == 202
    fake_registry.mounts = False
    assert wire.request("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=a", b"").status == 202


def bad_manifests(image: BuiltImage) -> dict[str, tuple[str, bytes]]:
    document = image.document
    size = {**document, "config": {**document["config"], "size": 1}}
    missing = {**document, "layers": [{**document["layers"][0], "digest": digest_of(b"nowhere")}]}
    return {
        "MANIFEST_INVALID": (DOCKER_MANIFEST, image.content),
        "SIZE_INVALID": (OCI_MANIFEST, json.dumps(size).encode()),
        "MANIFEST_BLOB_UNKNOWN": (OCI_MANIFEST, json.dumps(missing).encode()),
        "DIGEST_INVALID": (OCI_MANIFEST, image.content + b" "),
    }


def test_refuses_bad_manifests(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.image()
    fake_registry.load(image, "app")
    for wanted, (kind, content) in bad_manifests(image).items():
        path = f"/v2/app/manifests/{image.digest if wanted == 'DIGEST_INVALID' else '1'}"
        assert code(wire.request("PUT", path, content, {"Content-Type": kind})) == (400, wanted)
    assert fake_registry.repository("app").tags == {}
    assert set(fake_registry.repository("app").manifests) == {image.digest}
    index = images.index([images.image()]).content
    answer = wire.request("PUT", "/v2/app/manifests/1", index, {"Content-Type": OCI_INDEX})
    assert code(answer) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_needs_an_accept_header(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    fake_registry.load(images.index(), "app", "1")
    assert code(wire.request("GET", "/v2/app/manifests/1", headers={"Accept": OCI_MANIFEST})) == (
        404,
        "MANIFEST_UNKNOWN",
    )
    assert wire.request("GET", "/v2/app/manifests/1").status == 404
    assert wire.request("GET", "/v2/app/manifests/1", headers={"Accept": f"x/y, {OCI_INDEX};q=0.5"}).status == 200


@pytest.mark.parametrize("server, status", [("ecr", 400), ("nexus", 400), ("harbor", 412)])
def test_immutable_tags(
    fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire, server: str, status: int
) -> None:
    image = images.image()
    fake_registry.load(image, "app", "1")
    fake_registry.immutable = server
    headers = {"Content-Type": OCI_MANIFEST}
    assert wire.request("PUT", "/v2/app/manifests/1", image.content, headers).status == status
    assert wire.request("PUT", "/v2/app/manifests/2", image.content, headers).status == 201


@pytest.mark.parametrize("absolute", [False, True])
def test_pages_of_tags(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire, absolute: bool) -> None:
    image = images.image()
    for number in range(5):
        fake_registry.load(image, "app", f"t{number}")
    fake_registry.page_size = 2
    fake_registry.absolute_links = absolute
    found, url = [], "/v2/app/tags/list"
    while url:
        answer = wire.expect(200, "GET", url)
        found += answer.json()["tags"]
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        url = link[1] if link else ""
        assert url.startswith("http") == absolute or not url
    assert found == ["t0", "t1", "t2", "t3", "t4"]
    assert fake_registry.count("GET", "/tags/list") == 3


def test_referrers_and_deletion(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.with_referrers(images.image())
    fake_registry.load(image, "app", "1")
    path = f"/v2/app/referrers/{image.digest}"
    kind = "application/vnd.example.sbom.v1"
    filtered = wire.expect(200, "GET", f"{path}?artifactType={kind}")
    assert [entry["artifactType"] for entry in filtered.json()["manifests"]] == [kind]
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    wire.expect(202, "DELETE", "/v2/app/manifests/1")
    assert wire.expect(200, "GET", "/v2/app/tags/list").json()["tags"] is None
    wire.expect(202, "DELETE", f"/v2/app/manifests/{image.referrers[0].digest}")
    assert len(wire.expect(200, "GET", path).json()["manifests"]) == 1
    fake_registry.deletion = fake_registry.referrers_api = False
    assert wire.request("GET", path).status == 404
    assert code(wire.request("DELETE", f"/v2/app/manifests/{image.digest}")) == (405, "UNSUPPORTED")


def test_storage_refuses_credentials_and_old_signatures(
    fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire
) -> None:
    image = images.image()
    fake_registry.load(image, "app")
    fake_registry.redirect_blobs = True
    connection = http.client.HTTPConnection(fake_registry.host)
    connection.request("GET", f"/v2/app/blobs/{next(iter(image.blobs))}")
    with connection.getresponse() as reply:
        location = reply.headers["Location"]
        assert reply.status == 307
    connection.close()
    assert wire.request("GET", location, headers={"Authorization": "Basic eDp5"}).status == 400
    assert wire.request("HEAD", location).status == 403
    assert wire.request("GET", location, headers={"Range": "bytes=2-4"}).body == next(iter(image.blobs.values()))[2:5]
    fake_registry.expire_storage_urls()
    assert wire.request("GET", location).status == 403
    assert [request.storage for request in fake_registry.matching("*", "/storage/")] == [True] * 4


def test_bearer_tokens_expire_and_cover_only_their_scope() -> None:
    with FakeRegistry("bearer", users={"u": "p"}, permissions={"u": {"a": "pull"}}) as server:
        with Wire(server.url, ("u", "p")) as wire:
            assert wire.request("GET", "/v2/a/tags/list").status == 404
            assert wire.request("GET", "/v2/a/tags/list").status == 404
            assert len(server.token_requests) == 1
            server.expire_tokens()
            assert wire.request("GET", "/v2/a/tags/list").status == 404
            assert len(server.token_requests) == 2
            assert server.count("GET", "/v2/a", status=401) == 2
            refused = wire.request("POST", "/v2/a/blobs/uploads/?mount=x&from=b", b"")
        assert refused.status == 401
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert 'scope="repository:a:pull,push repository:b:pull"' in refused.headers["www-authenticate"]
        with Wire(server.url) as nobody:
            body = b"grant_type=refresh_token&refresh_token=" + server.tokens.service.add_refresh_token("u").encode()
            assert nobody.request("POST", server.tokens.realm, body).json()["access_token"]
            assert (
                nobody.request("POST", server.tokens.realm, b"grant_type=refresh_token&refresh_token=x").status == 401
            )
            assert nobody.request("GET", server.tokens.realm).status == 401


def test_serves_tls(images: ImageBuilder) -> None:
    authority = Authority()
    with (
        FakeRegistry(tls=authority.issue()) as server,
        Wire(server.url, context=authority.client_context()) as wire,
    ):
        upload(images.image(), server.url, "app", "1", wire=wire)
        assert validate_registry(server.url, "app", "1", wire).problems == []


def test_a_script_hits_the_requests_it_names(fake_registry: FakeRegistry, wire: Wire) -> None:
    rule = fake_registry.script("GET", "/v2/$", actions.status(503, {"Retry-After": "1"}), nth=2, times=2)
    assert [wire.request("GET", "/v2/").status for _ in range(5)] == [200, 503, 503, 200, 200]
    assert (rule.seen, rule.fired) == (5, 2)
    fake_registry.script("*", ".", actions.html(), times=None)
    assert [wire.request(method, "/v2/").status for method in ("HEAD", "GET", "PUT")] == [502] * 3
    fake_registry.clear()
    assert wire.request("GET", "/v2/").status == 200
    assert fake_registry.count("*") == 1


def test_broken_and_wrong_downloads(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.image([images.layer(5000, opaque=True)])
    digest = image.document["layers"][0]["digest"]
    content = image.blobs[digest]
    fake_registry.load(image, "app", "1")
    path = f"/v2/app/blobs/{digest}"
    fake_registry.script("GET", "/blobs/", actions.break_download(100))
    with pytest.raises(http.client.IncompleteRead) as broken:
        wire.request("GET", path)
    assert broken.value.partial == content[:100]
    wire.close()
    fake_registry.script("GET", "/blobs/", actions.truncate(100))
    assert wire.request("GET", path).body == content[:100]
    fake_registry.script("GET", "/blobs/", actions.corrupt())
    assert wire.request("GET", path).body[:-1] == content[:-1]
    fake_registry.script("GET", "/blobs/", actions.slow_download(1000, 0.001))
    assert wire.request("GET", path).body == content
    assert [r.response_bytes for r in fake_registry.matching("GET", "/blobs/")] == [100, 100, 5000, 5000]
    fake_registry.script("GET", "/manifests/", actions.without_header("docker-content-digest"))
    assert "docker-content-digest" not in wire.request("GET", "/v2/app/manifests/1", headers=ANY).headers


@pytest.mark.parametrize("keep, kept", [(True, "0-1199"), (False, "0-0")])
def test_broken_uploads_keep_their_bytes_or_lose_them(
    fake_registry: FakeRegistry, wire: Wire, keep: bool, kept: str
) -> None:
    location = begin(wire)
    content = bytes(range(256)) * 4000
    fake_registry.script("PATCH", "/uploads/", actions.break_upload(1200, keep))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        wire.request("PATCH", location, iter([content]), {**BYTES, "Content-Length": str(len(content))})
    wire.close()
    status = wire.expect(204, "GET", location)
    assert status.headers["range"] == kept
    rest = content[1200:] if keep else content
    assert put(wire, status.headers["location"], rest, digest_of(content)).status == 201
    (request,) = fake_registry.matching("PATCH")
    assert (request.status, request.request_bytes) == (0, 1200)


def test_dropped_replies(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.image()
    fake_registry.load(image, "app")
    for action, tags in ((actions.drop(), set()), (actions.drop_reply(), {"1"})):
        fake_registry.script("PUT", "/manifests/1", action)
        wire.close()
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            wire.request("PUT", "/v2/app/manifests/1", image.content, {"Content-Type": OCI_MANIFEST})
        assert set(fake_registry.repository("app").tags) == tags


def test_an_early_error_closes_the_connection_but_is_readable(fake_registry: FakeRegistry, wire: Wire) -> None:
    location = begin(wire)
    fake_registry.script("PUT", "/uploads/", actions.error(503, "UNAVAILABLE", "later"))
    connection = http.client.HTTPConnection(fake_registry.host)
    connection.putrequest("PUT", location.removeprefix(fake_registry.url) + "&digest=sha256:x")
    connection.putheader("Content-Length", str(10 << 20))
    connection.endheaders(b"x" * 1000)
    with connection.getresponse() as reply:
        assert (reply.status, reply.headers["Connection"]) == (503, "close")
        assert json.loads(reply.read())["errors"][0]["message"] == "later"
    connection.close()


def test_counts_what_is_in_flight(fake_registry: FakeRegistry) -> None:
    free = threading.Event()
    fake_registry.script("GET", "/v2/$", actions.stall(free), times=None)
    fake_registry.capacity = 4

    def ask(_number: int) -> int:
        with Wire(fake_registry.url) as wire:
            return wire.request("GET", "/v2/").status

    with ThreadPoolExecutor(5) as pool:
        answers = pool.map(ask, range(5))
        wait_until(lambda: fake_registry.count("GET", status=429) == 1, "the request too many")
        free.set()
        assert sorted(answers) == [200, 200, 200, 200, 429]
    assert fake_registry.max_in_flight == 5
    wait_until(lambda: fake_registry.connections == 0, "the end of all connections")


def test_warnings_and_tag_parameters(fake_registry: FakeRegistry, images: ImageBuilder, wire: Wire) -> None:
    image = images.image()
    fake_registry.load(image, "app")
    fake_registry.warnings = ["old", "slow"]
    fake_registry.tag_parameters = True
    path = f"/v2/app/manifests/{image.digest}?tag=a&tag=b"
    answer = wire.expect(201, "PUT", path, image.content, {"Content-Type": OCI_MANIFEST})
    assert answer.headers["warning"] == '299 - "old", 299 - "slow"'
    assert answer.headers["oci-tag"] == "a, b"
    assert fake_registry.repository("app").tags == {"a": image.digest, "b": image.digest}


def test_a_failing_script_fails_the_test() -> None:
    server = FakeRegistry()
    server.script("GET", "/v2/$", actions.calling(lambda: 1 // 0))
    with Wire(server.url) as wire:
        assert wire.request("GET", "/v2/").status == 500
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        server.stop()
