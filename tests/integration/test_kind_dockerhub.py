"""kind: dockerhub against a strict stand-in: names, tokens, pull limits, mounts from library/, and its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError, ConfigError, ReferenceSyntaxError, RemoteError
from ci_registry.kinds.dockerhub import DockerHub
from ci_registry.kinds.quota import Quota
from tests.support.bench import Bench
from tests.support.fake_hub import FakeHub
from tests.support.images import ImageBuilder, upload
from tests.support.secrets import LeakSearch
from tests.support.wire import Wire

PERSONAL = "dckr_pat_zQ1x-personal-token"
ORGANISATION = "dckr_oat_7Wv2-organisation-token"
ADMIN = "admin-of-the-stand-in"
READ_ONLY = "dckr_pat_read-only-token"
PUBLIC = {"library/*": "pull", "ratelimitpreview/test": "pull"}


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeHub]:
    accounts = {"dockermau": PERSONAL, "acme": ORGANISATION, "reader": READ_ONLY, "admin": ADMIN}
    permissions = {
        "dockermau": {"dockermau/*": "pull,push", **PUBLIC},
        "acme": {"acme/*": "pull,push", **PUBLIC},
        "reader": {"reader/*": "pull", **PUBLIC},
        "admin": {"*": "pull,push"},
    }
    with FakeHub(accounts, permissions) as hub:
        yield hub


@pytest.fixture
def hub(shared: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The stand-in with nothing used up, and a personal token in the environment."""
    shared.limit, shared.pulls, shared.abused, shared.retry_after = 100, 0, False, None
    shared.front.seen.clear()
    shared.tokens.requests.clear()
    monkeypatch.setenv("CI_REGISTRY_HUB_USERNAME", "dockermau")
    monkeypatch.setenv("CI_REGISTRY_HUB_PASSWORD", PERSONAL)
    return shared


def configured(hub: FakeHub, **settings: Any) -> dict[str, Any]:
    return {"hub": {"kind": "dockerhub", "url": hub.url, "api": hub.api, **settings}}


def kind(bench: Bench) -> DockerHub:
    target = bench.target("hub")
    assert isinstance(target, DockerHub)
    return target


def test_push_list_pull_and_verify_a_private_repository(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(hub)) as bench:
        landed = bench.target("hub").landing("team/app")
        assert landed == "dockermau/app"
        bench.round_trip(
            images.index(), f"hub:{landed}:1", [f"--creds=dockermau:{PERSONAL}"], seen_as=f"{hub.host}/dockermau/app"
        )
        assert bench.source(f"hub:{landed}").location.name == "docker.io/dockermau/app"
    asked = [request for request in hub.tokens.requests if request.parameters.get("client_id") == "ci_registry"]
    assert {request.account for request in asked} == {"dockermau"}
    assert {request.status for request in asked} == {200}


