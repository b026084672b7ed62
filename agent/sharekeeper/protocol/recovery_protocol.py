"""What a node does about a recovery, and whether the MPC node runs (spec: "Recovery Protocol").

The spec's three branches while the protocol state is Recovery:

1. own account, own TLS key: wait for the backup service to provide the key shares, then conclude;
2. own account, another TLS key: shut down; start again only when a fresh final Running names the own
   TLS key, which happens when that recovery was cancelled or expired;
3. another account: wait for the protocol to resume Running.

Shares received are staged, not used. They are promoted only when a Running in force names the own TLS
key, and erased when the recovery they came for ended in any other way: cancelled, expired, or by a resharing.

The MPC node runs when this machine is the account's node in the participant set in force, or in the set that a
resharing leads to, or is announced to join one. It takes part in a key generation without the shares of older
domains, and in a resharing to a set that includes it without the shares of the epoch before: both give it shares.
"""

from dataclasses import dataclass
from enum import Enum

from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import Keyset, KeysetDigest
from sharekeeper.domain.protocol_state import (
    Initializing,
    Participants,
    ProtocolState,
    Recovery,
    Resharing,
    Running,
    running_part,
)


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
    """Branch 1: the shares, if there are any, are here and their delivery is confirmed; call `conclude_recovery`."""

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
    keyset = state.previous.keyset
    if state.shares_confirmed and (staged == state.recovery_id or not keyset.domains):
        return Conclude(recovery_id=state.recovery_id, expected_keyset=keyset.digest())
    return AwaitShares(recovery_id=state.recovery_id, keyset=keyset)


def _decide_staged(
    state: ProtocolState, account_id: AccountId, tls_key: TlsKey, *, held: bool, staged: int
) -> RecoveryStep | None:
    """What becomes of staged shares; None while their recovery is under way.

    The keyset they are of is the one shown, in Initializing too: no domain is added without this node's vote, and
    it does not run before they are in place.
    """
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
    return _tls_key_of(running.participants, account_id) == tls_key


def _tls_key_of(participants: Participants, account_id: AccountId) -> TlsKey | None:
    participant = participants.find(account_id)
    return None if participant is None else participant.info.tls_public_key


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


def decide_node_run(
    *,
    state: ProtocolState,
    account_id: AccountId,
    tls_key: TlsKey,
    held: bool,
    staged: bool = False,
    announced: bool | None = None,
) -> NodeRunDecision:
    """Should the MPC node run? A function of the final state, of what is on disk, and of the account's record.

    Spec: "Recovery Protocol"; "Onboarding", first branch. A node that is named but whose shares are not on disk is
    left as it is, unless the state may give it shares: it cannot sign, yet stopping it could cut off a share it is
    about to write.

    Args:
        state: the final protocol state.
        account_id: the own account.
        tls_key: the own TLS key.
        held: the permanent shares of the keyset in force are on disk.
        staged: shares of a recovery are on disk that are not in use yet.
        announced: the contract has this machine as the account's candidate; None when that is not known. It matters
            only to an account that is no participant.
    """
    running = running_part(state)
    if running is None:
        return NodeRunDecision(run=NodeRun.LEAVE, fenced=False, reason="the contract is not initialised")
    if isinstance(state, Recovery) and state.recovering.account_id == account_id:
        return _decide_during_own_recovery(state, tls_key)
    in_force = _tls_key_of(running.participants, account_id)
    joining = _tls_key_of(state.resharing.participants, account_id) if isinstance(state, Resharing) else None
    named = in_force or joining
    if named is None:
        return _decide_prospective(announced)
    if named != tls_key:
        reason = f"the contract names another machine of this account ({named})"
        return NodeRunDecision(run=NodeRun.STOP, fenced=True, reason=reason)
    takes_part = joining is not None or isinstance(state, Initializing)
    return _decide_named(held=held, staged=staged, takes_part=takes_part)


def _decide_during_own_recovery(state: Recovery, tls_key: TlsKey) -> NodeRunDecision:
    if state.recovering.info.tls_public_key == tls_key:
        reason = f"recovery {state.recovery_id} of this node is not concluded"
        return NodeRunDecision(run=NodeRun.STOP, fenced=False, reason=reason)
    reason = f"recovery {state.recovery_id} replaces this machine"
    return NodeRunDecision(run=NodeRun.STOP, fenced=True, reason=reason)


def _decide_prospective(announced: bool | None) -> NodeRunDecision:
    """The account is no participant: it never was, or a resharing removed it and retired its node's keys."""
    if announced is None:
        run, reason = NodeRun.LEAVE, "the account's record is not known"
    elif announced:
        run, reason = NodeRun.RUN, "prospective participant: waits for a resharing"
    else:
        run, reason = NodeRun.STOP, "the account is no participant, and announces no key of this machine"
    return NodeRunDecision(run=run, fenced=False, reason=reason)


def _decide_named(*, held: bool, staged: bool, takes_part: bool) -> NodeRunDecision:
    """This machine is its account's node. `takes_part`: in a key event that gives it a share."""
    if held:
        run, reason = NodeRun.RUN, "participant with its shares"
    elif staged:
        run, reason = NodeRun.LEAVE, "the shares of its recovery are not in place yet"
    elif takes_part:
        run, reason = NodeRun.RUN, "participant of the key event under way"
    else:
        run, reason = NodeRun.LEAVE, "the shares of the keyset in force are not on disk"
    return NodeRunDecision(run=run, fenced=False, reason=reason)
