"""Whether collateral is Intel's word on a platform, of whoever it came (docs/attestation.md, "Collateral").

dcap-qvl verifies a quote with collateral as one question. This module answers the other half alone, so that a
PCCS that lies is told from a quote that is bad: only what Intel signed is kept, and a revocation that Intel
published is never taken for a lie and set aside.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dcap_qvl
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from sharekeeper.attestation.collateral import collateral_expires_at_s, collateral_parts
from sharekeeper.attestation.quote import guarded
from sharekeeper.protocol.codec import parse_json, text
from sharekeeper.spec import MAX_COLLATERAL_AGE_SECONDS, MAX_COLLATERAL_BYTES

INTEL_ROOT_SHA256: Final = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
"""SHA-256 of the Intel SGX Root CA certificate (DER), the root that dcap-qvl has built in."""

_SIGNATURE_BYTES: Final = 64
_CHAIN_CERTIFICATES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What collateral is published for: a processor family (FMSPC, 12 hex digits) and the authority of its PCKs."""

    fmspc: str
    ca: str

    def __str__(self) -> str:
        return f"{self.fmspc}-{self.ca}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCollateral:
    """Collateral that Intel signed for a platform. Times in seconds since 1970, UTC.

    `issued_at_s`: of TCB info, QE identity, PCK CRL and root CRL, in this order; `expires_at_s`: the first to expire.
    """

    text: str
    issued_at_s: tuple[int, ...]
    expires_at_s: int

    def older_than(self, other: "CheckedCollateral") -> bool:
        """A document of it was replaced by one that `other` has."""
        return any(own < its for own, its in zip(self.issued_at_s, other.issued_at_s, strict=True))


def platform_of(quote: bytes) -> Platform:
    """The platform that a quote says it comes from; nothing of it is verified. Raises `ValueError`."""

    def read() -> Platform:
        parsed = dcap_qvl.parse_quote(quote)
        return Platform(fmspc=parsed.fmspc().upper(), ca=parsed.ca())

    return guarded(read)


def check_collateral(collateral: str, platform: Platform, *, now_s: int, root_ca: bytes | None) -> CheckedCollateral:
    """What Intel signed for `platform`, valid at `now_s`; dcap-qvl does not refuse it for its own sake.

    Steps: 1. dcap-qvl's JSON form; 2. each chain is a certificate and the root above it; 3. TCB info and QE identity
    are signed by their chains, both CRLs by their issuers; 4. no signer is revoked; 5. they are those of TDX on this
    platform; 6. every document is valid at `now_s`.

    Args:
        collateral: dcap-qvl's JSON text.
        platform: whose collateral it should be.
        now_s: seconds since 1970, UTC.
        root_ca: the root's certificate (DER); None for Intel's.

    Raises:
        ValueError: a step failed; the text says which.
    """
    if len(collateral) > MAX_COLLATERAL_BYTES:
        raise ValueError(f"collateral has {len(collateral)} characters, at most {MAX_COLLATERAL_BYTES} are read")
    try:
        return _checked(collateral, platform, now_s, root_ca)
    except InvalidSignature:
        raise ValueError("a document of the collateral is not signed by its issuer") from None
    except (TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ValueError("a certificate or list of the collateral is of a kind that Intel does not use") from None


def _checked(collateral: str, platform: Platform, now_s: int, root_ca: bytes | None) -> CheckedCollateral:
    value = parse_json(collateral.encode())  # 1
    now = datetime.fromtimestamp(now_s, UTC)
    names = ("tcb_info", "qe_identity", "pck_crl")
    chains = {name: _chain(text(value, f"{name}_issuer_chain"), now, root_ca) for name in names}  # 2
    signers = {name: signer for name, (signer, _) in chains.items()}
    root = chains["pck_crl"][1]
    tcb_info = _signed(value, "tcb_info", signers["tcb_info"])  # 3
    qe_identity = _signed(value, "qe_identity", signers["qe_identity"])
    _revocation_list(value, "pck_crl", signers["pck_crl"])
    root_crl = _revocation_list(value, "root_ca_crl", root)
    for signer in signers.values():  # 4
        if root_crl.get_revoked_certificate_by_serial_number(signer.serial_number) is not None:
            raise ValueError(f"{signer.subject.rfc4514_string()}, which signed the collateral, is revoked")
    _check_platform(tcb_info, qe_identity, signers["pck_crl"], platform)  # 5
    parts = collateral_parts(collateral)
    for part in parts:  # 6
        if not part.issued_at_s <= now_s < part.expires_at_s:
            raise ValueError(
                f"{part.name} of the collateral counts from {part.issued_at_s} to {part.expires_at_s}, not at {now_s}"
            )
    expires_at_s = collateral_expires_at_s(parts, max_age_seconds=MAX_COLLATERAL_AGE_SECONDS)
    if expires_at_s <= now_s:
        raise ValueError(f"the collateral was issued more than {MAX_COLLATERAL_AGE_SECONDS // 86_400} days ago")
    issued_at_s = tuple(part.issued_at_s for part in parts)
    return CheckedCollateral(text=collateral, issued_at_s=issued_at_s, expires_at_s=expires_at_s)


def _chain(pem: str, now: datetime, root_ca: bytes | None) -> tuple[x509.Certificate, x509.Certificate]:
    """The signer and the root above it."""
    chain = x509.load_pem_x509_certificates(pem.encode())
    if len(chain) != _CHAIN_CERTIFICATES:
        raise ValueError(f"an issuer chain of the collateral has {len(chain)} certificates, not {_CHAIN_CERTIFICATES}")
    signer, root = chain
    encoded = root.public_bytes(Encoding.DER)
    trusted = INTEL_ROOT_SHA256 if root_ca is None else hashlib.sha256(root_ca).hexdigest()
    if hashlib.sha256(encoded).hexdigest() != trusted:
        raise ValueError(f"the collateral's root is not Intel's, it calls itself {root.subject.rfc4514_string()[:80]}")
    signer.verify_directly_issued_by(root)
    if not signer.not_valid_before_utc <= now < signer.not_valid_after_utc:
        raise ValueError("a certificate of the collateral is not valid now")
    return signer, root


def _signed(value: object, name: str, signer: x509.Certificate) -> object:
    """The document of that name, which `signer` signed."""
    document = text(value, name).encode()
    raw = bytes.fromhex(text(value, f"{name}_signature"))
    if len(raw) != _SIGNATURE_BYTES:
        raise ValueError(f"the signature of {name} has {len(raw)} bytes, not {_SIGNATURE_BYTES}")
    half = _SIGNATURE_BYTES // 2
    signature = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError
    key.verify(signature, document, ec.ECDSA(SHA256()))
    return parse_json(document)


def _revocation_list(value: object, name: str, issuer: x509.Certificate) -> x509.CertificateRevocationList:
    found = x509.load_der_x509_crl(bytes.fromhex(text(value, name)))
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError
    if not found.is_signature_valid(key):
        raise InvalidSignature
    return found


def _check_platform(tcb_info: object, qe_identity: object, pck_issuer: x509.Certificate, platform: Platform) -> None:
    if (text(tcb_info, "id"), text(qe_identity, "id")) != ("TDX", "TD_QE"):
        raise ValueError("the collateral is not that of TDX")
    if text(tcb_info, "fmspc").upper() != platform.fmspc:
        raise ValueError(f"the collateral is of platform {text(tcb_info, 'fmspc')[:20]}, not {platform.fmspc}")
    if f" {platform.ca} ca" not in pck_issuer.subject.rfc4514_string().lower():
        raise ValueError(f"the collateral's PCK CRL is not that of the {platform.ca} authority")
