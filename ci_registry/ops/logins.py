"""The credential chain of a target, put together from its settings, its kind and this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..credentials import standard_providers
from ..credentials.chain import Chain, Provider
from ..credentials.environment import Explicit
from ..kinds.base import OpenTarget

if TYPE_CHECKING:
    from .places import Places

__all__ = ["chain_for"]


def chain_for(target: OpenTarget, places: Places) -> Chain:
    """The links that are asked for this target, in order. A kind may bring providers of its own."""
    own: list[Provider] = list(getattr(target, "providers", list)())
    settings = target.settings
    explicit = Explicit(
        settings.username, settings.password, Path(settings.password_file) if settings.password_file else None
    )
    return Chain(
        standard_providers(places.environ, explicit=lambda _name: explicit, before_docker_config=own)
    )
