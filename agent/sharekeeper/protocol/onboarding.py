"""What a machine must tell the contract about itself (spec: "Onboarding", node and backup service).

Level-triggered and idempotent: what the contract already records is not submitted again. The spec's
three branches for a node:

1. account not among the participants: `submit_participant_info`, then wait for a resharing;
2. participant with this TLS key: `submit_participant_info`, then engage normally;
3. participant with another TLS key: `submit_participant_recovery_info`, which enters Recovery. It is possible only
   in Running: in every other state the node waits.

Branch 1 is for newcomers too whose account was a participant before: a resharing that removes an account retires
the keys of its node, and it comes back with new ones.

Branch 3 belongs to replacements alone. A machine whose TLS key was ever named by a final Running is
not a replacement of anything: once another key took its place it is retired, and asking would take
the account back from its successor (spec: "Recovery Protocol", note on shutting down).

In the hard launch (`attested`) every call carries the stamp of the machine's evidence, and without one none is made.
A machine that is registered renews the stamp whenever it has newer evidence, beside whatever else it does
(docs/contract.md, "Evidence"; ADR 14).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sharekeeper.domain.attestation import EvidenceStamp
from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BackupServiceKeys,
    NodeKeys,
    ParticipantInfo,
    ProtocolState,
    Recovery,
    Resharing,
    Running,
    running_part,
)
from sharekeeper.errors import KeyRetired, NotRegistered, OperatorFault
from sharekeeper.spec import RECOVERY_CALL_VALID_BLOCKS

Stamp = Callable[[], EvidenceStamp | None]
"""That of the machine's newest evidence; None while it has none that is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHistory:
    """What this machine durably remembers of its own TLS key.

    `recorded`: the contract once recorded it for this account and role; `named`: a final Running once
    named it (nodes), or it was once in force (backup services).
    """

    recorded: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing can be submitted now; `until_height` is the block at which it can, if known."""

    reason: str
    until_height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorNeeded:
    """Waiting does not help; `message` names the cure."""

    fault: type[OperatorFault]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitParticipantInfo:
    """Call `submit_participant_info` (branches 1 and 2)."""

    info: ParticipantInfo
    evidence: EvidenceStamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRecoveryInfo:
    """Call `submit_participant_recovery_info` (branch 3).

    A later `valid_until_block` or newer evidence make it no other decision: asking is one call, made once.
    """

    info: ParticipantInfo
    expected_tls_key: TlsKey
    expected_keyset: KeysetDigest
    valid_until_block: int = field(compare=False)
    evidence: EvidenceStamp | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterBackupService:
    """Call `register_backup_service` for that slot."""

    tls_public_key: TlsKey
    slot: int
    evidence: EvidenceStamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """The contract records this machine as it is. `renewal` brings it newer evidence and holds nothing up."""

    reason: str
    renewal: SubmitParticipantInfo | RegisterBackupService | None = None


NodeOnboarding = Onboarded | Wait | OperatorNeeded | SubmitParticipantInfo | SubmitRecoveryInfo
BackupServiceOnboarding = Onboarded | Wait | OperatorNeeded | RegisterBackupService

_NO_EVIDENCE = Wait(reason="this machine has no evidence of its TEE yet, and is not registered without")
_NEW_KEYS = "make new keys (`sharekeeper keys generate` into an empty directory) and grant them access"


def decide_node_onboarding(
    *,
    state: ProtocolState,
    record: AccountRecord,
    own: NodeKeys,
    history: KeyHistory,
    height: int,
    evidence: EvidenceStamp | None = None,
    attested: bool = False,
) -> NodeOnboarding:
    """The next onboarding step of a node; `state` and `record` are views at the final block `height`.

    Spec: "Onboarding", MPC node, step 3. `evidence` is that of this machine, None in the soft launch.
    """
    step = _decide_node(state, record, own, history=history, height=height, evidence=evidence)
    held_back = attested and evidence is None and _lacks_evidence(step, record.evidence_of(own.info.tls_public_key))
    return _NO_EVIDENCE if held_back else step


def _lacks_evidence(step: object, recorded: EvidenceStamp | None) -> bool:
    """Of a machine that must be attested and is not: it would be registered, or its registration counts for nothing."""
    return not isinstance(step, OperatorNeeded | Wait | Onboarded) or (isinstance(step, Onboarded) and recorded is None)


def _decide_node(
    state: ProtocolState,
    record: AccountRecord,
    own: NodeKeys,
    *,
    history: KeyHistory,
    height: int,
    evidence: EvidenceStamp | None,
) -> NodeOnboarding:
    running = running_part(state)
    if running is None:
        return Wait(reason="the contract is not initialised")
    if _key_is_gone(record, own, history):
        return OperatorNeeded(
            fault=KeyRetired,
            message=f"the contract retired TLS key {own.info.tls_public_key} of this node: {_NEW_KEYS}",
        )
    participant = running.participants.find(record.account_id)
    if participant is None:
        return _decide_prospective(state, record, own, evidence)
    if participant.info.tls_public_key == own.info.tls_public_key:
        return _decide_participant(record, own, evidence)
    return _decide_replacement(state, record, own, participant.info, height=height, evidence=evidence)


def _key_is_gone(record: AccountRecord, own: NodeKeys, history: KeyHistory) -> bool:
    """True when the contract once knew our TLS key and no longer does (docs/contract.md, keys, rules 4 and 5).

    A key that was in force and is now only a candidate cannot occur: rule 5.
    """
    known = {keys.info.tls_public_key for keys in (record.node, record.node_candidate) if keys is not None}
    return (history.recorded or history.named) and own.info.tls_public_key not in known


def _decide_prospective(
    state: ProtocolState, record: AccountRecord, own: NodeKeys, evidence: EvidenceStamp | None
) -> NodeOnboarding:
    renewed = record.node_candidate == own and not _is_newer(evidence, record, own.info.tls_public_key)
    joining = state.resharing.participants.find(record.account_id) if isinstance(state, Resharing) else None
    if joining is not None and joining.info.tls_public_key != own.info.tls_public_key:
        return Wait(reason="the resharing under way includes another machine of this account")
    if joining is not None and (renewed or record.node_candidate != own):
        return Wait(reason="the resharing under way includes this node")
    if renewed:
        return Wait(reason="announced; waiting to be included by a resharing")
    return SubmitParticipantInfo(info=own.info, evidence=evidence)


def _is_newer(evidence: EvidenceStamp | None, record: AccountRecord, tls_key: TlsKey) -> bool:
    """The contract has none of that machine's evidence, or older than `evidence`."""
    recorded = record.evidence_of(tls_key)
    return evidence is not None and (recorded is None or recorded.attested_at < evidence.attested_at)


