"""doctor about what answers: web pages, proxies in front, clocks, and what a registry allows."""

from __future__ import annotations

import os
from email.utils import formatdate
from time import time

import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.doctor import OddAuthority, codes, diagnose, only, produces
from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import ImageBuilder
from tests.support.process import free_port
from tests.support.servers import Nginx
from tests.support.spaces import RegistrySpace


def plain(location: str) -> str:
    return f"server {{ listen 127.0.0.1:@PORT@; {location} }}"


def dev(url: str) -> dict[str, dict[str, str]]:
    return {"dev": {"kind": "registry", "url": url}}


def behind(nginx: Nginx) -> dict[str, dict[str, str]]:
    return dev(f"http://127.0.0.1:{nginx.port}")


@produces("not-a-registry")
def test_a_web_server_without_a_registry() -> None:
    with Nginx(plain("location / { return 404; }")) as nginx:
        finding = only(diagnose(behind(nginx)), "not-a-registry")
    assert f"127.0.0.1:{nginx.port}" in finding.cures[0].where
    assert finding.cures[0].lines == ["location /v2/ { proxy_pass http://REGISTRY:5000; }"]
    assert "by nginx" in finding.seen


@produces("login-page")
@pytest.mark.parametrize(
    "location",
    [
        "location / { return 302 /login?next=/v2/; }",
        "location / { return 302 https://sso.example.org/oauth2/start; }",
        "location / { default_type text/html; return 200 '<html><form>Password <input></form></html>'; }",
    ],
)
def test_a_login_page(location: str) -> None:
    with Nginx(plain(location)) as nginx:
        only(diagnose(behind(nginx)), "login-page")


@produces("captive-portal")
def test_a_portal_that_catches_everything() -> None:
    with Nginx(plain("location / { return 302 http://portal.hotel.example/welcome; }")) as nginx:
        finding = only(diagnose(behind(nginx)), "captive-portal")
    assert "http://portal.hotel.example" in finding.cures[0].lines[0]


@produces("backend-down")
def test_a_proxy_without_the_registry_behind_it() -> None:
    with Nginx(plain(f"location / {{ proxy_pass http://127.0.0.1:{free_port()}; }}")) as nginx:
        finding = only(diagnose(behind(nginx)), "backend-down")
    assert finding.meaning.startswith("nginx")
    assert finding.exit == 7


@produces("server-error")
def test_a_registry_that_fails(fake_registry: FakeRegistry) -> None:
    fake_registry.script("GET", "/v2/$", actions.error(500, "UNKNOWN", "unknown error"), times=None)
    only(diagnose(dev(fake_registry.url)), "server-error")


@produces("throttled")
def test_too_many_requests(fake_registry: FakeRegistry) -> None:
    action = actions.error(429, "TOOMANYREQUESTS", "slow down", headers={"Retry-After": "30"})
    fake_registry.script("GET", "/v2/$", action, times=None)
    finding = only(diagnose(dev(fake_registry.url)), "throttled")
    assert finding.cures[0].lines == ["wait 30 seconds"]


@produces("no-challenge")
def test_401_without_a_challenge() -> None:
    with DockerRegistry(users={"ci": "secret-of-ci"}, in_memory=True) as server:
        hidden = f"location / {{ proxy_pass {server.url}; proxy_hide_header WWW-Authenticate; }}"
        with Nginx(plain(hidden)) as nginx:
            finding = only(diagnose(behind(nginx)), "no-challenge")
    assert finding.exit == 3
    assert finding.cures[0].lines == ["proxy_pass_header WWW-Authenticate;"]


@produces("clock-skew")
@pytest.mark.parametrize("seconds", [-600, 600])
def test_a_server_whose_clock_is_elsewhere(fake_registry: FakeRegistry, seconds: int) -> None:
    date = formatdate(time() + seconds, usegmt=True)
    fake_registry.script("GET", "/v2/$", actions.header("Date", date), times=None)
    report = diagnose(dev(fake_registry.url))
    assert ("behind" if seconds > 0 else "ahead of") in only(report, "clock-skew").seen
    assert codes(report, worst="error") == []


# -- rights ------------------------------------------------------------------------------------------------------------


@produces("pull-denied")
def test_nobody_may_read_it(fake_registry: FakeRegistry) -> None:
    fake_registry.script("GET", "/tags/list", actions.error(403, "DENIED", "denied"), times=None)
    finding = only(diagnose(dev(fake_registry.url), "dev:team/app"), "pull-denied")
    assert finding.exit == 3
    assert "team/app" in finding.cures[0].lines[0]


@produces("push-denied")
def test_nobody_may_write_it(fake_registry: FakeRegistry) -> None:
    fake_registry.script("POST", "/uploads/", actions.error(403, "DENIED", "denied"), times=None)
    report = diagnose(dev(fake_registry.url), "dev:team/app", writing=True)
    assert only(report, "push-denied").exit == 3


@produces("repository-empty")
def test_a_repository_that_does_not_exist_yet_is_no_trouble(registry: RegistrySpace) -> None:
    report = diagnose(dev(registry.url), f"dev:{registry.repository('new')}")
    assert only(report, "repository-empty").severity == "note"
    assert codes(report) == []


