"""HTTP/1.1 on the wire: `transport.message`."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def answer(raw: bytes, method: str = "GET") -> Response:
    return Response(io.BufferedReader(io.BytesIO(raw)), method)  # type: ignore[arg-type]


def chunked(body: bytes, seed: int) -> bytes:
    """A body in chunks of random sizes, some with an extension."""
    chance, out, position = random.Random(seed), b"", 0
    while position < len(body):
        size = chance.randint(1, 50)
        part = body[position : position + size]
        extension = b";name=value" if chance.random() < 0.3 else b""
        out += b"%X%s\r\n%s\r\n" % (len(part), extension, part)
        position += size
    return out + b"0\r\n" + (b"Trailer: x\r\n" if seed % 2 else b"") + b"\r\n"


FRAMED = st.tuples(st.binary(max_size=300), st.booleans(), st.integers(0, 99))


def framed(body: bytes, in_chunks: bool, seed: int) -> bytes:
    if in_chunks:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, seed)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@given(FRAMED, st.integers(1, 80))
def test_what_was_sent_is_read_and_what_follows_is_left(message: tuple[bytes, bool, int], buffer_bytes: int) -> None:
    body, in_chunks, seed = message
    reader = io.BufferedReader(io.BytesIO(framed(*message) + b"HTTP/1.1 204 \r\n\r\n"))  # type: ignore[arg-type]
    response = Response(reader, "GET")
    out, buffer = b"", memoryview(bytearray(buffer_bytes))
    while count := response.readinto(buffer):
        out += bytes(buffer[:count])
    assert (out, response.is_over, response.will_close) == (body, True, False)
    assert Response(reader, "GET").status == 204
    again = answer(framed(body, in_chunks, seed))
    assert again.read(1 << 20) == body
    assert again.is_over


@given(FRAMED, st.floats(0, 1))
def test_an_answer_that_ends_early_is_never_taken_for_a_whole_one(message: tuple[bytes, bool, int], at: float) -> None:
    raw = framed(*message)
    cut = raw[: int(at * (len(raw) - 1))]
    with pytest.raises((IncompleteError, NoAnswerError, NotHttpError)):
        answer(cut).read(1 << 20)


@given(FRAMED, st.floats(0, 1))
def test_reading_piece_by_piece_shows_an_early_end_too(message: tuple[bytes, bool, int], at: float) -> None:
    raw = framed(*message)
    head = raw.index(b"\r\n\r\n") + 4
    cut = raw[: head + int(at * max(0, len(raw) - head - 1))]
    response, buffer, count = answer(cut), memoryview(bytearray(50)), 0
    if len(cut) == len(raw):
        return  # an empty body has nothing to lose
    try:
        while got := response.readinto(buffer):
            count += got
    except IncompleteError:
        return
    assert not response.is_over
    assert count < len(message[0])


@given(st.binary(max_size=200))
def test_no_answer_is_a_bug(raw: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            answer(start + raw).read(1000)
        except (ProtocolError, NoAnswerError):
            continue


def test_limits() -> None:
    with pytest.raises(ProtocolError, match="longer than 65536 bytes"):
        answer(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n")
    with pytest.raises(ProtocolError, match="more than 200 fields"):
        answer(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n")
    assert answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789").read(4) == b"1234"


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body(method: str, status: int) -> None:
    response = answer(b"HTTP/1.1 %d X\r\nContent-Length: 50\r\n\r\n" % status, method)
    assert (response.is_over, response.read(10), response.will_close) == (True, b"", False)


def test_a_body_that_ends_with_its_connection() -> None:
    response = answer(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert (response.will_close, response.read(100), response.is_over) == (True, b"all of it", True)


def test_interim_answers_are_skipped() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    response = answer(early + b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    assert (response.status, response.headers.get("Link")) == (201, None)


@pytest.mark.parametrize(
    "version, connection, closes",
    [("1.1", "", False), ("1.1", "close", True), ("1.1", "Keep-Alive, Close", True), ("1.0", "", True),
     ("1.0", "keep-alive", False)],
)  # fmt: skip
def test_whether_another_request_can_follow(version: str, connection: str, closes: bool) -> None:
    field = f"Connection: {connection}\r\n" if connection else ""
    raw = f"HTTP/{version} 200 OK\r\n{field}Content-Length: 0\r\n\r\n"
    assert answer(raw.encode()).will_close is closes


@pytest.mark.parametrize("line", [b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x16\n", b"HTTP/1.1 20 OK\r\n", b"\r\n"])
def test_what_is_not_http(line: bytes) -> None:
    with pytest.raises(NotHttpError):
        answer(line)


@pytest.mark.parametrize("length", [b"-1", b"1 2", b"0x10", b"", b"9, 9"])
def test_a_length_that_is_none(length: bytes) -> None:
    with pytest.raises(ProtocolError):
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n")


@pytest.mark.parametrize("size", [b"", b"x", b"-1", b"0x5", b" "])
def test_a_chunk_without_a_size(size: bytes) -> None:
    response = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabc")
    with pytest.raises(ProtocolError):
        response.read(10)


def test_fields_are_found_by_name_in_any_case_and_may_be_repeated() -> None:
    headers = Headers([("Warning", "a"), ("WARNING", "b"), ("Link", "c")])
    assert (headers.get("warning"), headers.get_all("Warning"), headers["LINK"]) == ("a", ["a", "b"], "c")
    assert (headers.get("none"), headers.get("none", "x"), headers.get_all("none")) == (None, "x", [])
    headers.setdefault("link", "d")
    headers.setdefault("Location", "e")
    assert (headers["link"], headers["location"]) == ("c", "e")


def test_a_field_that_goes_on_in_the_next_line() -> None:
    assert answer(b"HTTP/1.1 200 OK\r\nA: b\r\n  c\r\nContent-Length: 0\r\n\r\n").headers["a"] == "b c"


def test_a_request() -> None:
    head = request_head("PUT", "/v2/a?b=c%2F", [("Host", "h:1"), ("X", "é")])
    assert head == "PUT /v2/a?b=c%2F HTTP/1.1\r\nHost: h:1\r\nX: é\r\n\r\n".encode("latin-1")


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\nb", "", "/é", "/a\0"])
def test_a_target_that_would_leave_its_line(target: str) -> None:
    with pytest.raises(UnsendableError):
        request_head("GET", target, [])


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_value_that_would_leave_its_line(value: str) -> None:
    with pytest.raises(UnsendableError):
        request_head("GET", "/", [("Authorization", value)])


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_lines_may_end_either_way_and_empty_lines_of_the_body_are_its_own(end: bytes) -> None:
    raw = end.join([b"HTTP/1.1 200 OK", b"A: 1", b"Content-Length: 6", b"", b"\r\n\r\nabnext"])
    response = answer(raw)
    assert (response.headers.get("a"), response.read(100)) == ("1", b"\r\n\r\nab")
