"""Secrets in text that leaves the process."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from ci_registry.redaction import MASK, Redactor

SECRET = 'pä/ss w+rd"<&>\\1'


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.remember(SECRET)
    return redactor


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(SECRET)[1:-1],
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
    ],
)
def test_a_known_secret_is_masked_in_every_form(redactor: Redactor, form: str) -> None:
    assert redactor.redact(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize("user", ["a", "ab", "abc", "abcd"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_masked_whatever_stands_before_the_secret(redactor: Redactor, user: str, encode) -> None:  # type: ignore[no-untyped-def]
    word = encode(f"{user}:{SECRET}tail".encode()).decode()
    shown = redactor.redact(f"x {word} y")
    left = shown.replace("x ", "").replace(" y", "").replace(MASK, "")
    assert MASK in shown
    assert len(left) < len(word) - len(SECRET), "most of the secret's characters are gone"


def test_a_short_secret_is_ignored() -> None:
    redactor = Redactor()
    redactor.remember("abc")
    assert redactor.redact("abc abc") == "abc abc"


def test_a_shortish_secret_is_masked_only_where_it_stands_alone() -> None:
    redactor = Redactor()
    redactor.remember("1234")
    assert (
        redactor.redact("sha256:ab1234cd user:1234@ u%3A1234 x\\n1234")
        == f"sha256:ab1234cd user:{MASK}@ u%3A{MASK} x\\n{MASK}"
    )


def test_the_longer_of_two_secrets_goes_first() -> None:
    redactor = Redactor()
    redactor.remember("passphrase")
    redactor.remember("passphrase-two")
    assert redactor.redact("passphrase-two") == MASK


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Authorization: Basic Ym9iOng=", "Authorization: Basic ***"),
        ("{'Authorization': 'Bearer a.b.c'}", "{'Authorization': 'Bearer ***'}"),
        ("Proxy-Authorization: Basic Ym9iOng=", "Proxy-Authorization: Basic ***"),
        ("X-Registry-Auth: eyJ1c2Vy", "X-Registry-Auth: ***"),
        ("sent Bearer eyJhbGciOiJSUzI1NiJ9.e30.sig", "sent Bearer ***"),
        ("https://bob:hunter2@proxy:3128/x", "https://***@proxy:3128/x"),
        ("/v2/a/blobs/uploads/1?_state=abc-_&digest=sha256:1", "/v2/a/blobs/uploads/1?_state=***&digest=sha256:1"),
        ("https://s3/x?X-Amz-Date=1&X-Amz-Signature=0f&X-Amz-Credential=AK%2F", "https://s3/x?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Credential=***"),
        ("https://blob/x?sv=1&sig=a%2Bb", "https://blob/x?sv=1&sig=***"),
        ('{"access_token": "a\\"b", "expires_in": 60}', '{"access_token": "***", "expires_in": 60}'),
        ('{"ServerURL":"h","Username":"u","Secret":"s"}', '{"ServerURL":"h","Username":"u","Secret":"***"}'),
        ("Authorızation: Basic dXNlcjpwYXNz", "Authorızation: Basic ***"),  # these letters count as i and s
        ("baſic dXNlcjpwYXNzd29yZDEyMw==", "baſic ***"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_by_its_place_is_masked(text: str, shown: str) -> None:
    assert Redactor().redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "nginx wants basic authentication for this",
        'WWW-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "https://registry:5000/v2/team/app/manifests/1.2?n=3",
        "Your authorization token has expired. Reauthenticate and try again.",
    ],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert Redactor().redact(text) == text


def test_redacting_twice_changes_nothing(redactor: Redactor) -> None:
    once = redactor.redact(f"Authorization: Basic abc https://u:p@h/?_state=1 {SECRET}")
    assert redactor.redact(once) == once


def test_what_a_hint_says_of_a_url_stays() -> None:
    hint = "write http://USER:PASSWORD@proxy:3128 into HTTPS_PROXY"
    assert Redactor().redact(hint) == hint
    assert Redactor().redact("http://user:password@proxy:3128") == "http://***@proxy:3128"


def test_hundreds_of_tokens_are_masked_at_once() -> None:
    # One token for each repository of a large promotion; looking for them must not take longer than the promotion.
    redactor = Redactor()
    tokens = [f"{number:03}.{'x' * 40}{number * 7919:x}" * 30 for number in range(500)]
    for token in tokens:
        redactor.remember(token)
    text = redactor.redact(" ".join([tokens[0], base64.b64encode(tokens[250].encode()).decode(), tokens[-1]]))
    assert text == f"{MASK} {MASK} {MASK}"
