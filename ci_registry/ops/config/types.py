"""What `ci-registry.yaml` says beside its targets: promotions and the Jenkins server. Pure data."""

# Annotations are not left as text here: msgspec would compile each of them again, 7 ms in all.
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

__all__ = ["JenkinsSettings", "Policies", "Promotion", "RepositorySelector", "TagSelector"]

Count = Annotated[int, Meta(ge=1)]
Days = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0)]
Texts = tuple[str, ...]
_MASK = "***"


class RepositorySelector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which repositories: exactly one of `glob` and `regex`, matched against the whole path."""

    glob: Annotated[str | None, Meta(description="Shell pattern, such as team/*.")] = None
    regex: Annotated[str | None, Meta(description="Regular expression (Python's) that the whole path matches.")] = None


class TagSelector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tags: exactly one of `semver`, `glob` and `regex`."""

    semver: Annotated[
        str | None, Meta(description="Range of semantic versions, such as '>=1.0 <2'; other tags are left out.")
    ] = None
    glob: Annotated[str | None, Meta(description="Shell pattern, such as v*.")] = None
    regex: Annotated[str | None, Meta(description="Regular expression (Python's) that the whole tag matches.")] = None
    newest: Annotated[Count | None, Meta(description="With semver: only so many of the highest versions.")] = None


class Policies(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an image must satisfy before it is promoted."""

    require_platforms: Annotated[Texts, Meta(description="Platforms it must hold, such as linux/amd64.")] = ()
    require_labels: Annotated[Texts, Meta(description="Labels or annotations that must be set.")] = ()
    require_referrers: Annotated[
        Texts, Meta(description="Artifact types that must refer to it, such as a signature's or an SBOM's.")
    ] = ()
    max_age_days: Annotated[Days | None, Meta(description="Refuse images created longer ago than this.")] = None
    require_promoted_from: Annotated[
        str | None, Meta(description="Earlier promotion that must have a record for this digest at the source.")
    ] = None
    forbid_change_requests: Annotated[
        bool, Meta(description="Refuse in builds of a change request (where CHANGE_ID is set).")
    ] = False
    require_record: Annotated[bool, Meta(description="Fail when the promotion's record can't be written.")] = False


class Promotion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Images of one target that are promoted to others."""

    name: str = ""  # its key under `promotions:`, never written in the file
    source: Annotated[str, Meta(description="Target to promote from.")] = field(name="from")
    targets: Annotated[tuple[str, ...], Meta(description="Targets to promote to.", min_length=1)] = field(name="to")
    repositories: Annotated[
        RepositorySelector | None, Meta(description="Repositories it takes when none is named on the command line.")
    ] = None
    tags: Annotated[TagSelector | None, Meta(description="Tags it takes when none is named on the command line.")] = (
        None
    )
    rename: Annotated[str, Meta(description="Template of the tag at the destination; {tag} is the source's.")] = "{tag}"
    atomic: Annotated[
        Literal["image", "plan"],
        Meta(description="image: each image stands alone; plan: no tag moves unless all content is everywhere."),
    ] = "image"
    policies: Annotated[Policies, Meta(description="What an image must satisfy.")] = Policies()


class JenkinsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Jenkins server that `ci-registry jenkins` talks to."""

    url: Annotated[str, Meta(description="Address of the server, with its path if it has one.")]
    username: Annotated[str | None, Meta(description="User the token belongs to.")] = None
    token: Annotated[str | None, Meta(description="API token, only as ${VARIABLE}; never the text itself.")] = None
    token_file: Annotated[
        str | None, Meta(description="File that holds the token, relative to this file; a last newline is left out.")
    ] = None
    timeout_seconds: Annotated[Seconds, Meta(description="How long to wait for an answer.")] = 30.0
    ca: Annotated[str | None, Meta(description="PEM file with the CA that signed the server's certificate.")] = None

    def __repr__(self) -> str:
        token = _MASK if self.token else None
        return f"JenkinsSettings(url={self.url!r}, username={self.username!r}, token={token!r}, ca={self.ca!r})"
