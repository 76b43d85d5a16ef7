"""docker-config: other programs logged in through our credential chain."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .output import Answer
from .settings import Globals, command

__all__ = ["docker_config"]


@command(
    "docker-config",
    schema="docker-config",
    examples=(
        'ci-registry docker-config "$WORKSPACE_TMP/docker" dev prod',
        'export DOCKER_CONFIG="$PWD/.docker"; PATH="$(ci-registry docker-config "$DOCKER_CONFIG" dev):$PATH"',
    ),
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
def docker_config(globals_: Globals, folder: Path, targets: tuple[str, ...]) -> Answer:
    """Write a private DOCKER_CONFIG into FOLDER in which docker, skopeo and buildah find the credentials of TARGETs.

    No secret is written: docker-credential-ci-registry, which is put into FOLDER/bin, is asked for each login. Prints
    that folder, which belongs in front of PATH.
    """
    from ..ops.docker_login import write_private_config
    from ..ops.logins import find_target

    hosts = {find_target(globals_.places, each).credential_host for each in targets}
    report = write_private_config(folder, sorted(hosts), os.environ)
    return Answer(report, report.path)
