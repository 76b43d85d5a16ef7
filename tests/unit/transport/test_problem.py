"""Refusals as sentences: `transport.problem`."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_registry.errors import (
    AccessError,
    CiRegistryError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RemoteError,
)
from ci_registry.transport.problem import ERROR_BODY_LIMIT, diagnostics, problem


@dataclass
class Answer:
    status: int
    body: bytes = b""


def envelope(*entries: object) -> bytes:
    return json.dumps({"errors": list(entries)}).encode()


@pytest.mark.parametrize(
    "body, shown",
    [
        (envelope({"code": "DENIED", "message": "no", "detail": None}), ["DENIED no"]),
        (envelope({"code": "DENIED", "message": "denied"}), ["DENIED"]),
        (envelope({"code": "X", "message": "m", "detail": "why"}), ["X m (why)"]),
        (envelope({"code": "X", "message": "m", "detail": {"Digest": "sha256:0"}}), ["X m (sha256:0)"]),
        (envelope({"code": "X", "message": "m", "detail": {"a": 1, "b": 2}}), ['X m ({"a": 1, "b": 2})']),
        (envelope({"code": "X", "message": "m", "detail": [1, 2]}), ["X m ([1, 2])"]),
        (envelope({"code": "X", "message": "m", "detail": []}), ["X m"]),
        (envelope({"message": "only words"}), ["only words"]),
        (envelope({"code": 7, "message": None}), ["7"]),
        (envelope("just text", 5), ["just text", "5"]),
        (envelope(), ["{\"errors\": []}"]),
        (b'{"errors": null, "message": "m"}', ["m"]),
        (b'{"error": "invalid_grant", "error_description": "expired"}', ["expired"]),
        (b'{"details": "incorrect username or password"}', ["incorrect username or password"]),
        (b'["a"]', ['["a"]']),
        (b"404 page not found\n", ["404 page not found"]),
        (b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
         ["502 Bad Gateway"]),
        (b"<html><title>Blocked</title><style>p {x: y}</style><p>Ask the <b>security</b> team about this page, please",
         ["Blocked Blocked Ask the security team about this page, please"]),
        (b"<html><body><h1>502 Bad Gateway</h1></body></html>", ["502 Bad Gateway"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"", []),
        (b"  \n", []),
    ],
)  # fmt: skip
def test_every_shape_of_body(body: bytes, shown: list[str]) -> None:
    assert [str(entry) for entry in diagnostics(body)] == shown


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["errors", "code", "message", "detail", "error", "x"]), inner, max_size=4),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_body_is_a_bug(body: bytes) -> None:
    for entry in diagnostics(body):
        assert isinstance(str(entry), str)
    failed = problem(Answer(400, body), "trying")
    assert failed.message.startswith("trying failed: the registry answered 400")


@pytest.mark.parametrize("body", [b"[" * ERROR_BODY_LIMIT, b'{"a":' * 9000, b"<head" * 13000, b"<title>" * 9000])
def test_hostile_bodies_end_soon_and_short(body: bytes) -> None:
    (entry,) = diagnostics(body)
    assert len(str(entry)) <= 300


def test_no_more_than_the_limit_is_looked_at() -> None:
    assert diagnostics(b" " * ERROR_BODY_LIMIT + b"late") == []


def test_secrets_do_not_come_back_in_messages() -> None:
    body = envelope({"code": "X", "message": "Authorization: Bearer abcdefghijklmnop12345678 was refused"})
    assert "abcdefghijklmnop12345678" not in problem(Answer(400, body), "trying").message


@pytest.mark.parametrize(
    "status, body, kind, hint",
    [
        (401, b"", AccessError, "ci-registry login"),
        (403, envelope({"code": "DENIED", "message": "no"}), AccessError, "this account"),
        (404, envelope({"code": "NAME_UNKNOWN", "message": "x"}), NotFoundError, "repository's name"),
        (404, b"404 page not found", NotFoundError, "this address is a registry"),
        (405, envelope({"code": "UNSUPPORTED", "message": "x"}), AccessError, "read-only"),
        (400, envelope({"code": "DIGEST_INVALID", "message": "x"}), IntegrityError, "run it again"),
        (400, envelope({"code": "MANIFEST_BLOB_UNKNOWN", "message": "x"}), RemoteError, "run it again"),
        (
            400,
            envelope({"code": "TAG_INVALID", "message": "the repository is immutable"}),
            ConflictError,
            "another tag",
        ),
        (400, envelope({"message": "Repository does not allow updating assets"}), ConflictError, "another tag"),
        (412, envelope({"code": "PRECONDITION", "message": "x"}), ConflictError, "another tag"),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", RemoteError, "https://"),
        (413, b"<html><title>413 Request Entity Too Large</title>", RemoteError, "client_max_body_size"),
        (411, b"", RemoteError, "chunk_bytes"),
        (429, envelope({"code": "TOOMANYREQUESTS", "message": "x"}), RemoteError, "log in"),
        (500, b"", RemoteError, "log"),
        (418, b"", RemoteError, ""),
        (401, envelope({"code": "NAME_UNKNOWN", "message": "x"}), AccessError, "ci-registry login"),
    ],
)
def test_class_and_advice(status: int, body: bytes, kind: type[CiRegistryError], hint: str) -> None:
    failed = problem(Answer(status, body), "pushing x to y")
    assert type(failed) is kind
    assert hint in failed.hint
    assert failed.message.startswith(f"pushing x to y failed: the registry answered {status}")


def test_the_callers_hint_wins() -> None:
    assert problem(Answer(404), "x", hint="do that").hint == "do that"


def test_at_most_three_entries_are_told() -> None:
    body = envelope(*({"code": f"CODE{number}"} for number in range(9)))
    assert problem(Answer(400, body), "x").message.endswith("CODE0; CODE1; CODE2")
