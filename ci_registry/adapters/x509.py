"""Certificates read for people: who issued one, for which names, and when it is good; and made, by a CA of our own.

The only module that imports cryptography.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import InputFileError
from ..redaction import shown

if TYPE_CHECKING:
    from cryptography import x509

__all__ = [
    "CertificateFacts",
    "KeyMaterial",
    "belongs_together",
    "facts_in_file",
    "facts_of",
    "issue",
    "make_authority",
    "pkcs12",
    "signed_by",
]


class CertificateFacts(Struct, frozen=True):
    """What a certificate says. `names` are those of its subjectAltName, DNS names and addresses; times are UTC.

    `common_name` is "" when the subject has none; nobody checks it any more, but it shows what was meant.
    """

    subject: str
    issuer: str
    common_name: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str
    is_self_signed: bool


def facts_of(der: bytes) -> CertificateFacts | None:
    """What a certificate in DER says; None when it can't be read."""
    from cryptography import x509

    try:
        return _facts(x509.load_der_x509_certificate(der))
    except ValueError:
        return None


def facts_in_file(path: Path) -> list[CertificateFacts]:
    """What the certificates of a PEM file say; empty when it holds none that can be read."""
    from cryptography import x509

    try:
        return [_facts(certificate) for certificate in x509.load_pem_x509_certificates(path.read_bytes())]
    except (OSError, ValueError):
        return []


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    from cryptography.hazmat.primitives.serialization import Encoding

    return CertificateFacts(
        subject=_shown(certificate.subject),
        issuer=_shown(certificate.issuer),
        common_name=_common_name(certificate.subject),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        is_self_signed=certificate.subject == certificate.issuer,
    )


def _shown(name: x509.Name) -> str:
    """The common name alone where there is one, else the whole name as RFC 4514 writes it."""
    return _common_name(name) or name.rfc4514_string() or "nobody named"


def _common_name(name: x509.Name) -> str:
    from cryptography.x509.oid import NameOID

    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = extension.value
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


# -- making them -----------------------------------------------------------------------------------------------------


class KeyMaterial(Struct, frozen=True):
    """A certificate and its private key, both PEM; the key without a password."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return shown(self, "certificate")


def make_authority(name: str, days: int) -> KeyMaterial:
    """A certificate authority that signs itself (RFC 5280), with an EC P-256 key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, _name(name), key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    return _signed(builder, key, key)


def issue(authority: KeyMaterial, common_name: str, names: Sequence[str], days: int, *, client: bool) -> KeyMaterial:
    """A certificate for a server with these names and addresses, or with `client` for a client.

    Raises `InputFileError` when the authority's files can't be read.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca, ca_key = _authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = _builder(common_name, ca.subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]  # EC or RSA
    builder = builder.add_extension(issuer_key, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    return _signed(builder, key, ca_key)


def pkcs12(own: KeyMaterial, authority: bytes, password: str, name: str) -> bytes:
    """Certificate, key and CA as one PKCS#12 store (RFC 7292), as Java's servers and browsers want it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        load_pem_private_key,
        pkcs12,
    )

    certificate = x509.load_pem_x509_certificates(own.certificate)[0]
    key = load_pem_private_key(own.key, None)
    chain = x509.load_pem_x509_certificates(authority)
    return pkcs12.serialize_key_and_certificates(
        name.encode(),
        key,  # type: ignore[arg-type]  # made here: an EC key
        certificate,
        chain,
        BestAvailableEncryption(password.encode()),
    )


def signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether the first certificate of a PEM text was signed by the first one of another."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        own = x509.load_pem_x509_certificates(certificate)[0]
        own.verify_directly_issued_by(x509.load_pem_x509_certificates(authority)[0])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def belongs_together(material: KeyMaterial) -> bool:
    """Whether the key is that of the certificate; False as well when one of them can't be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificates(material.certificate)[0]
        return certificate.public_key() == load_pem_private_key(material.key, None).public_key()
    except (ValueError, TypeError):
        return False


def _authority(authority: KeyMaterial) -> tuple[x509.Certificate, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not belongs_together(authority):
        raise InputFileError(
            "issuing a certificate failed: the CA's certificate and key can't be read, or are not of each other",
            hint="put the right ca.pem and ca.key there, or remove both to have a new CA made",
        )
    return x509.load_pem_x509_certificates(authority.certificate)[0], load_pem_private_key(authority.key, None)


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(name: str, issuer: x509.Name, public_key: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    # An hour back, for machines whose clocks are a little behind.
    start = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    from ipaddress import ip_address

    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _signed(builder: x509.CertificateBuilder, key: Any, issuer_key: Any) -> KeyMaterial:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    certificate = builder.sign(issuer_key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyMaterial(certificate.public_bytes(Encoding.PEM), private)
