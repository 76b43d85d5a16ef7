"""What `ci-registry.yaml` says about one target: a typed structure per kind. Pure data; nothing is opened here.

A structure that `Config.target()` returned is ready for use: variables are expanded, paths are absolute, URLs have no
trailing slash, the fingerprint is 64 lower-case hexadecimal digits. `None` means "not said", and whoever uses the
value decides what happens then.
"""

# Annotations are not left as text here: msgspec would compile each of them again, 7 ms in all.
from typing import Annotated

from msgspec import Meta, Struct, field

__all__ = [
    "KINDS",
    "CreateRepositories",
    "EcrTarget",
    "HubTarget",
    "LayoutTarget",
    "NexusTarget",
    "RegistryTarget",
    "TargetSettings",
]

_MASK = "***"
_SECRETS = frozenset({"password"})

Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
Patterns = tuple[str, ...]


class TargetSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of target may say. `name` is the key under `targets:`, never written in the file."""

    name: str = ""
    namespace: Annotated[
        str | None, Meta(description="Put in front of the path of every image that is copied here, such as `team`.")
    ] = None
    repository: Annotated[
        str | None,
        Meta(
            description="Template of the repository an image lands in, made of {namespace}, {path} (of the source), "
            "{path_dashed} (the same with - for /) and {name} (its last part)."
        ),
    ] = None
    immutable_tags: Annotated[
        bool | Patterns,
        Meta(description="Tags that are never moved once they exist: true for all, or shell patterns such as v*."),
    ] = False
    protected_tags: Annotated[
        Patterns, Meta(description="Shell patterns of tags that delete and prune never remove, such as release-*.")
    ] = ()
    username: Annotated[str | None, Meta(description="Name to log in with.")] = None
    password: Annotated[
        str | None, Meta(description="Password or token to log in with, only as ${VARIABLE}; never the text itself.")
    ] = None
    password_file: Annotated[
        str | None, Meta(description="File that holds the password, relative to this file; a last newline is left out.")
    ] = None
    mirror: Annotated[
        str | None, Meta(description="URL of a pull-through cache to read from; writing goes to the target itself.")
    ] = None
    proxy: Annotated[
        str | None,
        Meta(description="Proxy to go through, as http://HOST:PORT, not the environment's; '' for none at all."),
    ] = None
    connect_to: Annotated[
        str | None,
        Meta(description="HOST:PORT to dial; names and certificates stay those of the URL."),
    ] = None
    ca: Annotated[str | None, Meta(description="PEM file with the CA that signed the server's certificate.")] = None
    client_cert: Annotated[str | None, Meta(description="PEM file with the certificate to show the server.")] = None
    client_key: Annotated[str | None, Meta(description="PEM file with its key, where it is not in the same file.")] = (
        None
    )
    fingerprint: Annotated[
        str | None,
        Meta(description="sha256 of the server's certificate in hexadecimal: trust this one, whoever signed it."),
    ] = None
    insecure_skip_verify: Annotated[
        bool, Meta(description="Trust any certificate. Anybody in between can then read the password; prefer ca.")
    ] = False
    max_connections: Annotated[Count | None, Meta(description="Connections to the host at the same time, at most.")] = (
        None
    )
    requests_per_second: Annotated[Rate | None, Meta(description="Requests to the host in a second, at most.")] = None
    retry_seconds: Annotated[
        Seconds | None, Meta(description="How long one request is tried again when it fails; 0 for never.")
    ] = None
    chunk_bytes: Annotated[
        Count | None,
        Meta(description="Upload in pieces of at most this many bytes, for a proxy that limits the size of a body."),
    ] = None

    @property
    def kind(self) -> str:
        """The word after `kind:` in the file."""
        return str(self.__struct_config__.tag)

    def __repr__(self) -> str:
        said = ((key, getattr(self, key)) for key in self.__struct_fields__)
        text = ", ".join(f"{key}={_shown(key, value)}" for key, value in said if value not in (None, False, (), ""))
        return f"{type(self).__name__}({text})"


def _shown(key: str, value: object) -> str:
    """As `repr`, without the password and without the user part of a URL."""
    if key in _SECRETS:
        return _MASK
    if isinstance(value, str) and "://" in value and "@" in value:
        return repr(f"{value.partition('://')[0]}://{_MASK}@{value.rpartition('@')[2]}")
    return repr(value)


class RegistryTarget(TargetSettings, frozen=True, kw_only=True, tag="registry"):
    """Any registry that speaks the OCI distribution API."""

    url: Annotated[str, Meta(description="Address such as https://registry:5000; plain HTTP must be said: http://.")]


class HubTarget(TargetSettings, frozen=True, kw_only=True, tag="dockerhub"):
    """Docker Hub. `namespace` defaults to the user of the credential that wins."""

    url: Annotated[
        str | None, Meta(description="Registry address, only where a gateway stands in for registry-1.docker.io.")
    ] = None
    api: Annotated[
        str | None, Meta(description="Address of the Hub's own API, only where it is not https://hub.docker.com.")
    ] = None


class CreateRepositories(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repositories that don't exist are created before the first push, with these settings."""

    enabled: Annotated[bool, Meta(description="Whether to create repositories that are missing.")]
    immutable_tags: Annotated[bool, Meta(description="Create them with immutable tags.")] = False
    scan_on_push: Annotated[bool, Meta(description="Create them with a vulnerability scan on every push.")] = False
    kms_key: Annotated[
        str | None, Meta(description="Key id, alias or ARN to encrypt them with; else Amazon's own encryption.")
    ] = None
    lifecycle_policy: Annotated[
        str | None, Meta(description="JSON file with the lifecycle policy to give them, relative to this file.")
    ] = None
    tags: Annotated[dict[str, str], Meta(description="AWS resource tags to give them.")] = field(default_factory=dict)


