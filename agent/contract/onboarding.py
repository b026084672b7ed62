"""Calls by which machines make themselves known: nodes that want in, new urls, backup services.

They may name evidence of the TEE the machine runs in, by its digest and time. The contract never sees the quote. It
keeps what the machine says it can show: so that nobody need ask a machine that has nothing to show, and that none goes
back to older evidence. Evidence never changes a key.
"""

from contract import codec, records, resharing, votes
from contract.codec import ContractError
from contract.records import BACKUP_SERVICE, NODE, SLOTS, Pair
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
    from typing import Any

    from contract.codec import Json

EVIDENCE = "evidence"
MOST_AHEAD_SECONDS = 300  # a machine's clock may be so much ahead of the block's


def submit_participant_info(session: Session, arguments: "Json") -> None:
    """Spec, "Onboarding": a node in force says it is there; a node of another account becomes prospective."""
    given = codec.fields(arguments, "arguments", ("participant_info",), (EVIDENCE,))
    url, tls = participant_info(given["participant_info"], session.config)
    if session.account.is_participant():
        keep_evidence(session, given, confirmed_in_force(session, url, tls))
    else:
        announce_candidate(session, Pair(session.signer_key, tls, url), given)


def confirmed_in_force(session: Session, url: str, tls: str) -> Pair:
    session.require((NODE_IN_FORCE,))
    node = session.account.node
    if node is None or node.tls != tls:
        raise ContractError("the TLS key is not in force; a replacement calls submit_participant_recovery_info")
    if node.url != url:
        raise ContractError("the url is not in force; change it with update_participant_url")
    return node


def keep_evidence(session: Session, given: "dict[str, Any]", pair: Pair) -> None:
    """The machine of `pair`, which is one of the caller's account in force, has the evidence that it names."""
    after = evidence_after(session, given, pair)
    if after != pair.evidence:
        pair.evidence = after
        session.account.save(session.store)


def announce_candidate(session: Session, pair: Pair, given: "dict[str, Any]") -> None:
    """The account's candidate is `pair`: a new one, which retires the older, or the same with perhaps a new url."""
    account = session.account
    resharing.require_unchanged(session, pair)
    known = account.candidate if is_own_candidate(session, pair) else None
    pair.evidence = evidence_after(session, given, known)
    if known is None:
        session.record_new_pair(NODE, pair)
        if account.candidate is None:
            add_prospective(session)
    account.candidate = pair
    account.save(session.store)


def is_own_candidate(session: Session, pair: Pair) -> bool:
    """Whether the caller is the account's candidate; a candidate with another TLS key is refused (key rule 2)."""
    candidate = session.account.candidate
    if session.signs_as != CANDIDATE or candidate is None:
        return False
    if candidate.tls != pair.tls:
        raise ContractError("the access key stands for another TLS key; new TLS keys need a new access key")
    return True


def add_prospective(session: Session) -> None:
    accounts = records.prospective_accounts(session.store)
    if len(accounts) >= session.config["max_prospective_accounts"]:
        raise ContractError("there are as many prospective accounts as the contract allows; ask the participants")
    accounts.append(session.account.account_id)
    records.save(session.store, "prospective", accounts)


def update_participant_url(session: Session, arguments: "Json") -> None:
    """The participant's url changes, its TLS key does not. The operator may say so too: the node's key is restricted."""
    given = codec.fields(arguments, "arguments", ("url",))
    url = codec.url(given["url"], "url", session.config["max_url_bytes"])
    session.require_governing()
    node = session.account.node
    if node is not None and node.url != url:
        votes.drop_carrying(session.store, session.account)
        records.set_node(session.store, session.account, Pair(node.signer, node.tls, url, node.evidence))
        session.account.save(session.store)


def register_backup_service(session: Session, arguments: "Json") -> None:
    """The caller becomes the backup service of a slot; the slot's one before is retired. One in force may repeat."""
    given = codec.fields(arguments, "arguments", ("backup_service_info",), ("slot", EVIDENCE))
    slot = codec.integer(given.get("slot", 0), "slot", SLOTS[0], SLOTS[-1])
    info = codec.fields(given["backup_service_info"], "backup_service_info", ("public_key",))
    tls = codec.ed25519_key(info["public_key"], "backup_service_info.public_key")
    account = session.account
    if not account.is_participant() and account.candidate is None:
        raise ContractError("the account is unknown; its node must call submit_participant_info first")
    session.require((UNRECORDED, BACKUP_SERVICE_IN_FORCE))
    own = account.slot_of(session.signer_key)
    if own is not None:
        in_force = account.backup_services[own]
        if in_force is None or in_force.tls != tls:
            raise ContractError("the access key stands for another TLS key; new TLS keys need a new access key")
        if own != slot:
            raise ContractError(f"the access key is that of slot {own}; the other slot needs keys of its own")
        keep_evidence(session, given, in_force)
        return
    pair = Pair(session.signer_key, tls, "", evidence_after(session, given, None))
    session.record_new_pair(BACKUP_SERVICE, pair)
    account.backup_services[slot] = pair
    account.save(session.store)


def evidence_after(session: Session, given: "dict[str, Any]", known: Pair | None) -> "list[Any] | None":
    """[digest, time] that a machine has after the call: what `given` carries, or what `known`, its pair, had.

    Refused: evidence from the future, expired, or not newer than other evidence the machine had.
    """
    before = None if known is None else known.evidence
    if EVIDENCE not in given:
        return before
    stamp = codec.fields(given[EVIDENCE], EVIDENCE, ("digest", "attested_at"))
    digest = codec.digest(stamp["digest"], "evidence.digest")
    attested_at = codec.integer(stamp["attested_at"], "evidence.attested_at")
    if attested_at > session.now + MOST_AHEAD_SECONDS:
        raise ContractError("evidence.attested_at is in the future; set the machine's clock and attest again")
    if session.now >= evidence_valid_until(attested_at, session.config):
        raise ContractError("the evidence is older than evidence_validity_seconds; attest again")
    after = [digest, attested_at]
    if before is not None and before != after and attested_at <= before[1]:
        raise ContractError("the evidence is not newer than what is recorded of this machine; attest again")
    return after


def evidence_valid_until(attested_at: int, config: dict[str, int]) -> int:
    """The second from which evidence of that time counts as none."""
    return attested_at + config["evidence_validity_seconds"]
