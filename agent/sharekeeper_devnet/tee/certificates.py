"""X.509 as Intel's provisioning services issue it: P-256 authorities, certificates and revocation lists.

Keys and certificates follow from a seed, so a stand-in that starts again is the same hardware under the same root.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

_CURVE: Final = ec.SECP256R1()
_CURVE_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_VALID_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its private key, under one name."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    issuer: x509.Certificate | None

    @classmethod
    def root(cls, seed: bytes, name: str) -> Self:
        """An authority that signs itself and may have authorities under it."""
        key = derived_key(seed, name)
        builder = _builder(key, _name(name), _name(name), key.public_key())
        return cls(key=key, certificate=_signed(_authority(builder, path_length=1), key), issuer=None)

    def authority(self, seed: bytes, name: str) -> "Identity":
        """An authority under this one, for end certificates only."""
        key = derived_key(seed, name)
        builder = _builder(key, _name(name), self.certificate.subject, self.key.public_key())
        return Identity(
            key=key, certificate=_signed(_authority(builder, path_length=0), self.key), issuer=self.certificate
        )

    def end(
        self, seed: bytes, name: str, *, label: str, sgx_extension: x509.UnrecognizedExtension | None
    ) -> "Identity":
        """An end certificate under this authority; `label` tells keys apart that share a name."""
        key = derived_key(seed, label)
        builder = _builder(key, _name(name), self.certificate.subject, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        if sgx_extension is not None:
            builder = builder.add_extension(sgx_extension, critical=False)
        return Identity(key=key, certificate=_signed(builder, self.key), issuer=self.certificate)

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256, 64 bytes: r, then s, as quotes and collateral carry it."""
        return raw_signature(self.key, message)

    def revocation_list(self, revoked: Iterable[x509.Certificate], issued_at_s: int, valid_seconds: int) -> bytes:
        """The DER of this authority's revocation list."""
        issued = datetime.fromtimestamp(issued_at_s, UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.certificate.subject,
            last_update=issued,
            next_update=datetime.fromtimestamp(issued_at_s + valid_seconds, UTC),
        )
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder(certificate.serial_number, issued)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(*certificates: x509.Certificate) -> str:
    """The certificates in this order, PEM."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def derived_key(seed: bytes, label: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of that label under the seed."""
    number = int.from_bytes(hashlib.sha512(seed + b"\0" + label.encode()).digest())
    return ec.derive_private_key(number % (_CURVE_ORDER - 1) + 1, _CURVE)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA over SHA-256, 64 bytes: r, then s."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def raw_public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key, 64 bytes: x, then y."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sharekeeper rehearsal, not Intel Corporation"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    serial = int.from_bytes(hashlib.sha256(raw_public_key(key)).digest()[:19]) | 1
    return (
        x509.CertificateBuilder(
            subject_name=subject,
            issuer_name=issuer,
            public_key=key.public_key(),
            serial_number=serial,
            not_valid_before=_VALID_FROM,
            not_valid_after=_VALID_UNTIL,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(
        _usage(signs_certificates=True), critical=True
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=not signs_certificates,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
