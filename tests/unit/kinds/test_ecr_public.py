"""public.ecr.aws: another API, always in us-east-1, and nobody needs AWS keys to read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ci_registry.adapters.aws import Aws
from ci_registry.credentials.chain import Lookup, Unavailable
from ci_registry.errors import RemoteError
from ci_registry.kinds.ecr import EcrRegistry
from tests.support.bench import Bench


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Stands for the ecr-public API, which moto does not have; remembers in `made` what clients were wanted."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/key+of+the+tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    client = boto3.client("ecr-public", region_name="us-east-1")

    def make_client(aws: Aws, session: Any, service: str, endpoint_url: str | None) -> Any:
        assert (service, aws.region(), endpoint_url) == ("ecr-public", "us-east-1", None)
        return client

    monkeypatch.setattr(Aws, "_make_client", make_client)
    with Stubber(client) as stubber:
        yield stubber


def opened(bench: Bench, place: str) -> EcrRegistry:
    target = bench.places.registry("public.ecr.aws") if place == "docker" else bench.target(place)
    assert isinstance(target, EcrRegistry)
    return target


def token(password: str) -> dict[str, Any]:
    data = {
        "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
        "expiresAt": datetime.now(timezone.utc) + timedelta(hours=12),
    }
    return {"authorizationData": data}  # one object, where the private API has a list


@pytest.mark.parametrize("place", ["docker", "public"])
def test_the_token(stub: Stubber, tmp_path: Path, place: str) -> None:
    stub.add_response("get_authorization_token", token("public-password"))
    with Bench(tmp_path, {"public": {"kind": "ecr", "public": True}} if place == "public" else {}) as bench:
        target = opened(bench, place)
        assert (target.shown, target.credential_host, target.is_public) == ("public.ecr.aws",) * 2 + (True,)
        credential = target.credential()
        assert (credential.username, credential.password) == ("AWS", "public-password")
        assert credential.source == "an Amazon ECR token by the AWS environment variables"


def test_reading_needs_no_keys(tmp_path: Path) -> None:
    with Bench(tmp_path, {}) as bench:
        target = opened(bench, "docker")
        with pytest.raises(Unavailable, match="no AWS credentials were found"):
            target.tokens.find(Lookup("public.ecr.aws"))
        credential = target.credential()
        assert credential.is_anonymous
        assert "boto3: no AWS credentials were found" in credential.source


def test_a_repository_is_created_below_the_alias(stub: Stubber, tmp_path: Path) -> None:
    wanted = {"enabled": True, "scan_on_push": True, "tags": {"team": "build"}}
    expected = {"repositoryName": "team/app", "tags": [{"Key": "team", "Value": "build"}]}
    stub.add_response("create_repository", {"repository": {}}, expected)
    with Bench(tmp_path, {"public": {"kind": "ecr", "public": True, "create_repositories": wanted}}) as bench:
        target = opened(bench, "public")
        target.prepare_repository("alias/team/app")
        target.prepare_repository("alias/team/app")
        assert bench.notes == ["created the repository public.ecr.aws/alias/team/app"]
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("text", ["not base64", base64.b64encode(b"SOMEBODY:x").decode()])
def test_a_token_that_is_none(stub: Stubber, tmp_path: Path, text: str) -> None:
    answer = token("x")
    answer["authorizationData"]["authorizationToken"] = text
    stub.add_response("get_authorization_token", answer)
    with Bench(tmp_path, {}) as bench, pytest.raises(RemoteError, match="answered with a token that is not"):
        opened(bench, "docker").credential()
