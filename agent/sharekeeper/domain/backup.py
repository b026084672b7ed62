"""What the backup service has on record: backups in the vault, and the operator's approvals."""

from dataclasses import dataclass

from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset, KeysetDigest, Sha256Hex
from sharekeeper.domain.protocol_state import ParticipantInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBackup:
    """Public facts of one backup in the vault: what its signed manifest says."""

    backup_id: BackupId
    keyset: Keyset
    digest: KeysetDigest
    source_tls_key: TlsKey
    stored_at_ns: int
    ciphertext_sha256: Sha256Hex
    ciphertext_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The operator's consent to one hand-out, made on the backup machine before the recovery starts (decision 8)."""

    account_id: AccountId
    info: ParticipantInfo
    signer_key: SignerKey
    keyset: KeysetDigest
    approved_at_height: int
    deadline_ns: int
    used_for: int | None
    """The `recovery_id` this approval was spent on, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumOverride:
    """The operator's word in place of a quorum of endpoints, for one hand-out (decision 6).

    He has looked by other means, and vouches for what the own node shows at `block_hash`.
    """

    account_id: AccountId
    block_hash: str
    recovery_id: int
    tls_key: TlsKey
    deadline_ns: int
    used_at_ns: int | None
    """When it was used (wall time), or None."""
