"""The bytes that a contract view of a domain value would return, for simulated endpoints."""

import json

from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    NodeKeys,
    NotInitialized,
    ParticipantInfo,
    Participants,
    ProtocolState,
    Recovery,
    Running,
)
from sharekeeper.protocol.codec import encode_keyset
from sharekeeper.protocol.quorum import ReadViews


def views(state: ProtocolState, account: AccountRecord) -> tuple[bytes, bytes]:
    """Views `state` and `participant_info`."""
    return state_bytes(state), account_bytes(account)


def read(state: ProtocolState, account: AccountRecord) -> ReadViews:
    return ReadViews(state=state, account=account)


def state_bytes(state: ProtocolState) -> bytes:
    return json.dumps(_state(state)).encode()


def account_bytes(record: AccountRecord) -> bytes:
    found = {
        "account_id": record.account_id,
        "is_participant": record.is_participant,
        "node": _node(record, record.node),
        "node_candidate": _node(record, record.node_candidate),
        "backup_services": [
            service
            and {
                "tls_public_key": str(service.tls_public_key),
                "signer_account_pk": str(service.signer_key),
                "evidence": _evidence(record, service.tls_public_key),
            }
            for service in record.backup_services
        ],
        "cooldown_until": record.cooldown_until,
    }
    return json.dumps(found).encode()


def _state(state: ProtocolState):
    match state:
        case NotInitialized():
            return "NotInitialized"
        case Running():
            return {"Running": _running(state)}
        case Recovery():
            recovering = {
                "account_id": state.recovering.account_id,
                "participant_info": _info(state.recovering.info),
                "signer_account_pk": str(state.recovering.signer_key),
            }
            return {
                "Recovery": {
                    "recovery_id": state.recovery_id,
                    "previous_running_state": _running(state.previous),
                    "prospective_participants": _participants(state.prospective),
                    "recovering": recovering,
                    "started_in": state.started_in,
                    "expires_on": state.expires_on,
                    "shares_confirmed": state.shares_confirmed,
                }
            }
        case _:
            raise ValueError(f"no test needs the bytes of {type(state).__name__}")


def _running(state: Running):
    parameters = {"participants": _participants(state.participants), "threshold": state.threshold}
    return {"keyset": encode_keyset(state.keyset), "parameters": parameters}


def _participants(participants: Participants):
    members = [[one.account_id, one.participant_id, _info(one.info)] for one in participants.members]
    return {"next_id": len(members), "participants": members}


def _info(info: ParticipantInfo):
    return {"url": info.url, "tls_public_key": str(info.tls_public_key)}


def _node(record: AccountRecord, keys: NodeKeys | None):
    return keys and {
        **_info(keys.info),
        "signer_account_pk": str(keys.signer_key),
        "evidence": _evidence(record, keys.info.tls_public_key),
    }


def _evidence(record: AccountRecord, tls_key: TlsKey):
    found = next((one for one in record.evidence if one.tls_public_key == tls_key), None)
    if found is None:
        return None
    stamp = {"digest": found.stamp.digest, "attested_at": found.stamp.attested_at}
    return stamp | {"valid_until": found.valid_until}
