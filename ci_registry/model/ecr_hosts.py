"""The host names of Amazon ECR: which account and region one stands for, and the other way round."""

from __future__ import annotations

import re

from msgspec import Struct

__all__ = ["PUBLIC_HOST", "EcrHost", "ecr_host", "private_host"]

PUBLIC_HOST = "public.ecr.aws"

# docs.aws.amazon.com, "Amazon ECR endpoints and quotas": IPv4 and dual-stack names, FIPS, and the other partitions.
_PRIVATE = (
    r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9-]*)\."
    r"(?:(?P<dual>on\.(?:aws|amazonwebservices\.(?:com\.cn|eu)))"
    r"|amazonaws\.(?:com(?:\.cn)?|eu)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-isob-": "sc2s.sgov.gov",
    "us-iso-": "c2s.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}


class EcrHost(Struct, frozen=True):
    """What a host name says. A public registry has neither account nor region in it."""

    account: str = ""
    region: str = ""
    fips: bool = False
    dual_stack: bool = False

    @property
    def public(self) -> bool:
        return not self.account

    def is_of(self, account: str | None, region: str | None, public: bool) -> bool:
        """Whether this is the registry that a target of that account and region, or a public one, means."""
        return public if self.public else (account, region) == (self.account, self.region)


def ecr_host(host: str) -> EcrHost | None:
    """Account and region of one of Amazon's registry hosts (`host[:port]`), None for any other host."""
    name = host.lower().removesuffix(":443")
    if name == PUBLIC_HOST:
        return EcrHost()
    match = re.fullmatch(_PRIVATE, name)
    if match is None:
        return None
    return EcrHost(match["account"], match["region"], match["fips"] is not None, match["dual"] is not None)


def private_host(account: str, region: str) -> str:
    """The host of an account's registry in a region."""
    domain = next((domain for start, domain in _DOMAINS.items() if region.startswith(start)), "amazonaws.com")
    return f"{account}.dkr.ecr.{region}.{domain}"
