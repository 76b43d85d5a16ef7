"""Logging in to a registry that asks for it: `transport.http` and `transport.auth` together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ci_registry.credentials.chain import ANONYMOUS, Credential
from ci_registry.errors import AccessError, CiRegistryError, RemoteError
from ci_registry.transport.http import Client
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Reply
from tests.support.images import MANIFEST_ACCEPT, ImageBuilder

from .test_retry import Clock
from .wired import authorised, login_as

USERS = {"alice": "wonder-land"}
ALICE = login_as("alice", "wonder-land")
WRONG = login_as("alice", "through-the-looking-glass")
PULL = frozenset({"repository:app:pull"})
PUSH = frozenset({"repository:app:pull,push"})
UPLOADS = "/v2/app/blobs/uploads/"
MANIFEST = "/v2/app/manifests/1"


@pytest.fixture
def open_registry(images: ImageBuilder) -> Iterator[Callable[..., FakeRegistry]]:
    started: list[FakeRegistry] = []

    def start(auth: str, **how: object) -> FakeRegistry:
        registry = FakeRegistry(auth, USERS, **how)  # type: ignore[arg-type]
        started.append(registry)
        registry.load(images.image(), "app", "1")
        return registry

    yield start
    for registry in started:
        registry.stop()


def status(
    client: Client, method: str = "GET", path: str = "/v2/app/manifests/1", scopes: frozenset[str] = PULL
) -> int:
    headers = {"Accept": MANIFEST_ACCEPT}
    return client.request(method, path, headers=headers, scopes=scopes, limit=1 << 20).status


def at_once(count: int, action: Callable[[], object]) -> list[object]:
    """Do something in many threads; what each returned or raised."""
    found: list[object] = []
    ready = threading.Barrier(count)

    def work() -> None:
        ready.wait(5)
        try:
            found.append(action())
        except CiRegistryError as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_a_good_login(open_registry: Callable[..., FakeRegistry], auth: str) -> None:
    registry = open_registry(auth)
    client = authorised(registry, ALICE)
    assert [status(client), status(client, "POST", UPLOADS, PUSH), status(client)] == [200, 202, 200]
    assert registry.count("*", status=401) == (0 if auth == "none" else 1)
    assert len(registry.token_requests) == (2 if auth == "bearer" else 0)


def test_anonymous_pull_where_pushing_needs_a_login(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer", anonymous={"*": "pull"})
    client = authorised(registry, ANONYMOUS)
    assert status(client) == 200
    assert [request.account for request in registry.token_requests] == [""]
    refused = client.request("POST", UPLOADS, scopes=PUSH)
    failed = client.problem(refused, "starting an upload to app")
    assert isinstance(failed, AccessError)
    assert "nobody was logged in" in failed.message


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("count", [1, 8])
def test_a_wrong_password_is_shown_once_however_many_ask(
    open_registry: Callable[..., FakeRegistry], auth: str, count: int
) -> None:
    registry = open_registry(auth)
    client = authorised(registry, WRONG)
    found = at_once(count, lambda: status(client))
    found += at_once(count, lambda: status(client, "POST", UPLOADS, PUSH))
    assert {type(each) for each in found} == {AccessError}
    assert {str(each) for each in found} == {str(found[0])}
    assert "user 'alice' from a test" in str(found[0])
    shown = [each for each in registry.matching("*") if each.headers.get("authorization", "").startswith("Basic ")]
    assert len(shown) == 1


def test_workers_that_begin_at_once_learn_from_the_first(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    client = authorised(registry, ALICE)
    assert at_once(8, lambda: status(client)) == [200] * 8
    assert registry.count("GET", "/manifests/", 401) == 1
    assert len(registry.token_requests) == 1


def test_an_identity_token(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    token = registry.tokens.service.add_refresh_token("alice")
    assert status(authorised(registry, Credential("alice", "", identity_token=token, source="a test"))) == 200
    (request,) = registry.token_requests
    assert (request.method, request.grant) == ("POST", "refresh_token")


def test_a_token_service_without_post(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    registry.tokens.service.refuse_post = True
    registry.tokens.service.users["<token>"] = "an-identity-token"
    login = Credential("<token>", "", identity_token="an-identity-token", source="a test")
    assert status(authorised(registry, login)) == 200
    assert [request.method for request in registry.token_requests] == ["POST", "GET"]


def test_a_mount_asks_for_both_repositories_at_once(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    client = authorised(registry, ALICE)
    digest = next(iter(registry.repository("app").blobs))
    scopes = frozenset({"repository:other:pull,push", "repository:app:pull"})
    assert status(client, "POST", f"/v2/other/blobs/uploads/?mount={digest}&from=app", scopes) == 201
    (request,) = registry.token_requests
    assert request.scopes == ("repository:other:pull,push", "repository:app:pull")


def test_a_scope_that_was_not_asked_for_is_learned_from_the_refusal(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    client = authorised(registry, ALICE)
    assert status(client, "POST", UPLOADS, PULL) == 202
    assert status(client, "POST", UPLOADS, PULL) == 202
    assert [request.scopes for request in registry.token_requests] == [
        ("repository:app:pull",),
        ("repository:app:pull,push", "repository:app:pull"),
    ]


def test_a_right_that_is_not_given_is_refused_after_one_fresh_token(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer", permissions={"alice": {"*": "pull"}})
    client = authorised(registry, ALICE)
    reply = client.request("POST", UPLOADS, scopes=PUSH)
    failed = client.problem(reply, "starting an upload to app")
    assert isinstance(failed, AccessError)
    assert "asked as user 'alice' from a test" in failed.message
    assert registry.count("POST", UPLOADS) == 3
    assert len(registry.token_requests) == 2
    assert status(client) == 200, "what is allowed still works"


def test_a_token_that_the_registry_forgot_is_renewed(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    client = authorised(registry, ALICE)
    assert status(client) == 200
    registry.expire_tokens()
    assert status(client) == 200
    assert len(registry.token_requests) == 2


def test_a_token_is_renewed_by_the_clock_before_it_ends(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    clock = Clock()
    client = authorised(registry, ALICE, clock=clock)
    assert status(client) == 200
    clock.now += 291
    assert status(client) == 200
    assert len(registry.token_requests) == 2
    assert registry.count("*", status=401) == 1, "only the very first request was refused"


@pytest.mark.parametrize(
    "trouble", [Reply(503), Reply(429, {"Retry-After": "0"}), Reply(200, {}, b"x" * 40, cut_after=9)]
)
def test_the_token_service_is_asked_again(open_registry: Callable[..., FakeRegistry], trouble: Reply) -> None:
    registry = open_registry("bearer")
    registry.tokens.service.failures.append(trouble)
    assert status(authorised(registry, ALICE)) == 200
    assert len(registry.token_requests) == 2


def test_a_token_service_that_stays_down(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    registry.tokens.service.failures.extend([Reply(503, {}, b"busy")] * 50)
    with pytest.raises(RemoteError, match=r"asking the token service http://127.0.0.1:\d+/token for a token"):
        status(authorised(registry, ALICE, retry_seconds=0.3))


def test_old_servers_say_nothing_of_the_lifetime(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    registry.tokens.service.state_lifetime = False
    registry.tokens.service.field_name = "access_token"
    clock = Clock()
    client = authorised(registry, ALICE, clock=clock)
    status(client)
    clock.now += 51
    status(client)
    assert len(registry.token_requests) == 2


def test_no_credential_follows_a_redirect(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    registry.redirect_blobs = True
    client = authorised(registry, ALICE)
    digest = next(iter(registry.repository("app").blobs))
    reply = client.request("GET", f"/v2/app/blobs/{digest}", scopes=PULL, limit=1 << 20, follow=True)
    assert reply.status == 200, "the storage refuses whoever shows it a credential"
    (stored,) = registry.matching("GET", "/storage/")
    assert stored.storage
    assert "authorization" not in stored.headers


def test_a_challenge_of_another_host_gets_nothing(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("basic")
    registry.redirect_blobs = True
    challenge = {"WWW-Authenticate": 'Basic realm="give me your password"'}
    registry.script("GET", "/storage/", actions.status(401, challenge), times=None)
    client = authorised(registry, ALICE)
    digest = next(iter(registry.repository("app").blobs))
    reply = client.request("GET", f"/v2/app/blobs/{digest}", scopes=PULL, follow=True)
    assert reply.status == 401
    assert [request.headers.get("authorization") for request in registry.matching("GET", "/storage/")] == [None]


def test_a_signed_address_that_has_ended_is_asked_for_again(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("none")
    registry.redirect_blobs = True
    digest = next(iter(registry.repository("app").blobs))
    client = authorised(registry)
    registry.script("GET", "/storage/", actions.calling(registry.expire_storage_urls))
    assert client.request("GET", f"/v2/app/blobs/{digest}", follow=True, limit=1 << 20).status == 200
    registry.script("GET", "/storage/", actions.calling(registry.expire_storage_urls), times=None)
    assert client.request("GET", f"/v2/app/blobs/{digest}", follow=True).status == 403


def test_a_login_is_not_shown_before_it_is_asked_for(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("none")
    status(authorised(registry, ALICE))
    assert "authorization" not in registry.requests[0].headers


def test_a_registry_token_that_is_refused_ends(open_registry: Callable[..., FakeRegistry]) -> None:
    registry = open_registry("bearer")
    client = authorised(registry, Credential("", "", registry_token="worn-out-token", source="a test"))
    assert status(client) == 401
    assert registry.count("GET", "/manifests/") == 3
