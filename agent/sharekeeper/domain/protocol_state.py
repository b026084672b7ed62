"""The contract's protocol state and what it says about one account (docs/contract.md)."""

from dataclasses import dataclass

from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Keyset


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


@dataclass(frozen=True, slots=True)
class NotInitialized:
    """The contract has no keyset yet."""


@dataclass(frozen=True, slots=True)
class Initializing:
    """Key generation for new domains; shares may change until it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Signature requests are handled; the keyset is final for this epoch and set of domains."""

    keyset: Keyset
    participants: Participants
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resharing:
    """The participant set or threshold is changing; `previous` still holds the key."""

    previous: Running


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
    """The Running state in force: itself, or the one a Recovery or Resharing started from."""
    match state:
        case Running():
            return state
        case Recovery() | Resharing():
            return state.previous
        case NotInitialized() | Initializing():
            return None


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
class AccountRecord:
    """View `participant_info`: one account. `cooldown_until` is a block height, 0 when there is none."""

    account_id: AccountId
    is_participant: bool
    node: NodeKeys | None
    node_candidate: NodeKeys | None
    backup_service: BackupServiceKeys | None
    cooldown_until: int
