"""From a target's settings to the kind that serves it."""

from __future__ import annotations

from ..errors import UsageError
from .base import Connections, OpenTarget
from .settings import EcrTarget, HubTarget, LayoutTarget, NexusTarget, RegistryTarget, TargetSettings

__all__ = ["open_target"]


def open_target(settings: TargetSettings, connections: Connections) -> OpenTarget:
    """The target ready for use; nothing is connected yet. Modules of other kinds are not even imported."""
    if isinstance(settings, RegistryTarget):
        from .plain import PlainRegistry

        return PlainRegistry(settings, settings.url, connections)
    if isinstance(settings, LayoutTarget):
        from .oci_layout import LayoutKind

        return LayoutKind(settings)
    if isinstance(settings, HubTarget):
        from .dockerhub import DockerHub

        return DockerHub(settings, connections)
    if isinstance(settings, EcrTarget):
        from .ecr import open_ecr

        return open_ecr(settings, connections)
    if isinstance(settings, NexusTarget):
        from .nexus import Nexus

        return Nexus(settings, connections)
    raise UsageError(f"target '{settings.name}' is of a kind that this version does not know")
