"""provision nexus: Nexus 3 with docker repositories, over HTTPS in two ways: its own Jetty, and nginx in front."""

from __future__ import annotations

from ...adapters.docker_containers import Container, Mount, PublishedPort
from .certificates import certificate_files
from .certs import STORE_PASSWORD, said_options, store_password, wishes
from .content import content_word
from .files import PlannedFile, marker_file
from .names import host_names, server_names
from .passwords import Login
from .plan import Options, Provision, TargetLines
from .proxy import NGINX_IMAGE
from .registry import password_file, target_lines
from .rendering import compose_text, render

__all__ = ["CONNECTORS", "NEXUS_IMAGE", "plan_nexus"]

NEXUS_IMAGE = "sonatype/nexus3:latest"
_USER = 200
"""The user id that Nexus runs as in its image."""

_UI_PORT, _UI_TLS_PORT = 8081, 8443
CONNECTORS = {"docker-hosted": 8083, "docker-proxy": 8084, "docker-group": 8085}
"""The repositories that are made, and the port of each one's HTTPS connector."""


def plan_nexus(options: Options, login: Login) -> Provision:
    """The folder of Nexus and of nginx before it. `login` is its administrator, whose first password is replaced."""
    names = server_names(options.name, (*options.sans, options.gateway))
    password = store_password(options.folder)
    files = certificate_files(options.folder, wishes(options, names, password, owner=_USER))
    files.append(PlannedFile(STORE_PASSWORD, f"{password}\n".encode(), is_secret=True))
    values = {
        "name": options.name,
        "port": options.port,
        "ui_port": _UI_PORT,
        "ui_tls_port": _UI_TLS_PORT,
        "store_password": password,
        "network": options.network,
        **{key.replace("-", "_"): port for key, port in CONNECTORS.items()},
    }
    files += [
        PlannedFile("etc/nexus.properties", render("nexus.properties", values), owner=_USER),
        PlannedFile("etc/jetty/jetty-https.xml", render("jetty-https.xml", values), is_secret=True, owner=_USER),
        PlannedFile("nginx.conf", render("nexus-nginx.conf", values)),
        *password_file(login),
    ]
    word = content_word(files)
    containers = (_nexus(options, word), _nginx(options, word))
    files.append(PlannedFile("compose.yaml", compose_text(containers, "Nexus 3, and nginx in front of it.")))
    files += [
        PlannedFile("README.md", render("nexus.md", values)),
        marker_file("nexus", options.name, said_options(options)),
    ]
    return Provision(
        "nexus", options, tuple(files), containers, ("data",), {options.name: _target(options, login)}, _notes(options)
    )


def _target(options: Options, login: Login) -> TargetLines:
    lines = target_lines(options, login, "https")
    host = options.dialled.rpartition(":")[0]
    return {**lines, "kind": "nexus", "api": f"http://{host}:{_UI_PORT}", "nexus_repository": "docker-hosted"}


def _notes(options: Options) -> tuple[str, ...]:
    terms = "uploads stay blocked until its licence terms are accepted: read them, and run this with --accept-eula"
    return () if options.accept_eula else (terms,)


def _nexus(options: Options, content: str) -> Container:
    inside = {"etc/nexus.properties": "/nexus-data/etc/nexus.properties"}
    inside["etc/jetty/jetty-https.xml"] = "/nexus-data/etc/jetty/jetty-https.xml"
    inside["certs/server.p12"] = "/nexus-data/etc/ssl/server.p12"
    ports = (_UI_PORT, _UI_TLS_PORT, *CONNECTORS.values())
    return Container(
        name=options.name,
        image=options.image or NEXUS_IMAGE,
        network=options.network,
        folder=options.folder,
        mounts=(
            Mount("data", "/nexus-data", read_only=False),
            *(Mount(path, target) for path, target in inside.items()),
        ),
        # A connector's port that is not published is the commonest way to fail.
        ports=tuple(PublishedPort(port, port, options.addresses) for port in ports),
        aliases=(options.name, *host_names()),
        content=content,
    )


def _nginx(options: Options, content: str) -> Container:
    mounts = [Mount("nginx.conf", "/etc/nginx/nginx.conf")]
    mounts += [Mount(f"certs/{name}", f"/certs/{name}") for name in ("server.pem", "server.key")]
    return Container(
        name=f"{options.name}-nginx",
        image=NGINX_IMAGE,
        network=options.network,
        folder=options.folder,
        mounts=tuple(mounts),
        ports=(PublishedPort(443, 5443, options.addresses),),
        aliases=(f"{options.name}-nginx",),
        content=content,
    )