def test_an_organisation_token(
    hub: FakeHub, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_REGISTRY_HUB_USERNAME", "acme")
    monkeypatch.setenv("CI_REGISTRY_HUB_PASSWORD", ORGANISATION)
    with Bench(tmp_path, configured(hub)) as bench:
        bench.push(images.image(), f"hub:{bench.target('hub').landing('tool')}:1")
        assert bench.source("hub:acme/tool").resolve("1")


def test_layers_of_library_images_are_mounted_with_one_request_each(
    hub: FakeHub, images: ImageBuilder, tmp_path: Path
) -> None:
    busybox = images.image()
    with Wire(hub.url, ("admin", ADMIN)) as wire:
        upload(busybox, hub.url, "library/busybox", "1", wire=wire)
    hub.front.seen.clear()
    hub.tokens.requests.clear()
    with Bench(tmp_path, configured(hub)) as bench:
        bench.copy("docker://busybox:1", "hub:dockermau/busybox:1")
        assert bench.pull("hub:dockermau/busybox:1") == busybox.digest
    asked = [(seen.method, seen.status) for seen in hub.front.seen if "mount=" in seen.query]
    assert asked == [("POST", 201)] * len(busybox.blobs)
    assert hub.front.count("PUT", "/blobs/") == 0
    mounting = {"repository:dockermau/busybox:pull,push", "repository:library/busybox:pull"}
    assert any(set(request.scopes) == mounting for request in hub.tokens.requests)


def test_anonymous_pull_of_a_public_image(
    hub: FakeHub, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_REGISTRY_HUB_USERNAME")
    monkeypatch.delenv("CI_REGISTRY_HUB_PASSWORD")
    image = images.image()
    with Wire(hub.url, ("admin", ADMIN)) as wire:
        upload(image, hub.url, "library/public", "1", wire=wire)
    with Bench(tmp_path, configured(hub)) as bench:
        assert bench.pull("hub:public:1") == image.digest  # library/ is filled in
        assert bench.pull("docker://index.docker.io/library/public:1") == image.digest
    assert {request.account for request in hub.tokens.requests} == {"admin", ""}


# -- names -------------------------------------------------------------------------------------------------------


def test_names_of_more_than_two_parts(hub: FakeHub, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(hub)) as bench, pytest.raises(ReferenceSyntaxError) as caught:
        bench.pull("hub:acme/team/app:1")
    assert caught.value.message == ("'acme/team/app' has 3 parts, but a repository on Docker Hub has exactly two")
    assert caught.value.exit_code == 2
    assert hub.front.seen == []


@pytest.mark.parametrize(
    "template, landed",
    [(None, "dockermau/app"), ("{namespace}/{path_dashed}", "dockermau/team-app"), ("acme/{name}-x", "acme/app-x")],
)
def test_where_images_land(hub: FakeHub, tmp_path: Path, template: str | None, landed: str) -> None:
    with Bench(tmp_path, configured(hub, repository=template)) as bench:
        assert bench.target("hub").landing("team/app") == landed


def test_a_template_that_makes_three_parts(hub: FakeHub, tmp_path: Path) -> None:
    targets = configured(hub, namespace="acme", repository="{namespace}/{path}")
    with Bench(tmp_path, targets) as bench, pytest.raises(ReferenceSyntaxError, match="has 3 parts"):
        bench.target("hub").landing("team/app")


def test_no_namespace(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_REGISTRY_HUB_USERNAME", "mau@example.org")
    with Bench(tmp_path, configured(hub)) as bench, pytest.raises(ConfigError, match="is an e-mail address"):
        bench.target("hub").landing("app")
    monkeypatch.delenv("CI_REGISTRY_HUB_USERNAME")
    monkeypatch.delenv("CI_REGISTRY_HUB_PASSWORD")
    with Bench(tmp_path, configured(hub)) as bench, pytest.raises(ConfigError) as caught:
        bench.target("hub").landing("app")
    assert caught.value.sentence() == (
        "target 'hub' has no namespace, and no credential whose user could stand for one was found; "
        "set `namespace:`, or log in with `ci-registry login dockerhub`."
    )


# -- refused logins and rights -----------------------------------------------------------------------------------


def test_a_wrong_password(hub: FakeHub, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_REGISTRY_HUB_PASSWORD", "account-password")
    with Bench(tmp_path, configured(hub)) as bench:
        error = bench.refused(images.image(), "hub:dockermau/app:1")
    assert isinstance(error, AccessError)
    assert error.message == (
        f"the token service {hub.tokens.realm} refused user 'dockermau' from environment variable "
        "CI_REGISTRY_HUB_PASSWORD: it answered 401: UNAUTHORIZED incorrect username or password"
    )
    assert "use an access token" in error.hint
    search = LeakSearch("account-password")
    search.look_at("error", error.sentence() + repr(error) + repr(error.__cause__))
    assert search.leaks == []


def test_a_token_without_the_right_to_push(
    hub: FakeHub, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_REGISTRY_HUB_USERNAME", "reader")
    monkeypatch.setenv("CI_REGISTRY_HUB_PASSWORD", READ_ONLY)
    with Bench(tmp_path, configured(hub)) as bench:
        error = bench.refused(images.image(), "hub:reader/app:1")
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert "to docker.io/reader/app failed: the registry answered 401: UNAUTHORIZED" in error.message
    assert "(asked as user 'reader' from environment variable CI_REGISTRY_HUB_PASSWORD)" in error.message
    assert "read-only tokens can't push" in error.hint
    assert len(hub.tokens.requests) == 2  # one, and one fresh one to be sure


# -- limits ------------------------------------------------------------------------------------------------------


def test_tags_are_resolved_without_a_pull(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    with Bench(tmp_path, configured(hub)) as bench:
        bench.push(image, "hub:dockermau/counted:1")
        assert hub.pulls == 0
        assert bench.source("hub:dockermau/counted").resolve("1").digest == image.digest
        assert hub.pulls == 0
        bench.push(image, "hub:dockermau/counted:1")
        assert hub.pulls == 0
        bench.pull("hub:dockermau/counted:1")
        assert hub.pulls == len(image.manifests)
        assert kind(bench).quota() == Quota(100, 100 - len(image.manifests), 21600, "192.0.2.7")


def test_the_quota_is_asked_for_without_a_pull(hub: FakeHub, tmp_path: Path) -> None:
    hub.pulls = 13
    with Bench(tmp_path, configured(hub)) as bench:
        quota = kind(bench).quota()
        assert quota == Quota(100, 87, 21600, "192.0.2.7")
        assert str(quota) == "87 of 100 pulls in 6 hours are left, counted for 192.0.2.7"
        assert [quota.shortfall(pulls) for pulls in (5, 87, 90)] == [0, 0, 3]
    assert hub.pulls == 13
    hub.limit = None
    with Bench(tmp_path, configured(hub)) as bench:
        assert kind(bench).quota() is None


def test_a_dry_run_says_what_the_run_will_use(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    pulls = len(image.manifests)
    with Bench(tmp_path, configured(hub)) as bench:
        bench.push(image, "hub:dockermau/planned:1")
        assert bench.notes == []
    for used, few in ((0, ""), (100 - 2 * pulls + 1, ", 1 too few")):
        hub.pulls = used
        with Bench(tmp_path / str(used), configured(hub)) as bench:
            bench.copy("hub:dockermau/planned:1", f"oci:{tmp_path}/to:1", dry_run=True)
            left = f"{100 - used - pulls} of 100 pulls in 6 hours are left, counted for 192.0.2.7"
            assert bench.notes == [f"the run itself reads {pulls} manifests from docker.io: {left}{few}"]


def test_the_pull_limit_is_explained_and_not_run_into_again(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.image()
    with Bench(tmp_path, configured(hub)) as bench:
        bench.push(image, "hub:dockermau/limited:1")
        hub.pulls = 100
        with pytest.raises(RemoteError) as caught:
            bench.pull("hub:dockermau/limited:1")
    assert "the registry answered 429: TOOMANYREQUESTS You have reached your" in caught.value.message
    assert caught.value.message.endswith(
        "that is Docker Hub's pull limit (0 of 100 pulls in 6 hours are left, counted for 192.0.2.7)"
    )
    assert "read through `mirror:`" in caught.value.hint
    assert caught.value.exit_code == 7
    assert [seen.status for seen in hub.front.seen if seen.method == "GET" and "/manifests/" in seen.path] == [429]


def test_the_limit_of_all_requests_is_another(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    hub.abused = True
    with Bench(tmp_path, configured(hub)) as bench:
        error = bench.refused(images.image(), "hub:dockermau/app:1")
    assert "429: Too Many Requests; that is Docker Hub's limit on requests of any kind" in error.message
    assert "`requests_per_second:`" in error.hint
    assert len(hub.front.seen) <= 3


def test_a_time_to_wait_is_honoured(hub: FakeHub, images: ImageBuilder, tmp_path: Path) -> None:
    hub.abused, hub.retry_after = True, "3000"
    with Bench(tmp_path, configured(hub)) as bench:
        error = bench.refused(images.image(), "hub:dockermau/app:1")
    assert error.hint.startswith("wait 3000 seconds")


# -- what the registry does not offer ----------------------------------------------------------------------------


def test_repositories_come_from_the_api(hub: FakeHub, tmp_path: Path) -> None:
    hub.listed = {"dockermau": ["app", "base", "private-tool", "private-web", "web"], "acme": ["one", "private-two"]}
    with Bench(tmp_path, configured(hub)) as bench:
        assert bench.target("hub").repositories() == [
            "dockermau/app",
            "dockermau/base",
            "dockermau/private-tool",
            "dockermau/private-web",
            "dockermau/web",
        ]
    with Bench(tmp_path, configured(hub, namespace="acme")) as bench:
        assert bench.target("hub").repositories() == ["acme/one"]
    assert hub.front.count("GET", "_catalog") == 0
