"""The Recovery state: entering it, delivering shares, and its four ways out (spec, "MPC network during a recovery")."""

from contract import codec, records, votes
from contract.codec import ContractError
from contract.onboarding import EVIDENCE, evidence_after, is_own_candidate
from contract.records import NODE, Account, Pair, Recovery
from contract.session import (
    BACKUP_SERVICE_IN_FORCE,
    CANDIDATE,
    NODE_IN_FORCE,
    UNRECORDED,
    Session,
    participant_info,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Store

CANCEL_VOTE = "cancel_recovery, a vote below the threshold"


def submit_participant_recovery_info(session: Session, arguments: "Json") -> dict[str, int]:
    """Enters Recovery for the caller's account, with the caller as the node that will take over.

    1. The account is a participant and may recover now (cooldown).
    2. The caller saw the same network as the contract shows: TLS key in force, keyset, before its own deadline.
    3. The keys are new, or those of the account's own candidate whose Recovery expired.
    """
    names = ("participant_info", "expected_tls_key", "expected_keyset", "valid_until_block")
    given = codec.fields(arguments, "arguments", names, (EVIDENCE,))
    url, tls = participant_info(given["participant_info"], session.config)
    account = session.account
    session.require_participant()
    if session.height < account.cooldown_until:
        raise ContractError(f"the account may recover again from block {account.cooldown_until}; wait or be waived")
    if account.node is None or codec.ed25519_key(given["expected_tls_key"], "expected_tls_key") != account.node.tls:
        raise ContractError("expected_tls_key is not the participant's TLS key; read the view state")
    require_keyset(session, given["expected_keyset"])
    if session.height > codec.integer(given["valid_until_block"], "valid_until_block"):
        raise ContractError("valid_until_block has passed; decide again and call again")
    session.require((UNRECORDED, CANDIDATE))
    pair = Pair(session.signer_key, tls, url)
    known = account.candidate if is_own_candidate(session, pair) else None
    pair.evidence = evidence_after(session, given, known)
    if known is None:
        session.record_new_pair(NODE, pair)
    account.candidate = pair
    account.save(session.store)
    session.header.last_recovery_id += 1
    recovery_id = session.header.last_recovery_id
    expires_on = session.height + session.config["recovery_timeout_blocks"]
    recovery = Recovery(recovery_id, account.account_id, pair, session.height, expires_on)
    recovery.shares_confirmed = not session.store.get("keyset")  # without a keyset there is nothing to deliver
    recovery.save(session.store)
    return {"recovery_id": recovery_id}


def confirm_key_share_delivery(session: Session, arguments: "Json") -> None:
    """The recovering account's backup service says that the node holds the shares."""
    given = codec.fields(arguments, "arguments", ("recovery_id",))
    recovery = named_recovery(session, given["recovery_id"])
    if session.account.account_id != recovery.account_id:
        raise ContractError(f"{recovery.account_id} is recovering; only its own backup service confirms delivery")
    session.require((BACKUP_SERVICE_IN_FORCE,))
    recovery.shares_confirmed = True
    recovery.save(session.store)


def conclude_recovery(session: Session, arguments: "Json") -> None:
    """The candidate takes over: its keys are in force, those before it are retired."""
    given = codec.fields(arguments, "arguments", ("recovery_id", "expected_keyset"))
    recovery = named_recovery(session, given["recovery_id"])
    account = session.account
    if account.account_id != recovery.account_id or session.signer_key != recovery.pair.signer:
        raise ContractError("only the recovering node, by the access key it recovers with, concludes the recovery")
    if not recovery.shares_confirmed:
        raise ContractError("the backup service has not confirmed delivery; wait for confirm_key_share_delivery")
    require_keyset(session, given["expected_keyset"])
    votes.drop_carrying(session.store, account)
    records.set_node(session.store, account, recovery.pair)
    account.candidate = None
    end(session, account, session.height)


def cancel_recovery(session: Session, arguments: "Json") -> None:
    """The recovering account cancels at once; other participants cancel by a threshold of votes."""
    given = codec.fields(arguments, "arguments", ("recovery_id",))
    recovery = named_recovery(session, given["recovery_id"])
    account = session.account
    if account.account_id == recovery.account_id:
        session.require((NODE_IN_FORCE, CANDIDATE, UNRECORDED))
    else:
        session.require_governing()
        if not vote(session, recovery.cancel_votes):
            recovery.save(session.store)
            session.outcome = CANCEL_VOTE
            return
        account = Account(session.store, recovery.account_id)
    account.candidate = None
    end(session, account, session.height)


def expire_recovery(session: Session, arguments: "Json") -> None:
    """Writes down that an expired Recovery is over. Views and calls have treated it so since it expired."""
    given = codec.fields(arguments, "arguments", ("recovery_id",))
    named_recovery(session, given["recovery_id"])
    expire(session)


def waive_recovery_cooldown(session: Session, arguments: "Json") -> None:
    """A vote that an account need not wait; at the threshold it need not."""
    given = codec.fields(arguments, "arguments", ("account_id",))
    name = codec.account_id(given["account_id"], "account_id")
    session.require_governing()
    account = session.account if name == session.account.account_id else Account(session.store, name)
    if session.height >= account.cooldown_until:
        raise ContractError(f"{name} has no cooldown to waive; it may recover now")
    if vote(session, account.waived_by):
        account.cooldown_until = 0
        account.waived_by = []
    account.save(session.store)


def vote(session: Session, votes: list[str]) -> bool:
    """Adds the caller's vote, once; whether the votes of today's participants reach the threshold."""
    if session.account.account_id not in votes:
        votes.append(session.account.account_id)
    return records.votes_of_participants(session.store, votes) >= session.header.threshold


def named_recovery(session: Session, recovery_id: "Json") -> Recovery:
    """The Recovery in progress, if it is the one the caller means; a late transaction means an earlier one."""
    recovery = stored_recovery(session.store)
    if codec.integer(recovery_id, "recovery_id") != recovery.recovery_id:
        raise ContractError(f"recovery {recovery_id} is not in progress; read the view state")
    return recovery


def stored_recovery(store: "Store") -> Recovery:
    recovery = records.load_recovery(store)
    if recovery is None:
        raise ContractError("the stored Recovery is missing; report this contract as faulty")
    return recovery


def require_keyset(session: Session, digest: "Json") -> None:
    if codec.digest(digest, "expected_keyset") != session.header.keyset_digest:
        raise ContractError("expected_keyset is not the digest of the contract's keyset; read the view state")


def is_expired(store: "Store", height: int) -> bool:
    return height >= stored_recovery(store).expires_on


def expire(session: Session) -> None:
    """The candidate stays one; the cooldown counts from the height at which the Recovery expired."""
    stop(session, stored_recovery(session.store).expires_on)


def stop(session: Session, height: int) -> None:
    """Ends the Recovery at `height` with no change to the account but its cooldown: its candidate stays one."""
    recovery = stored_recovery(session.store)
    own = session.account.account_id == recovery.account_id
    end(session, session.account if own else Account(session.store, recovery.account_id), height)


def end(session: Session, account: Account, height: int) -> None:
    """What every way out of Recovery does, at `height`."""
    account.begin_cooldown(height, session.config)
    account.save(session.store)
    session.store.remove("recovery")
