"""provision certs: a CA, a server's certificate with every name it will be called by, and clients' certificates."""

from __future__ import annotations

import secrets
from pathlib import Path

from ...redaction import remember_secret
from .certificates import CertificateWishes, certificate_files
from .files import PlannedFile, marker_file
from .names import server_names
from .plan import Options, Provision
from .rendering import render

__all__ = ["STORE_PASSWORD", "plan_certs", "said_options", "store_password", "wishes"]

STORE_PASSWORD = "certs/store.password"  # noqa: S105 - a file's name


def plan_certs(options: Options) -> Provision:
    """Only certificates, for a server that somebody sets up by hand."""
    password = store_password(options.folder) if options.pkcs12 else ""
    names = server_names(options.name, options.sans)
    files = [*certificate_files(options.folder, wishes(options, names, password)), *_password_file(password)]
    values = {"name": options.name, "port": options.port, "names": ", ".join(names), "days": options.days}
    files += [
        PlannedFile("README.md", render("certs.md", values)),
        marker_file("certs", options.name, said_options(options)),
    ]
    return Provision("certs", options, tuple(files))


def wishes(options: Options, names: list[str], password: str = "", owner: int | None = None) -> CertificateWishes:
    clients = options.clients if options.mutual or options.pkcs12 or not options.tls else ()
    return CertificateWishes(names, clients, options.days, options.renew, password, owner)


def store_password(folder: Path) -> str:
    """The password of the PKCS#12 stores: that of an earlier run, else a new one."""
    path = folder / STORE_PASSWORD
    password = path.read_text(encoding="utf-8").strip() if path.exists() else secrets.token_urlsafe(18)
    remember_secret(password)
    return password


def _password_file(password: str) -> list[PlannedFile]:
    return [PlannedFile(STORE_PASSWORD, f"{password}\n".encode(), is_secret=True)] if password else []


def said_options(options: Options) -> dict[str, object]:
    """What is written down about a folder: enough to know what it was made for; no secret."""
    return {
        "port": options.port,
        "network": options.network,
        "gateway": options.gateway,
        "subnet": options.subnet,
        "tls": options.tls,
        "mutual": options.mutual,
        "htpasswd": options.htpasswd,
        "username": options.username,
    }
