"""Amazon's APIs as far as ECR needs them: who we are, registry tokens, repositories. The only importer of boto3.

Every failure of boto3 leaves here as one of our errors; keys and tokens are known to the redaction from the moment
they are seen.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec import Struct, field

from ..errors import AccessError, CiRegistryError, ConfigError, NotFoundError, RemoteError, UsageError
from ..redaction import redact, remember_secret, shown

__all__ = ["Aws", "AwsAccess", "NewRepository", "RegistryToken"]

PUBLIC_REGION = "us-east-1"
_ROLE_MARGIN = timedelta(minutes=5)
_SESSION_NAME = "ci-registry"
_ENDPOINT_VARIABLES = frozenset({"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR"})  # boto3 refuses them with FIPS

_SOURCES = {
    "env": "the AWS environment variables",
    "shared-credentials-file": "the AWS credentials file",
    "config-file": "the AWS configuration file",
    "custom-process": "the credential_process of the AWS configuration",
    "sso": "AWS single sign-on",
    "login": "`aws login`",
    "iam-role": "the role of this EC2 machine",
    "container-role": "the role of this container",
    "assume-role": "the role that the AWS profile names",
    "assume-role-with-web-identity": "the web identity role of this environment",
}
"""How boto3's names for where it found keys read in a sentence."""


class AwsAccess(Struct, frozen=True):
    """As whom, and where, Amazon is asked. `None` leaves it to boto3's own chain.

    `endpoint_url` is of the ECR API alone. `proxy` is None for the environment's, "" for none.
    """

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    endpoint_url: str | None = None
    public: bool = False
    fips: bool = False
    dual_stack: bool = False
    proxy: str | None = None


class RegistryToken(Struct, frozen=True):
    """What GetAuthorizationToken answers: user `AWS` with this password, until `expires_at` (UTC).

    `endpoint` is the URL of the caller's own registry, "" for the public one; `identity` says in words whose it is.
    """

    password: str
    expires_at: datetime
    endpoint: str
    identity: str

    def __repr__(self) -> str:
        return shown(self, "expires_at", "endpoint", "identity")


