"""What only Amazon ECR has: repositories that must exist, regions, and IAM."""

from __future__ import annotations

import re

from ...adapters.aws import Aws, AwsAccess
from ...errors import CiRegistryError
from ...kinds.ecr import EcrRegistry
from ...kinds.settings import EcrTarget
from ...model.ecr_hosts import ecr_host
from ...transport.exchange import Reply
from .case import Case
from .catalog import find
from .findings import Finding, note

__all__ = ["missing_repository", "no_permission"]


def missing_repository(case: Case, seen: str) -> Finding:
    """Missing, or in another region than this machine's AWS settings name."""
    target = case.target
    assert isinstance(target, EcrRegistry)  # noqa: S101 - only asked for one
    if _is_there(case, target):
        return note("pull", f"{case.wire_repository} is there, and empty")
    said = ecr_host(case.origin.host)
    region = said.region if said and said.region else target.aws.region()
    values = case.values(region=region)
    other = _other_region(case, target, region)
    if other:
        return find("ecr-wrong-region", seen, **{**values, "other_region": other})
    settings = target.settings
    if isinstance(settings, EcrTarget) and settings.create_repositories and settings.create_repositories.enabled:
        return note("pull", f"{case.wire_repository} does not exist yet; it is created before the first push")
    return find("ecr-repository-missing", seen, **values)


def _is_there(case: Case, target: EcrRegistry) -> bool:
    """What Amazon's API says; not known means no."""
    try:
        return target.aws.repository_exists(case.wire_repository, target.account)
    except CiRegistryError:
        return False


def _other_region(case: Case, target: EcrRegistry, region: str) -> str:
    """The region that the environment names, if the repository is there."""
    environ = case.surroundings.environ
    other = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    settings = target.settings
    if not other or other == region or not isinstance(settings, EcrTarget):
        return ""
    access = AwsAccess(region=other, profile=settings.profile, role_arn=settings.role_arn)
    try:
        there = Aws(access).repository_exists(case.wire_repository, target.account)
    except CiRegistryError:
        return ""
    return other if there else ""


def no_permission(case: Case, reply: Reply, seen: str) -> Finding:
    """Which action IAM did not allow."""
    action = re.search(rb"ecr:\w+", reply.body)
    return find("ecr-no-permission", seen, **case.values(permission=action[0].decode() if action else "the action"))
