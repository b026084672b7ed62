"""The rules of the MPC contract: which call is possible in which protocol state, and what it leads to.

1. The protocol state is one of the four below. An expired Recovery is a state of its own, `EXPIRED`, that every view
   shows as Running: no block has to be written for a Recovery to be over.
2. `TRANSITIONS` holds every legal move. What is absent is refused and changes nothing. A further state of the spec
   is further rows.
3. Only `execute` changes the state, after the call's own checks, by the row named by the call or by its outcome.
4. A call that finds the contract EXPIRED, other than `expire_recovery` itself, first takes that row, then its own.

The state JSON and the words are those of docs/contract.md. This file and what it imports know nothing of NEAR.
"""

from contract import code_hashes, codec, ephemeral, initialization, onboarding, recovery, signing, views
from contract.codec import ContractError
from contract.records import Header
from contract.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Store
    from contract.session import Chain

VERSION = "0.1.0"

NOT_INITIALIZED = "NotInitialized"
RUNNING = "Running"
RECOVERY = "Recovery"
EXPIRED = "Expired"

TRANSITIONS = {
    (NOT_INITIALIZED, "init"): RUNNING,
    (RUNNING, "submit_participant_info"): RUNNING,
    (RECOVERY, "submit_participant_info"): RECOVERY,
    (RUNNING, "update_participant_url"): RUNNING,
    (RUNNING, "register_backup_service"): RUNNING,
    (RECOVERY, "register_backup_service"): RECOVERY,
    (RUNNING, "submit_participant_recovery_info"): RECOVERY,
    (RECOVERY, "confirm_key_share_delivery"): RECOVERY,
    (RECOVERY, "conclude_recovery"): RUNNING,
    (RECOVERY, "cancel_recovery"): RUNNING,
    (RECOVERY, recovery.CANCEL_VOTE): RECOVERY,  # the outcome of cancel_recovery below the threshold
    (RUNNING, "submit_ephemeral_key"): RUNNING,
    (RECOVERY, "submit_ephemeral_key"): RECOVERY,
    (EXPIRED, "expire_recovery"): RUNNING,
    (RUNNING, "waive_recovery_cooldown"): RUNNING,
    (RECOVERY, "waive_recovery_cooldown"): RECOVERY,
    (RUNNING, "vote_node_code_hash"): RUNNING,
    (RECOVERY, "vote_node_code_hash"): RECOVERY,
    (RUNNING, "vote_backup_service_code_hash"): RUNNING,
    (RECOVERY, "vote_backup_service_code_hash"): RECOVERY,
    (RUNNING, "vote_measurements"): RUNNING,
    (RECOVERY, "vote_measurements"): RECOVERY,
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
    "vote_node_code_hash": code_hashes.vote_node_code_hash,
    "vote_backup_service_code_hash": code_hashes.vote_backup_service_code_hash,
    "vote_measurements": code_hashes.vote_measurements,
    "sign": signing.sign,
    "respond": signing.respond,
}

VIEWS = {
    "state": views.state,
    "config": views.config,
    "participant_info": views.participant_info,
    "backup_services": views.backup_services,
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
    header = Header(chain.store, NOT_INITIALIZED)
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


def view(store: "Store", height: int, method: str, arguments: "Json") -> str:
    """The JSON text a view answers at `height`."""
    header = Header(store, NOT_INITIALIZED)
    if method == "version":
        codec.fields(arguments, "arguments", ())
        return f'"{VERSION}"'
    state = current_state(header, store, height)
    answer: str = VIEWS[method](views.Reader(store, height, header, state == RECOVERY), arguments)
    return answer
