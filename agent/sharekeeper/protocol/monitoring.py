"""What the backup service does about one final state (spec: "Monitoring", "Backup", "Recovery").

Level-triggered: the answer depends on the state now and on what the vault holds now, never on having
seen each change (spec todo #948). Rules, first match wins:

1. Not initialised: nothing.
2. The chain's keyset is older than a backup in the vault: alarm, and nothing else (design decision 6).
3. Recovery of the own account: hand out, confirm, or say why not (spec: "Recovery"). What is not in the vault is
   fetched from the account's other backup service, if there is one: the node cannot have it any more. As by rule 4,
   the vault is verified before.
4. The vault was not verified since the start: verify it, before a new backup could hide that one is missing.
5. The keyset in force is not in the vault: fetch it from the own node (spec: "Backup"). In Resharing and Recovery
   that is the keyset of the Running before, which stays in force until the end. In Initializing it has the domains
   generated so far too: a cancellation leads to a Running with just those, and a total loss before the Running that
   was meant would else lose the old domains with the new (ADR 13). An empty keyset has no shares, and an account
   that is no participant of a keyset has none of its shares. When the node failed `NODE_TRIES` times to give it,
   every other try is made with the account's other backup service, if there is one.
6. The vault was not verified for a day: verify it.
7. A Running keyset has been held past the grace time: destroy those it supersedes (design decision 5). What
   it does not supersede is never destroyed: for all we know, that is the only copy of a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import BackupId, Keyset
from sharekeeper.domain.protocol_state import (
    Participant,
    ParticipantInfo,
    Participants,
    ProtocolState,
    Recovery,
    Running,
    running_part,
)
from sharekeeper.errors import ChainContradiction, NoBackup, SharekeeperError

NS: Final = 1_000_000_000
VERIFY_EVERY_SECONDS: Final = 24 * 3600.0
"""Every backup is opened at least this often, to prove that it opens."""
NODE_TRIES: Final = 3
"""So often the node alone is asked for a keyset, before the other backup service is asked too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing to do."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Nothing may be done; a human must look. `fault` classes the message for logs and health."""

    fault: type[SharekeeperError]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchShares:
    """Fetch the shares of `keyset` from the own node (spec: "Backup", steps 1 to 3)."""

    keyset: Keyset
    node: ParticipantInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchCopy:
    """Fetch the shares of `keyset` from the account's other backup service (hard launch)."""

    keyset: Keyset


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOut:
    """Send the backup to the recovering node, if the policy allows it (spec: "Recovery", steps 1 to 3)."""

    recovery: Recovery
    backup_id: BackupId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmDelivery:
    """Tell the contract that the node has the shares (spec: "Recovery", step 4)."""

    recovery_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyVault:
    """Open every backup in the vault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyOlder:
    """Remove every backup but `current` (backward secrecy)."""

    current: BackupId


MonitoringStep = Rest | Alarm | FetchShares | FetchCopy | HandOut | ConfirmDelivery | VerifyVault | DestroyOlder


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the backup service has, as far as a decision needs it.

    `usable`: backups in the vault that are not known to be damaged. `verified_at_ns`: wall time at which
    this process last verified the vault, or None. `delivered`: the recovery whose durable receipt arrived.
    `sibling`: it knows where to ask the account's other backup service. `failed`: the keyset that it fetched last in
    vain, and how often in a row.
    """

    usable: Sequence[StoredBackup]
    verified_at_ns: int | None = None
    delivered: int | None = None
    sibling: bool = False
    failed: tuple[Keyset, int] | None = None

    def find(self, keyset: Keyset) -> StoredBackup | None:
        """The usable backup of exactly that keyset. The vault holds those of one account and network alone."""
        return next((backup for backup in self.usable if backup.keyset == keyset), None)

    def failures(self, keyset: Keyset) -> int:
        """How often that keyset was fetched in vain since the last fetch of another, or of anything that succeeded."""
        return self.failed[1] if self.failed is not None and self.failed[0] == keyset else 0


def decide_backup(
    *,
    state: ProtocolState,
    account_id: AccountId,
    holdings: Holdings,
    now_ns: int,
    grace_seconds: float,
) -> MonitoringStep:
    """The one next step of the backup service; see the rules above."""
    running = running_part(state)
    if running is None:
        return Rest(reason="the contract is not initialised")
    newer = next((held.keyset for held in holdings.usable if goes_backwards(running.keyset, held.keyset)), None)
    if newer is not None:
        return Alarm(
            fault=ChainContradiction,
            message=f"the contract shows {describe_keyset(running.keyset)}, older than the backup of "
            f"{describe_keyset(newer)}: nothing is fetched, handed out or destroyed; check that the NEAR node "
            "follows the right chain",
        )
    held = holdings.find(running.keyset)
    if isinstance(state, Recovery) and state.recovering.account_id == account_id:
        return _decide_own_recovery(state, held, holdings)
    if holdings.verified_at_ns is None:
        return VerifyVault()
    if held is None:
        return _decide_fetch(running, account_id, holdings)
    return _decide_upkeep(
        state,
        held,
        holdings,
        since_verified_ns=now_ns - holdings.verified_at_ns,
        since_stored_ns=now_ns - held.stored_at_ns,
        grace_seconds=grace_seconds,
    )


