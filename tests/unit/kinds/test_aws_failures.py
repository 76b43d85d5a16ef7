"""Each failure of boto3 becomes a sentence with its exit code, and no key is in it."""

from __future__ import annotations

import boto3
import pytest
from botocore import exceptions
from botocore.stub import Stubber

from ci_registry.adapters.aws import Aws, AwsAccess
from ci_registry.errors import CiRegistryError
from tests.support.secrets import LeakSearch

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def token_failure(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> CiRegistryError:
    with pytest.raises(CiRegistryError) as caught:
        aws.registry_token()
    search = LeakSearch(SECRET)
    search.look_at("error", caught.value.sentence() + repr(caught.value))
    assert search.leaks == []
    return caught.value


@pytest.mark.parametrize(
    "code, exit_code, hint",
    [
        ("UnrecognizedClientException", 3, "correct the AWS keys"),
        ("InvalidSignatureException", 3, "correct the AWS keys"),
        ("ExpiredTokenException", 3, "renew the AWS session"),
        ("AccessDeniedException", 3, "allow that action to this identity"),
        ("RepositoryNotFoundException", 4, "check the repository's name"),
        ("InvalidParameterException", 2, ""),
        ("ServerException", 7, "run it again later"),
        ("SomethingNew", 7, "run it again later"),
    ],
)
def test_answers_of_amazon(monkeypatch: pytest.MonkeyPatch, code: str, exit_code: int, hint: str) -> None:
    client = boto3.client("ecr", region_name="eu-west-1")
    monkeypatch.setattr(Aws, "_make_client", lambda *_: client)
    with Stubber(client) as stub:
        stub.add_client_error("get_authorization_token", code, f"The key {SECRET} is wrong")
        error = token_failure(monkeypatch, Aws(AwsAccess(region="eu-west-1")))
    assert error.exit_code == exit_code
    assert error.message.startswith(
        f"getting a registry token from Amazon ECR in eu-west-1 failed: Amazon answered {code}: The key "
    )
    assert error.hint.startswith(hint)
    assert isinstance(error.__cause__, exceptions.ClientError)


@pytest.mark.parametrize(
    "cause, exit_code, hint",
    [
        (exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), 3, "set AWS_ACCESS"),
        (exceptions.UnauthorizedSSOTokenError(), 3, "renew the AWS session"),
        (exceptions.CredentialRetrievalError(provider="custom-process", error_msg="exit 1"), 3, "run what the AWS"),
        (exceptions.ConfigParseError(path="/home/u/.aws/config"), 2, "correct that file"),
        (exceptions.InvalidRegionError(region_name="eu west"), 2, "set `region:`"),
        (exceptions.ReadTimeoutError(endpoint_url="https://api.ecr.eu-west-1.amazonaws.com/"), 7, "check the network"),
        (exceptions.ProxyConnectionError(proxy_url="http://u:p@proxy:3128"), 7, "check the network"),
        (exceptions.SSLError(endpoint_url="https://api.ecr", error="self-signed certificate"), 7, "check the network"),
    ],
)
def test_failures_before_any_answer(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, exit_code: int, hint: str
) -> None:
    def fail(*_: object) -> None:
        raise cause

    monkeypatch.setattr(Aws, "_make_client", fail)
    error = token_failure(monkeypatch, Aws(AwsAccess(region="eu-west-1")))
    assert error.exit_code == exit_code
    assert error.message.startswith("getting a registry token from Amazon ECR in eu-west-1 failed: ")
    assert error.hint.startswith(hint)
    assert "u:p@" not in error.message


def test_a_configuration_file_of_aws_that_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    path = f"{tmp_path}/config"
    with open(path, "w") as file:
        file.write("[default\nnonsense")
    monkeypatch.setenv("AWS_CONFIG_FILE", path)
    error = token_failure(monkeypatch, Aws(AwsAccess()))
    assert error.exit_code == 2
    assert path in error.message
