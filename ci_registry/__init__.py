"""Pick a registry target, find credentials, and tag, push and promote container images between registries.

Names are loaded when they are first used, so that `import ci_registry` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._version import __version__
    from .engine.events import Event
    from .errors import CiRegistryError
    from .model.descriptor import Descriptor, Digest, Platform
    from .model.manifest import Manifest
    from .model.reference import Reference
    from .ops.config import Config
    from .session import Session

__all__ = [
    "CiRegistryError",
    "Config",
    "Descriptor",
    "Digest",
    "Event",
    "Manifest",
    "Platform",
    "Reference",
    "Session",
    "__version__",
]

_HOMES = {
    "CiRegistryError": "errors",
    "Config": "ops.config",
    "Descriptor": "model.descriptor",
    "Digest": "model.descriptor",
    "Event": "engine.events",
    "Manifest": "model.manifest",
    "Platform": "model.descriptor",
    "Reference": "model.reference",
    "Session": "session",
    "__version__": "_version",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