class NewRepository(Struct, frozen=True):
    """A repository to create; `lifecycle_policy` is JSON text, "" for none."""

    name: str
    immutable_tags: bool = False
    scan_on_push: bool = False
    kms_key: str | None = None
    lifecycle_policy: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class Aws:
    """One identity at one region. Safe to use from several threads; boto3 is imported at the first question."""

    def __init__(self, access: AwsAccess, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> None:
        self._access, self._now = access, now
        self._lock = threading.RLock()
        self._base: Any = None
        self._assumed: tuple[Any, datetime] | None = None
        self._client: Any = None

    # -- questions -----------------------------------------------------------------------------------------------

    def region(self) -> str:
        """The region that is asked: the one given, else of profile or environment. Raises `ConfigError` for none."""
        found = PUBLIC_REGION if self._access.public else self._access.region
        if found is None:
            with self._translating("finding the AWS region"):
                found = self._session().region_name
        if not found:
            raise ConfigError("no AWS region is set", hint="set `region:` of the target, or AWS_REGION")
        return str(found)

    def check_region(self) -> None:
        """Raise `ConfigError` for a region that boto3 does not know, naming the nearest."""
        region = self.region()
        with self._translating("finding the AWS regions"):
            session = self._session()
            partitions = session.get_available_partitions()
            known = [name for partition in partitions for name in session.get_available_regions("ecr", partition)]
        if region in known:
            return
        near = difflib.get_close_matches(region, known, 1)
        guess = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"there is no AWS region '{region}' that this boto3 knows",
            hint=f"{guess}for a region that is newer, get a newer boto3, or set `url:` and `endpoint_url:`",
        )

    def has_credentials(self) -> bool:
        """Whether boto3's chain finds any keys at all; they may still be refused."""
        with self._translating("looking for AWS credentials"):
            return self._session().get_credentials() is not None

    def registry_token(self) -> RegistryToken:
        """A new token for every registry that this identity may use in the region. Raises `AccessError` and others."""
        with self._translating(f"getting a registry token from Amazon ECR in {self.region()}"):
            client = self._registry_client()
            data = client.get_authorization_token()["authorizationData"]
        entry = data if isinstance(data, dict) else data[0]
        return RegistryToken(
            _password(entry["authorizationToken"]),
            entry["expiresAt"].astimezone(timezone.utc),
            entry.get("proxyEndpoint") or "",
            self.identity(),
        )

    def identity(self) -> str:
        """In words: where the AWS keys are from."""
        session = self._session()
        credentials = session.get_credentials()
        found = _SOURCES.get(credentials.method, f"boto3 ({credentials.method})") if credentials else "boto3"
        profile = f" (profile '{self._access.profile}')" if self._access.profile else ""
        role = f"role {self._access.role_arn}, assumed with " if self._access.role_arn else ""
        return f"{role}{found}{profile}"

    def create_repository(self, wanted: NewRepository, account: str | None) -> bool:
        """Create a repository; False when it was there already, which is left as it is.

        Raises `AccessError` without the right to, `RemoteError` when the lifecycle policy could not be put on it.
        """
        with self._translating(f"creating the ECR repository '{wanted.name}'"):
            client = self._registry_client()
            try:
                client.create_repository(**_creation(wanted, account, self._access.public))
            except client.exceptions.RepositoryAlreadyExistsException:
                return False
        if wanted.lifecycle_policy and not self._access.public:
            attempt = (
                f"putting the lifecycle policy on the ECR repository '{wanted.name}', which was created just now and "
                "stays without one,"
            )
            with self._translating(attempt):
                client.put_lifecycle_policy(
                    **_registry(account), repositoryName=wanted.name, lifecyclePolicyText=wanted.lifecycle_policy
                )
        return True

    def repository_exists(self, name: str, account: str | None) -> bool:
        with self._translating(f"looking for the ECR repository '{name}'"):
            client = self._registry_client()
            try:
                client.describe_repositories(**_registry(account), repositoryNames=[name])
            except client.exceptions.RepositoryNotFoundException:
                return False
        return True

    def repository_names(self, account: str | None) -> list[str]:
        """The names of all repositories of a registry, sorted."""
        with self._translating("listing the ECR repositories"):
            pages = self._registry_client().get_paginator("describe_repositories").paginate(**_registry(account))
            return sorted(entry["repositoryName"] for page in pages for entry in page["repositories"])

    # -- boto3 ---------------------------------------------------------------------------------------------------

    def _session(self) -> Any:
        """The session of boto3's own chain, before any role."""
        with self._lock:
            if self._base is None:
                import boto3

                self._base = boto3.Session(profile_name=self._access.profile, region_name=self._access.region)
            return self._base

    def _registry_client(self) -> Any:
        """A client of the ECR API, made again when the role's keys are about to end."""
        with self._lock:
            session = self._acting_session()
            if self._client is None:
                service = "ecr-public" if self._access.public else "ecr"
                self._client = self._make_client(session, service, self._access.endpoint_url)
            return self._client

    def _acting_session(self) -> Any:
        if self._access.role_arn is None:
            session = self._session()
            _remember_keys(session)
            return session
        if self._assumed is None or self._assumed[1] - _ROLE_MARGIN <= self._now():
            self._assumed, self._client = self._assume(self._access.role_arn), None
        return self._assumed[0]

    def _assume(self, role_arn: str) -> tuple[Any, datetime]:
        import boto3

        _remember_keys(self._session())
        sts = self._make_client(self._session(), "sts", None)
        keys = sts.assume_role(RoleArn=role_arn, RoleSessionName=_SESSION_NAME)["Credentials"]
        session = boto3.Session(
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
            region_name=self.region(),
        )
        _remember_keys(session)
        return session, keys["Expiration"]

    def _make_client(self, session: Any, service: str, endpoint_url: str | None) -> Any:
        from botocore.config import Config

        access = self._access
        options: dict[str, Any] = {
            "connect_timeout": 10,
            "read_timeout": 30,
            "retries": {"mode": "standard", "total_max_attempts": 4},
        }
        if service == "ecr" and endpoint_url is None and not _ENDPOINT_VARIABLES & os.environ.keys():
            options |= {"use_fips_endpoint": access.fips or None, "use_dualstack_endpoint": access.dual_stack or None}
        if access.proxy is not None:
            options["proxies"] = {"http": access.proxy, "https": access.proxy} if access.proxy else {}
        return session.client(service, region_name=self.region(), endpoint_url=endpoint_url, config=Config(**options))

    @contextmanager
    def _translating(self, attempt: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise _translated(error, attempt, self._access) from error


def _remember_keys(session: Any) -> None:
    credentials = session.get_credentials()
    if credentials is not None:
        keys = credentials.get_frozen_credentials()
        for secret in (keys.secret_key, keys.token):
            remember_secret(secret or "")


def _password(token: str) -> str:
    remember_secret(token)
    try:
        user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise RemoteError("Amazon ECR answered with a token that is not base64 of AWS:PASSWORD") from None
    if user != "AWS" or not password:
        raise RemoteError("Amazon ECR answered with a token that is not one of user AWS")
    remember_secret(password)
    return password


def _registry(account: str | None) -> dict[str, str]:
    return {"registryId": account} if account else {}


def _creation(wanted: NewRepository, account: str | None, public: bool) -> dict[str, Any]:
    """The parameters of CreateRepository; a public registry knows only name and tags."""
    tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
    common: dict[str, Any] = {"repositoryName": wanted.name, **({"tags": tags} if tags else {})}
    if public:
        return common
    encryption = {"encryptionType": "KMS", "kmsKey": wanted.kms_key} if wanted.kms_key else None
    return {
        **common,
        **_registry(account),
        "imageTagMutability": "IMMUTABLE" if wanted.immutable_tags else "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": wanted.scan_on_push},
        **({"encryptionConfiguration": encryption} if encryption else {}),
    }


