"""The credential for a host, for programs that know no targets, such as docker and skopeo through our helper."""

from __future__ import annotations

from collections.abc import Mapping

from ..credentials import standard_providers
from ..credentials.chain import ANONYMOUS, Chain, Credential, Lookup, registry_key
from ..errors import AccessError, ConfigError
from ..kinds.base import OpenTarget
from ..kinds.settings import NexusTarget
from ..model.ecr_hosts import ecr_host
from .places import Places

__all__ = ["host_credential"]


def host_credential(places: Places, host: str) -> Credential:
    """The credential for a host (`host[:port]`), whichever targets are there; may be anonymous.

    Targets that can't be used now, since a variable is not set, don't count unless there is no other. Raises
    `AccessError`, naming both, when two targets have different credentials, and what the chain raises.
    """
    names = places.targets_at(host) + _read_from(places, host)
    if not names:
        return _of_nobody(places, host)
    found: dict[str, Credential] = {}
    unusable: list[ConfigError] = []
    for name in names:
        try:
            credential = _at_host(places, name, host)
        except ConfigError as error:
            unusable.append(error)
            continue
        if not credential.is_anonymous:
            found[name] = credential
    if unusable and not found:
        raise unusable[0]
    return _agreed(host, found)


def _read_from(places: Places, host: str) -> list[str]:
    """The targets whose images are read at this host, though it is not theirs."""
    nexus = [name for name, said in places.config.targets.items() if isinstance(said, NexusTarget) and said.pull_url]
    return [name for name in nexus if registry_key(_pull_url(places, name)) == host]


def _pull_url(places: Places, name: str) -> str:
    try:
        settings = places.config.target(name, places.environ)
    except ConfigError:
        return ""
    return (settings.pull_url or "") if isinstance(settings, NexusTarget) else ""


def _of_nobody(places: Places, host: str) -> Credential:
    if ecr_host(host) is not None:
        return _at(places, places.registry(host), host)
    return Chain(standard_providers(places.environ)).find(Lookup(host))


def _at_host(places: Places, name: str, host: str) -> Credential:
    """What a target has for one of its hosts, else for its own."""
    target = places.target(name)
    found = _at(places, target, host)
    if found.is_anonymous and registry_key(target.credential_host) != host:
        return _at(places, target, target.credential_host)
    return found


def _at(places: Places, target: OpenTarget, host: str) -> Credential:
    return places.chain(target).find(Lookup(host, target=target.settings.name or None))


def _agreed(host: str, found: Mapping[str, Credential]) -> Credential:
    """The one credential that all have."""
    first, credential = next(iter(found.items()), ("", ANONYMOUS))
    other = next((name for name in found if found[name] != credential), None)
    if other is not None:
        raise AccessError(
            f"targets '{first}' and '{other}' are both on {host} with different credentials, "
            "and a credential helper sees only the host",
            hint="give the other program its credential itself, or use ci-registry, which keeps them apart",
        )
    return credential
