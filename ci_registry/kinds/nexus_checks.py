"""What can be wrong with a docker repository of Nexus that its registry side does not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from ..errors import AccessError, CiRegistryError, Interrupted
from .findings import Finding
from .nexus_api import NexusApi
from .settings import NexusTarget

__all__ = ["nexus_findings"]

_BEARER_REALM = "DockerToken"


def nexus_findings(api: NexusApi, target: NexusTarget) -> list[Finding]:
    """Status, licence, repository, connector and realms, as far as this login may ask."""
    first = _asked("status", lambda: _status(api))
    if any(finding.level == "problem" for finding in first):
        return first
    found = [*first, *_asked("eula", lambda: _eula(api))]
    if target.nexus_repository is None:
        return [*found, Finding("repository", "unknown", "no `nexus_repository:` is set, so it was not looked at")]
    return [*found, *_asked("repository", lambda: _repository(api, target, target.nexus_repository or ""))]


def _asked(about: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one look; what may not be asked, or fails, is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Interrupted:
        raise
    except AccessError as error:
        found.append(Finding(about, "unknown", error.message, error.hint))
    except CiRegistryError as error:
        found.append(Finding(about, "problem", error.message, error.hint))
    return found


def _status(api: NexusApi) -> Iterator[Finding]:
    status = api.status()
    if status != 200:
        starting = status == 503
        message = "Nexus is still starting" if starting else f"its status page answers {status}"
        cure = "wait; the first start takes minutes" if starting else "check `api:`: the address of the web interface"
        yield Finding("status", "problem", message, cure)
    elif api.is_writable():
        yield Finding("status", "ok", "Nexus is up and takes uploads")
    else:
        yield Finding(
            "status",
            "problem",
            "Nexus is up but takes no uploads: it is frozen, or its disk is nearly full",
            "see Administration, System, Nodes in its web interface, and its log",
        )


def _eula(api: NexusApi) -> Iterator[Finding]:
    accepted = api.eula_accepted()
    if accepted is False:
        yield Finding(
            "eula",
            "problem",
            "the licence of the Community Edition was not accepted, which blocks uploads and downloads",
            "log in to the web interface as administrator and accept it, or run `ci-registry provision nexus`",
        )
    elif accepted:
        yield Finding("eula", "ok", "the licence was accepted")


def _repository(api: NexusApi, target: NexusTarget, name: str) -> Iterator[Finding]:
    entry = api.repository(name)
    if entry is None:
        yield Finding(
            "repository",
            "problem",
            f"there is no repository '{name}' that this login can see",
            "check `nexus_repository:`, or have the privilege nx-repository-view-docker-* given to it",
        )
        return
    if entry.get("format") != "docker":
        yield Finding(
            "repository",
            "problem",
            f"repository '{name}' is of format {entry.get('format')}, not docker",
            "name a docker repository as `nexus_repository:`",
        )
        return
    kind = str(entry.get("type"))
    yield from _kind(kind, name, target)
    settings = api.docker_settings(kind, name)
    yield from _write_policy(settings, name)
    yield from _connector(settings, name, target.url if kind == "hosted" else target.pull_url or target.url)
    yield from _realms(api, settings, name)


def _kind(kind: str, name: str, target: NexusTarget) -> Iterator[Finding]:
    if kind == "hosted":
        yield Finding("repository", "ok", f"repository '{name}' is a hosted docker repository")
    elif kind == "proxy":
        message = f"repository '{name}' is a proxy: it can be read only"
        yield Finding("repository", "note", message, "push to a hosted one")
    elif target.pull_url is None:
        yield Finding(
            "repository",
            "note",
            f"repository '{name}' is a group: pushing to it needs Nexus Pro",
            "set `url:` to the connector of a hosted repository and `pull_url:` to the group's",
        )


def _write_policy(settings: dict[str, Any], name: str) -> Iterator[Finding]:
    storage = settings.get("storage") or {}
    if settings.get("online") is False:
        yield Finding("online", "problem", f"repository '{name}' is offline", "tick Online in its settings")
    if storage.get("writePolicy") == "DENY":
        yield Finding(
            "write-policy", "problem", f"repository '{name}' is read-only (writePolicy DENY)", "set it to ALLOW_ONCE"
        )
    elif storage.get("writePolicy") == "ALLOW_ONCE":
        latest = ", except latest" if storage.get("latestPolicy") else ""
        yield Finding("write-policy", "note", f"tags of repository '{name}' are immutable (ALLOW_ONCE){latest}")


def _connector(settings: dict[str, Any], name: str, url: str) -> Iterator[Finding]:
    docker, parts = settings.get("docker") or {}, urlsplit(url)
    if parts.path.strip("/"):
        if "/repository/" not in f"{parts.path}/" and not docker.get("pathEnabled"):
            yield Finding(
                "connector",
                "problem",
                f"`url:` has a path, but path based routing is off for repository '{name}'",
                f"switch it on, or write the path as /repository/{name}",
            )
        return
    ports = {scheme: docker.get(f"{scheme}Port") for scheme in ("http", "https")}
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    other = "https" if parts.scheme == "http" else "http"
    if ports[other] == port:
        yield Finding(
            "connector",
            "problem",
            f"port {port} is the {other} connector of repository '{name}', and `url:` says {parts.scheme}://",
            f"write `url: {other}://{parts.netloc}`",
        )
    elif ports[parts.scheme] == port:
        yield Finding("connector", "ok", f"port {port} is the {parts.scheme} connector of repository '{name}'")
    elif not any(ports.values()) and not docker.get("subdomain"):
        yield Finding(
            "connector",
            "problem",
            f"repository '{name}' has no connector",
            "give it an HTTP or HTTPS port, or use path based routing",
        )
    else:
        known = " and ".join(f"{scheme} {number}" for scheme, number in ports.items() if number) or "none"
        yield Finding(
            "connector",
            "note",
            f"port {port} is no connector of repository '{name}' (it has: {known}); right only where a proxy or a "
            "container's port mapping is in between",
        )


def _realms(api: NexusApi, settings: dict[str, Any], name: str) -> Iterator[Finding]:
    if (settings.get("docker") or {}).get("forceBasicAuth", True):
        return
    if _BEARER_REALM not in api.active_realms():
        yield Finding(
            "realms",
            "problem",
            f"repository '{name}' allows anonymous pulls, but the realm {_BEARER_REALM} is not active: logins get 401",
            "add the Docker Bearer Token Realm under Security, Realms",
        )
    elif not api.anonymous_enabled():
        yield Finding(
            "realms",
            "note",
            f"repository '{name}' allows anonymous pulls, but anonymous access to Nexus is off",
            "switch it on under Security, Anonymous Access, or force basic authentication",
        )
    else:
        yield Finding("realms", "ok", f"the realm {_BEARER_REALM} is active")
