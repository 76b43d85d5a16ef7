"""The Jenkins server of the configuration, and the token for it.

The token comes from the configuration (`token`, `token_file`), else from `CI_REGISTRY_JENKINS_TOKEN` (or `_PASSWORD`,
with `_USERNAME`), else from the keyring, where `ci-registry jenkins login` puts it; else we are anonymous.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from ..adapters.jenkins_server import JenkinsServer
from ..adapters.keychain import Keychain, KeychainUnavailable
from ..credentials.environment import read_password_file, variable_name
from ..errors import AccessError, UsageError
from ..redaction import shown
from .config import Config
from .config.types import JenkinsSettings

__all__ = ["Login", "forget_token", "open_server", "server_login", "server_settings", "store_token"]


class Login(Struct, frozen=True):
    """Who we are to the server; `source` says where the token was found, "none" for nobody."""

    username: str | None
    token: str | None
    source: str

    def __repr__(self) -> str:
        return shown(self, "username", "source")


def server_settings(config: Config, environ: Mapping[str, str]) -> JenkinsSettings:
    """`jenkins:` of the configuration, or inside a build its JENKINS_URL. Raises UsageError where neither is there."""
    settings = config.jenkins_server(environ)
    if settings is not None:
        return settings
    if environ.get("JENKINS_URL"):
        return JenkinsSettings(url=environ["JENKINS_URL"].rstrip("/"))
    raise UsageError("no Jenkins server is configured", hint="write `jenkins: {url: https://...}` in ci-registry.yaml")


def server_login(settings: JenkinsSettings, environ: Mapping[str, str], keychain: Keychain) -> Login:
    """The user and token to use."""
    username = environ.get(variable_name("jenkins", "USERNAME")) or settings.username
    if settings.token is not None:
        return _complete(username, settings.token, "jenkins.token in the configuration")
    if settings.token_file is not None:
        token = read_password_file(Path(settings.token_file), "jenkins.token_file")
        return _complete(username, token, f"file {settings.token_file}")
    for part in ("TOKEN", "PASSWORD"):
        if token := environ.get(variable_name("jenkins", part), "").rstrip("\r\n"):
            return _complete(username, token, f"environment variable {variable_name('jenkins', part)}")
    return _stored(settings.url, username, keychain)


def _complete(username: str | None, token: str, source: str) -> Login:
    if not username:
        raise UsageError(
            f"there is a token for Jenkins ({source}), but no user name",
            hint="set `jenkins.username` or CI_REGISTRY_JENKINS_USERNAME",
        )
    return Login(username, token, source)


def _stored(url: str, username: str | None, keychain: Keychain) -> Login:
    try:
        entry = keychain.read(url, username)
    except KeychainUnavailable as problem:
        return Login(None, None, f"none (keyring: {problem.reason})")
    if entry is None:
        return Login(None, None, "none")
    return Login(entry.username, entry.secret, f"keyring ({keychain.backend_name()})")


def open_server(config: Config, environ: Mapping[str, str], keychain: Keychain) -> tuple[JenkinsServer, Login]:
    """The configured server, not yet contacted."""
    settings = server_settings(config, environ)
    login = server_login(settings, environ, keychain)
    server = JenkinsServer(
        settings.url, login.username, login.token, timeout_seconds=settings.timeout_seconds, ca=settings.ca
    )
    return server, login


def store_token(url: str, username: str, token: str, keychain: Keychain) -> str:
    """Keep a token in the keyring, under the service `ci-registry:URL`; the answer says in which one."""
    try:
        keychain.write(url, username, token)
        return f"keyring ({keychain.backend_name()})"
    except KeychainUnavailable as problem:
        raise AccessError(
            f"storing the token for {url} in the keyring failed: {problem.reason}",
            hint="use jenkins.token_file or CI_REGISTRY_JENKINS_TOKEN",
        ) from problem


def forget_token(url: str, username: str | None, keychain: Keychain) -> bool:
    """Remove it; False if there was none."""
    try:
        return bool(keychain.erase(url, username))
    except KeychainUnavailable as problem:
        raise AccessError(f"removing the token for {url} from the keyring failed: {problem.reason}") from problem