class EcrTarget(TargetSettings, frozen=True, kw_only=True, tag="ecr"):
    """Amazon ECR. Account and region default to what the AWS token answers."""

    account: Annotated[str | None, Meta(description="AWS account of the registry: twelve digits, in quotes.")] = None
    region: Annotated[str | None, Meta(description="AWS region of the registry, such as eu-west-1.")] = None
    role_arn: Annotated[str | None, Meta(description="Role to assume before asking for a token.")] = None
    profile: Annotated[str | None, Meta(description="Profile of the AWS configuration files to use.")] = None
    endpoint_url: Annotated[
        str | None, Meta(description="Address of the AWS API, for a VPC endpoint or a local stand-in.")
    ] = None
    url: Annotated[
        str | None, Meta(description="Registry address, only where it is not ACCOUNT.dkr.ecr.REGION.amazonaws.com.")
    ] = None
    public: Annotated[bool, Meta(description="public.ecr.aws in place of a private registry.")] = False
    create_repositories: Annotated[
        CreateRepositories | None, Meta(description="Whether and how to create repositories that are missing.")
    ] = None


class NexusTarget(TargetSettings, frozen=True, kw_only=True, tag="nexus"):
    """A docker repository of Sonatype Nexus 3."""

    url: Annotated[
        str,
        Meta(description="Address to push to: the repository's connector, or with a path where Nexus routes by path."),
    ]
    pull_url: Annotated[str | None, Meta(description="Address to pull from, where it is another, such as a group.")] = (
        None
    )
    api: Annotated[str | None, Meta(description="Address of the web interface, such as http://nexus:8081.")] = None
    nexus_repository: Annotated[str | None, Meta(description="Name of the docker repository inside Nexus.")] = None


class LayoutTarget(TargetSettings, frozen=True, kw_only=True, tag="oci-layout"):
    """A folder tree of OCI layouts; repository `team/app` lies in PATH/team/app/_layout/."""

    path: Annotated[str, Meta(description="Folder to keep images in, relative to this file; created when needed.")]


KINDS: dict[str, type[TargetSettings]] = {
    str(kind.__struct_config__.tag): kind for kind in (RegistryTarget, HubTarget, EcrTarget, NexusTarget, LayoutTarget)
}
