"""The certificates of a folder: a CA of its own, what it signed, and which of that is still good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from msgspec import Struct

from ...adapters.x509 import KeyMaterial, belongs_together, facts_in_file, issue, make_authority, pkcs12, signed_by
from ...errors import InputFileError
from .files import PlannedFile

__all__ = ["CertificateWishes", "certificate_files"]

_CA_DAYS = 3650
_RENEW_BEFORE = timedelta(days=30)


class CertificateWishes(Struct, frozen=True):
    """What a folder of certificates is to hold. `clients` are names, `days` how long servers and clients are good.

    `store_password` is for the PKCS#12 files; without it there are none. `owner`: see `PlannedFile`.
    """

    names: Sequence[str]
    clients: Sequence[str] = ()
    days: int = 397
    renew: bool = False
    store_password: str = ""
    owner: int | None = None
    below: str = "certs"


def certificate_files(folder: Path, wishes: CertificateWishes) -> list[PlannedFile]:
    """All files below `wishes.below`; what is there and still good is kept as it is.

    The CA is kept in any case, so that everybody who trusts it goes on doing so. Raises `InputFileError` for a CA
    whose files are damaged.
    """
    place = folder / wishes.below
    return list(_files(place, wishes))


def _files(place: Path, wishes: CertificateWishes) -> Iterator[PlannedFile]:
    authority = _authority(place)
    # Whoever reads the bundle trusts the CA: only the key is secret.
    yield _file(wishes, "ca.pem", authority.certificate)
    yield PlannedFile(f"{wishes.below}/ca.key", authority.key, is_secret=True)
    for stem, client in [("server", False), *((client, True) for client in wishes.clients)]:
        names = () if client else wishes.names
        own, kept = _pair(place, stem, names, authority, wishes, client=client)
        yield _file(wishes, f"{stem}.pem", own.certificate)
        yield _file(wishes, f"{stem}.key", own.key, secret=True)
        if wishes.store_password:
            yield _store(place, stem, own, authority, wishes, kept=kept)


def _file(wishes: CertificateWishes, name: str, content: bytes, *, secret: bool = False) -> PlannedFile:
    return PlannedFile(f"{wishes.below}/{name}", content, is_secret=secret, owner=wishes.owner)


def _authority(place: Path) -> KeyMaterial:
    known = _read(place, "ca")
    if known is None:
        return make_authority(f"ci-registry CA of {place.resolve().parent.name}", _CA_DAYS)
    if not belongs_together(known):
        raise InputFileError(
            f"the CA in {place} can't be used: ca.pem and ca.key can't be read, or are not of each other",
            hint="put the right files there, or move both away to have a new CA made",
        )
    return known


def _pair(
    place: Path, stem: str, names: Sequence[str], authority: KeyMaterial, wishes: CertificateWishes, *, client: bool
) -> tuple[KeyMaterial, bool]:
    known = _read(place, stem)
    if known is not None and not wishes.renew and _is_good(place / f"{stem}.pem", known, names, authority):
        return known, True
    made = issue(authority, _common_name(stem, names), names, wishes.days, client=client)
    return KeyMaterial(made.certificate + authority.certificate, made.key), False


def _common_name(stem: str, names: Sequence[str]) -> str:
    """The second name is the container's own; the first is localhost."""
    return next((name for name in names[1:] if name), names[0] if names else stem)


def _is_good(path: Path, known: KeyMaterial, names: Sequence[str], authority: KeyMaterial) -> bool:
    facts = next(iter(facts_in_file(path)), None)
    if facts is None or not belongs_together(known) or not signed_by(known.certificate, authority.certificate):
        return False
    return set(names) <= set(facts.names) and facts.not_after - datetime.now(timezone.utc) > _RENEW_BEFORE


def _store(
    place: Path, stem: str, own: KeyMaterial, authority: KeyMaterial, wishes: CertificateWishes, *, kept: bool
) -> PlannedFile:
    path = place / f"{stem}.p12"
    # Each making of a store draws another salt: one that fits is left as it is.
    content = path.read_bytes() if kept and path.exists() else b""
    name = f"{stem}.p12"
    content = content or pkcs12(own, authority.certificate, wishes.store_password, stem)
    return _file(wishes, name, content, secret=True)


def _read(place: Path, stem: str) -> KeyMaterial | None:
    try:
        return KeyMaterial((place / f"{stem}.pem").read_bytes(), (place / f"{stem}.key").read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputFileError(f"reading the certificates in {place} failed: {error.strerror}") from error
