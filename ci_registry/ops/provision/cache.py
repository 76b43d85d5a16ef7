"""provision cache: a registry that pulls through from another one, and a squid with settings that suit registries."""

from __future__ import annotations

from ...adapters.docker_containers import Container, Mount, PublishedPort
from .certs import said_options
from .content import content_word
from .files import PlannedFile, marker_file
from .plan import Options, Provision
from .registry import IMAGE, env_text, http_secret
from .rendering import compose_text, render

__all__ = ["SQUID_IMAGE", "plan_cache"]

SQUID_IMAGE = "ubuntu/squid:latest"


def plan_cache(options: Options) -> Provision:
    """The folder of both. The cache needs no login: it holds what its upstream shows to anybody."""
    environment = {
        "REGISTRY_HTTP_ADDR": f":{options.port}",
        "REGISTRY_HTTP_SECRET": http_secret(options.folder / "registry.env"),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
        "REGISTRY_PROXY_REMOTEURL": options.upstream,
    }
    values = {
        "name": options.name,
        "port": options.port,
        "upstream": options.upstream,
        "squid_port": options.proxy_port,
    }
    files = [
        PlannedFile("registry.env", env_text(environment), is_secret=True),
        PlannedFile("squid.conf", render("squid.conf", values)),
    ]
    containers = (_cache(options, environment), _squid(options, content_word(files)))
    files.append(PlannedFile("compose.yaml", compose_text(containers, "A pull-through registry and a proxy.")))
    mirror = f"http://{options.dialled}"
    readme = render("cache.md", {**values, "mirror": mirror, "proxy": _proxy_url(options)})
    files += [PlannedFile("README.md", readme), marker_file("cache", options.name, said_options(options))]
    lines = {"kind": "registry", "url": f"http://{options.name}:{options.port}", "connect_to": options.dialled}
    notes = (
        f"a target whose images it keeps reads through it with `mirror: {mirror}`; pushes go to the target itself",
        f"the proxy is used by a target with `proxy: {_proxy_url(options)}`, and everywhere with HTTPS_PROXY",
        "over TLS the proxy sees no content and keeps none of it: what saves transfers is the pull-through registry",
    )
    return Provision("cache", options, tuple(files), containers, ("data", "spool"), {options.name: lines}, notes)


def _proxy_url(options: Options) -> str:
    return f"http://{options.dialled.rpartition(':')[0]}:{options.proxy_port}"


def _cache(options: Options, environment: dict[str, str]) -> Container:
    return Container(
        name=options.name,
        image=IMAGE,
        network=options.network,
        folder=options.folder,
        environment=environment,
        env_file=options.folder / "registry.env",
        mounts=(Mount("data", "/var/lib/registry", read_only=False),),
        ports=(PublishedPort(options.port, options.port, options.addresses),),
        aliases=(options.name,),
    )


def _squid(options: Options, content: str) -> Container:
    return Container(
        name=f"{options.name}-proxy",
        image=options.image or SQUID_IMAGE,
        network=options.network,
        folder=options.folder,
        mounts=(Mount("squid.conf", "/etc/squid/squid.conf"),),
        ports=(PublishedPort(options.proxy_port, options.proxy_port, options.addresses),),
        aliases=(f"{options.name}-proxy",),
        content=content,
    )
