"""What a node does about a recovery, and whether the MPC node runs (spec: "Recovery Protocol").

The spec's three branches while the protocol state is Recovery:

1. own account, own TLS key: wait for the backup service to provide the key shares, then conclude;
2. own account, another TLS key: shut down; start again only when a fresh final Running names the own
   TLS key, which happens when that recovery was cancelled or expired;
3. another account: wait for the protocol to resume Running.

Shares received are staged, not used. They are promoted only when a Running in force names the own TLS
key, and erased when the recovery they came for ended in any other way.
"""

from dataclasses import dataclass
from enum import Enum

from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import Keyset, KeysetDigest
from sharekeeper.domain.protocol_state import ProtocolState, Recovery, Running, running_part


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo:
    """No share is expected, staged or due."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitShares:
    """Branch 1: the backup service may deliver the shares of `keyset` for this recovery."""

    recovery_id: int
    keyset: Keyset


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """Branch 1: the shares are here and their delivery is confirmed; call `conclude_recovery`."""

    recovery_id: int
    expected_keyset: KeysetDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """A Running in force names this node: the staged shares become the permanent ones."""

    recovery_id: int
    keyset: Keyset


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseStaged:
    """The recovery the staged shares came for is over without this node in force."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDown:
    """Branch 2: another machine of this account recovers."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForRunning:
    """Branch 3: another account recovers."""

    reason: str


RecoveryStep = NothingToDo | AwaitShares | Conclude | Promote | EraseStaged | ShutDown | WaitForRunning


def decide_recovery(
    *, state: ProtocolState, account_id: AccountId, tls_key: TlsKey, held: bool, staged: int | None
) -> RecoveryStep:
    """The next step of the node's recovery protocol.

    Args:
        state: the final protocol state.
        account_id: the own account.
        tls_key: the own TLS key.
        held: the permanent shares of the keyset in force are on disk.
        staged: the `recovery_id` whose shares are staged on disk, or None.
    """
    if staged is not None:
        settled = _decide_staged(state, account_id, tls_key, held=held, staged=staged)
        if settled is not None:
            return settled
    if not isinstance(state, Recovery):
        return NothingToDo(reason="no recovery is under way")
    if state.recovering.account_id != account_id:
        return WaitForRunning(reason=f"{state.recovering.account_id} is recovering")
    if state.recovering.info.tls_public_key != tls_key:
        return ShutDown(reason=f"recovery {state.recovery_id} replaces this machine")
    if state.shares_confirmed and staged == state.recovery_id:
        return Conclude(recovery_id=state.recovery_id, expected_keyset=state.previous.keyset.digest())
    return AwaitShares(recovery_id=state.recovery_id, keyset=state.previous.keyset)


def _decide_staged(
    state: ProtocolState, account_id: AccountId, tls_key: TlsKey, *, held: bool, staged: int
) -> RecoveryStep | None:
    """What becomes of staged shares; None while their recovery is under way."""
    if isinstance(state, Recovery) and state.recovery_id == staged and recovers(state, account_id, tls_key):
        return None
    running = running_part(state)
    if running is None or not names(running, account_id, tls_key):
        return EraseStaged(reason=f"recovery {staged} ended without this node in force")
    if held:
        return EraseStaged(reason=f"the shares of recovery {staged} are already in place")
    return Promote(recovery_id=staged, keyset=running.keyset)


def recovers(state: Recovery, account_id: AccountId, tls_key: TlsKey) -> bool:
    """True if this node is the recovering one: account and TLS key match (spec: "Recovery Protocol")."""
    return state.recovering.account_id == account_id and state.recovering.info.tls_public_key == tls_key


def names(running: Running, account_id: AccountId, tls_key: TlsKey) -> bool:
    """True if this Running state names the machine as the account's node."""
    participant = running.participants.find(account_id)
    return participant is not None and participant.info.tls_public_key == tls_key


class NodeRun(Enum):
    """Whether the MPC node runs. `LEAVE`: neither start it nor stop it."""

    RUN = "run"
    STOP = "stop"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRunDecision:
    """`fenced`: this machine is replaced or retired; it serves nobody and keeps watching."""

    run: NodeRun
    fenced: bool
    reason: str


def decide_node_run(*, state: ProtocolState, account_id: AccountId, tls_key: TlsKey, held: bool) -> NodeRunDecision:
    """Should the MPC node run? A function of the final state and the held shares alone.

    Spec: "Recovery Protocol". A node that is named but whose shares are not on disk is left as it is:
    it cannot sign, yet stopping it could cut off a share it is about to write.
    """
    running = running_part(state)
    if running is None:
        return NodeRunDecision(run=NodeRun.LEAVE, fenced=False, reason="no keyset is in force")
    if isinstance(state, Recovery) and state.recovering.account_id == account_id:
        return _decide_during_own_recovery(state, tls_key)
    participant = running.participants.find(account_id)
    if participant is None:
        return NodeRunDecision(run=NodeRun.RUN, fenced=False, reason="prospective participant: waits for a resharing")
    if participant.info.tls_public_key != tls_key:
        reason = f"the contract names another machine of this account ({participant.info.tls_public_key})"
        return NodeRunDecision(run=NodeRun.STOP, fenced=True, reason=reason)
    if not held:
        reason = "the shares of the keyset in force are not on disk"
        return NodeRunDecision(run=NodeRun.LEAVE, fenced=False, reason=reason)
    return NodeRunDecision(run=NodeRun.RUN, fenced=False, reason="participant with its shares")


def _decide_during_own_recovery(state: Recovery, tls_key: TlsKey) -> NodeRunDecision:
    if state.recovering.info.tls_public_key == tls_key:
        reason = f"recovery {state.recovery_id} of this node is not concluded"
        return NodeRunDecision(run=NodeRun.STOP, fenced=False, reason=reason)
    reason = f"recovery {state.recovery_id} replaces this machine"
    return NodeRunDecision(run=NodeRun.STOP, fenced=True, reason=reason)
