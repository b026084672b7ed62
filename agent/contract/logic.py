"""The rules of the MPC contract: which call is possible in which protocol state, and what it leads to.

1. The protocol state is one of those records.py names. An expired Recovery is a state of its own, `EXPIRED`, that
   every view shows as Running: no block has to be written for a Recovery to be over.
2. `TRANSITIONS` holds every legal move. What is absent is refused and changes nothing.
3. Only `execute` changes the state, after the call's own checks, by the row named by the call or by its outcome.
4. A call that finds the contract EXPIRED, other than `expire_recovery` itself, first takes that row, then its own.

The state JSON and the words are those of docs/contract.md. This file and what it imports know nothing of NEAR.
"""

from contract import (
    code_hashes,
    codec,
    ephemeral,
    initialization,
    keygen,
    onboarding,
    proposals,
    protocol_state,
    recovery,
    resharing,
    signing,
    views,
)
from contract.codec import ContractError
from contract.records import EXPIRED, INITIALIZING, NOT_INITIALIZED, RECOVERY, RESHARING, RUNNING, Header
from contract.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Store
    from contract.session import Chain

VERSION = "0.1.0"

# Rows named by more than a method are outcomes of that method.
TRANSITIONS = {
    (NOT_INITIALIZED, "init"): RUNNING,
    # Machines make themselves known.
    (RUNNING, "submit_participant_info"): RUNNING,
    (RECOVERY, "submit_participant_info"): RECOVERY,
    (INITIALIZING, "submit_participant_info"): INITIALIZING,
    (RESHARING, "submit_participant_info"): RESHARING,
    (RUNNING, "register_backup_service"): RUNNING,
    (RECOVERY, "register_backup_service"): RECOVERY,
    (INITIALIZING, "register_backup_service"): INITIALIZING,
    (RESHARING, "register_backup_service"): RESHARING,
    (RUNNING, "update_participant_url"): RUNNING,
    (RUNNING, "submit_ephemeral_key"): RUNNING,
    (RECOVERY, "submit_ephemeral_key"): RECOVERY,
    (INITIALIZING, "submit_ephemeral_key"): INITIALIZING,
    (RESHARING, "submit_ephemeral_key"): RESHARING,
    # A participant recovers.
    (RUNNING, "submit_participant_recovery_info"): RECOVERY,
    (RECOVERY, "confirm_key_share_delivery"): RECOVERY,
    (RECOVERY, "conclude_recovery"): RUNNING,
    (RECOVERY, "cancel_recovery"): RUNNING,
    (RECOVERY, recovery.CANCEL_VOTE): RECOVERY,
    (EXPIRED, "expire_recovery"): RUNNING,
    (RUNNING, "waive_recovery_cooldown"): RUNNING,
    (RECOVERY, "waive_recovery_cooldown"): RECOVERY,
    (INITIALIZING, "waive_recovery_cooldown"): INITIALIZING,
    (RESHARING, "waive_recovery_cooldown"): RESHARING,
    # Keys for new domains.
    (RUNNING, "vote_add_domains"): INITIALIZING,
    (RUNNING, keygen.ADD_DOMAINS_VOTE): RUNNING,
    (INITIALIZING, "start_keygen_instance"): INITIALIZING,
    (INITIALIZING, "vote_pk"): RUNNING,
    (INITIALIZING, keygen.PK_VOTE): INITIALIZING,
    (INITIALIZING, "vote_cancel_keygen"): RUNNING,
    (INITIALIZING, keygen.CANCEL_KEYGEN_VOTE): INITIALIZING,
    # Another participant set, or other thresholds.
    (RUNNING, "vote_new_parameters"): RESHARING,
    (RUNNING, proposals.PARAMETERS_VOTE): RUNNING,
    (RUNNING, proposals.NO_DOMAINS): RUNNING,
    (RECOVERY, "vote_new_parameters"): RESHARING,
    (RECOVERY, proposals.PARAMETERS_VOTE): RECOVERY,
    (RECOVERY, proposals.NO_DOMAINS): RUNNING,
    (RESHARING, "start_reshare_instance"): RESHARING,
    (RESHARING, "vote_reshared"): RUNNING,
    (RESHARING, resharing.RESHARED_VOTE): RESHARING,
    (RESHARING, "vote_cancel_resharing"): RUNNING,
    (RESHARING, resharing.CANCEL_RESHARING_VOTE): RESHARING,
    # Which code may run.
    (RUNNING, "vote_node_code_hash"): RUNNING,
    (RECOVERY, "vote_node_code_hash"): RECOVERY,
    (INITIALIZING, "vote_node_code_hash"): INITIALIZING,
    (RESHARING, "vote_node_code_hash"): RESHARING,
    (RUNNING, "vote_backup_service_code_hash"): RUNNING,
    (RECOVERY, "vote_backup_service_code_hash"): RECOVERY,
    (INITIALIZING, "vote_backup_service_code_hash"): INITIALIZING,
    (RESHARING, "vote_backup_service_code_hash"): RESHARING,
    (RUNNING, "vote_measurements"): RUNNING,
    (RECOVERY, "vote_measurements"): RECOVERY,
    (INITIALIZING, "vote_measurements"): INITIALIZING,
    (RESHARING, "vote_measurements"): RESHARING,
    # Users.
    (RUNNING, "sign"): RUNNING,
    (RUNNING, "respond"): RUNNING,
}

