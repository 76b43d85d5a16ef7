"""Copies to real registries that ask who calls: htpasswd, and tokens with real signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError
from tests.support.bench import Bench
from tests.support.docker_registry import DockerRegistry
from tests.support.http_server import Reply
from tests.support.images import ImageBuilder, upload
from tests.support.servers import Authority
from tests.support.token_server import TokenServer
from tests.support.validator import validate_registry
from tests.support.wire import Wire

USERS = {"alice": "wonder-land", "reader": "only-looking"}
PERMISSIONS = {"reader": {"*": "pull"}}


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer(USERS, PERMISSIONS, anonymous={"public/*": "pull"}) as server:
        yield server


@pytest.fixture(scope="module")
def by_token(tokens: TokenServer) -> Iterator[DockerRegistry]:
    with DockerRegistry(token=tokens, in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def by_password() -> Iterator[DockerRegistry]:
    with DockerRegistry(users=USERS, in_memory=True) as server:
        yield server


def bench(folder: Path, server: DockerRegistry, user: str = "", password: str = "", **more: Any) -> Bench:
    """One target `dev`; its login comes from the target's own variables."""
    login = {"CI_REGISTRY_DEV_USERNAME": user, "CI_REGISTRY_DEV_PASSWORD": password} if user else {}
    settings = {"kind": "registry", "url": server.url, "retry_seconds": 5, **more}
    return Bench(folder, {"dev": settings}, {"HOME": str(folder), **login})


def logged_in(server: DockerRegistry) -> Wire:
    return Wire(server.url, ("alice", USERS["alice"]))


def test_basic(by_password: DockerRegistry, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    with bench(tmp_path, by_password, "alice", USERS["alice"]) as run, logged_in(by_password) as wire:
        run.push(image, "dev:basic/app:1")
        assert run.pull("dev:basic/app:1") == image.digest
        assert validate_registry(by_password.url, "basic/app", "1", wire).problems == []


def test_basic_wrong_password_is_shown_once(by_password: DockerRegistry, images: ImageBuilder, tmp_path: Path) -> None:
    log = len(by_password.requests())
    with bench(tmp_path, by_password, "alice", "looking-glass") as run:
        error = run.refused(images.index(), "dev:basic/wrong:1")
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert "refused user 'alice' from environment variable CI_REGISTRY_DEV_PASSWORD" in error.message
    assert "looking-glass" not in error.sentence()
    refused = [line for line in by_password.requests(log) if line.status == 401 and "basic/wrong" in line.path]
    assert len(refused) == 2, "one without a login, one with it"


def test_basic_nobody(by_password: DockerRegistry, images: ImageBuilder, tmp_path: Path) -> None:
    with bench(tmp_path, by_password) as run:
        error = run.refused(images.image(), "dev:basic/nobody:1")
    assert (type(error), error.exit_code) == (AccessError, 3)
    assert "wants a user name and password, and no credential was found for it" in error.message


def test_tokens(by_token: DockerRegistry, tokens: TokenServer, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index(attestations=True)
    tokens.requests.clear()
    with bench(tmp_path, by_token, "alice", USERS["alice"]) as run, logged_in(by_token) as wire:
        run.push(image, "dev:team/app:1")
        assert [request.scopes for request in tokens.requests] == [("repository:team/app:pull,push",)]
        assert run.pull("dev:team/app:1") == image.digest
        assert validate_registry(by_token.url, "team/app", "1", wire).problems == []


def test_a_mount_has_both_scopes_in_one_token(
    by_token: DockerRegistry, tokens: TokenServer, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.index(shared_layers=1)
    with logged_in(by_token) as wire:
        upload(image, by_token.url, "team/from", "1", wire=wire)
    log = len(by_token.log())
    tokens.requests.clear()
    with bench(tmp_path, by_token, "alice", USERS["alice"]) as run:
        run.copy("dev:team/from:1", "dev:team/to:1")
    mounts = [line for line in by_token.log()[log:].splitlines() if '"POST /v2/team/to/blobs/uploads/?mount=' in line]
    assert len(mounts) == len(image.blobs)
    assert all('" 201 ' in line for line in mounts)
    asked = [set(request.scopes) for request in tokens.requests]
    assert {"repository:team/to:pull,push", "repository:team/from:pull"} in asked
    assert len(asked) == 3, "to read, to write, and to mount"


def test_anonymous_pull_of_what_is_public(by_token: DockerRegistry, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.image()
    with logged_in(by_token) as wire:
        upload(image, by_token.url, "public/app", "1", wire=wire)
    with bench(tmp_path, by_token) as run:
        assert run.pull("dev:public/app:1") == image.digest
        error = run.refused(images.image(), "dev:public/app:2")
    assert (type(error), error.exit_code) == (AccessError, 3)
    assert "nobody was logged in" in error.message


def test_a_login_that_may_only_read(by_token: DockerRegistry, images: ImageBuilder, tmp_path: Path) -> None:
    with bench(tmp_path, by_token, "reader", USERS["reader"]) as run:
        error = run.refused(images.image(), "dev:team/readonly:1")
    assert (type(error), error.exit_code, error.side) == (AccessError, 3, "target")
    assert "asked as user 'reader' from environment variable CI_REGISTRY_DEV_PASSWORD" in error.message


def test_a_wrong_password_is_shown_to_the_token_service_once(
    by_token: DockerRegistry, tokens: TokenServer, images: ImageBuilder, tmp_path: Path
) -> None:
    tokens.requests.clear()
    with bench(tmp_path, by_token, "alice", "looking-glass") as run:
        error = run.refused(images.index(), "dev:team/wrong:1")
    assert (type(error), error.exit_code) == (AccessError, 3)
    assert f"the token service {tokens.realm} refused user 'alice'" in error.message
    assert len(tokens.requests) == 1


def test_a_token_service_that_comes_back(
    by_token: DockerRegistry, tokens: TokenServer, images: ImageBuilder, tmp_path: Path
) -> None:
    tokens.service.failures.extend([Reply(503), Reply(502, {}, b"<title>Bad Gateway</title>")])
    with bench(tmp_path, by_token, "alice", USERS["alice"]) as run:
        run.push(images.image(), "dev:team/patient:1")
    assert tokens.service.failures == []


def test_tokens_that_the_registry_does_not_take(images: ImageBuilder, tmp_path: Path) -> None:
    with TokenServer(USERS) as tokens, DockerRegistry(token=tokens, in_memory=True) as server:
        tokens.issuer = "somebody else"
        with bench(tmp_path, server, "alice", USERS["alice"]) as run:
            error = run.refused(images.image(), "dev:team/app:1")
    assert (type(error), error.exit_code) == (AccessError, 3)
    assert len(tokens.requests) <= 3


def test_tokens_and_tls_together(images: ImageBuilder, tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue()
    image = images.index()
    with (
        TokenServer(USERS, context=pair.server_context()) as tokens,
        DockerRegistry(token=tokens, tls=pair, in_memory=True) as server,
        bench(tmp_path, server, "alice", USERS["alice"], ca=str(authority.certificate)) as run,
    ):
        run.push(image, "dev:team/app:1")
        assert run.pull("dev:team/app:1") == image.digest
