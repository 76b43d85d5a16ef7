"""kind: ecr against moto and a real docker-registry under Amazon's own names: tokens, roles, repositories, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.errors import AccessError, CiRegistryError, ConfigError, ConflictError, NotFoundError, RemoteError
from ci_registry.kinds.ecr import EcrRegistry
from tests.support.bench import Bench
from tests.support.ecr import ACCOUNT, OTHER_ACCOUNT, FakeEcr
from tests.support.images import BuiltImage, ImageBuilder
from tests.support.secrets import LeakSearch
from tests.support.servers import Authority, DockerRegistry, free_port, skopeo
from tests.support.validator import validate_registry
from tests.support.wire import Wire

HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
OTHER_HOST = f"{OTHER_ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
FORMS = (
    f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com",
    f"{ACCOUNT}.dkr-ecr.eu-central-1.on.aws",
    f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn",
)
SECRET = "secret/key+of+the+tests"
POLICY = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5},
            "action": {"type": "expire"},
        }
    ]
}


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeEcr]:
    with FakeEcr(Authority(), [HOST, OTHER_HOST, *FORMS]) as ecr:
        yield ecr


@pytest.fixture
def ecr(shared: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcr]:
    shared.reset()
    with shared.environment(monkeypatch):
        yield shared


@pytest.fixture
def name(request: pytest.FixtureRequest, ecr: FakeEcr) -> str:
    """A repository of this test's own, which exists."""
    made = f"t/{request.node.name.partition('[')[0].replace('_', '-').lower()[5:45].strip('-')}"
    ecr.client().create_repository(repositoryName=made)
    return made


@pytest.fixture
def image(images: ImageBuilder) -> BuiltImage:
    return images.image()


def configured(**settings: Any) -> dict[str, Any]:
    return {"aws": {"kind": "ecr", "account": ACCOUNT, "region": "eu-west-1", **settings}}


def kind(bench: Bench, target: str = "aws") -> EcrRegistry:
    opened = bench.target(target)
    assert isinstance(opened, EcrRegistry)
    return opened


def whole(ecr: FakeEcr, repository: str, tag: str = "1") -> list[str]:
    with Wire(ecr.backend.url, ("AWS", f"{ACCOUNT}-auth-token")) as wire:
        return validate_registry(ecr.backend.url, repository, tag, wire).problems


# -- addresses and identities ------------------------------------------------------------------------------------


