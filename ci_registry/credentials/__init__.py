"""Who we are to a registry: a chain of places that may hold a credential, and the places where one is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from .chain import Provider
from .environment import EnvironmentProvider, Explicit, ExplicitProvider

if TYPE_CHECKING:
    from ..adapters.keychain import Keychain

__all__ = ["standard_providers"]


def standard_providers(
    environ: Mapping[str, str],
    *,
    explicit: Callable[[str], Explicit | None] = lambda _target: None,
    keychain: Keychain | None = None,
    before_docker_config: Iterable[Provider] = (),
) -> list[Provider]:
    """The usual chain: configuration, environment of the target, keyring, `before_docker_config`, docker config.

    `explicit` gives what the configuration says about a target, by its name; it is called when that target is used.
    """
    from ..adapters.keychain import Keychain
    from .docker_config import DockerConfigProvider
    from .stored import KeyringProvider

    def username_of(target: str) -> str | None:
        return (explicit(target) or Explicit()).username

    return [
        ExplicitProvider(explicit),
        EnvironmentProvider(environ, explicit),
        KeyringProvider(keychain or Keychain(), username_of),
        *before_docker_config,
        DockerConfigProvider(environ),
    ]
