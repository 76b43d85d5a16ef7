"""Amazon's registry hosts in all their forms."""

from __future__ import annotations

import pytest

from ci_registry.model.ecr_hosts import EcrHost, ecr_host, private_host

A = "123456789012"


@pytest.mark.parametrize(
    "host, expected",
    [
        (f"{A}.dkr.ecr.eu-west-1.amazonaws.com", EcrHost(A, "eu-west-1")),
        (f"{A}.dkr.ecr.eu-west-1.amazonaws.com:443", EcrHost(A, "eu-west-1")),
        (f"{A}.DKR.ECR.eu-west-1.amazonaws.com", EcrHost(A, "eu-west-1")),
        (f"{A}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", EcrHost(A, "us-gov-west-1", fips=True)),
        (f"{A}.dkr.ecr.cn-north-1.amazonaws.com.cn", EcrHost(A, "cn-north-1")),
        (f"{A}.dkr-ecr.eu-west-1.on.aws", EcrHost(A, "eu-west-1", dual_stack=True)),
        (f"{A}.dkr-ecr-fips.us-east-1.on.aws", EcrHost(A, "us-east-1", fips=True, dual_stack=True)),
        (f"{A}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", EcrHost(A, "cn-north-1", dual_stack=True)),
        (f"{A}.dkr.ecr.eusc-de-east-1.amazonaws.eu", EcrHost(A, "eusc-de-east-1")),
        (f"{A}.dkr.ecr.us-iso-east-1.c2s.ic.gov", EcrHost(A, "us-iso-east-1")),
        ("public.ecr.aws", EcrHost()),
    ],
)
def test_what_a_host_says(host: str, expected: EcrHost) -> None:
    assert ecr_host(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        "1234.dkr.ecr.eu-west-1.amazonaws.com",
        f"{A}.dkr.ecr.eu-west-1.amazonaws.com.example.org",
        f"{A}.dkr.ecr.eu-west-1.amazonaws.com:5000",
        "registry-1.docker.io",
        "notpublic.ecr.aws",
        f"x{A}.dkr.ecr.eu-west-1.amazonaws.com",
    ],
)
def test_other_hosts(host: str) -> None:
    assert ecr_host(host) is None


@pytest.mark.parametrize(
    "region, domain",
    [
        ("eu-west-1", "amazonaws.com"),
        ("us-gov-east-1", "amazonaws.com"),
        ("cn-northwest-1", "amazonaws.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
    ],
)
def test_a_host_is_found_again(region: str, domain: str) -> None:
    host = private_host(A, region)
    assert host == f"{A}.dkr.ecr.{region}.{domain}"
    found = ecr_host(host)
    assert found is not None
    assert found.is_of(A, region, public=False)
    assert not found.is_of(A, "eu-north-1", public=False)
    assert not found.is_of(None, None, public=True)
