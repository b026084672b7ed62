"""Who may trigger a hand-out of key shares (design decision 8). Pure: facts in, one frozen verdict out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sharekeeper.domain.attestation import Verdict
from sharekeeper.domain.backup import Approval
from sharekeeper.domain.identity import NetworkId
from sharekeeper.domain.protocol_state import Recovery
from sharekeeper.spec import MAINNET_GENESIS_HASH, TESTNET_GENESIS_HASH

_NS: Final = 1_000_000_000
PUBLIC_CHAIN_IDS: Final = frozenset({"mainnet", "testnet"})
PUBLIC_GENESIS_HASHES: Final = frozenset({MAINNET_GENESIS_HASH, TESTNET_GENESIS_HASH})
CURE: Final = (
    "cancel the recovery or let it expire; a cancelled one retired the replacement's keys, so make new keys on it; "
    "then run `sharekeeper backup-service approve` for its keys, and only then grant them access"
)
"""What the operator does about a recovery that no approval covers (docs/contract.md, keys, rule 4)."""


class HandOutPolicy(StrEnum):
    """Whose word lets shares leave.

    `approve`: the operator's, given beforehand. `automatic`: the contract's is enough (dev chain, drills).
    `attested`: the evidence of the recovering node, made for this very exchange; hard launch, and nothing else there.
    """

    APPROVE = "approve"
    AUTOMATIC = "automatic"
    ATTESTED = "attested"


SOFT_LAUNCH_POLICIES: Final = (HandOutPolicy.APPROVE, HandOutPolicy.AUTOMATIC)
"""What may be chosen where no machine shows evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOutAllowed:
    """Shares may leave for this recovery. `approval` must be spent on it, durably, before the first share byte."""

    approval: Approval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOutRefused:
    """No share leaves for this recovery."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceNeeded:
    """No share leaves before the recovering node's evidence is accepted in the exchange that is to carry the shares."""


HandOutVerdict = HandOutAllowed | HandOutRefused | EvidenceNeeded


def is_public_network(network: NetworkId) -> bool:
    """True for mainnet and testnet, by chain id or by genesis block, whichever says so."""
    return network.chain_id in PUBLIC_CHAIN_IDS or network.genesis_hash in PUBLIC_GENESIS_HASHES


def decide_hand_out(
    *,
    policy: HandOutPolicy,
    network: NetworkId,
    recovery: Recovery,
    approvals: Sequence[Approval],
    now_ns: int,
    peer: Verdict | None = None,
) -> HandOutVerdict:
    """Whether the shares of `recovery.previous.keyset` may go to the recovering node, at wall time `now_ns`.

    Spec: "Recovery", backup service, step 3; design decision 8. Checked: 1. `automatic` only off the
    public networks; 2. `approve`: one approval that agrees with the recovery in account, TLS key,
    url, signer key and keyset; 3. made before the recovery started; 4. before its deadline;
    5. unspent, or spent on this very recovery; 6. `attested`: `peer`, which is what the evidence of the other side
    proved in this exchange, is there and still valid. Not checked: that the peer is the recovering node, which the
    channel's pin does, and what its evidence proves (`mutual_attestation`).
    """
    if policy is HandOutPolicy.ATTESTED:
        return _decide_attested(peer, now_ns)
    if policy is HandOutPolicy.AUTOMATIC:
        if is_public_network(network):
            return HandOutRefused(
                reason=f'the automatic policy is refused on {network.chain_id}: set policy = "approve"'
            )
        return HandOutAllowed(approval=None)
    own = [approval for approval in approvals if approval.account_id == recovery.recovering.account_id]
    if not own:
        return HandOutRefused(reason=f"the operator approved no recovery of this account: {CURE}")
    objections = {index: tuple(_objections(approval, recovery, now_ns)) for index, approval in enumerate(own)}
    for index, found in objections.items():
        if not found:
            return HandOutAllowed(approval=own[index])
    closest = min(reversed(objections.values()), key=len)
    return HandOutRefused(reason=f"no approval covers this recovery ({'; '.join(closest)}): {CURE}")


def _decide_attested(peer: Verdict | None, now_ns: int) -> HandOutVerdict:
    if peer is None:
        return EvidenceNeeded()
    if now_ns >= peer.expires_at_s * _NS:
        return HandOutRefused(reason="the recovering node's evidence expired before a share left; try again")
    return HandOutAllowed(approval=None)


def _objections(approval: Approval, recovery: Recovery, now_ns: int) -> Iterator[str]:
    wanted = recovery.recovering
    if approval.info.tls_public_key != wanted.info.tls_public_key:
        yield f"approved TLS key {approval.info.tls_public_key}, recovering {wanted.info.tls_public_key}"
    if approval.info.url != wanted.info.url:
        yield f"approved url {approval.info.url!r}, recovering {wanted.info.url!r}"
    if approval.signer_key != wanted.signer_key:
        yield f"approved signer key {approval.signer_key}, recovering {wanted.signer_key}"
    if approval.keyset != recovery.previous.keyset.digest():
        yield f"approved keyset {approval.keyset[:12]}, current {recovery.previous.keyset.digest()[:12]}"
    if approval.approved_at_height >= recovery.started_in:
        yield f"approved at block {approval.approved_at_height}, recovery started in {recovery.started_in}"
    if now_ns >= approval.deadline_ns:
        yield "its deadline has passed"
    if approval.used_for not in (None, recovery.recovery_id):
        yield f"it was spent on recovery {approval.used_for}"
