"""kind: nexus against a strict stand-in: connectors, paths, realms, deployment policies, mounts, and its REST API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError, CiRegistryError, ConfigError, ConflictError
from ci_registry.kinds.findings import Finding
from ci_registry.kinds.nexus import Nexus
from tests.support.bench import Bench
from tests.support.fake_nexus import FakeNexus
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority
from tests.support.validator import validate_registry

PASSWORD = "deploy-to-nexus"
ADMIN = "admin-of-nexus"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def shared(authority: Authority) -> Iterator[FakeNexus]:
    users: dict[str, Any] = {
        "deployer": (PASSWORD, "write"),
        "reader": ("only-reads-nexus", "read"),
        "admin": (ADMIN, "admin"),
    }
    with FakeNexus(users, authority.issue()) as nexus:
        yield nexus


@pytest.fixture
def nexus(shared: FakeNexus, monkeypatch: pytest.MonkeyPatch) -> FakeNexus:
    """The stand-in as it is after installation, and the deployer's password in the environment."""
    shared.kind, shared.state, shared.eula, shared.anonymous, shared.mounts = "hosted", "up", True, False, "works"
    shared.realms = ["NexusAuthenticatingRealm", "DockerToken"]
    shared.storage.update({"writePolicy": "ALLOW", "latestPolicy": False})
    shared.docker.update({"forceBasicAuth": True, "pathEnabled": False})
    shared.settings["online"] = True
    shared.forget()
    log_in(monkeypatch, "deployer", PASSWORD)
    return shared


def log_in(monkeypatch: pytest.MonkeyPatch, user: str, password: str) -> None:
    monkeypatch.setenv("CI_REGISTRY_NEXUS_USERNAME", user)
    monkeypatch.setenv("CI_REGISTRY_NEXUS_PASSWORD", password)


def configured(nexus: FakeNexus, **settings: Any) -> dict[str, Any]:
    common = {"kind": "nexus", "url": nexus.http, "api": nexus.url, "nexus_repository": nexus.name}
    return {"nexus": {**common, **settings}}


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


JUDGE = [f"--creds=deployer:{PASSWORD}"]


# -- addresses ---------------------------------------------------------------------------------------------------


def test_the_http_connector(nexus: FakeNexus, images: ImageBuilder, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(nexus)) as bench:
        bench.round_trip(images.index(), "nexus:team/http:1", JUDGE)
        assert "team/http" in bench.target("nexus").repositories()


def test_the_https_connector(nexus: FakeNexus, authority: Authority, images: ImageBuilder, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(nexus, url=nexus.https, ca=str(authority.certificate))) as bench:
        bench.round_trip(images.index(), "nexus:team/https:1", JUDGE)


