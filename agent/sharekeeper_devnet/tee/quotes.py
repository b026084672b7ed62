"""TDX quotes of version 4 over a TD 1.0 report, in the layout of Intel's quoting library.

All numbers are little-endian. A quote is header (48 bytes), report (584) and signature data: the attestation
key signs the first 632 bytes, the PCK signs the quoting enclave's report, which names the attestation key.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from sharekeeper_devnet.tee.certificates import Identity, raw_public_key, raw_signature
from sharekeeper_devnet.tee.tcb import QE_ATTRIBUTES, QE_MRSIGNER, QE_PROD_ID, QE_SVN

REPORT_DATA_BYTES: Final = 64
REGISTER_BYTES: Final = 48
SIGNED_BYTES: Final = 632
_VERSION, _ECDSA_P256, _TDX = 4, 2, 0x81
_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QE_REPORT_CERTIFIED, _PCK_CHAIN = 6, 5
_QE_AUTH_DATA: Final = bytes(range(32))
_MR_SEAM: Final = bytes.fromhex(
    "7bf063280e94fb051f5dd7b1fc59ce9aac42bb961df8d44b709c9b0ff87a7b4df648657ba6d1189589feab1d5a3c9a9d"
)
_ATTRIBUTES: Final = bytes.fromhex("0000001000000000")
_DEBUG: Final = 0x01
_XFAM: Final = bytes.fromhex("e702060000000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """What a TD says of itself: registers of 48 bytes each, 64 bytes of report data."""

    tee_tcb_svn: bytes
    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    mr_config_id: bytes
    report_data: bytes
    debug: bool

    def __post_init__(self) -> None:
        registers = (self.mrtd, self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3, self.mr_config_id)
        if any(len(register) != REGISTER_BYTES for register in registers):
            raise ValueError(f"a register of a TD has {REGISTER_BYTES} bytes")
        if len(self.report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(self.report_data)}")

    def encoded(self) -> bytes:
        """The 584 bytes of the report's body."""
        attributes = bytes([_ATTRIBUTES[0] | (_DEBUG if self.debug else 0)]) + _ATTRIBUTES[1:]
        unused = bytes(REGISTER_BYTES)
        seam = self.tee_tcb_svn + _MR_SEAM + unused + bytes(8)
        measured = self.mrtd + self.mr_config_id + unused + unused
        runtime = self.rtmr0 + self.rtmr1 + self.rtmr2 + self.rtmr3
        return seam + attributes + _XFAM + measured + runtime + self.report_data


def encode_quote(report: TdReport, *, attestation_key: ec.EllipticCurvePrivateKey, pck: Identity, chain: str) -> bytes:
    """A quote over the report; `chain` is the PEM of the PCK certificate and what stands above it."""
    header = struct.pack("<HHI4x", _VERSION, _ECDSA_P256, _TDX) + _QE_VENDOR + bytes(20)
    signed = header + report.encoded()
    public = raw_public_key(attestation_key)
    qe_report = _qe_report(hashlib.sha256(public + _QE_AUTH_DATA).digest())
    authentication = struct.pack("<H", len(_QE_AUTH_DATA)) + _QE_AUTH_DATA
    certified = qe_report + pck.sign(qe_report) + authentication + _data(_PCK_CHAIN, chain.encode() + b"\0")
    signature = raw_signature(attestation_key, signed) + public + _data(_QE_REPORT_CERTIFIED, certified)
    return signed + struct.pack("<I", len(signature)) + signature


def _qe_report(key_hash: bytes) -> bytes:
    """The quoting enclave's SGX report (384 bytes), whose report data is the hash of the attestation key."""
    measured = hashlib.sha256(b"quoting enclave of the TEE host stand-in").digest()
    head = bytes(48) + QE_ATTRIBUTES + measured + bytes(32) + QE_MRSIGNER + bytes(96)
    return head + struct.pack("<HH60x", QE_PROD_ID, QE_SVN) + key_hash.ljust(REPORT_DATA_BYTES, b"\0")


def _data(kind: int, body: bytes) -> bytes:
    return struct.pack("<HI", kind, len(body)) + body
