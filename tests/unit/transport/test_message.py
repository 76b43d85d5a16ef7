"""HTTP/1.1 messages as bytes: heads of requests, and answers of every framing, whole and broken."""

from __future__ import annotations

import io

import pytest

from ci_registry.transport.message import (
    Headers,
    IncompleteError,
    NoAnswerError,
    NotHttpError,
    ProtocolError,
    Response,
    UnsendableError,
    request_head,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answer(content: bytes, method: str = "GET") -> Response:
    return Response(io.BufferedReader(io.BytesIO(content)), method)


def in_pieces(response: Response, size: int) -> bytes:
    """The body, read `size` bytes at a time as a copy does."""
    found, buffer = b"", memoryview(bytearray(size))
    while count := response.readinto(buffer):
        found += buffer[:count]
    return found


def test_head_of_a_request() -> None:
    assert request_head("PUT", "/v2/a?b=c", [("Host", "h:1"), ("Content-Length", "0")]) == (
        b"PUT /v2/a?b=c HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\n", "/\x00", "/é", "", "/a\x85b", "/a\x1cb"])
def test_a_target_that_would_break_out_of_its_line(target: str) -> None:
    with pytest.raises(UnsendableError):
        request_head("GET", target, [])


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b"])
def test_a_value_that_would_break_out_of_its_line(value: str) -> None:
    with pytest.raises(UnsendableError) as caught:
        request_head("GET", "/", [("Authorization", f"Bearer secret-{value}")])
    assert "secret" not in str(caught.value)


def test_fields_are_found_in_any_case_and_may_be_repeated() -> None:
    headers = answer(OK + b"warning: a\r\nContent-Length:0\r\nWARNING:  b \r\nX:  one\r\n\t two\r\n\r\n").headers
    assert (headers.get("Warning"), headers.get_all("Warning"), headers["x"]) == ("a", ["a", "b"], "one two")
    assert (headers.get("absent"), headers.get("absent", "-"), headers.get_all("absent")) == (None, "-", [])
    headers.setdefault("Warning", "c")
    headers.setdefault("absent", "d")
    assert (headers["warning"], headers["Absent"]) == ("a", "d")
    assert Headers([("A", "1")])["a"] == "1"


@pytest.mark.parametrize("method,head", [("HEAD", OK + b"Content-Length: 5\r\n"), ("GET", b"HTTP/1.1 204 None\r\n")])
def test_answers_without_a_body(method: str, head: bytes) -> None:
    response = answer(head + b"\r\nother", method)
    assert (response.is_over, response.will_close, response.read(10)) == (True, False, b"")


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_a_body_of_stated_length(size: int) -> None:
    content = OK + b"Content-Length: 5\r\n\r\nhello, and what follows"
    assert in_pieces(answer(content), size) == b"hello"
    response = answer(content)
    assert (response.read(3), response.is_over, response.read(9), response.is_over) == (b"hel", False, b"lo", True)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_chunked_body(size: int) -> None:
    content = CHUNKED + b"4\r\nhell\r\nA;x=y\r\no, chunked\r\n0\r\nTrailer: t\r\n\r\nHTTP/1.1 201 next"
    response = answer(content)
    assert in_pieces(response, size) == b"hello, chunked"
    assert (response.is_over, response.will_close) == (True, False)
    assert answer(content).read(100) == b"hello, chunked"
    assert answer(content).read(6) == b"hello,"


def test_a_body_that_only_its_end_ends() -> None:
    response = answer(OK + b"\r\nhello")
    assert response.will_close
    assert (response.read(100), response.is_over) == (b"hello", True)
    assert in_pieces(answer(OK + b"\r\nhello"), 2) == b"hello"


@pytest.mark.parametrize(
    "head,closes",
    [
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", False),
    ],
)
def test_whether_the_connection_stays(head: bytes, closes: bool) -> None:
    assert answer(head + b"Content-Length: 0\r\n\r\n").will_close is closes


def test_interim_answers_are_passed_over() -> None:
    before = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    response = answer(before + OK + b"Content-Length: 0\r\n\r\n")
    assert (response.status, response.reason, response.headers.get("Link")) == (200, "OK", None)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.1 200 Very Fine\n"])
def test_reasons_may_be_missing_or_long(line: bytes) -> None:
    assert answer(line + b"Content-Length: 0\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "content",
    [b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01\x00\x02\x02F", b"HTTP/1.1 abc\r\n", b"HTTP/1.1 2\xb20\r\n", b"\r\n"],
)
def test_what_is_not_http(content: bytes) -> None:
    with pytest.raises(NotHttpError) as caught:
        answer(content)
    assert repr(content)[2:8] in str(caught.value)


def test_closed_without_an_answer() -> None:
    with pytest.raises(NoAnswerError):
        answer(b"")


@pytest.mark.parametrize(
    "content,error,said",
    [
        (OK + b"Content-Length: 9\r\n\r\nhel", IncompleteError, "middle of an answer"),
        (CHUNKED + b"9\r\nhel", IncompleteError, "middle of an answer"),
        (CHUNKED + b"3\r\nhel\r\n", IncompleteError, "middle of an answer"),
        (OK + b"Content-Le", IncompleteError, "middle of an answer"),
        (OK + b"X: " + b"a" * 70000, ProtocolError, "longer than 65536 bytes"),
        (OK + b"X: a\r\n" * 300 + b"\r\n", ProtocolError, "more than 200 fields"),
        (OK + b"no field at all\r\n\r\n", ProtocolError, "'no field at all'"),
        (OK + b"Content-Length: 12x\r\n\r\n", ProtocolError, "'12x'"),
        (OK + b"Content-Length: -1\r\n\r\n", ProtocolError, "'-1'"),
        (OK + b"Content-Length: \xb2\r\n\r\n", ProtocolError, "'²'"),
        (CHUNKED + b"xyz\r\nhel", ProtocolError, "'xyz'"),
        (CHUNKED + b"-4\r\nhell\r\n", ProtocolError, "'-4'"),
        (CHUNKED + b"1_0\r\nhell\r\n", ProtocolError, "'1_0'"),
    ],
)
def test_broken_answers(content: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        answer(content).read(1000)


def test_reading_in_pieces_tells_a_body_that_ended_early_from_a_whole_one() -> None:
    response = answer(OK + b"Content-Length: 9\r\n\r\nhel")
    assert (in_pieces(response, 100), response.is_over) == (b"hel", False)
