"""Where a URL goes: `transport.origin`."""

from __future__ import annotations

import pytest

from ci_registry.errors import UsageError
from ci_registry.transport.origin import Origin, is_loopback, normal_url


@pytest.mark.parametrize(
    "url, shown",
    [
        ("http://h/v2/", "http://h"),
        ("http://h:80/v2/", "http://h"),
        ("https://h:443", "https://h"),
        ("https://H.Example:8443/x", "https://h.example:8443"),
        ("http://[::1]:5000/v2/", "http://[::1]:5000"),
        ("https://user:word@h/v2/", "https://h"),
    ],
)
def test_equal_exactly_when_credentials_may_go_there(url: str, shown: str) -> None:
    assert str(Origin.parse(url)) == shown
    assert Origin.parse(shown) == Origin.parse(url)


@pytest.mark.parametrize(
    "one, other", [("http://h", "https://h"), ("http://h", "http://h:81"), ("http://h", "http://g")]
)
def test_different_in_scheme_host_or_port(one: str, other: str) -> None:
    assert Origin.parse(one) != Origin.parse(other)


@pytest.mark.parametrize("url", ["ftp://h/", "h:5000/x", "http://", "http://h:port/", "http://h:99999/", "/v2/", ""])
def test_no_origin(url: str) -> None:
    with pytest.raises(UsageError):
        Origin.parse(url)


@pytest.mark.parametrize(
    "url, normal",
    [
        ("https://h:443/v2/a?_state=b%2Fc%2Bd==", "https://h/v2/a?_state=b%2Fc%2Bd=="),
        ("HTTP://H:80?x=1", "http://h/?x=1"),
        ("http://h", "http://h/"),
        ("http://user:word@h/a", "http://h/a"),
        ("http://h/a b?c=d e#frag", "http://h/a%20b?c=d%20e"),
        ("http://h/a?q=é", "http://h/a?q=%E9"),
        ("http://h/a?b=/c?d#e", "http://h/a?b=/c?d"),
        ("http://h:5000/v2/a/blobs/uploads/1?_state=a&b=%zz;c", "http://h:5000/v2/a/blobs/uploads/1?_state=a&b=%zz;c"),
    ],
)
def test_a_url_begins_with_its_origin_and_the_rest_is_kept_to_the_letter(url: str, normal: str) -> None:
    assert normal_url(url) == normal
    assert normal.startswith(str(Origin.parse(url)))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example.org", "::2", ""])
def test_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
