"""Findings that one kind of registry has: Nexus, Amazon ECR, Docker Hub."""

from __future__ import annotations

from .catalog import Entry, do, put, run

__all__ = ["ENTRIES"]

_REST = "{api}/service/rest/v1"
# The password by a file descriptor: on a command line everybody could read it.
_CURL = 'curl --fail -K <(printf \'user = "%s:%s"\' {user} "$PASSWORD")'
_JSON = "-H 'Content-Type: application/json'"

ENTRIES = (
    Entry(
        "nexus-ui-port",
        "service",
        "error",
        "this is Nexus' web interface",
        "{netloc} is the port for people and for the REST API; images have a connector of their own",
        (
            put("url: {connector}", "api: {api}"),
            put("url: {url}/repository/{nexus_repository}", "kind: nexus"),
            do("use the port of the docker repository's connector in `url:`, and this address as `api:`"),
        ),
        2,
    ),
    Entry(
        "nexus-starting",
        "nexus",
        "error",
        "Nexus takes no requests",
        "it is starting, frozen, or its disk is nearly full",
        (do("{hint}"),),
        7,
    ),
    Entry(
        "nexus-eula",
        "nexus",
        "error",
        "the licence terms were not accepted",
        "the Community Edition blocks uploads and downloads until an administrator accepts them",
        (
            run(
                f'{_CURL} {_REST}/system/eula | sed \'s/"accepted" *: *false/"accepted":true/\' '
                f"| {_CURL} {_JSON} --data-binary @- {_REST}/system/eula"
            ),
        ),
        3,
    ),
    Entry(
        "nexus-realm",
        "nexus",
        "error",
        "the Docker Bearer Token Realm is not active",
        "the repository allows anonymous pulls, and without that realm every login to it is answered 401",
        (run(f"{_CURL} {_JSON} -X PUT -d '{{realms}}' {_REST}/security/realms/active"),),
        3,
    ),
    Entry(
        "nexus-read-only",
        "nexus",
        "error",
        "the repository's policy is read-only",
        "its deployment policy is DENY, so every push is refused",
        (do('set the deployment policy of {nexus_repository} to "Allow redeploy" or "Disable redeploy"'),),
        3,
    ),
    Entry(
        "nexus-repository",
        "nexus",
        "error",
        "the repository of Nexus is not what the target says",
        "name, format or connector are others there",
        (do("{hint}"),),
        2,
    ),
    Entry(
        "nexus-unknown",
        "nexus",
        "note",
        "something about Nexus could not be found out",
        "the login may not ask for it, or the target does not say where",
        (do("{hint}"),),
    ),
    Entry(
        "ecr-expired-token",
        "login",
        "error",
        "the ECR token has ended",
        "Amazon's tokens are good for 12 hours; the one from {source} is older",
        (
            run("unset {variable}"),
            do("remove that token: with AWS keys, ci-registry asks for a new one by itself"),
        ),
        3,
    ),
    Entry(
        "ecr-no-permission",
        "pull",
        "error",
        "IAM does not allow it",
        "the AWS identity behind the token may not do this in {repository}",
        (do("add {permission} on that repository to the identity's policy"),),
        3,
    ),
    Entry(
        "ecr-repository-missing",
        "push",
        "error",
        "the repository does not exist in ECR",
        "ECR creates no repository at the first push; {repository} is not in this account and region",
        (
            put("create_repositories: {{enabled: true}}"),
            run("aws ecr create-repository --repository-name {repository} --region {region}"),
        ),
        4,
    ),
    Entry(
        "ecr-wrong-region",
        "push",
        "error",
        "the repository is in another region",
        "{repository} does not exist in {region}, and does in {other_region}, which this machine's AWS settings name",
        (put("region: {other_region}"),),
        4,
    ),
    Entry(
        "hub-rate-limit",
        "hub",
        "warning",
        "few pulls are left",
        "Docker Hub counts manifests that are read, for an address or account, and refuses beyond its limit",
        (
            run('printf %s "$TOKEN" | ci-registry login {target} -u "$USERNAME" --password-stdin'),
            put("mirror: http://CACHE:5000"),
        ),
    ),
)