def _decide_participant(record: AccountRecord, own: NodeKeys, evidence: EvidenceStamp | None) -> NodeOnboarding:
    submission = SubmitParticipantInfo(info=own.info, evidence=evidence)
    if record.node == own:
        newer = _is_newer(evidence, record, own.info.tls_public_key)
        if newer and record.evidence_of(own.info.tls_public_key) is None:
            return submission
        return Onboarded(reason="this node is the participant", renewal=submission if newer else None)
    if record.node is not None and record.node.signer_key != own.signer_key:
        return OperatorNeeded(
            fault=NotRegistered,
            message=f"the contract knows this node's TLS key with signer key {record.node.signer_key}, "
            f"and this machine holds {own.signer_key}: restore the right account_key, or {_NEW_KEYS}",
        )
    if record.node is not None:
        return OperatorNeeded(
            fault=NotRegistered,
            message=f"the contract has url {record.node.info.url!r} for this node and the configuration says "
            f"{own.info.url!r}: call update_participant_url as the operator, or correct the configuration",
        )
    return submission


def _decide_replacement(
    state: ProtocolState,
    record: AccountRecord,
    own: NodeKeys,
    participant: ParticipantInfo,
    *,
    height: int,
    evidence: EvidenceStamp | None,
) -> NodeOnboarding:
    if isinstance(state, Recovery):
        if state.recovering.account_id != record.account_id:
            return Wait(reason=f"{state.recovering.account_id} is recovering; one recovery at a time")
        if state.recovering.info.tls_public_key != own.info.tls_public_key:
            return Wait(reason="another machine of this account is recovering")
        return Onboarded(reason=f"recovery {state.recovery_id} of this node is under way")
    if not isinstance(state, Running):
        return Wait(reason=f"the contract is {type(state).__name__}; Recovery is entered only from Running")
    if height < record.cooldown_until:
        return Wait(
            reason=f"the account may recover again at block {record.cooldown_until}", until_height=record.cooldown_until
        )
    return SubmitRecoveryInfo(
        info=own.info,
        expected_tls_key=participant.tls_public_key,
        expected_keyset=state.keyset.digest(),
        valid_until_block=height + RECOVERY_CALL_VALID_BLOCKS,
        evidence=evidence,
    )


