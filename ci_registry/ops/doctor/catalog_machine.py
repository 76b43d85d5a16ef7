"""Findings about this machine."""

from __future__ import annotations

from .catalog import Entry, do, run

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        "docker-config-broken",
        "docker config",
        "error",
        "Docker's configuration can't be read",
        "every target without a credential of its own ends there",
        (do("{hint}"),),
        2,
    ),
    Entry(
        "docker-config-doubled",
        "docker config",
        "warning",
        "a registry stands twice in Docker's configuration",
        "{keys} are all {host}; programs differ in which of them they take",
        (run("ci-registry logout {host} --docker-config", "ci-registry login {host} --docker-config"),),
    ),
    Entry(
        "docker-config-stale",
        "docker config",
        "warning",
        "an ECR token lies in Docker's configuration",
        "{key} holds a token that ended after 12 hours, and docker goes on sending it",
        (run("docker logout {host}"), do('let docker ask ci-registry: "credHelpers": {{"{host}": "ci-registry"}}')),
    ),
    Entry(
        "docker-config-open",
        "docker config",
        "warning",
        "passwords in a file that others can read",
        "{file} holds credentials and its mode is {mode}",
        (run("chmod 600 {file}"),),
    ),
    Entry(
        "certs-d-wrong-suffix",
        "certs.d",
        "warning",
        "a client certificate in certs.d has the name of a CA",
        "{file} is taken for a CA, because it ends in .crt; beside a key a client's certificate must end in .cert",
        (run("mv {file} {right}"),),
    ),
    Entry(
        "keyring-unavailable",
        "keyring",
        "note",
        "no keyring to use",
        "credentials come from the environment, files and Docker's configuration; `login` needs --docker-config here",
        (do("on a desktop, unlock the keyring; on a build machine this is normal"),),
    ),
    Entry(
        "docker-unreachable",
        "docker",
        "note",
        "no docker daemon",
        "images of the local daemon can't be read; registries and archives need none",
        (do("start docker, or set DOCKER_HOST"),),
    ),
    Entry(
        "spool-space",
        "space",
        "warning",
        "little space for spools",
        "archives from standard input are kept in {folder} while they are read, and {free} is free there",
        (run("export TMPDIR=/path/with/space"), do("free some space in {folder}")),
    ),
    Entry(
        "proxy-ignored",
        "proxy",
        "warning",
        "HTTP_PROXY is ignored",
        "REQUEST_METHOD is set, as under CGI, where a client could set HTTP_PROXY; so it does not count",
        (run('export http_proxy="$HTTP_PROXY"'),),
    ),
)
