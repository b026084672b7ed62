"""The TLS leaf certificate of near/mpc nodes (near/mpc interop, section 1.2).

Every leaf is signed by a certificate authority whose private key is public, so the signature proves
nothing. What it buys: the leaf is a function of the TLS key alone, and whoever knows a key from the
contract can rebuild its owner's exact certificate and trust that and nothing else (`pinning`).
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sharekeeper.domain.identity import TlsKey
from sharekeeper.spec import TLS_SERVER_NAME

_PUBLIC_CA_SEED: Final = bytes.fromhex("690c3d011bd065f18055db8288cb79b9879c25294b7418a89ad871fc85a87b56")
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rcgen self signed cert")])
_NOT_BEFORE: Final = datetime(1975, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(4096, 1, 1, tzinfo=UTC)
_SERIAL_BYTES: Final = 20


def leaf_certificate(tls_key: TlsKey) -> bytes:
    """The DER certificate that the owner of `tls_key` presents: the same bytes on every machine."""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(Ed25519PublicKey.from_public_bytes(tls_key.raw))
        .serial_number(_serial(tls_key))
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TLS_SERVER_NAME)]), critical=False)
        .sign(Ed25519PrivateKey.from_private_bytes(_PUBLIC_CA_SEED), algorithm=None)
    )
    return certificate.public_bytes(Encoding.DER)


def _serial(tls_key: TlsKey) -> int:
    """SHA-256 of the raw key, first 20 bytes, sign bit cleared."""
    digest = hashlib.sha256(tls_key.raw).digest()[:_SERIAL_BYTES]
    return int.from_bytes(bytes([digest[0] & 0x7F]) + digest[1:], "big")