def decide_backup_service_onboarding(
    *,
    record: AccountRecord,
    own: BackupServiceKeys,
    history: KeyHistory,
    slot: int,
    evidence: EvidenceStamp | None = None,
    attested: bool = False,
) -> BackupServiceOnboarding:
    """The next onboarding step of a backup service. Spec: "Onboarding", backup service, step 3.

    It is registered in whichever slot has its TLS key; `slot` is where it registers when none has. `evidence` is that
    of this machine, None in the soft launch.
    """
    step = _decide_backup_service(record, own, history, slot, evidence)
    held_back = attested and evidence is None and _lacks_evidence(step, record.evidence_of(own.tls_public_key))
    return _NO_EVIDENCE if held_back else step


def _decide_backup_service(
    record: AccountRecord, own: BackupServiceKeys, history: KeyHistory, slot: int, evidence: EvidenceStamp | None
) -> BackupServiceOnboarding:
    known = record.slot_of(own.tls_public_key)
    service = None if known is None else record.backup_services[known]
    if known is not None and service == own:
        newer = _is_newer(evidence, record, own.tls_public_key)
        renewal = RegisterBackupService(tls_public_key=own.tls_public_key, slot=known, evidence=evidence)
        if newer and record.evidence_of(own.tls_public_key) is None:
            return renewal
        reason = f"this backup service is registered in slot {known}"
        return Onboarded(reason=reason, renewal=renewal if newer else None)
    if service is not None:
        return OperatorNeeded(
            fault=NotRegistered,
            message=f"the contract knows this TLS key with signer key {service.signer_key}, "
            f"and this machine holds {own.signer_key}: restore the right account_key, or {_NEW_KEYS}",
        )
    if history.recorded or history.named:
        return OperatorNeeded(
            fault=KeyRetired,
            message=f"the contract retired TLS key {own.tls_public_key} of this backup service: {_NEW_KEYS}",
        )
    if not record.is_participant and record.node_candidate is None:
        return Wait(reason=f"{record.account_id} has not announced a node yet")
    return RegisterBackupService(tls_public_key=own.tls_public_key, slot=slot, evidence=evidence)


def remember_node(
    history: KeyHistory, *, state: ProtocolState, record: AccountRecord | None, account_id: AccountId, tls_key: TlsKey
) -> KeyHistory:
    """`history` with what these final views add to it. Facts are only ever added."""
    running = running_part(state)
    participant = None if running is None else running.participants.find(account_id)
    pairs = () if record is None else (record.node, record.node_candidate)
    return KeyHistory(
        recorded=history.recorded or any(pair is not None and pair.info.tls_public_key == tls_key for pair in pairs),
        named=history.named or (participant is not None and participant.info.tls_public_key == tls_key),
    )


def remember_backup_service(history: KeyHistory, *, record: AccountRecord, tls_key: TlsKey) -> KeyHistory:
    """`history` with what this final view adds to it."""
    seen = record.slot_of(tls_key) is not None
    return KeyHistory(recorded=history.recorded or seen, named=history.named or seen)
