"""The contract's protocol state and what it says about one account (docs/contract.md)."""

from dataclasses import dataclass
from typing import Final

from sharekeeper.domain.attestation import EvidenceStamp
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, Keyset

_CURVE_OF: Final = {
    "CaitSith": Curve.SECP256K1,
    "DamgardEtAl": Curve.SECP256K1,
    "Frost": Curve.ED25519,
    "ConfidentialKeyDerivation": Curve.BLS12381,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRef:
    """A final block: height, hash (base58), timestamp (nanoseconds since 1970, UTC)."""

    height: int
    hash: str
    timestamp_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantInfo:
    """Where a node is and which TLS key it proves. `url` has scheme and host."""

    url: str
    tls_public_key: TlsKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One participant of the network."""

    account_id: AccountId
    participant_id: int
    info: ParticipantInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Participants:
    """The participant set, in contract order."""

    members: tuple[Participant, ...]

    def find(self, account_id: AccountId) -> Participant | None:
        """The participant with that account id, or None."""
        return next((member for member in self.members if member.account_id == account_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfig:
    """What a domain's key is for: near/mpc's names of protocol and purpose, and how many shares make a signature."""

    domain_id: int
    protocol: str
    reconstruction_threshold: int
    purpose: str

    @property
    def curve(self) -> Curve:
        """The curve of the protocol's keys. Raises `ValueError` for a protocol we do not know."""
        try:
            return _CURVE_OF[self.protocol]
        except KeyError:
            raise ValueError(f"domain {self.domain_id}: unknown protocol {self.protocol[:40]!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEventInstance:
    """The attempt in progress: it is over at block `expires_on`.

    `completed` are the participant ids that voted, `public_key` is what they voted for: None before the
    first vote, and always when resharing.
    """

    attempt_id: int
    started_in: int
    expires_on: int
    completed: tuple[int, ...]
    public_key: DomainPublicKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """The domain whose key is being generated or reshared in `epoch_id`, by `participants`, all of whom must vote."""

    epoch_id: int
    domain: DomainConfig
    participants: Participants
    threshold: int
    instance: KeyEventInstance | None
    next_attempt_id: int


@dataclass(frozen=True, slots=True)
class NotInitialized:
    """The contract was not initialised: it has neither participants nor keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Signature requests are handled; the keyset is final for this epoch and set of domains, of which there may be none.

    `domains` are those of the keyset; empty also when the contract's answer does not describe them.
    """

    keyset: Keyset
    participants: Participants
    threshold: int
    domains: tuple[DomainConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Initializing:
    """Keys of new domains are generated.

    `previous` is the Running that a cancellation would lead to: its keyset has the domains from before and those
    generated so far. `generating` is the next one.
    """

    previous: Running
    generating: KeyEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Resharing:
    """The participant set or threshold is changing; `previous` still holds the key.

    `reshared` are the finished domains of the new epoch, `resharing` is the next one.
    """

    previous: Running
    reshared: tuple[DomainKey, ...]
    resharing: KeyEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovering:
    """Who recovers: account, new participant info and the signer key that may conclude."""

    account_id: AccountId
    info: ParticipantInfo
    signer_key: SignerKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One participant replaces its machine; `previous` is the Running state before and, but for its info, after."""

    recovery_id: int
    previous: Running
    prospective: Participants
    recovering: Recovering
    started_in: int
    expires_on: int
    shares_confirmed: bool


ProtocolState = NotInitialized | Initializing | Running | Resharing | Recovery


def running_part(state: ProtocolState) -> Running | None:
    """The Running state in force: itself, or the one the state started from and a cancellation leads back to.

    Of Initializing, its keyset has domains already that no Running has named yet.
    """
    match state:
        case Running():
            return state
        case Initializing() | Recovery() | Resharing():
            return state.previous
        case NotInitialized():
            return None


def without_progress(state: ProtocolState) -> object:
    """What of a state only a decision of the network changes: all but the attempts and votes of its key event."""
    if isinstance(state, Initializing | Resharing):
        return type(state), state.previous
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """A node's url, TLS key and signer key as recorded."""

    info: ParticipantInfo
    signer_key: SignerKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServiceKeys:
    """A backup service's TLS key and signer key as recorded."""

    tls_public_key: TlsKey
    signer_key: SignerKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvidence:
    """What the contract shows of one machine's evidence, which is none from the second `valid_until` on."""

    tls_public_key: TlsKey
    stamp: EvidenceStamp
    valid_until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """View `participant_info`: one account, with the backup service in force in each of its slots.

    `cooldown_until` is a block height, 0 when there is none. `evidence` is that of the machines that have some which
    is valid at the block of the view.
    """

    account_id: AccountId
    is_participant: bool
    node: NodeKeys | None
    node_candidate: NodeKeys | None
    backup_services: tuple[BackupServiceKeys | None, BackupServiceKeys | None]
    cooldown_until: int
    evidence: tuple[RecordedEvidence, ...] = ()

    def evidence_of(self, tls_key: TlsKey) -> EvidenceStamp | None:
        """The valid evidence of the machine with that TLS key, in force or announced; None when it has none."""
        return next((one.stamp for one in self.evidence if one.tls_public_key == tls_key), None)

    @property
    def backup_service_tls_keys(self) -> tuple[TlsKey, ...]:
        """The TLS keys of the backup services in force, none to two."""
        return tuple(service.tls_public_key for service in self.backup_services if service is not None)

    def slot_of(self, tls_key: TlsKey) -> int | None:
        """The slot whose backup service in force has that TLS key, or None."""
        keys = (service and service.tls_public_key for service in self.backup_services)
        return next((slot for slot, key in enumerate(keys) if key == tls_key), None)
