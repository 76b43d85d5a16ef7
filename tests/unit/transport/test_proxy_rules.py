"""Which proxy a request goes through: `transport.proxy`."""

from __future__ import annotations

import base64

import pytest

from ci_registry.errors import ConfigError
from ci_registry.transport.origin import Origin
from ci_registry.transport.proxy import Proxy, bypassed, choose_proxy

SECURE = Origin.parse("https://r.example:5000")
PLAIN = Origin.parse("http://r.example")
P = "http://proxy.example:8080"


@pytest.mark.parametrize(
    "origin, environ, name",
    [
        (SECURE, {}, None),
        (SECURE, {"https_proxy": P}, "https_proxy"),
        (SECURE, {"HTTPS_PROXY": P}, "HTTPS_PROXY"),
        (SECURE, {"HTTPS_PROXY": "http://other:1", "https_proxy": P}, "https_proxy"),
        (SECURE, {"HTTPS_PROXY": P, "https_proxy": ""}, None),
        (SECURE, {"http_proxy": P}, None),
        (SECURE, {"ALL_PROXY": P}, "ALL_PROXY"),
        (PLAIN, {"HTTP_PROXY": P}, "HTTP_PROXY"),
        (PLAIN, {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
        (PLAIN, {"http_proxy": P, "REQUEST_METHOD": "GET"}, "http_proxy"),
        (SECURE, {"https_proxy": P, "no_proxy": "r.example"}, None),
        (SECURE, {"https_proxy": P, "NO_PROXY": "other.example"}, "https_proxy"),
        (SECURE, {"https_proxy": P, "NO_PROXY": "r.example", "no_proxy": ""}, "https_proxy"),
        (Origin.parse("http://127.0.0.1:5000"), {"http_proxy": P}, None),
        (Origin.parse("http://localhost:5000"), {"http_proxy": P}, None),
    ],
)
def test_by_environment(origin: Origin, environ: dict[str, str], name: str | None) -> None:
    found = choose_proxy(origin, None, environ)
    assert (found.said_by if found else None) == name
    assert found is None or str(found) == "proxy.example:8080"


def test_the_targets_own_setting_wins() -> None:
    environ = {"https_proxy": "http://other:1", "no_proxy": "*"}
    assert str(choose_proxy(SECURE, P, environ)) == "proxy.example:8080"
    assert choose_proxy(SECURE, "", environ) is None


@pytest.mark.parametrize(
    "entry, fits",
    [
        ("*", True),
        ("r.example", True),
        ("R.EXAMPLE", True),
        ("example", True),
        (".example", True),
        ("*.example", True),
        ("ample", False),
        ("a.r.example", False),
        ("r.example:5000", True),
        ("r.example:443", False),
        (".example:5000", True),
        (" other , r.example ", True),
        ("", False),
        (",,", False),
        ("10.0.0.0/8", False),
    ],
)
def test_names_that_go_without(entry: str, fits: bool) -> None:
    assert bypassed(SECURE, entry) is fits


@pytest.mark.parametrize(
    "host, entry, fits",
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:5000", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("10.1.2.3", "10.1.2.3/nonsense", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]:5000", True),
        ("[fd00::1]", "[fd00::1]:80", False),
    ],
)
def test_addresses_that_go_without(host: str, entry: str, fits: bool) -> None:
    assert bypassed(Origin.parse(f"https://{host}:5000"), entry) is fits


def test_a_login_for_the_proxy_is_decoded_and_not_shown() -> None:
    proxy = Proxy.parse("http://us%40er:p%3Ass@proxy.example:8080", "https_proxy")
    assert proxy.authorization == "Basic " + base64.b64encode(b"us@er:p:ss").decode()
    assert "p:ss" not in repr(proxy)
    assert proxy.authorization not in repr(proxy)


@pytest.mark.parametrize("url, shown", [("proxy.example", "proxy.example:3128"), ("http://[::1]:8080", "[::1]:8080")])
def test_short_forms(url: str, shown: str) -> None:
    assert str(Proxy.parse(url, "https_proxy")) == shown


@pytest.mark.parametrize("url", ["socks5://proxy:1080", "https://proxy:8080", "http://", "http://proxy:port"])
def test_a_proxy_that_can_not_be_used_names_who_set_it(url: str) -> None:
    with pytest.raises(ConfigError, match="the proxy in https_proxy"):
        Proxy.parse(url, "https_proxy")