def test_push_list_pull_and_verify(ecr: FakeEcr, name: str, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    with Bench(tmp_path, configured()) as bench:
        bench.push(image, f"aws:{name}:1")
        assert bench.pull(f"aws:{name}:1") == image.digest
        assert name in bench.target("aws").repositories()
        assert bench.source(f"aws:{name}").location.name == f"{HOST}/{name}"
    assert ecr.calls.count("GetAuthorizationToken") == 1
    assert ecr.registry.count("GET", "/blobs/") > 0  # each of them came from the storage, without credentials
    seen = f"docker://{ecr.backend.host}/{name}:1"
    login = f"--src-creds=AWS:{ACCOUNT}-auth-token"
    skopeo("copy", "--all", "--src-tls-verify=false", login, seen, f"oci:{tmp_path}/judge:1")


def test_account_and_region_come_from_the_token(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with Bench(tmp_path, {}) as bench:
        bench.push(image, f"ecr:{name}:1")  # the target that exists without any configuration
        assert bench.target("ecr").credential_host == HOST
    assert ecr.calls == ["GetAuthorizationToken"]


def test_without_configuration_the_host_says_it_all(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")  # not the region of the host, which is what counts
    with Bench(tmp_path, {}) as bench:
        bench.push(image, f"docker://{HOST}/{name}:1")
        assert bench.pull(f"docker://{HOST}/{name}:1") == image.digest


@pytest.mark.parametrize("host", FORMS)
def test_every_form_of_host(ecr: FakeEcr, image: BuiltImage, tmp_path: Path, host: str) -> None:
    region = host.split(".")[-4 if host.endswith(".cn") else -3]
    ecr.client(region=region).create_repository(repositoryName="t/forms")
    with Bench(tmp_path, {}) as bench:
        bench.push(image, f"docker://{host}/t/forms:1")
    assert ecr.proxy.connected[-1] == f"{host}:443"


def test_docker_address_of_a_configured_target(ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path) -> None:
    targets = {**configured(immutable_tags=True), "elsewhere": {"kind": "ecr", "account": OTHER_ACCOUNT}}
    with Bench(tmp_path, targets) as bench:
        assert bench.places.registry(HOST) is bench.target("aws")
        bench.push(image, f"docker://{HOST}/{name}:1")


def test_another_account_by_its_role(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    ecr.client(account=OTHER_ACCOUNT).create_repository(repositoryName="t/role")
    role = f"arn:aws:iam::{OTHER_ACCOUNT}:role/pusher"
    with Bench(tmp_path, configured(account=OTHER_ACCOUNT, role_arn=role)) as bench:
        bench.push(image, "aws:t/role:1")
        credential = kind(bench).credential()
        assert credential.password.startswith(f"{OTHER_ACCOUNT}-auth-token")
        assert credential.source == (f"an Amazon ECR token by role {role}, assumed with the AWS environment variables")
    assert ecr.calls[:2] == ["AssumeRole", "GetAuthorizationToken"]


def test_another_account_that_lets_us_in(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    ecr.client(account=OTHER_ACCOUNT).create_repository(repositoryName="t/crossing")
    with Bench(tmp_path, configured(account=OTHER_ACCOUNT)) as bench:
        bench.push(image, "aws:t/crossing:1")
    assert "AssumeRole" not in ecr.calls


def test_a_profile(
    ecr: FakeEcr,
    name: str,
    image: BuiltImage,
    tmp_path: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    folder = clean_environment / ".aws"
    folder.mkdir()
    keys = "aws_access_key_id = AKIAFROMPROFILE00000\naws_secret_access_key = profile/secret\n"
    (folder / "credentials").write_text(f"[release]\n{keys}")
    with Bench(tmp_path, configured(profile="release")) as bench:
        bench.push(image, f"aws:{name}:1")
        assert kind(bench).credential().source == (
            "an Amazon ECR token by the AWS credentials file (profile 'release')"
        )


def test_an_endpoint_of_its_own(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with Bench(tmp_path, configured(endpoint_url=ecr.aws.url)) as bench:
        bench.push(image, f"aws:{name}:1")


def test_an_address_of_its_own(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    with DockerRegistry(users={"AWS": f"{ACCOUNT}-auth-token.1"}, in_memory=True) as gateway:
        with Bench(tmp_path, configured(url=gateway.url)) as bench:
            bench.push(image, "aws:team/app:1")
        with Wire(gateway.url, ("AWS", f"{ACCOUNT}-auth-token.1")) as wire:
            assert validate_registry(gateway.url, "team/app", "1", wire).problems == []


# -- tokens ------------------------------------------------------------------------------------------------------


def test_a_token_is_renewed_a_quarter_of_an_hour_before_its_end(ecr: FakeEcr, tmp_path: Path) -> None:
    with Bench(tmp_path, configured()) as bench:
        ecr.lifetime_seconds = 16 * 60
        first, second = kind(bench).credential(), kind(bench).credential()
        assert first == second
    with Bench(tmp_path, configured()) as bench:
        ecr.lifetime_seconds = 14 * 60
        first, second = kind(bench).credential(), kind(bench).credential()
        assert first != second


def test_an_expired_token_is_renewed_once(ecr: FakeEcr, name: str, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.index()
    ecr.expired = {1}
    with Bench(tmp_path, configured()) as bench:
        bench.push(image, f"aws:{name}:1")
        assert bench.pull(f"aws:{name}:1") == image.digest
    assert ecr.calls.count("GetAuthorizationToken") == 2
    assert whole(ecr, name) == []


def test_a_token_that_ends_in_the_middle(ecr: FakeEcr, name: str, images: ImageBuilder, tmp_path: Path) -> None:
    image = images.image(6)
    with Bench(tmp_path, configured()) as bench:
        target = bench.places.repository(bench.places.parse(f"aws:{name}"), writing=True)
        assert target.tagged("1") is None
        ecr.expired = {1}
        bench.push(image, f"aws:{name}:1")
    assert whole(ecr, name) == []
    assert ecr.calls.count("GetAuthorizationToken") == 2


def test_every_token_is_said_to_be_expired(ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path) -> None:
    ecr.expired = set(range(100))
    with Bench(tmp_path, configured()) as bench:
        error = bench.refused(image, f"aws:{name}:1")
    assert isinstance(error, AccessError)
    assert "403: DENIED Your authorization token has expired. Reauthenticate and try again." in error.message
    assert "(asked as user 'AWS' from an Amazon ECR token by the AWS environment variables)" in error.message
    assert ecr.calls.count("GetAuthorizationToken") <= 4


def test_an_expired_token_from_elsewhere_is_not_ours_to_renew(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecr.expired = {7}
    monkeypatch.setenv("CI_REGISTRY_AWS_PASSWORD", f"{ACCOUNT}-auth-token.7")
    with Bench(tmp_path, configured()) as bench:
        error = bench.refused(image, f"aws:{name}:1")
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert error.message == (
        f"https://{HOST} refused user 'AWS' from environment variable CI_REGISTRY_AWS_PASSWORD: that token has "
        "expired, 12 hours after it was made"
    )
    assert "so that boto3 is asked" in error.hint
    assert ecr.calls == []


def test_boto3_stands_before_docker_configuration(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, clean_environment: Path
) -> None:
    folder = clean_environment / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": "QVdTOm9sZC10b2tlbi4w"}}}))
    with Bench(tmp_path, configured()) as bench:
        bench.push(image, f"aws:{name}:1")


def test_a_storage_address_that_ended_is_asked_for_again(
    ecr: FakeEcr, name: str, images: ImageBuilder, tmp_path: Path
) -> None:
    image = images.image(1)
    with Bench(tmp_path, configured()) as bench:
        bench.push(image, f"aws:{name}:1")
        ecr.refuse_storage = 1
        assert bench.pull(f"aws:{name}:1") == image.digest


# -- repositories ------------------------------------------------------------------------------------------------


def test_a_repository_that_is_missing(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    with Bench(tmp_path, configured()) as bench:
        error = bench.refused(image, "aws:t/never-made:1")
        assert isinstance(error, NotFoundError)
        assert error.exit_code == 4
        assert (
            f"404: NAME_UNKNOWN The repository with name 't/never-made' does not exist in the registry with id "
            f"'{ACCOUNT}'" in error.message
        )
        assert "`create_repositories: {enabled: true}`" in error.hint
        with pytest.raises(NotFoundError):
            bench.pull("aws:t/never-made:1")


def test_repositories_are_created_as_configured(ecr: FakeEcr, images: ImageBuilder, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    wanted = {
        "enabled": True,
        "immutable_tags": True,
        "scan_on_push": True,
        "kms_key": "alias/images",
        "lifecycle_policy": str(policy),
        "tags": {"team": "build", "empty": ""},
    }
    image = images.image()
    with Bench(tmp_path, configured(create_repositories=wanted)) as bench:
        bench.push(image, "aws:t/created:1", dry_run=True)
        assert ecr.repository("t/created") is None
        bench.push(image, "aws:t/created:1")
        bench.push(images.image(), "aws:t/created:2")
        assert bench.notes == [f"created the repository {HOST}/t/created"]
    made = ecr.repository("t/created")
    assert made is not None
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/images"}
    client = ecr.client()
    assert json.loads(client.get_lifecycle_policy(repositoryName="t/created")["lifecyclePolicyText"]) == POLICY
    tags = client.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"]
    assert {entry["Key"]: entry["Value"] for entry in tags} == wanted["tags"]
    assert ecr.calls.count("CreateRepository") == 1


def test_a_repository_that_exists_is_left_as_it_is(ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path) -> None:
    with Bench(tmp_path, configured(create_repositories={"enabled": True, "immutable_tags": True})) as bench:
        bench.push(image, f"aws:{name}:1")
        assert bench.notes == []
    found = ecr.repository(name)
    assert found is not None
    assert found["imageTagMutability"] == "MUTABLE"
    assert "PutLifecyclePolicy" not in ecr.calls


def test_creating_is_not_permitted(ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path) -> None:
    ecr.denied = {"ecr:CreateRepository"}
    with Bench(tmp_path, configured(create_repositories={"enabled": True})) as bench:
        bench.push(image, f"aws:{name}:1")  # it is there, so nobody needs the right to make it
        with pytest.raises(AccessError) as caught:
            bench.push(image, "aws:t/not-made:1")
    assert "creating the ECR repository 't/not-made' failed: Amazon answered AccessDeniedException" in str(caught.value)
    assert "allow that action to this identity (IAM)" in caught.value.hint


def test_a_lifecycle_policy_that_can_not_be_read(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    wanted = {"enabled": True, "lifecycle_policy": str(policy)}

    def refused() -> CiRegistryError:
        with Bench(tmp_path, configured(create_repositories=wanted)) as bench:
            return bench.refused(image, "aws:t/policy:1")

    assert refused().message.endswith("create_repositories.lifecycle_policy can't be read: No such file or directory")
    policy.write_text("rules: []")
    error = refused()
    assert isinstance(error, ConfigError)
    assert f"{policy} of targets.aws.create_repositories.lifecycle_policy is not JSON" in error.message
    assert ecr.repository("t/policy") is None


def test_immutable_tags(ecr: FakeEcr, name: str, images: ImageBuilder, tmp_path: Path) -> None:
    ecr.client().put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")
    first, second = images.image(), images.image()
    with Bench(tmp_path, configured()) as bench, Bench(tmp_path / "other", configured()) as other:
        late = other.places.repository(other.places.parse(f"aws:{name}"), writing=True)
        assert late.tagged("1") is None
        bench.push(first, f"aws:{name}:1")
        bench.push(first, f"aws:{name}:1")
        source = bench.source(f"aws:{name}")
        late.put_manifest(source.manifest(source.resolve("1")), "1")  # refused by ECR, and yet what was wanted
        error = bench.refused(second, f"aws:{name}:1")
    assert isinstance(error, ConflictError)
    assert error.exit_code == 5
    assert "400: TAG_INVALID The image tag '1' already exists" in error.message
    assert f"to {second.digest} was refused; it holds {first.digest} (" in error.message
    assert whole(ecr, name) == []


# -- refusals ----------------------------------------------------------------------------------------------------


def failure(image: BuiltImage, folder: Path, place: str = "aws:team/app:1", **settings: Any) -> CiRegistryError:
    with Bench(folder, configured(**settings)) as bench:
        error = bench.refused(image, place)
    search = LeakSearch(SECRET)
    search.look_at("error", error.sentence() + repr(error) + repr(error.__cause__))
    assert search.leaks == []
    return error


def test_no_right_to_push(ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path) -> None:
    ecr.denied = {"ecr:InitiateLayerUpload"}
    error = failure(image, tmp_path, f"aws:{name}:1")
    assert isinstance(error, AccessError)
    assert "is not authorized to perform: ecr:InitiateLayerUpload" in error.message
    assert error.hint == "allow that action on that repository to this identity (IAM)"


def test_no_right_to_a_token(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    ecr.denied = {"ecr:GetAuthorizationToken"}
    error = failure(image, tmp_path)
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert error.message.startswith("getting a registry token from Amazon ECR in eu-west-1 failed: Amazon answered")
    assert "allow that action to this identity (IAM)" in error.hint


def test_no_right_to_the_role(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    ecr.denied = {"sts:AssumeRole"}
    error = failure(image, tmp_path, role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/pusher")
    assert isinstance(error, AccessError)
    assert "Amazon answered AccessDenied: User: arn:aws:iam" in error.message
    assert "`role_arn:`" in error.hint


def test_no_credentials(ecr: FakeEcr, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = failure(image, tmp_path)
    assert isinstance(error, AccessError)
    assert error.exit_code == 3
    assert error.message == (
        "getting a registry token from Amazon ECR in eu-west-1 failed: Unable to locate credentials"
    )
    assert "AWS_ACCESS_KEY_ID" in error.hint


def test_an_unknown_profile(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    error = failure(image, tmp_path, profile="nobody")
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert "The config profile (nobody) could not be found" in error.message


def test_an_unknown_region(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    ecr.proxy.connected.clear()
    error = failure(image, tmp_path, region="eu-wst-1")
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert error.message == "there is no AWS region 'eu-wst-1' that this boto3 knows"
    assert error.hint.startswith("did you mean 'eu-west-1'?")
    with Bench(tmp_path, {}) as bench:
        typed = bench.refused(image, f"docker://{HOST.replace('eu-west-1', 'eu-wst-1')}/team/app:1")
    assert (typed.message, typed.exit_code) == (error.message, 2)
    assert ecr.proxy.connected == []


def test_no_region_at_all(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    with Bench(tmp_path, {}) as bench:
        error = bench.refused(image, "ecr:team/app:1")
    assert isinstance(error, ConfigError)
    assert error.sentence() == "no AWS region is set; set `region:` of the target, or AWS_REGION."


def test_an_unknown_account(ecr: FakeEcr, image: BuiltImage, tmp_path: Path) -> None:
    error = failure(image, tmp_path, account="999999999999")
    assert isinstance(error, RemoteError)
    assert "refused to connect to 999999999999.dkr.ecr.eu-west-1.amazonaws.com (403 Forbidden)" in error.message


def test_amazon_can_not_be_reached(
    ecr: FakeEcr, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    error = failure(image, tmp_path, endpoint_url=f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, RemoteError)
    assert error.exit_code == 7
    assert "Could not connect to the endpoint URL" in error.message
    assert "`endpoint_url:`" in error.hint


def test_a_wrong_token(
    ecr: FakeEcr, name: str, image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_REGISTRY_AWS_PASSWORD", "not-a-token.1")
    error = failure(image, tmp_path, f"aws:{name}:1")
    assert isinstance(error, AccessError)
    assert f"https://{HOST} refused user 'AWS' from environment variable CI_REGISTRY_AWS_PASSWORD (401)" in str(error)
    assert "check account and region" in error.hint
