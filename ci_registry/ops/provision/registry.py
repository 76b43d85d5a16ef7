"""provision registry: distribution's registry as a container, open, with TLS, mutual TLS, or users and passwords."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from ...adapters.docker_containers import Container, Mount, PublishedPort
from ...errors import UsageError
from .certificates import certificate_files
from .certs import said_options, wishes
from .content import content_word
from .files import PlannedFile, marker_file
from .names import host_names, server_names
from .passwords import PASSWORD_FILE, Login, htpasswd_line
from .plan import Options, Provision, TargetLines
from .rendering import compose_text, render

__all__ = ["IMAGE", "env_text", "http_secret", "password_file", "plan_registry", "target_lines"]

IMAGE = "registry:2"
_DATA = "data"


def plan_registry(options: Options, login: Login | None) -> Provision:
    """The folder of a registry. `login` is its one user; without it anybody may push."""
    if options.mutual and not options.tls:
        raise UsageError("a client's certificate needs TLS", hint="add --tls")
    files: list[PlannedFile] = []
    if options.tls:
        names = server_names(options.name, (*options.sans, options.gateway))
        files += certificate_files(options.folder, wishes(options, names))
    if login is not None:
        line = htpasswd_line(options.folder / "auth/htpasswd", login, "bcrypt")
        files += [PlannedFile("auth/htpasswd", line, is_secret=True), *password_file(login)]
    environment = _environment(options, login)
    files.append(PlannedFile("registry.env", env_text(environment), is_secret=True))
    container = _container(options, login, environment, content_word(files))
    files.append(PlannedFile("compose.yaml", compose_text([container], f"The registry '{options.name}'.")))
    lines = target_lines(options, login, "https" if options.tls else "http")
    files += [_readme(options, lines), marker_file("registry", options.name, said_options(options))]
    open_to = "" if login or options.mutual else f"anybody who reaches {', '.join(options.addresses)} can push to it"
    notes = (open_to,) if open_to else ()
    return Provision("registry", options, tuple(files), (container,), (_DATA,), {options.name: lines}, notes)


def target_lines(options: Options, login: Login | None, scheme: str) -> TargetLines:
    """The target as `ci-registry.yaml` is to hold it; the folder's paths are absolute until they are written."""
    lines = {"kind": "registry", "url": f"{scheme}://{options.name}:{options.port}", "connect_to": options.dialled}
    folder = options.folder
    if scheme == "https":
        lines["ca"] = str(folder / "certs/ca.pem")
    if options.mutual:
        lines["client_cert"] = str(folder / f"certs/{options.clients[0]}.pem")
        lines["client_key"] = str(folder / f"certs/{options.clients[0]}.key")
    if login is not None:
        lines["username"] = login.username
        if login.in_file:
            lines["password_file"] = str(folder / PASSWORD_FILE)
    return lines


def password_file(login: Login) -> list[PlannedFile]:
    return [PlannedFile(PASSWORD_FILE, f"{login.password}\n".encode(), is_secret=True)] if login.in_file else []


def http_secret(path: Path) -> str:
    """The key that signs upload sessions: kept, so that uploads outlive a restart."""
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    found = [line.partition("=")[2] for line in known.splitlines() if line.startswith("REGISTRY_HTTP_SECRET=")]
    return found[0] if found else secrets.token_hex(16)


def env_text(environment: Mapping[str, str]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in environment.items()).encode()


def _environment(options: Options, login: Login | None) -> dict[str, str]:
    """Distribution's configuration as variables ("Override specific configuration options")."""
    said = {
        "REGISTRY_HTTP_ADDR": f":{options.port}",
        "REGISTRY_HTTP_SECRET": http_secret(options.folder / "registry.env"),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
        "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    }
    if options.tls:
        said |= {"REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/server.pem", "REGISTRY_HTTP_TLS_KEY": "/certs/server.key"}
    if options.mutual:
        said["REGISTRY_HTTP_TLS_CLIENTCAS_0"] = "/certs/ca.pem"
    if login is not None:
        said |= {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": options.name,
            "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
        }
    return said


def _container(options: Options, login: Login | None, environment: Mapping[str, str], content: str) -> Container:
    mounts = [Mount(_DATA, "/var/lib/registry", read_only=False)]
    if options.tls:
        # One file each: the CA's key stays outside.
        mounts += [Mount(f"certs/{name}", f"/certs/{name}") for name in ("ca.pem", "server.pem", "server.key")]
    if login is not None:
        mounts.append(Mount("auth", "/auth"))
    return Container(
        name=options.name,
        image=options.image or IMAGE,
        network=options.network,
        folder=options.folder,
        environment=environment,
        env_file=options.folder / "registry.env",
        mounts=tuple(mounts),
        ports=(PublishedPort(options.port, options.port, options.addresses),),
        aliases=(options.name, *host_names()),
        content=content,
    )


def _readme(options: Options, lines: TargetLines) -> PlannedFile:
    scheme = lines["url"].partition("://")[0]
    values = {
        "name": options.name,
        "port": options.port,
        "network": options.network,
        "url": lines["url"],
        "dialled": options.dialled,
        "protection": _protection(options),
        "insecure": ""
        if scheme == "https"
        else f"\nDocker's daemon takes localhost:{options.port} without TLS; for any "
        f'other name it needs `"insecure-registries": ["NAME:{options.port}"]` in daemon.json.\n',
    }
    return PlannedFile("README.md", render("registry.md", values))


def _protection(options: Options) -> str:
    parts = [
        "TLS with a CA of its own" if options.tls else "plain HTTP",
        "a client certificate is demanded" if options.mutual else "",
        f"user `{options.username}` with a password" if options.htpasswd else "no login",
    ]
    return ", ".join(part for part in parts if part)