def test_the_path_of_the_repository(nexus: FakeNexus, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    with Bench(tmp_path, configured(nexus, url=f"{nexus.url}/repository/{nexus.name}/")) as bench:
        bench.push(image, "nexus:team/path:1")
        assert bench.pull("nexus:team/path:1") == image.digest
        assert bench.source("nexus:team/path").location.name.endswith(f"/repository/{nexus.name}/team/path")
        assert "team/path" in bench.target("nexus").repositories()
    assert validate_registry(nexus.backend.url, "team/path", "1").problems == []
    assert nexus.count("GET", "/v2/") == nexus.count("GET", f"/repository/{nexus.name}/v2/")


def test_path_based_routing(nexus: FakeNexus, images: ImageBuilder, tmp_path: Path) -> None:
    nexus.docker["pathEnabled"] = True
    with Bench(tmp_path, configured(nexus, url=f"{nexus.url}/{nexus.name}")) as bench:
        bench.round_trip(images.index(), "nexus:team/routed:1", JUDGE)
        assert "team/routed" in bench.target("nexus").repositories()
    assert validate_registry(nexus.backend.url, "team/routed", "1").problems == []


def test_reading_from_another_address(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    pull = f"{nexus.url}/repository/{nexus.name}"
    with Bench(tmp_path, configured(nexus, pull_url=pull)) as bench:
        bench.push(image, "nexus:team/both:1")
        assert nexus.main.seen == []
        nexus.forget()
        assert bench.pull("nexus:team/both:1") == image.digest
    assert nexus.count("GET", "/v2/") == nexus.main.count("GET", "/v2/") > 0


def test_the_port_of_the_web_interface(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    targets = {**configured(nexus, url=nexus.url), "plain": {"kind": "registry", "url": nexus.url}}
    with Bench(tmp_path, targets) as bench:
        errors = [bench.refused(image, "nexus:team/app:1"), bench.refused(image, "plain:team/app:1")]
        with pytest.raises(CiRegistryError) as pulling:
            bench.pull("nexus:team/app:1")
    for error in (*errors, pulling.value):
        assert isinstance(error, ConfigError)
        assert error.exit_code == 2
        assert "; Nexus/3.84.0-03 answers there with its web interface, not with a registry" in error.message
        assert "the port of the docker repository's own connector" in error.hint


# -- logins ------------------------------------------------------------------------------------------------------


def test_the_bearer_realm(
    nexus: FakeNexus, images: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nexus.docker["forceBasicAuth"], nexus.anonymous = False, True
    image = images.index()
    with Bench(tmp_path, configured(nexus)) as bench:
        bench.round_trip(image, "nexus:team/bearer:1", JUDGE)
    monkeypatch.delenv("CI_REGISTRY_NEXUS_USERNAME")
    monkeypatch.delenv("CI_REGISTRY_NEXUS_PASSWORD")
    with Bench(tmp_path / "anonymous", configured(nexus)) as bench:
        assert bench.pull("nexus:team/bearer:1") == image.digest
        refused = bench.refused(image, "nexus:team/anonymous:1")
    assert isinstance(refused, AccessError)
    assert "(nobody was logged in: " in refused.message


def test_a_wrong_password(nexus: FakeNexus, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "deployer", "not-the-password")
    with Bench(tmp_path, configured(nexus)) as bench:
        error = bench.refused(image, "nexus:team/app:1")
    assert isinstance(error, AccessError)
    assert error.message == (
        f"{nexus.http} refused user 'deployer' from environment variable CI_REGISTRY_NEXUS_PASSWORD (401)"
    )
    assert "Docker Bearer Token Realm must be active" in error.hint
    search = LeakSearch("not-the-password")
    search.look_at("error", error.sentence() + repr(error) + repr(error.__cause__))
    assert search.leaks == []


def test_a_user_without_the_right_to_push(
    nexus: FakeNexus, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "reader", "only-reads-nexus")
    with Bench(tmp_path, configured(nexus)) as bench:
        error = bench.refused(image, "nexus:team/app:1")
    assert isinstance(error, AccessError)
    assert "the registry answered 403: DENIED access to the requested resource is not authorized" in error.message
    assert "(asked as user 'reader' from environment variable CI_REGISTRY_NEXUS_PASSWORD)" in error.message
    assert "nx-repository-view-docker-*-add" in error.hint


# -- deployment policies -----------------------------------------------------------------------------------------


def test_immutable_tags(nexus: FakeNexus, images: ImageBuilder, tmp_path: Path) -> None:
    nexus.storage["writePolicy"] = "ALLOW_ONCE"
    first, second = images.image(), images.image()
    with Bench(tmp_path, configured(nexus)) as bench:
        bench.push(first, "nexus:team/once:1")
        bench.push(first, "nexus:team/once:1")  # the same again is no conflict
        error = bench.refused(second, "nexus:team/once:1")
    assert isinstance(error, ConflictError)
    assert error.exit_code == 5
    assert f"Repository does not allow updating assets: {nexus.name}" in error.message
    assert f"to {second.digest} was refused; it holds {first.digest} (" in error.message
    assert error.hint == ("the repository's deployment policy is ALLOW_ONCE (disable redeploy); push under another tag")


def test_the_same_image_pushed_by_two_at_once(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    """Both find the tag missing; the second is refused, though it would write the same."""
    nexus.storage["writePolicy"] = "ALLOW_ONCE"
    with Bench(tmp_path, configured(nexus)) as bench, Bench(tmp_path / "other", configured(nexus)) as other:
        target = other.places.repository(other.places.parse("nexus:team/race"), writing=True)
        assert target.tagged("1") is None
        bench.push(image, "nexus:team/race:1")
        source = other.source("nexus:team/race")
        target.put_manifest(source.manifest(source.resolve("1")), "1")


def test_latest_may_be_exempt(nexus: FakeNexus, images: ImageBuilder, tmp_path: Path) -> None:
    nexus.storage.update({"writePolicy": "ALLOW_ONCE", "latestPolicy": True})
    with Bench(tmp_path, configured(nexus)) as bench:
        bench.push(images.image(), "nexus:team/latest:latest")
        image = images.image()
        bench.push(image, "nexus:team/latest:latest")
        assert bench.pull("nexus:team/latest:latest") == image.digest


def test_a_read_only_repository(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    nexus.storage["writePolicy"] = "DENY"
    with Bench(tmp_path, configured(nexus)) as bench:
        error = bench.refused(image, "nexus:team/app:1")
    assert isinstance(error, AccessError)
    assert f"Repository is read only: {nexus.name}" in error.message
    assert "writePolicy DENY" in error.hint


def test_a_group_takes_no_pushes(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    nexus.kind = "group"
    with Bench(tmp_path, configured(nexus)) as bench:
        error = bench.refused(image, "nexus:team/app:1")
    assert isinstance(error, AccessError)
    assert "Deploying to groups is a PRO-licensed feature" in error.message
    assert "push to the connector of a hosted repository (`url:`)" in error.hint


def test_a_licence_that_was_not_accepted(nexus: FakeNexus, image: BuiltImage, tmp_path: Path) -> None:
    nexus.eula = False
    with Bench(tmp_path, configured(nexus)) as bench:
        error = bench.refused(image, "nexus:team/app:1")
    assert isinstance(error, AccessError)
    assert "accept the Community Edition's licence" in error.hint


# -- mounts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mounts, asked, moved", [("works", 4, 0), ("ignored", 1, 4), ("lies", 1, 4)])
def test_mounts_are_trusted_once_one_was_seen_to_work(
    nexus: FakeNexus, images: ImageBuilder, tmp_path: Path, mounts: Any, asked: int, moved: int
) -> None:
    nexus.mounts = mounts
    image = images.image(3)
    with Bench(tmp_path, configured(nexus)) as bench:
        bench.push(image, f"nexus:team/from-{mounts}:1")
        nexus.forget()
        bench.copy(f"nexus:team/from-{mounts}:1", f"nexus:team/to-{mounts}:1")
        assert nexus.count("POST", "mount=") == asked
        assert nexus.count("PUT", "/blobs/uploads/") == moved
    assert validate_registry(nexus.backend.url, f"team/to-{mounts}", "1").problems == []


# -- the REST API ------------------------------------------------------------------------------------------------


def findings(bench: Bench) -> dict[str, Finding]:
    target = bench.target("nexus")
    assert isinstance(target, Nexus)
    return {finding.about: finding for finding in target.checks()}


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {about: finding.level for about, finding in found.items()}


@pytest.fixture
def administered(nexus: FakeNexus, monkeypatch: pytest.MonkeyPatch) -> FakeNexus:
    log_in(monkeypatch, "admin", ADMIN)
    return nexus


def test_checks_of_a_nexus_that_is_set_up_right(administered: FakeNexus, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(administered)) as bench:
        found = findings(bench)
        assert levels(found) == {"status": "ok", "eula": "ok", "repository": "ok", "connector": "ok"}
        assert found["connector"].message.endswith(f"is the http connector of repository '{administered.name}'")


def test_checks_without_the_right_to_ask(nexus: FakeNexus, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(nexus)) as bench:
        found = findings(bench)
    assert found["repository"].level == "unknown"
    assert "it answered 403 to user 'deployer'" in found["repository"].message


def test_checks_while_it_starts(administered: FakeNexus, tmp_path: Path) -> None:
    administered.state = "starting"
    with Bench(tmp_path, configured(administered)) as bench:
        found = findings(bench)
    assert levels(found) == {"status": "problem"}
    assert found["status"].message == "Nexus is still starting"


def test_checks_of_everything_wrong(administered: FakeNexus, tmp_path: Path) -> None:
    administered.state, administered.eula, administered.realms = "frozen", False, ["NexusAuthenticatingRealm"]
    administered.storage["writePolicy"] = "DENY"
    administered.docker["forceBasicAuth"] = False
    administered.settings["online"] = False
    wrong_scheme = administered.http.replace("http://", "https://")
    with Bench(tmp_path, configured(administered, url=wrong_scheme)) as bench:
        assert levels(findings(bench)) == {"status": "problem"}
        administered.state = "up"
        found = findings(bench)
    problems = {about for about, finding in found.items() if finding.level == "problem"}
    assert problems == {"eula", "online", "write-policy", "connector", "realms"}
    assert found["connector"].cure == f"write `url: {administered.http}`"
    assert "logins get 401" in found["realms"].message
    assert all(finding.cure for finding in found.values() if finding.level == "problem")


def test_checks_of_addresses(administered: FakeNexus, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(administered, url=f"{administered.url}/{administered.name}")) as bench:
        found = findings(bench)
        assert found["connector"].level == "problem"
        assert "path based routing is off" in found["connector"].message
    administered.kind = "group"
    with Bench(tmp_path, configured(administered)) as bench:
        assert findings(bench)["repository"].message.endswith("pushing to it needs Nexus Pro")
    with Bench(tmp_path, configured(administered, nexus_repository="maven-releases")) as bench:
        assert "is of format maven2, not docker" in findings(bench)["repository"].message
    with Bench(tmp_path, configured(administered, nexus_repository="missing")) as bench:
        assert "there is no repository 'missing'" in findings(bench)["repository"].message
    with Bench(tmp_path, configured(administered, api=administered.http)) as bench:
        assert findings(bench)["status"].level == "problem"
    with Bench(tmp_path, configured(administered, api=None)) as bench:
        assert levels(findings(bench)) == {"api": "unknown"}
