"""Calls by which machines make themselves known: nodes that want in, new urls, backup services."""

from contract import codec, records, resharing, votes
from contract.codec import ContractError
from contract.records import BACKUP_SERVICE, NODE, Pair
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


def submit_participant_info(session: Session, arguments: "Json") -> None:
    """Spec, "Onboarding": a node in force says it is there; a node of another account becomes prospective."""
    given = codec.fields(arguments, "arguments", ("participant_info",))
    url, tls = participant_info(given["participant_info"], session.config)
    if session.account.is_participant():
        confirm_in_force(session, url, tls)
    else:
        announce_candidate(session, Pair(session.signer_key, tls, url))


def confirm_in_force(session: Session, url: str, tls: str) -> None:
    session.require((NODE_IN_FORCE,))
    node = session.account.node
    if node is None or node.tls != tls:
        raise ContractError("the TLS key is not in force; a replacement calls submit_participant_recovery_info")
    if node.url != url:
        raise ContractError("the url is not in force; change it with update_participant_url")


def announce_candidate(session: Session, pair: Pair) -> None:
    """The account's candidate is `pair`: a new one, which retires the older, or the same with perhaps a new url."""
    account = session.account
    resharing.require_unchanged(session, pair)
    if not is_own_candidate(session, pair):
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
        records.set_node(session.store, session.account, Pair(node.signer, node.tls, url))
        session.account.save(session.store)


def register_backup_service(session: Session, arguments: "Json") -> None:
    """The caller becomes the account's backup service; the one before is retired. The one in force may repeat."""
    given = codec.fields(arguments, "arguments", ("backup_service_info",))
    info = codec.fields(given["backup_service_info"], "backup_service_info", ("public_key",))
    tls = codec.ed25519_key(info["public_key"], "backup_service_info.public_key")
    account = session.account
    if not account.is_participant() and account.candidate is None:
        raise ContractError("the account is unknown; its node must call submit_participant_info first")
    session.require((UNRECORDED, BACKUP_SERVICE_IN_FORCE))
    if session.signs_as == BACKUP_SERVICE_IN_FORCE:
        if account.backup_service is None or account.backup_service.tls != tls:
            raise ContractError("the access key stands for another TLS key; new TLS keys need a new access key")
        return
    pair = Pair(session.signer_key, tls)
    session.record_new_pair(BACKUP_SERVICE, pair)
    account.backup_service = pair
    account.save(session.store)