# -- failures ----------------------------------------------------------------------------------------------------

_Verdict = tuple[type[CiRegistryError], str]
_KEYS_REFUSED: _Verdict = (AccessError, "correct the AWS keys, or let boto3 find others: `profile:` or AWS_PROFILE")
_KEYS_ENDED: _Verdict = (AccessError, "renew the AWS session (such as `aws sso login`), and check this machine's clock")
_NOT_ALLOWED: _Verdict = (AccessError, "allow that action to this identity (IAM), and check account and `role_arn:`")
_NO_KEYS: _Verdict = (
    AccessError,
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, `profile:`, or give this machine a role",
)
_BY_CODE: dict[str, _Verdict] = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"), _NOT_ALLOWED),
    **dict.fromkeys(("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch"), _KEYS_REFUSED),
    **dict.fromkeys(("InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken"), _KEYS_REFUSED),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired"), _KEYS_ENDED),
    **dict.fromkeys(("InvalidParameterException", "ValidationError", "ValidationException"), (UsageError, "")),
    "RepositoryNotFoundException": (NotFoundError, "check the repository's name, the account and the region"),
    "LimitExceededException": (RemoteError, "ask Amazon for a higher quota, or delete what is not needed"),
}


def _translated(error: Exception, attempt: str, access: AwsAccess) -> CiRegistryError:
    """boto3's failure as ours: the one place where that is done."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        entry = error.response.get("Error", {})
        kind, hint = _BY_CODE.get(entry.get("Code", ""), (RemoteError, "run it again later"))
        said = redact(f"{entry.get('Code', '')}: {entry.get('Message', '')}".strip(": "))
        whose = f" (as {access.role_arn})" if access.role_arn and error.operation_name != "AssumeRole" else ""
        return kind(f"{attempt}{whose} failed: Amazon answered {said}", hint=hint)
    kind, hint = _local_verdict(error)
    return kind(f"{attempt} failed: {redact(str(error))}", hint=hint)


def _local_verdict(error: Exception) -> _Verdict:
    from botocore import exceptions

    if isinstance(error, exceptions.ProfileNotFound):
        return ConfigError, "check `profile:`, AWS_PROFILE and the files in ~/.aws"
    if isinstance(error, (exceptions.NoRegionError, exceptions.InvalidRegionError)):
        return ConfigError, "set `region:` of the target, or AWS_REGION"
    if isinstance(error, (exceptions.ConfigParseError, exceptions.ConfigNotFound)):
        return ConfigError, "correct that file, or name another with AWS_CONFIG_FILE"
    if isinstance(error, (exceptions.InvalidEndpointConfigurationError, exceptions.UnknownEndpointError)):
        return ConfigError, "check `endpoint_url:` and `region:` of the target"
    if isinstance(error, exceptions.ParamValidationError):
        return UsageError, ""
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return _NO_KEYS
    if isinstance(error, (exceptions.SSOError, exceptions.TokenRetrievalError)):
        return _KEYS_ENDED
    if isinstance(error, exceptions.CredentialRetrievalError):
        return AccessError, "run what the AWS configuration names as credential_process by hand, and correct it"
    return RemoteError, "check the network, `endpoint_url:` and the proxy, then run it again"
