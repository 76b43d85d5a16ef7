"""WWW-Authenticate in all its shapes, and where a token service may be: `transport.challenge`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_registry.errors import RemoteError
from ci_registry.transport.challenge import Challenge, check_realm, parse_challenges
from ci_registry.transport.origin import Origin

BEARER = {"realm": "https://auth.example/token", "service": "reg", "scope": "repository:a/b:pull,push"}


@pytest.mark.parametrize(
    "headers, found",
    [
        ([], []),
        ([""], []),
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (["basic realm=x"], [Challenge("basic", {"realm": "x"})]),
        (["Basic"], [Challenge("basic", {})]),
        (['BASIC REALM="x", charset="UTF-8"'], [Challenge("basic", {"realm": "x", "charset": "UTF-8"})]),
        (
            ['Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"'],
            [Challenge("bearer", BEARER)],
        ),
        (
            ['Bearer realm = "https://auth.example/token" , service = "reg", scope="repository:a/b:pull,push"'],
            [Challenge("bearer", BEARER)],
        ),
        (
            ['Basic realm="x", Bearer realm="y",service="z"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "service": "z"})],
        ),
        (
            ['Basic realm="x"', 'Bearer realm="y"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (['Negotiate, Basic realm="x"'], [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        (['Basic realm="x",, Bearer realm="y"'],
         [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})]),
        (['Basic realm="a \\"b\\" \\\\c, Bearer d"'], [Challenge("basic", {"realm": 'a "b" \\c, Bearer d'})]),
        (['Bearer realm="y",error="insufficient_scope"'],
         [Challenge("bearer", {"realm": "y", "error": "insufficient_scope"})]),
        (['="nonsense'], []),
        (["  ,  "], []),
    ],
)  # fmt: skip
def test_challenges(headers: list[str], found: list[Challenge]) -> None:
    assert parse_challenges(headers) == found


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFXYZ", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
CHALLENGES = st.lists(
    st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), VALUES, min_size=1, max_size=3)), min_size=1, max_size=3
)


@given(CHALLENGES)
def test_whatever_is_written_properly_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{key}={quoted(value)}" for key, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([header]) == [Challenge(scheme.lower(), parameters) for scheme, parameters in challenges]


@given(st.text(max_size=60) | st.text('Basicer ="\\,\t', max_size=40))
def test_no_header_is_a_bug(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme


@pytest.mark.parametrize(
    "registry, realm",
    [
        ("https://r.example", "https://auth.example/token"),
        ("http://r.example:5000", "http://auth.example/token"),
        ("http://r.example", "https://auth.example/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("http://localhost:5000", "http://10.0.0.7/token"),
        ("https://10.0.0.1", "https://10.0.0.2/token"),
        ("https://r.example", "https://8.8.8.8/token"),
    ],
)
def test_a_token_service_that_may_be_asked(registry: str, realm: str) -> None:
    assert check_realm(realm, Origin.parse(registry)) == Origin.parse(realm)


@pytest.mark.parametrize(
    "realm",
    [
        "https://127.0.0.1/token",
        "https://localhost/token",
        "https://x.localhost./token",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3/token",
        "https://192.168.0.1/token",
        "https://[::1]/token",
        "https://[::ffff:127.0.0.1]/token",
        "https://[::ffff:169.254.169.254]/token",
        "https://0.0.0.0/token",
        "https://127.1/token",
        "https://2130706433/token",
        "https://0x7f000001/token",
        "https://0177.0.0.1/token",
    ],
)
def test_a_registry_outside_does_not_make_us_call_what_is_inside(realm: str) -> None:
    with pytest.raises(RemoteError, match="internal address"):
        check_realm(realm, Origin.parse("https://r.example"))


def test_no_credential_goes_to_a_service_without_tls_for_a_registry_with_it() -> None:
    with pytest.raises(RemoteError, match="not https"):
        check_realm("http://auth.example/token", Origin.parse("https://r.example"))


@pytest.mark.parametrize("realm", ["", "auth.example/token", "file:///etc/passwd", "https://", "https://h:x/"])
def test_a_realm_that_is_no_address(realm: str) -> None:
    with pytest.raises(RemoteError, match="no address"):
        check_realm(realm, Origin.parse("https://r.example"))