def goes_backwards(shown: Keyset, held: Keyset) -> bool:
    """True if the chain shows an older keyset than one already held: a lower epoch, or one that lacks a domain of it.

    Epochs skip after a cancelled resharing and never go back, since no Running named the epoch that was cancelled.
    Within an epoch domains are only added. Another attempt of the same epoch is not older (design decision 4).
    """
    if shown.epoch_id != held.epoch_id:
        return shown.epoch_id < held.epoch_id
    return not {domain.domain_id for domain in held.domains} <= {domain.domain_id for domain in shown.domains}


def supersedes(current: Keyset, held: Keyset) -> bool:
    """True if nothing of `held` is needed once `current` is held: a later epoch of the same keys, or more domains.

    A later epoch has other attempts and keeps every domain's public key; within an epoch the attempts stay too.
    """
    if current.epoch_id < held.epoch_id:
        return False
    if current.epoch_id == held.epoch_id:
        return set(held.domains) <= set(current.domains)
    keys = {domain.domain_id: domain.public_key for domain in current.domains}
    return all(keys.get(domain.domain_id) == domain.public_key for domain in held.domains)


def describe_keyset(keyset: Keyset) -> str:
    """Epoch and number of domains in words."""
    count = len(keyset.domains)
    return f"epoch {keyset.epoch_id} with {count} domain{'' if count == 1 else 's'}"


def _decide_own_recovery(state: Recovery, held: StoredBackup | None, holdings: Holdings) -> MonitoringStep:
    """A confirmation on the contract proves nothing to a service that did not deliver: a stolen key can make one."""
    delivered = holdings.delivered
    if not state.previous.keyset.domains:
        return Rest(reason=f"recovery {state.recovery_id}: there are no key shares yet, the node concludes")
    if delivered == state.recovery_id and not state.shares_confirmed:
        return ConfirmDelivery(recovery_id=state.recovery_id)
    if delivered == state.recovery_id or (held is None and state.shares_confirmed):
        return Rest(reason=f"recovery {state.recovery_id}: delivery is confirmed, the node concludes")
    if held is None:
        return _decide_without_backup(state, holdings)
    if prospective_info(state.prospective, state.recovering.account_id) != state.recovering.info:
        return Alarm(
            fault=ChainContradiction,
            message=f"recovery {state.recovery_id}: the prospective participants and the recovering node differ",
        )
    return HandOut(recovery=state, backup_id=held.backup_id)


def _decide_without_backup(state: Recovery, holdings: Holdings) -> MonitoringStep:
    if holdings.sibling:
        return VerifyVault() if holdings.verified_at_ns is None else FetchCopy(keyset=state.previous.keyset)
    return Alarm(
        fault=NoBackup,
        message=f"recovery {state.recovery_id} of the own node started, and the vault has no usable backup of "
        f"epoch {state.previous.keyset.epoch_id}: unless the account's other backup service has one, cancel the "
        "recovery and restart the old node if it still exists",
    )


def prospective_info(participants: Participants, account_id: AccountId) -> ParticipantInfo | None:
    """The info of that account among `participants` (spec: "Recovery", backup service, step 1)."""
    found: Participant | None = participants.find(account_id)
    return None if found is None else found.info


def _decide_fetch(running: Running, account_id: AccountId, holdings: Holdings) -> MonitoringStep:
    if not running.keyset.domains:
        return Rest(reason="the network has no domain yet: nothing to back up")
    node = running.participants.find(account_id)
    if node is None:
        return Rest(reason=f"{account_id} is not a participant of epoch {running.keyset.epoch_id}: nothing to back up")
    failures = holdings.failures(running.keyset)
    if holdings.sibling and failures >= NODE_TRIES and (failures - NODE_TRIES) % 2 == 0:
        return FetchCopy(keyset=running.keyset)
    return FetchShares(keyset=running.keyset, node=node.info)


def _decide_upkeep(
    state: ProtocolState,
    held: StoredBackup,
    holdings: Holdings,
    *,
    since_verified_ns: int,
    since_stored_ns: int,
    grace_seconds: float,
) -> MonitoringStep:
    if since_verified_ns >= VERIFY_EVERY_SECONDS * NS:
        return VerifyVault()
    if not isinstance(state, Running) or len(holdings.usable) == 1 or since_stored_ns < grace_seconds * NS:
        return Rest(reason=f"the backup of {describe_keyset(held.keyset)} is held and opens")
    kept = next((other.keyset for other in holdings.usable if not supersedes(held.keyset, other.keyset)), None)
    if kept is not None:
        return Alarm(
            fault=ChainContradiction,
            message=f"the vault holds a backup of {describe_keyset(kept)} ({kept.digest()[:12]}) that contradicts the "
            f"keyset in force ({held.digest[:12]}): no older backup is destroyed; find out with the other operators "
            "which of the two the network signs with",
        )
    return DestroyOlder(current=held.backup_id)
