"""From a challenge to a token, without a socket: `transport.auth`."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from ci_registry.credentials.chain import ANONYMOUS, Credential
from ci_registry.errors import AccessError, CiRegistryError, RemoteError
from ci_registry.transport.auth import (
    Login,
    RegistryAuthoriser,
    Token,
    TokenRequest,
    basic,
    token_flow,
)
from ci_registry.transport.challenge import Challenge
from ci_registry.transport.exchange import Reply
from ci_registry.transport.origin import Origin

PULL = frozenset({"repository:a:pull"})
PUSH = frozenset({"repository:b:pull,push"})
REALM = "https://auth.example/token"
BEARER = Challenge("bearer", {"realm": REALM, "service": "reg"})
REGISTRY = Origin.parse("https://r.example")
ALICE = Credential("alice", "wonder-land", source="a test")


def reply(status: int = 200, document: object = None, url: str = REALM, **headers: str) -> Reply:
    message = http.client.HTTPMessage()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    body = document if isinstance(document, bytes) else json.dumps(document).encode() if document is not None else b""
    return Reply("GET", url, status, message, body)


def granted(token: str = "tok", **more: object) -> Reply:
    return reply(200, {"token": token, "expires_in": 300, **more})


def ask(
    login: Login, *replies: Reply, scopes: frozenset[str] = PULL, now: float = 0.0
) -> tuple[list[TokenRequest], Token]:
    """Drive the flow with these replies; the requests it made, and its token."""
    flow = token_flow(BEARER, scopes, login, lambda: now)
    requests = []
    try:
        requests.append(next(flow))
        for answer in replies:
            requests.append(flow.send(answer))  # noqa: PERF401 - the flow's end can't pass through a generator
    except StopIteration as done:
        return requests, done.value
    raise AssertionError("the flow wants more replies")


def test_anonymous_asks_without_a_login() -> None:
    (request,), token = ask(ANONYMOUS, granted())
    assert request.method == "GET"
    assert parse_qs(urlsplit(request.url).query) == {
        "service": ["reg"],
        "scope": ["repository:a:pull"],
        "client_id": ["ci_registry"],
    }
    assert request.headers == {}
    assert token.value == "tok"


def test_a_password_goes_as_basic_to_the_service() -> None:
    (request,), _ = ask(ALICE, granted())
    assert parse_qs(urlsplit(request.url).query)["account"] == ["alice"]
    assert request.headers == {"Authorization": "Basic " + base64.b64encode(b"alice:wonder-land").decode()}
    assert "wonder-land" not in repr(request)


def test_one_scope_parameter_each_and_the_one_with_push_first() -> None:
    (request,), _ = ask(ALICE, granted(), scopes=PULL | PUSH)
    scopes = [value for name, value in parse_qsl(urlsplit(request.url).query) if name == "scope"]
    assert scopes == ["repository:b:pull,push", "repository:a:pull"]


def test_what_the_realm_already_asks_is_kept() -> None:
    challenge = Challenge("bearer", {"realm": f"{REALM}?tenant=a%20b&x=", "service": "reg"})
    request = next(token_flow(challenge, PULL, ANONYMOUS))
    assert parse_qsl(urlsplit(request.url).query, keep_blank_values=True)[:2] == [("tenant", "a b"), ("x", "")]


def test_an_identity_token_goes_by_post() -> None:
    login = Credential("alice", "", identity_token="refresh-me", source="a test")
    (request,), token = ask(login, reply(200, {"access_token": "tok"}), scopes=PULL | PUSH)
    assert (request.method, request.url) == ("POST", REALM)
    assert request.headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-me",
        "service": "reg",
        "scope": "repository:b:pull,push repository:a:pull",
        "client_id": "ci_registry",
    }
    assert "refresh-me" not in repr(request)
    assert token.value == "tok"


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_without_post_is_asked_by_get(status: int) -> None:
    login = Credential("alice", "", identity_token="refresh-me", source="a test")
    (post, get), token = ask(login, reply(status), granted())
    assert (post.method, get.method) == ("POST", "GET")
    assert get.headers["Authorization"] == "Basic " + base64.b64encode(b"alice:refresh-me").decode()
    assert token.value == "tok"


def test_a_registry_token_is_used_as_it_is() -> None:
    login = Credential("", "", registry_token="ready-made", source="a test")
    requests, token = ask(login)
    assert requests == []
    assert (token.value, token.usable_until) == ("ready-made", float("inf"))


@pytest.mark.parametrize(
    "more, usable",
    [
        ({"expires_in": 300}, 290.0),
        ({"expires_in": 50}, 40.0),
        ({"expires_in": 20}, 16.0),
        ({"expires_in": "300"}, 290.0),
        ({"expires_in": None}, 50.0),
        ({"expires_in": 0}, 50.0),
    ],
)
def test_tokens_are_renewed_before_they_end_and_live_a_minute_if_nothing_is_said(more: dict, usable: float) -> None:
    _, token = ask(ALICE, granted(**more), now=1000.0)
    assert token.usable_until == 1000 + usable


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_a_token_under_either_name(field: str) -> None:
    _, token = ask(ALICE, reply(200, {field: "tok"}))
    assert token.value == "tok"


@pytest.mark.parametrize(
    "answer, kind, words",
    [
        (reply(401, {"details": "incorrect username or password"}), AccessError,
         "the token service https://auth.example/token refused user 'alice' from a test: it answered 401: incorrect"),
        (reply(403), AccessError, "refused user 'alice' from a test: it answered 403"),
        (reply(503, b"busy"), RemoteError, "failed: it answered 503 busy"),
        (reply(301), RemoteError, "it answered 301"),
        (reply(200, b"<html>"), RemoteError, "not a token"),
        (reply(200, []), RemoteError, "not a token"),
        (reply(200, b"[" * 60000), RemoteError, "not a token"),
        (reply(200, {"token": "a", "expires_in": "soon"}), RemoteError, "not a token"),
        (reply(200, {}), RemoteError, "without a token"),
        (reply(200, {"token": 7}), RemoteError, "without a token"),
        (reply(200, {"token": "a\r\nX-Evil: 1"}), RemoteError, "can't stand in a header"),
        (reply(200, {"token": "tökén"}), RemoteError, "can't stand in a header"),
    ],
)  # fmt: skip
def test_what_a_token_service_may_answer_instead(answer: Reply, kind: type[CiRegistryError], words: str) -> None:
    with pytest.raises(kind) as failed:
        ask(ALICE, answer)
    assert words in failed.value.message
    assert "wonder-land" not in failed.value.sentence()


def test_a_query_of_the_realm_is_not_told() -> None:
    answer = reply(503, b"", url=f"{REALM}?scope=a&secret=b")
    with pytest.raises(RemoteError) as failed:
        ask(ALICE, answer)
    assert "secret" not in failed.value.message


def test_nobody_logged_in_is_told_to() -> None:
    with pytest.raises(AccessError) as failed:
        ask(ANONYMOUS, reply(401))
    assert "without a login (nobody has one)" in failed.value.message
    assert "ci-registry login" in failed.value.hint


# -- the authoriser ----------------------------------------------------------------------------------------------------


class Service:
    """A token service that answers by a function, and counts."""

    def __init__(self, answer: Callable[[TokenRequest], Reply] | None = None) -> None:
        self.requests: list[TokenRequest] = []
        self._answer = answer or (lambda _: granted(f"tok-{len(self.requests)}"))

    def __call__(self, request: TokenRequest, service: Origin) -> Reply:
        assert service == Origin.parse(REALM)
        self.requests.append(request)
        return self._answer(request)


class Now:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wants(header: str) -> Reply:
    return reply(401, url="https://r.example/v2/", WWW_Authenticate=header)


BEARER_HEADER = f'Bearer realm="{REALM}",service="reg"'


def authoriser(
    login: Login = ALICE, service: Service | None = None, clock: Callable[[], float] | None = None
) -> tuple[RegistryAuthoriser, Service]:
    asked = service or Service()
    return RegistryAuthoriser(REGISTRY, lambda: login, asked, clock or Now()), asked


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    auth, service = authoriser()
    assert auth.headers(PULL) == {}
    assert service.requests == []


def test_a_token_serves_its_scopes_and_fewer() -> None:
    auth, service = authoriser()
    assert auth.challenged(wants(BEARER_HEADER), PULL, {})
    both = auth.headers(PULL | PUSH)
    assert auth.headers(PULL) == both == {"Authorization": "Bearer tok-1"}
    assert auth.headers(frozenset({"repository:c:pull"})) == {"Authorization": "Bearer tok-2"}
    assert len(service.requests) == 2


def test_a_token_is_renewed_by_the_clock() -> None:
    clock = Now()
    auth, service = authoriser(clock=clock)
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    first = auth.headers(PULL)
    clock.now = 289
    assert auth.headers(PULL) == first
    clock.now = 291
    assert auth.headers(PULL) != first
    assert len(service.requests) == 2


def test_a_refused_token_is_not_shown_again_and_only_that_one_is_forgotten() -> None:
    auth, service = authoriser()
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    old = auth.headers(PULL)
    assert auth.challenged(wants(BEARER_HEADER + ',error="invalid_token"'), PULL, old)
    new = auth.headers(PULL)
    assert new != old
    # Another worker learns late that the old one was refused.
    assert auth.challenged(wants(BEARER_HEADER + ',error="invalid_token"'), PULL, old)
    assert auth.headers(PULL) == new
    assert len(service.requests) == 2


def test_a_scope_that_was_missing_is_asked_for_from_then_on() -> None:
    auth, service = authoriser()
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    sent = auth.headers(PULL)
    more = f'{BEARER_HEADER},scope="repository:a:pull repository:x:pull",error="insufficient_scope"'
    assert auth.challenged(wants(more), PULL, sent)
    auth.headers(PULL)
    assert "repository:x:pull" in service.requests[-1].url
    auth.headers(PULL)
    assert len(service.requests) == 2


def test_bearer_goes_before_basic_and_what_is_not_understood_is_left() -> None:
    auth, _ = authoriser()
    assert auth.challenged(wants(f'Negotiate, Basic realm="x", {BEARER_HEADER}'), PULL, {})
    assert auth.headers(PULL) == {"Authorization": "Bearer tok-1"}
    other, _ = authoriser()
    assert not other.challenged(wants("Negotiate"), PULL, {})
    assert not other.challenged(wants('Bearer service="no realm"'), PULL, {})
    assert not other.challenged(reply(403), PULL, {})
    assert other.headers(PULL) == {}


def test_basic_without_a_login_says_what_to_do() -> None:
    auth, _ = authoriser(ANONYMOUS)
    with pytest.raises(AccessError) as failed:
        auth.challenged(wants('Basic realm="x"'), PULL, {})
    assert "wants a user name and password" in failed.value.message
    assert "ci-registry login r.example" in failed.value.hint


def test_a_wrong_password_is_shown_once() -> None:
    auth, _ = authoriser()
    assert auth.challenged(wants('Basic realm="x"'), PULL, {})
    sent = auth.headers(PULL)
    assert sent == {"Authorization": basic(ALICE)}
    for _ in range(3):
        with pytest.raises(AccessError, match="refused user 'alice' from a test"):
            auth.challenged(wants('Basic realm="x"'), PULL, sent)
    for _ in range(3):
        with pytest.raises(AccessError, match="refused user 'alice' from a test"):
            auth.headers(PULL)


def test_a_wrong_password_is_shown_to_a_token_service_once() -> None:
    auth, service = authoriser(service=Service(lambda _: reply(401)))
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    for scopes in (PULL, PUSH, PULL):
        with pytest.raises(AccessError, match="refused user 'alice'"):
            auth.headers(scopes)
    assert len(service.requests) == 1


def test_another_login_is_shown_after_one_was_refused() -> None:
    logins = [ALICE]
    auth = RegistryAuthoriser(REGISTRY, lambda: logins[0], Service())
    auth.challenged(wants('Basic realm="x"'), PULL, {})
    with pytest.raises(AccessError):
        auth.challenged(wants('Basic realm="x"'), PULL, auth.headers(PULL))
    logins[0] = Credential("alice", "through-the-looking-glass", source="a test")
    assert auth.headers(PULL) == {"Authorization": basic(logins[0])}


def test_a_login_that_was_accepted_is_not_given_up_for_one_forbidden_repository() -> None:
    auth, _ = authoriser()
    auth.challenged(wants('Basic realm="x"'), PULL, {})
    sent = auth.headers(PULL)
    auth.accepted(sent)
    with pytest.raises(AccessError):
        auth.challenged(wants('Basic realm="x"'), PUSH, sent)
    assert auth.headers(PULL) == sent


def test_a_trouble_of_the_token_service_is_no_refusal_of_the_login() -> None:
    answers = [reply(503), granted()]
    auth, service = authoriser(service=Service(lambda _: answers.pop(0)))
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    with pytest.raises(RemoteError):
        auth.headers(PULL)
    assert auth.headers(PULL) == {"Authorization": "Bearer tok"}
    assert len(service.requests) == 2


def test_the_token_service_must_be_one_that_may_be_asked() -> None:
    auth, service = authoriser()
    auth.challenged(wants('Bearer realm="https://169.254.169.254/",service="reg"'), PULL, {})
    with pytest.raises(RemoteError, match="internal address"):
        auth.headers(PULL)
    assert service.requests == []


def test_many_workers_ask_for_one_token() -> None:
    started, go_on = threading.Barrier(9), threading.Event()

    def slow(_: TokenRequest) -> Reply:
        go_on.wait(5)
        return granted()

    auth, service = authoriser(service=Service(slow))
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    found: list[object] = []

    def work() -> None:
        started.wait(5)
        found.append(auth.headers(PULL))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(5)
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert found == [{"Authorization": "Bearer tok"}] * 8
    assert len(service.requests) == 1


def test_different_scopes_are_asked_for_side_by_side_once_the_login_is_known_to_be_good() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def together(request: TokenRequest) -> Reply:
        if "first" not in request.url:
            meeting.wait()  # breaks unless the other one is asked for at the same time
        return granted()

    auth, service = authoriser(service=Service(together))
    auth.challenged(wants(BEARER_HEADER), PULL, {})
    auth.accepted(auth.headers(frozenset({"repository:first:pull"})))
    threads = [threading.Thread(target=auth.headers, args=(scopes,)) for scopes in (PULL, PUSH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(service.requests) == 3
    assert not meeting.broken


def test_requests_go_one_by_one_until_the_login_was_accepted() -> None:
    auth, _ = authoriser()
    inside = threading.Event()

    def second() -> None:
        with auth.first_contact():
            inside.set()

    with auth.first_contact():
        thread = threading.Thread(target=second)
        thread.start()
        assert not inside.wait(0.05)
        auth.challenged(wants(BEARER_HEADER), PULL, {})
    assert inside.wait(5)
    thread.join()
    auth.accepted(auth.headers(PULL))
    with auth.first_contact(), auth.first_contact():
        pass  # nobody waits for anybody now


def test_a_denied_right_names_whose_it_is() -> None:
    auth, _ = authoriser()
    failed = auth.explain(AccessError("pushing x failed"))
    assert failed.message == "pushing x failed (asked as user 'alice' from a test)"
    anonymous, _ = authoriser(ANONYMOUS)
    assert "nobody was logged in" in anonymous.explain(AccessError("pulling x failed")).message
