"""What the two daemons need from outside. Adapters implement these; tests use real ones or simulators.

All methods that wait are coroutines and may be cancelled at any await; each implementation keeps its
promises under cancellation (nothing half-done becomes visible).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sharekeeper.domain.attestation import AllowedCode, Evidence, Verdict
from sharekeeper.domain.backup import Approval, QuorumOverride, StoredBackup
from sharekeeper.domain.ephemeral import EphemeralSlots
from sharekeeper.domain.identity import AccountId, NetworkId, Role, SignerKey, TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import AccountRecord, BlockRef, ProtocolState
from sharekeeper.errors import PeerFault
from sharekeeper.protocol.quorum import ReadViews, Survey


class Clock(Protocol):
    """Time, injected. Wall time dates records and blocks; monotonic time measures waits."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""


class ChainReader(Protocol):
    """Views of the contract, all of one decision at one final block (design decision 6)."""

    async def network(self) -> NetworkId:
        """The network the endpoint really serves. Raises `WrongNetwork` if it is not the configured one."""

    async def head(self) -> BlockRef:
        """The newest final block. Raises `ChainUnavailable`; `ChainContradiction` if it went backwards."""

    async def protocol_state(self, at: BlockRef) -> ProtocolState:
        """View `state` at that block. Raises `ChainAnswerInvalid`, `UnknownAccount`, `ChainUnavailable`."""

    async def account(self, account_id: AccountId, at: BlockRef) -> AccountRecord:
        """View `participant_info` at that block. Same errors as `protocol_state`."""

    async def ephemeral_keys(self, account_id: AccountId, at: BlockRef) -> EphemeralSlots:
        """View `ephemeral_keys` at that block, by slot, unverified. Same errors as `protocol_state`."""

    async def allowed_code(self, at: BlockRef) -> AllowedCode:
        """What the participants allow machines to run and to measure at that block. Same errors as `protocol_state`."""


class ChainTruth(Protocol):
    """What a quorum of endpoints says, all views of a decision at one block (design decision 6; ADR 12)."""

    @property
    def endpoints(self) -> Sequence[str]:
        """Names of all endpoints, the own node first."""

    @property
    def quorum(self) -> int:
        """How many of them must say the same."""

    async def survey(self) -> Survey:
        """What is agreed just now, as soon as a quorum agrees. Faults of endpoints are part of the outcome."""

    async def compare(self) -> Survey:
        """As `survey`, but every endpoint has time to answer, and says which network it serves."""

    async def own_views(self, block_hash: str) -> ReadViews:
        """What the own node alone shows at that block.

        Raises:
            PolicyRefused: it does not have that block as final.
            ChainFault: as `ChainReader`.
        """


class Attestation(Protocol):
    """The TEE this machine runs in, and what it takes to verify another one's (hard launch; docs/attestation.md)."""

    async def prove(self, report_data: bytes) -> Evidence:
        """Evidence over `report_data` (64 bytes) made now, with collateral if it can be had.

        Raises:
            AttestationUnavailable: no guest agent, or no quote.
        """

    async def check(self, evidence: Evidence, *, role: Role, report_data: bytes, at: BlockRef) -> Verdict:
        """What the evidence proves, after every check: code that the contract allows for `role` at that block.

        Raises:
            AttestationRefused: a check failed; the message names it.
            AttestationUnavailable: there is no collateral to check with, not even the prover's.
            ChainFault: as `ChainReader`.
        """


class ContractCaller(Protocol):
    """Signs and sends contract calls of one account with one access key (design decision 7)."""

    @property
    def account_id(self) -> AccountId:
        """The account that calls."""

    @property
    def signer_key(self) -> SignerKey:
        """The access key that signs."""

    async def call(self, method: str, args: Mapping[str, Any]) -> Any:  # noqa: ANN401  # the contract's JSON
        """The call is final and succeeded; returns the contract's JSON result (None when empty).

        Signed once; the same bytes are sent until final or expired.

        Raises:
            TransactionFailed: executed and refused (message: the contract's), or can never be executed.
            TransactionUnknown: the fate is not known within the deadline.
            ChainUnavailable: nothing was sent.
        """


