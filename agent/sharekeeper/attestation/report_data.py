"""The 64 bytes of report data that bind a quote to keys, or to one exchange (docs/attestation.md, "Report data").

Version (2 bytes, big-endian), SHA3-384 of what is bound, 14 zero bytes. Versions below 0x8000 are near/mpc's.
"""

import hashlib
from typing import Final

from sharekeeper.domain.identity import Role, SignerKey, TlsKey
from sharekeeper.protocol.messages import Exchange
from sharekeeper.spec import ATTESTATION_NONCE_BYTES, REPORT_DATA_BYTES, SPEC_REVISION

_REGISTRATION: Final = b"\x00\x01"
_EXCHANGE: Final = b"\x80\x01"
_EXCHANGE_TAG: Final = "sharekeeper-evidence-v1"
_NONE: Final = "-"


def registration_report_data(tls_key: TlsKey, account_key: SignerKey) -> bytes:
    """Report data of evidence for the contract: version 0x0001 over both public keys, as near/mpc defines it."""
    return _report_data(_REGISTRATION, tls_key.raw + account_key.raw)


def exchange_report_data(exchange: Exchange, prover: Role, *, peer_nonce: bytes, own_nonce: bytes) -> bytes:
    """Report data of evidence made for one exchange: version 0x8001 over fourteen lines of UTF-8.

    Both nonces are named as the prover sees them: `own_nonce` is his, `peer_nonce` was given by who verifies.

    Args:
        exchange: what both sides agree on.
        prover: on which side of the exchange the prover stands.
        peer_nonce: 32 bytes.
        own_nonce: 32 bytes.

    Raises:
        ValueError: a nonce is not 32 bytes long, or both are the same.
    """
    if {len(peer_nonce), len(own_nonce)} != {ATTESTATION_NONCE_BYTES}:
        raise ValueError(f"a nonce has {ATTESTATION_NONCE_BYTES} bytes")
    if peer_nonce == own_nonce:
        raise ValueError("both sides of an exchange gave the same nonce; each makes its own")
    network = exchange.network
    lines = (
        _EXCHANGE_TAG,
        SPEC_REVISION,
        network.chain_id,
        network.genesis_hash,
        network.contract_id,
        exchange.account_id,
        exchange.purpose.value,
        _NONE if exchange.recovery_id is None else str(exchange.recovery_id),
        exchange.keyset_digest,
        prover.value,
        str(exchange.node_tls_key),
        str(exchange.backup_service_tls_key),
        peer_nonce.hex(),
        own_nonce.hex(),
    )
    return _report_data(_EXCHANGE, "".join(f"{line}\n" for line in lines).encode())


def _report_data(version: bytes, bound: bytes) -> bytes:
    return (version + hashlib.sha3_384(bound).digest()).ljust(REPORT_DATA_BYTES, b"\0")