CALLS = {
    "init": initialization.init,
    "submit_participant_info": onboarding.submit_participant_info,
    "update_participant_url": onboarding.update_participant_url,
    "register_backup_service": onboarding.register_backup_service,
    "submit_participant_recovery_info": recovery.submit_participant_recovery_info,
    "confirm_key_share_delivery": recovery.confirm_key_share_delivery,
    "conclude_recovery": recovery.conclude_recovery,
    "cancel_recovery": recovery.cancel_recovery,
    "expire_recovery": recovery.expire_recovery,
    "waive_recovery_cooldown": recovery.waive_recovery_cooldown,
    "submit_ephemeral_key": ephemeral.submit_ephemeral_key,
    "vote_add_domains": keygen.vote_add_domains,
    "start_keygen_instance": keygen.start_keygen_instance,
    "vote_pk": keygen.vote_pk,
    "vote_cancel_keygen": keygen.vote_cancel_keygen,
    "vote_new_parameters": proposals.vote_new_parameters,
    "start_reshare_instance": resharing.start_reshare_instance,
    "vote_reshared": resharing.vote_reshared,
    "vote_cancel_resharing": resharing.vote_cancel_resharing,
    "vote_node_code_hash": code_hashes.vote_node_code_hash,
    "vote_backup_service_code_hash": code_hashes.vote_backup_service_code_hash,
    "vote_measurements": code_hashes.vote_measurements,
    "sign": signing.sign,
    "respond": signing.respond,
}

VIEWS = {
    "state": protocol_state.state,
    "config": views.config,
    "participant_info": views.participant_info,
    "backup_services": views.backup_services,
    "proposed_parameters": proposals.proposed_parameters,
    "ephemeral_keys": ephemeral.ephemeral_keys,
    "allowed_node_code_hashes": code_hashes.allowed_node_code_hashes,
    "allowed_backup_service_code_hashes": code_hashes.allowed_backup_service_code_hashes,
    "allowed_measurements": code_hashes.allowed_measurements,
    "code_hash_votes": code_hashes.code_hash_votes,
    "signature_request": signing.signature_request,
    "open_signature_requests": signing.open_signature_requests,
}


def current_state(header: Header, store: "Store", height: int) -> str:
    """The protocol state at `height`: the stored one, or EXPIRED."""
    if header.state == RECOVERY and recovery.is_expired(store, height):
        return EXPIRED
    return header.state


def execute(chain: "Chain", method: str, arguments: "Json") -> "Json":
    """Makes one call: its JSON result, or ContractError and nothing of what was stored may be kept."""
    header = Header(chain.store)
    session = Session(chain, header, method)
    state = current_state(header, chain.store, chain.height)
    if state == EXPIRED and (EXPIRED, method) not in TRANSITIONS:
        recovery.expire(session)
        state = TRANSITIONS[(EXPIRED, "expire_recovery")]
    if (state, method) not in TRANSITIONS:
        raise ContractError(refusal(state, method))
    result = CALLS[method](session, arguments)
    header.state = TRANSITIONS[(state, session.outcome)]
    header.save(chain.store)
    return result


def refusal(state: str, method: str) -> str:
    possible = [row[0] for row in TRANSITIONS if row[1] == method]
    possible.sort()
    return f"{method} is possible only in {' or '.join(possible)} and the contract is {state}; read the view state"


def view(store: "Store", height: int, now: int, method: str, arguments: "Json") -> str:
    """The JSON text a view answers at `height`, in a block of the time `now`."""
    header = Header(store)
    if method == "version":
        codec.fields(arguments, "arguments", ())
        return f'"{VERSION}"'
    state = current_state(header, store, height)
    answer: str = VIEWS[method](views.Reader(store, height, now, header, state == RECOVERY), arguments)
    return answer