class Vault(Protocol):
    """Where backups rest (design decision 5; docs/vault-format.md). One process at a time."""

    def index(self) -> Sequence[StoredBackup]:
        """The backups whose manifests are authentic, oldest first. Reads no share. Raises `VaultCorrupt`."""

    async def store(self, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> StoredBackup:
        """The shares are on disk, read back, decrypted and compared. Repeating a store changes nothing.

        Raises:
            StoreFailed: disk; nothing of this store is visible, everything before it is.
            VaultCorrupt: what was read back differs.
        """

    async def open(self, backup_id: BackupId) -> tuple[KeyShare, ...]:
        """The shares, authenticated and checked against their keyset. Raises `NoBackup`, `VaultCorrupt`."""

    async def destroy_older(self, current: BackupId) -> Sequence[BackupId]:
        """Every backup but `current` is gone from disk; returns which. `current` must open first."""


class KeyShareStore(Protocol):
    """The MPC node's key-share directory, shared with the node agent (reference layout: docs/vault-format.md)."""

    async def read(self, keyset: Keyset) -> tuple[KeyShare, ...] | None:
        """The permanent shares of exactly that keyset, checked; None if not held. Raises `ShareStoreCorrupt`."""

    async def make_permanent(self, keyset: Keyset) -> bool:
        """The shares of `keyset` are permanent, if those of all its key events are here; False changes nothing.

        For shares of key events that the contract has accepted since they were written.

        Raises:
            ShareStoreCorrupt: a file that may have one of them is not whole.
            SharesRefused: what is here is not of this keyset's public keys.
            StoreFailed: disk; repeating it is safe.
        """

    async def stage(self, recovery_id: int, keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
        """The shares are durable but not in use: the node does not read staged shares. Raises `StoreFailed`."""

    async def staged(self) -> int | None:
        """The `recovery_id` whose complete shares are staged, or None."""

    async def promote(self, recovery_id: int, keyset: Keyset) -> None:
        """The staged shares are permanent, durably. Repeating it changes nothing. Raises `ShareStoreCorrupt`."""

    async def discard_staged(self) -> bool:
        """No staged share is left on disk; True if there was one."""


class NodeSupervisor(Protocol):
    """Starts and stops the MPC node beside the node agent (systemd unit or local process)."""

    async def ensure_running(self) -> bool:
        """The node runs; True if this call started it. Raises `SupervisorFailed`."""

    async def ensure_stopped(self) -> bool:
        """The node does not run; True if this call stopped it. Raises `SupervisorFailed`."""


class ApprovalStore(Protocol):
    """Where approvals rest: durable, single-use."""

    def pending(self) -> Sequence[Approval]:
        """Every approval on record, spent ones included, oldest first."""

    async def add(self, approval: Approval) -> None:
        """The approval is durable. Raises `StoreFailed`."""

    async def spend(self, approval: Approval, recovery_id: int) -> None:
        """The approval is spent on `recovery_id`, durably, before the first share byte leaves. Raises `PolicyRefused`."""


class OverrideStore(Protocol):
    """Where the operator's overrides of the quorum rest: durable, each for one hand-out."""

    def pending(self) -> Sequence[QuorumOverride]:
        """Every override on record, used ones included, oldest deadline first."""

    async def add(self, override: QuorumOverride) -> None:
        """The override is durable. Raises `StoreFailed`."""

    async def spend(self, override: QuorumOverride, now_ns: int) -> None:
        """It is used, durably, before the first share byte leaves. Raises `PolicyRefused` if it was used before."""


class Channel(Protocol):
    """A connection whose peer has proven the key the contract pins (`adapters/tls_channel.py`)."""

    @property
    def peer(self) -> TlsKey:
        """The proven key."""

    async def send_frame(self, payload: bytes) -> None:
        """`payload` has left this process; only an answer says that it arrived. Raises `PeerFault`."""

    async def receive_frame(self, limit: int) -> bytes:
        """The next frame, 1 to `limit` bytes. Raises `PeerFault`."""

    async def close(self) -> None:
        """The channel is closed in good order."""

    def abort(self, reason: PeerFault) -> None:
        """The connection is cut now; whoever uses the channel gets `reason`."""


class Connect(Protocol):
    """Opens channels from this machine to a pinned peer."""

    async def __call__(self, host: str, port: int, peer: TlsKey) -> Channel:
        """A channel to the owner of `peer` at that address. Raises `PeerFault`, `HostFault`."""
