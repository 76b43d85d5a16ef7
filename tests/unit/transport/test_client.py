"""Requests and answers over a real socket: `transport.http`."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from ci_registry.errors import AccessError, Interrupted, RemoteError, TlsError, TransportError
from ci_registry.transport.connection import Dial
from ci_registry.transport.exchange import Reply
from ci_registry.transport.http import Client
from ci_registry.transport.limiter import START, Limiter
from ci_registry.transport.origin import Origin
from ci_registry.transport.retry import Cancel
from ci_registry.transport.tls import TlsSettings
from tests.support.certificates import Authority
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.http_server import Exchange, HttpServer
from tests.support.http_server import Reply as ServerReply
from tests.support.images import ImageBuilder
from tests.support.process import free_port, wait_until

from .wired import client_of

MANIFEST = "/v2/app/manifests/1"
ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture
def loaded(fake_registry: FakeRegistry, images: ImageBuilder) -> FakeRegistry:
    fake_registry.load(images.image(), "app", "1")
    return fake_registry


def get(client: Client, path: str = MANIFEST, **how: Any) -> Reply:
    return client.request("GET", path, headers=ACCEPT, limit=1 << 20, **how)


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", MANIFEST),
        ("HEAD", MANIFEST),
        ("GET", "/v2/app/manifests/none"),
        ("HEAD", "/v2/app/manifests/none"),
        ("POST", "/v2/app/blobs/uploads/"),
    ],
)
def test_one_connection_serves_many_requests(loaded: FakeRegistry, method: str, path: str) -> None:
    ports = set()

    def note(exchange: Exchange, proceed: actions.Proceed) -> ServerReply | None:
        ports.add(exchange._socket.getpeername()[1])
        return proceed()

    loaded.script("*", "", note, times=None)
    client = client_of(loaded)
    for _ in range(4):
        client.request(method, path, headers=ACCEPT, limit=1 << 20)
    assert len(ports) == 1
    client.close()


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(loaded: FakeRegistry) -> None:
    client = client_of(loaded, retry_seconds=0)
    for method in ("GET", "HEAD", "POST"):
        assert get(client).status == 200
        loaded.close_connections()
        assert client.request(method, "/v2/app/blobs/uploads/" if method == "POST" else MANIFEST, headers=ACCEPT,
                              limit=1 << 20).status in (200, 202)  # fmt: skip


def test_a_body_is_not_pushed_into_a_connection_that_was_closed_meanwhile(loaded: FakeRegistry) -> None:
    client = client_of(loaded)
    location = client.request("POST", "/v2/app/blobs/uploads/").headers["Location"]
    loaded.close_connections()
    exchange = client.begin(
        "PATCH",
        client.url(location),
        headers={"Content-Type": "application/octet-stream"},
        length=3,
        scopes=frozenset(),
    )
    exchange.send(b"abc")
    assert exchange.finish().status == 202
    assert loaded.count("PATCH") == 1


def test_many_threads_share_a_client(loaded: FakeRegistry) -> None:
    client = client_of(loaded)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(get(client).status)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 16
    client.close()


# -- retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_is_tried_again(loaded: FakeRegistry, status: int) -> None:
    loaded.script("GET", MANIFEST, actions.status(status), times=2)
    assert get(client_of(loaded)).status == 200
    assert loaded.count("GET") == 3


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 412, 413, 416, 501])
def test_a_plain_no_is_taken_for_an_answer(loaded: FakeRegistry, status: int) -> None:
    loaded.script("GET", MANIFEST, actions.status(status), times=None)
    assert get(client_of(loaded)).status == status
    assert loaded.count("GET") == 1


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "NAME_INVALID", "TAG_INVALID", "DENIED"])
def test_an_error_of_ours_under_a_5xx_is_not_tried_again(loaded: FakeRegistry, code: str) -> None:
    loaded.script("PUT", "", actions.error(500, code, "no"), times=None)
    assert client_of(loaded).request("PUT", MANIFEST, body=b"{}").status == 500
    assert loaded.count("PUT") == 1


@pytest.mark.parametrize("method, path, body", [
    ("GET", MANIFEST, b""), ("HEAD", MANIFEST, b""), ("POST", "/v2/app/blobs/uploads/", b""),
    ("DELETE", MANIFEST, b""), ("PUT", MANIFEST, b"{}"), ("PATCH", "/v2/app/x", b"abc"),
])  # fmt: skip
@pytest.mark.parametrize("trouble", [actions.drop(), actions.status(503)])
def test_every_verb_is_tried_again_with_its_whole_body(
    loaded: FakeRegistry, method: str, path: str, body: bytes, trouble: actions.Action
) -> None:
    received = []

    def note(exchange: Exchange, proceed: actions.Proceed) -> ServerReply:
        received.append(exchange.body())
        return ServerReply(200)

    loaded.script(method, "", trouble)
    loaded.script(method, "", note, times=None)
    assert client_of(loaded).request(method, path, body=body).status == 200
    assert received == [body]
    assert loaded.count(method) == 2


def test_where_no_retry_is_wanted_there_is_none(loaded: FakeRegistry) -> None:
    loaded.script("GET", "", actions.status(503), times=None)
    assert get(client_of(loaded), retry=False).status == 503
    assert loaded.count("GET") == 1


def test_retries_end_with_the_budget_and_the_last_answer_counts(loaded: FakeRegistry) -> None:
    loaded.script("GET", "", actions.html(502), times=None)
    reply = get(client_of(loaded, retry_seconds=1))
    assert (reply.status, b"Bad Gateway" in reply.body) == (502, True)
    assert 2 <= loaded.count("GET") <= 6


@pytest.mark.parametrize("cut", [0, 5, 100])
def test_a_body_that_breaks_off_is_read_again(loaded: FakeRegistry, cut: int) -> None:
    loaded.script("GET", MANIFEST, actions.break_download(cut), times=2)
    whole = get(client_of(loaded))
    assert (whole.status, loaded.count("GET")) == (200, 3)
    assert whole.body == loaded.repository("app").manifests[whole.headers["Docker-Content-Digest"]][1]


def test_a_body_that_always_breaks_off_is_a_network_error(loaded: FakeRegistry) -> None:
    loaded.script("GET", MANIFEST, actions.break_download(5), times=None)
    with pytest.raises(
        TransportError, match=r"reading from http://127.0.0.1:\d+/v2/app/manifests/1 failed: the connec"
    ):
        get(client_of(loaded, retry_seconds=0))


def test_a_refusal_that_breaks_off_is_still_a_refusal(loaded: FakeRegistry) -> None:
    def broken(_exchange: Exchange, _proceed: actions.Proceed) -> ServerReply:
        return ServerReply(403, {}, b"no " * 1000, cut_after=10)

    loaded.script("GET", "", broken, times=None)
    assert get(client_of(loaded)).status == 403
    assert loaded.count("GET") == 1


def test_retry_after_is_honoured_by_everybody(loaded: FakeRegistry) -> None:
    limiter = Limiter()
    loaded.script("GET", MANIFEST, actions.status(429, {"Retry-After": "1"}))
    other = []

    def late() -> None:
        other.append(get(client_of(loaded, limiter=limiter)).status)

    times: list[float] = []
    loaded.script("GET", "", lambda exchange, proceed: times.append(exchange.started) or proceed(), times=None)
    client = client_of(loaded, limiter=limiter)
    thread = threading.Thread(target=late)
    first = threading.Timer(0.2, thread.start)
    first.start()
    assert get(client).status == 200
    first.join()
    thread.join(5)
    assert other == [200]
    refused = min(times) - 1
    assert all(time >= refused + 0.9 for time in times)
    assert limiter.limit == START // 2, "429 halves what is in flight"


@pytest.mark.parametrize("value", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_pause_that_nobody_waits_for_ends_one_request_and_holds_up_no_other(loaded: FakeRegistry, value: str) -> None:
    loaded.script("GET", MANIFEST, actions.status(429, {"Retry-After": value}))
    client = client_of(loaded)
    assert get(client).status == 429
    assert get(client).status == 200


def test_where_throttled_requests_are_not_retried_only_a_named_time_is_waited_for(loaded: FakeRegistry) -> None:
    client = client_of(loaded, retries_throttled=False)
    loaded.script("GET", MANIFEST, actions.status(429))
    assert get(client).status == 429
    loaded.script("GET", MANIFEST, actions.status(429, {"Retry-After": "0"}))
    assert get(client).status == 200


def test_nobody_listening_is_given_up_soon() -> None:
    client = Client(Origin.parse(f"http://127.0.0.1:{free_port()}"), retry_seconds=120)
    with pytest.raises(TransportError) as failed:
        client.request("GET", "/v2/")
    assert "nothing listens on 127.0.0.1:" in failed.value.message
    assert failed.value.hint == "check the address and that it is running"


def test_a_name_that_does_not_exist_is_not_tried_again() -> None:
    client = Client(Origin.parse("http://registry.invalid:5000"), retry_seconds=120)
    with pytest.raises(TransportError, match=r"there is no host named 'registry.invalid'") as failed:
        client.request("GET", "/v2/")
    assert "docker network" in failed.value.hint


def test_something_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(Origin.parse(f"http://127.0.0.1:{listener.getsockname()[1]}"), retry_seconds=120)
        with pytest.raises(TransportError, match="does not speak HTTP"):
            client.request("GET", "/v2/")
        client.close()
        thread.join(5)


def test_a_server_that_does_not_answer_is_given_up(loaded: FakeRegistry) -> None:
    loaded.script("GET", "", actions.delay(1.0), times=None)
    with pytest.raises(TransportError, match=r"no answer from 127.0.0.1:[0-9]+ in time"):
        get(client_of(loaded, retry_seconds=0, answer_seconds=0.2))


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_answer_longer_than_it_may_be_is_an_error(loaded: FakeRegistry) -> None:
    loaded.script("GET", MANIFEST, actions.replace_body(b"x" * 5000))
    client = client_of(loaded)
    with pytest.raises(RemoteError, match="more than the 4999 bytes such an answer may have"):
        client.request("GET", MANIFEST, headers=ACCEPT, limit=4999)
    loaded.script("GET", MANIFEST, actions.replace_body(b"x" * 5000))
    assert len(client.request("GET", MANIFEST, headers=ACCEPT, limit=5000).body) == 5000


def test_of_a_huge_refusal_only_the_beginning_is_read(loaded: FakeRegistry) -> None:
    loaded.script("GET", MANIFEST, actions.huge_error(404, 64 << 20))
    reply = client_of(loaded).request("GET", MANIFEST, limit=16 << 20)
    assert len(reply.body) == 64 * 1024
    wait_until(lambda: loaded.count("GET") == 1, "the server to notice")
    assert loaded.matching("GET")[0].response_bytes < 32 << 20, "the rest was not taken from the wire"


# -- warnings ----------------------------------------------------------------------------------------------------------


def test_each_warning_is_told_once(loaded: FakeRegistry) -> None:
    told: list[str] = []
    client = client_of(loaded, on_warning=told.append)
    loaded.warnings = ["the first one", "comma, and 299 - in it"]
    get(client)
    get(client)
    loaded.warnings = ["another one"]
    get(client)
    assert told == ["the first one", "comma, and 299 - in it", "another one"]


def test_a_warning_with_a_secret_in_it_is_masked(loaded: FakeRegistry) -> None:
    told: list[str] = []
    loaded.warnings = ["see https://user:hidden-word@example.org"]
    get(client_of(loaded, on_warning=told.append))
    assert told == ["see https://***@example.org"]


@pytest.mark.parametrize("value", ['199 - "stale"', "299", "299 -", "nonsense"])
def test_other_warnings_are_nobodys_business(loaded: FakeRegistry, value: str) -> None:
    told: list[str] = []
    loaded.script("GET", "", actions.header("Warning", value))
    get(client_of(loaded, on_warning=told.append))
    assert told == []


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_addresses_are_resolved_against_the_request_and_their_query_is_not_touched() -> None:
    client = Client(Origin.parse("https://r.example:443"))
    base = "https://r.example/v2/app/blobs/uploads/1?old=1"
    assert client.url("/v2/app/blobs/uploads/2?_state=a%2Fb%2Bc==&x", base) == (
        "https://r.example/v2/app/blobs/uploads/2?_state=a%2Fb%2Bc==&x"
    )
    assert client.url("2?_state=q", base) == "https://r.example/v2/app/blobs/uploads/2?_state=q"
    assert client.url("https://R.example:443/v2/?q=%zz", base) == "https://r.example/v2/?q=%zz"
    assert client.url("//other.example/x", base) == "https://other.example/x"


@pytest.mark.parametrize("location", ["ftp://r.example/x", "http://[::1/x", "https://h:port/", "mailto:me"])
def test_an_address_that_can_not_be_asked_is_the_registrys_fault(location: str) -> None:
    with pytest.raises(RemoteError, match="can't be asked"):
        Client(Origin.parse("https://r.example")).url(location)


def test_a_registry_below_a_path_gets_its_own_paths_back_below_it() -> None:
    client = Client(Origin.parse("https://nexus.example"), prefix="/repository/docker")
    assert client.url("/v2/app/tags/list?n=1") == "https://nexus.example/repository/docker/v2/app/tags/list?n=1"
    assert client.url("https://nexus.example:443/v2/x") == "https://nexus.example/repository/docker/v2/x"
    assert client.url("https://other.example/v2/x") == "https://other.example/v2/x"


@pytest.mark.parametrize("form", ["http://{host}/v2/app/manifests/1", "HTTP://{host}/v2/app/manifests/1",
                                  "http://user:word@{host}/v2/app/manifests/1"])  # fmt: skip
def test_a_redirect_is_followed_in_whatever_form_it_is_written(loaded: FakeRegistry, form: str) -> None:
    location = form.format(host=loaded.host)
    loaded.script("GET", "/v2/old/", actions.status(307, {"Location": location}, b"<a>moved</a>"), times=None)
    client = client_of(loaded)
    assert get(client, "/v2/old/", follow=True).status == 200
    assert "authorization" not in loaded.matching("GET", MANIFEST)[0].headers
    assert get(client, "/v2/old/").status == 307


def test_redirects_that_lead_nowhere_end() -> None:
    def around(_exchange: Exchange) -> ServerReply:
        return ServerReply(307, {"Location": "/v2/again"})

    server = HttpServer(around, free_port())
    try:
        reply = Client(Origin.parse(server.url)).request("GET", "/v2/", follow=True)
        assert reply.status == 307
    finally:
        server.stop()


def test_a_redirect_to_no_address_says_so(loaded: FakeRegistry) -> None:
    loaded.script("GET", "", actions.status(307, {"Location": "ftp://files.example/x"}))
    with pytest.raises(RemoteError, match=r"names the address 'ftp://files.example/x'"):
        get(client_of(loaded), follow=True)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_the_refusal_of_a_head_is_explained_by_the_same_get(loaded: FakeRegistry) -> None:
    loaded.script("*", MANIFEST, actions.error(403, "DENIED", "pay first"), times=None)
    client = client_of(loaded)
    failed = client.problem(client.request("HEAD", MANIFEST), "looking for app:1")
    assert isinstance(failed, AccessError)
    assert failed.message == "looking for app:1 failed: the registry answered 403: DENIED pay first"


def test_a_client_that_speaks_tls_to_a_plain_port(loaded: FakeRegistry) -> None:
    client = Client(Origin.parse(f"https://{loaded.host}"), retry_seconds=120)
    with pytest.raises(TlsError, match="answers in plain HTTP, not TLS"):
        client.request("GET", "/v2/")


def test_a_client_that_speaks_plain_http_to_a_tls_port() -> None:
    with FakeRegistry(tls=Authority().issue()) as registry:
        client = Client(Origin.parse(f"http://{registry.host}"), retry_seconds=1)
        with pytest.raises(TransportError):
            client.request("GET", "/v2/")


def test_tls_that_is_spoilt_on_its_way_is_a_break_and_tried_again() -> None:
    authority = Authority()
    context = authority.issue().server_context()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for spoilt in (True, False):
                sock, _ = listener.accept()
                with context.wrap_socket(sock, server_side=True) as connection:
                    connection.recv(5000)
                    connection.sendall(head + b"abc")
                    if spoilt:
                        socket.socket.sendall(connection, b"not a record of TLS at all")
                    else:
                        connection.sendall(b"def")

        thread = threading.Thread(target=serve)
        thread.start()
        origin = Origin.parse(f"https://127.0.0.1:{listener.getsockname()[1]}")
        client = Client(origin, Dial(TlsSettings(ca_files=(authority.certificate,))), retry_seconds=5)
        assert client.request("GET", "/v2/").body == b"abcdef"
        client.close()
        thread.join(5)


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_once_the_run_is_stopped(loaded: FakeRegistry) -> None:
    cancel = Cancel()
    client = client_of(loaded, cancel=cancel)
    cancel.set()
    with pytest.raises(Interrupted):
        get(client)
    with pytest.raises(Interrupted):
        client.begin("PUT", client.url("/v2/x"), headers={}, length=1, scopes=frozenset())
    assert loaded.requests == []


@pytest.mark.parametrize("secure", [False, True])
def test_a_request_under_way_is_broken_off(secure: bool) -> None:
    authority = Authority()
    with FakeRegistry(tls=authority.issue() if secure else None) as registry:
        registry.script("GET", "", actions.delay(10))
        cancel = Cancel()
        dial = Dial(TlsSettings(ca_files=(authority.certificate,)))
        client = Client(Origin.parse(registry.url), dial, cancel=cancel)
        threading.Timer(0.2, cancel.set, [143]).start()
        with pytest.raises(Interrupted) as stopped:
            get(client)
        assert stopped.value.exit_code == 143


def test_a_wait_for_the_next_try_is_broken_off(loaded: FakeRegistry) -> None:
    loaded.script("GET", "", actions.status(503, {"Retry-After": "60"}), times=None)
    cancel = Cancel()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(Interrupted):
        get(client_of(loaded, retry_seconds=120, cancel=cancel))
    assert loaded.count("GET") == 1


def test_an_upload_that_is_being_opened_is_waited_for_so_that_it_can_be_cancelled(loaded: FakeRegistry) -> None:
    loaded.script("POST", "", actions.delay(0.5))
    cancel = Cancel()
    threading.Timer(0.2, cancel.set).start()
    reply = client_of(loaded, cancel=cancel).request("POST", "/v2/app/blobs/uploads/")
    assert reply.status == 202


def test_breaking_off_leaves_no_moment_without_encryption() -> None:
    # SSLSocket.shutdown() drops the encryption before it closes: what another thread sends then would be readable.
    authority = Authority()
    with FakeRegistry(tls=authority.issue()) as registry:
        client = Client(Origin.parse(registry.url), Dial(TlsSettings(ca_files=(authority.certificate,))))
        exchange = client.begin("PUT", client.url("/v2/x"), headers={}, length=1000, scopes=frozenset())
        sock = exchange._connection.sock
        client.pool.abort()
        assert sock.version() is not None, "still the encrypted one"
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the moment
            sock.sendall(b"secret")
        exchange.close()


def test_a_closed_client_is_forgotten_by_the_run() -> None:
    cancel = Cancel()
    before = len(cancel._actions)
    client = Client(Origin.parse("http://r.example"), cancel=cancel)
    client.close()
    assert len(cancel._actions) == before