@produces("read-only")
def test_a_registry_that_takes_no_pushes(registry: RegistrySpace) -> None:
    with DockerRegistry(readonly=True, in_memory=True) as frozen, DockerRegistry(proxy=registry.url) as cache:
        for server in (frozen, cache):
            report = diagnose(dev(server.url), "dev:team/app", writing=True)
            assert only(report, "read-only").exit == 3


@produces("upload-failed")
def test_uploads_that_fail(fake_registry: FakeRegistry) -> None:
    fake_registry.script("POST", "/uploads/", actions.error(500, "UNKNOWN", "disk full"), times=None)
    report = diagnose(dev(fake_registry.url), "dev:team/app", writing=True)
    assert "disk full" in only(report, "upload-failed").seen


@produces("upload-not-cancelled")
def test_a_trial_upload_that_can_not_be_taken_back(fake_registry: FakeRegistry) -> None:
    fake_registry.script("DELETE", "/uploads/", actions.status(405), times=None)
    report = diagnose(dev(fake_registry.url), "dev:team/app", writing=True)
    assert only(report, "upload-not-cancelled").severity == "note"


def test_a_trial_upload_leaves_nothing(fake_registry: FakeRegistry) -> None:
    assert codes(diagnose(dev(fake_registry.url), "dev:team/app", writing=True)) == []
    assert fake_registry.open_sessions == 0
    assert fake_registry.count("PATCH") == 1


def test_without_a_repository_or_in_a_dry_run_nothing_is_written(fake_registry: FakeRegistry) -> None:
    diagnose(dev(fake_registry.url), writing=True)
    diagnose(dev(fake_registry.url), "dev:team/app", writing=False)
    assert all(fake_registry.count(method) == 0 for method in ("POST", "PUT", "PATCH", "DELETE"))


@produces("no-referrers", "no-delete")
def test_what_a_registry_can_not_do(images: ImageBuilder) -> None:
    with DockerRegistry(delete=False, in_memory=True) as server:
        space = RegistrySpace(server)
        space.upload(images.image())
        report = diagnose(dev(server.url), f"dev:{space.repository()}", writing=True)
    assert only(report, "no-referrers").severity == "note"
    assert only(report, "no-delete").cures[0].lines == ["REGISTRY_STORAGE_DELETE_ENABLED=true"]
    assert any("blobs are mounted" in each.seen for each in report.targets[0].findings)


# -- nginx in front ----------------------------------------------------------------------------------------------------


@produces("body-limit")
def test_nginx_limits_the_size_of_a_request(registry: RegistrySpace) -> None:
    with Nginx(plain(f"location / {{ proxy_pass {registry.url}; proxy_set_header Host $http_host; }}")) as nginx:
        report = diagnose(behind(nginx), f"dev:{registry.repository()}", writing=True)
    finding = only(report, "body-limit")
    assert finding.cures[0].lines == ["client_max_body_size 0;"]
    assert f"127.0.0.1:{nginx.port}" in finding.cures[0].where
    assert finding.exit == 7


@produces("wrong-host")
def test_nginx_drops_the_port(registry: RegistrySpace) -> None:
    with Nginx(plain(f"location / {{ proxy_pass {registry.url}; proxy_set_header Host $host; }}")) as nginx:
        report = diagnose(behind(nginx), f"dev:{registry.repository()}", writing=True)
    finding = only(report, "wrong-host")
    assert finding.cures[0].lines[0] == "proxy_set_header Host $http_host;"
    assert "http://127.0.0.1" in finding.meaning


@produces("wrong-forwarded-proto")
def test_nginx_does_not_say_https(registry: RegistrySpace) -> None:
    authority = OddAuthority()
    pair = authority.issue("front", "127.0.0.1")
    server = f"""server {{
      listen 127.0.0.1:@PORT@ ssl; ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
      location / {{ proxy_pass {registry.url}; proxy_set_header Host $http_host; }}
    }}"""
    with Nginx(server) as nginx:
        target = {"kind": "registry", "url": f"https://127.0.0.1:{nginx.port}", "ca": str(authority.certificate)}
        report = diagnose({"dev": target}, f"dev:{registry.repository()}", writing=True, environ=dict(os.environ))
    assert only(report, "wrong-forwarded-proto").cures[0].lines == ["proxy_set_header X-Forwarded-Proto $scheme;"]


@produces("mirror-down")
def test_a_mirror_that_is_not_there(registry: RegistrySpace) -> None:
    mirror = f"http://127.0.0.1:{free_port()}"
    report = diagnose({"dev": {"kind": "registry", "url": f"http://{registry.host}", "mirror": mirror}})
    finding = only(report, "mirror-down")
    assert finding.severity == "warning"
    assert f"{mirror}/v2/" in finding.seen
    assert finding.cures[-1].lines == ["or take `mirror:` out of target dev"]


def test_a_mirror_that_answers(registry: RegistrySpace) -> None:
    address = f"http://{registry.host}"
    report = diagnose({"dev": {"kind": "registry", "url": address, "mirror": address}})
    assert codes(report) == []
    assert [each.seen for each in report.targets[0].findings if each.step == "reading"] == [
        f"{address} (mirror) answers"
    ]
