"""provision proxy: nginx with TLS and a password in front of a registry that nobody else reaches."""

from __future__ import annotations

from ...adapters.docker_containers import Container, Mount, PublishedPort
from .certificates import certificate_files
from .certs import said_options, wishes
from .content import content_word
from .files import PlannedFile, marker_file
from .names import host_names, server_names
from .passwords import Login, htpasswd_line
from .plan import Options, Provision
from .registry import IMAGE, env_text, http_secret, password_file, target_lines
from .rendering import compose_text, render

__all__ = ["NGINX_IMAGE", "plan_proxy"]

NGINX_IMAGE = "nginx:stable"
_BACKEND_PORT = 5000


def plan_proxy(options: Options, login: Login | None) -> Provision:
    """The folder of nginx and of the registry behind it, which listens on the docker network alone."""
    names = server_names(options.name, (*options.sans, options.gateway))
    files = certificate_files(options.folder, wishes(options, names))
    users = ""
    if login is not None:
        # nginx reads this form everywhere; its workers are not root.
        line = htpasswd_line(options.folder / "auth/htpasswd", login, "apr1")
        files += [PlannedFile("auth/htpasswd", line, is_secret=True, is_open=True), *password_file(login)]
        users = f'auth_basic "{options.name}";\n      auth_basic_user_file /auth/htpasswd;'
    values = {"name": options.name, "port": options.port, "backend": _backend_name(options), "users": users}
    files.append(PlannedFile("nginx.conf", render("nginx.conf", {**values, "backend_port": _BACKEND_PORT})))
    environment = _backend_environment(options)
    files.append(PlannedFile("registry.env", env_text(environment), is_secret=True))
    containers = (_backend(options, environment), _nginx(options, login, content_word(files)))
    files.append(PlannedFile("compose.yaml", compose_text(containers, "nginx in front of a registry.")))
    lines = target_lines(options, login, "https")
    readme = render("proxy.md", {**values, "url": lines["url"], "dialled": options.dialled, "network": options.network})
    files += [PlannedFile("README.md", readme), marker_file("proxy", options.name, said_options(options))]
    return Provision("proxy", options, tuple(files), containers, ("data",), {options.name: lines})


def _backend_name(options: Options) -> str:
    return f"{options.name}-registry"


def _backend_environment(options: Options) -> dict[str, str]:
    return {
        "REGISTRY_HTTP_ADDR": f":{_BACKEND_PORT}",
        "REGISTRY_HTTP_SECRET": http_secret(options.folder / "registry.env"),
        # Whatever nginx passes on, the client stays at the address it came by.
        "REGISTRY_HTTP_RELATIVEURLS": "true",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
        "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    }


def _backend(options: Options, environment: dict[str, str]) -> Container:
    return Container(
        name=_backend_name(options),
        image=IMAGE,
        network=options.network,
        folder=options.folder,
        environment=environment,
        env_file=options.folder / "registry.env",
        mounts=(Mount("data", "/var/lib/registry", read_only=False),),
        aliases=(_backend_name(options),),
    )


def _nginx(options: Options, login: Login | None, content: str) -> Container:
    mounts = [Mount("nginx.conf", "/etc/nginx/nginx.conf")]
    mounts += [Mount(f"certs/{name}", f"/certs/{name}") for name in ("server.pem", "server.key")]
    if login is not None:
        mounts.append(Mount("auth", "/auth"))
    return Container(
        name=options.name,
        image=options.image or NGINX_IMAGE,
        network=options.network,
        folder=options.folder,
        mounts=tuple(mounts),
        ports=(PublishedPort(options.port, options.port, options.addresses),),
        aliases=(options.name, *host_names()),
        content=content,
    )
