"""The CA made known: to Docker's daemon through certs.d, or to all of this machine through the system's store."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ...errors import StorageError
from .files import PlannedFile, write_files
from .plan import Options

__all__ = ["CERTS_D", "SYSTEM_STORE", "install_ca"]

CERTS_D = Path("/etc/docker/certs.d")
SYSTEM_STORE = Path("/usr/local/share/ca-certificates")
_UPDATE = "update-ca-certificates"


def install_ca(where: str, options: Options, *, dry_run: bool, certs_d: Path = CERTS_D) -> list[str]:
    """Put the CA of the folder where it counts; answers a line for each file. Raises `StorageError`."""
    if where == "system":
        return _into_system(options, dry_run=dry_run)
    lines = []
    for host in (options.name, "localhost"):
        place = certs_d / f"{host}:{options.port}"
        files = [PlannedFile("ca.crt", b"" if dry_run else _read(options, "ca.pem"))]
        if options.mutual:
            pair = [b"" if dry_run else _read(options, f"{options.clients[0]}.{end}") for end in ("pem", "key")]
            files += [PlannedFile("client.cert", pair[0]), PlannedFile("client.key", pair[1], is_secret=True)]
        outcomes = {} if dry_run else write_files(place, files)
        lines += [f"{outcomes.get(file.path, 'would be installed')}: {place}/{file.path}" for file in files]
    return lines


def _into_system(options: Options, *, dry_run: bool) -> list[str]:
    file = PlannedFile(f"ci-registry-{options.name}.crt", b"" if dry_run else _read(options, "ca.pem"))
    place = SYSTEM_STORE / file.path
    if dry_run:
        return [f"would be installed: {place}, then {_UPDATE}"]
    program = shutil.which(_UPDATE, path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise StorageError(
            f"installing the CA failed: there is no {_UPDATE} here",
            hint="add the CA to this system's store by its own means",
        )
    outcome = write_files(SYSTEM_STORE, [file])[file.path]
    ended = subprocess.run([program], capture_output=True, text=True, check=False, timeout=120)
    if ended.returncode != 0:
        raise StorageError(f"{_UPDATE} failed: {ended.stderr.strip()[-300:]}", hint="run it as root")
    return [f"{outcome}: {place}", f"ran {_UPDATE}"]


def _read(options: Options, name: str) -> bytes:
    path = options.folder / "certs" / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"reading {path} failed: {error.strerror}") from error
