"""What an operator of a rehearsal does before he admits a machine: reads its evidence and checks all of it.

As `sharekeeper attestation verify --url`, which takes Intel's root alone and the NEAR node of a real compose file.
"""

import time
from pathlib import Path
from typing import Any

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.attestation.evidence import encode_evidence
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.verifier import verify_evidence
from sharekeeper.cli.attestation_input import Shown
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import AttestationUnavailable


async def judge(
    shown: Shown, *, role: Role, account_id: AccountId, transfer: str, near_rpc_url: str, root_ca: bytes, rpc: NearRpc
) -> dict[str, Any]:
    """The facts that the evidence proves, judged by what the contract allows now.

    Raises:
        AttestationRefused: a check fails; the message names it.
        AttestationUnavailable: the machine shows no keys or no collateral.
        ChainFault: as every read.
    """
    collateral = shown.evidence.collateral
    if shown.keys is None or shown.report_data is None or collateral is None:
        raise AttestationUnavailable("the machine shows no keys or no collateral yet; try again")
    parameters = ComposeParameters(
        account_id=account_id, network=await rpc.network(), transfer=transfer, near_rpc_url=near_rpc_url
    )
    verdict = verify_evidence(
        shown.evidence,
        role=role,
        report_data=shown.report_data,
        allowed=await rpc.allowed_code(await rpc.head()),
        policy=AttestationPolicy(compose=Rendered(parameters=parameters)),
        now_s=int(time.time()),
        collateral=collateral,
        root_ca=root_ca,
    )
    tls_key, account_key = shown.keys
    measured = verdict.measurements
    return {
        "type": "evidence",
        "account_id": account_id,
        "role": role.value,
        "tls_public_key": str(tls_key),
        "account_public_key": str(account_key),
        "digest": Sha256Hex.of(encode_evidence(shown.evidence)),
        "checks": [{"number": check.number, "name": check.name, "detail": check.detail} for check in verdict.checks],
        "image": verdict.code_hash,
        "mrtd": measured.mrtd,
        "rtmr0": measured.rtmr0,
        "rtmr1": measured.rtmr1,
        "rtmr2": measured.rtmr2,
        "key_provider_event_digest": measured.key_provider_event_digest,
        "tcb_status": verdict.tcb_status,
        "expires_at": verdict.expires_at_s,
    }


def read_root(path: Path) -> bytes:
    """The root certificate (DER) of the stand-in. Raises `AttestationUnavailable`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AttestationUnavailable(f"{path} cannot be read: {error.strerror}; start the rack first") from None
