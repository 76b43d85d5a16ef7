"""Whom a target trusts and what it shows of itself: its settings, and Docker's `certs.d` folders.

In `certs.d/HOST[:PORT]/` every `*.crt` is a CA, and `NAME.cert` with `NAME.key` is a client certificate (dockerd,
"Verify repository client with certificates"; containers-certs.d(5)). What the target's own settings say wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import ConfigError, TlsError
from ..transport.origin import Origin
from ..transport.tls import TlsSettings
from .settings import TargetSettings

if TYPE_CHECKING:
    from ..adapters.x509 import CertificateFacts

__all__ = ["Trust", "certificate_folders"]

SYSTEM_FOLDERS = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))


def certificate_folders(environ: Mapping[str, str]) -> list[Path]:
    """Every `certs.d` that may exist, those of the user first."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    own = [docker / "certs.d", config / "docker" / "certs.d", config / "containers" / "certs.d"]
    return [*dict.fromkeys(own), *SYSTEM_FOLDERS]


class _Found(Struct):
    """What the folders of one host hold."""

    ca_files: list[Path]
    client: tuple[Path, Path] | None = None


class Trust:
    """TLS settings of one origin, and the reasons for a failed handshake in terms of them.

    `mine` says that the origin is the target's own address, so that its certificate settings are meant for it; a
    mirror, or a second address, gets only the target's CA. Raises `ConfigError` for half a pair in a folder.
    """

    def __init__(
        self,
        origin: Origin,
        settings: TargetSettings,
        environ: Mapping[str, str],
        notify: Callable[[str], None],
        *,
        mine: bool = True,
    ) -> None:
        self._origin, self._settings, self._mine = origin, settings, mine
        self._folders = certificate_folders(environ)
        self._notify = notify
        self.tls = self._settings_of(self._look()) if origin.is_tls else TlsSettings()

    def _settings_of(self, found: _Found) -> TlsSettings:
        settings = self._settings
        said = settings.client_cert if self._mine else None
        cert, key = (Path(said), _path(settings.client_key)) if said else (found.client or (None, None))
        return TlsSettings(
            ca_files=(Path(settings.ca),) if settings.ca else tuple(found.ca_files),
            client_cert=cert,
            client_key=key,
            fingerprint=(settings.fingerprint or "") if self._mine else "",
            skip_verify=settings.insecure_skip_verify and self._mine,
        )

    # -- Docker's folders ----------------------------------------------------------------------------------------

    def _look(self) -> _Found:
        found = _Found([])
        for folder in self._host_folders():
            names = self._names(folder)
            found.ca_files += [folder / name for name in names if name.endswith(".crt")]
            pairs = list(_pairs(folder, names))
            found.client = found.client or (pairs[0] if pairs else None)
        return found

    def _host_folders(self) -> Iterable[Path]:
        host = f"[{self._origin.host}]" if ":" in self._origin.host else self._origin.host
        names = dict.fromkeys([self._origin.netloc, f"{host}:{self._origin.port}"])
        return (folder / name for folder in self._folders for name in names)

    def _names(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._notify(f"{folder} can't be read ({error.strerror}), so certificates in it are not used")
            return []

    # -- reasons -------------------------------------------------------------------------------------------------

    def explain(self, origin: Origin, failed: TlsError, certificate: bytes) -> TlsError:
        """Add what the server's certificate says, what was shown to the server, and the file that would cure it."""
        if failed.about == "client certificate" and self.tls.client_cert is not None:
            return self._client_refused(failed)
        if failed.about != "certificate" or not certificate:
            return failed
        from ..adapters.x509 import facts_of

        facts = facts_of(certificate)
        if facts is None:
            return failed
        return TlsError(f"{failed.message}; {_described(facts)}", hint=self._cure(origin, facts))

    def _client_refused(self, failed: TlsError) -> TlsError:
        from ..adapters.x509 import facts_in_file

        shown = self.tls.client_cert
        assert shown is not None  # noqa: S101 - asked before
        facts = next(iter(facts_in_file(shown)), None)
        said = f" of '{facts.subject}', issued by '{facts.issuer}' {_dates(facts)}," if facts else ""
        return TlsError(
            f"{failed.message}; the client certificate {shown}{said} was shown",
            hint="show one for client authentication, signed by a CA that the registry names in clientcas",
        )

    def _cure(self, origin: Origin, facts: CertificateFacts) -> str:
        now = datetime.now(timezone.utc)
        if not facts.not_before <= now <= facts.not_after:
            return f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC; if that is right, renew the certificate"
        if not facts.names:
            shown = f" instead of the common name '{facts.common_name}' alone" if facts.common_name else ""
            return f"have it reissued with subjectAltName {_kind_of(origin.host)}:{origin.host}{shown}"
        if not _fits(origin.host, facts.names):
            return (
                f"use a name that is in it, or have it reissued with {_kind_of(origin.host)}:{origin.host} "
                "among its names"
            )
        return self._missing_ca(origin, facts)

    def _missing_ca(self, origin: Origin, facts: CertificateFacts) -> str:
        what = "this certificate" if facts.is_self_signed else f"the certificate of '{facts.issuer}'"
        place = self._folders[0] / origin.netloc / "ca.crt"
        pin = f"or compare its fingerprint with the server's own and pin it: `fingerprint: {facts.fingerprint}`"
        if not self.tls.ca_files:
            return f"save {what} (PEM) and name that file as `ca:` of the target, or put it at {place}; {pin}"
        from ..adapters.x509 import facts_in_file

        files = ", ".join(str(path) for path in self.tls.ca_files)
        held = [f"'{each.subject}'" for path in self.tls.ca_files for each in facts_in_file(path)]
        return (
            f"{files} holds {', '.join(held) or 'nothing that can be read'}: add {what} to it, or let the server send "
            f"its whole chain; {pin}"
        )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _pairs(folder: Path, names: list[str]) -> Iterable[tuple[Path, Path]]:
    """Client certificates with their keys; Docker, too, refuses one without the other."""
    stems = sorted({name.rpartition(".")[0] for name in names if name.endswith((".cert", ".key"))})
    for stem in stems:
        for wanted, other in ((f"{stem}.cert", f"{stem}.key"), (f"{stem}.key", f"{stem}.cert")):
            if wanted not in names:
                raise ConfigError(
                    f"{folder / other} lies there without {wanted}",
                    hint="put both there; a CA's certificate must be named *.crt, a client's *.cert",
                )
        yield folder / f"{stem}.cert", folder / f"{stem}.key"


def _described(facts: CertificateFacts) -> str:
    names = ", ".join(facts.names[:8]) or "no names at all"
    more = f" and {len(facts.names) - 8} more" if len(facts.names) > 8 else ""
    issuer = "signed by itself" if facts.is_self_signed else f"issued by '{facts.issuer}'"
    return f"that certificate of '{facts.subject}' is for {names}{more}, {issuer}, {_dates(facts)}"


def _dates(facts: CertificateFacts) -> str:
    return f"valid from {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}"


def _fits(host: str, names: Iterable[str]) -> bool:
    """Whether a host is among a certificate's names (RFC 6125: `*` stands for one whole first label)."""
    parent = host.lower().partition(".")[2]
    return any(name.lower() in (host.lower(), f"*.{parent}") for name in names)


def _kind_of(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        return "DNS"
    return "IP"
