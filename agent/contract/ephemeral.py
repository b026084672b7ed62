"""Ephemeral keys for one exchange: the backup service opens with a record, the node answers that record once.

The contract keeps the records in order and says who wrote them and when. It cannot know the network they are for, so
it verifies neither their hash nor their signature: their reader does, by the TLS key the writer is pinned to then.
"""

import json

from contract import codec, records
from contract.codec import ContractError
from contract.records import BACKUP_SERVICE, NODE
from contract.session import BACKUP_SERVICE_IN_FORCE, NODE_IN_FORCE, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.views import Reader

FIELDS = (
    "exchange_id",
    "purpose",
    "role",
    "recovery_id",
    "public_key",
    "expires_on",
    "answers",
    "hash",
    "signature",
)
BACKUP = "backup"
RECOVERY = "recovery"
EXCHANGE_ID_BYTES = 16
X25519 = "x25519:"
X25519_BYTES = 32
SIGNATURE_BYTES = 64


def submit_ephemeral_key(session: Session, arguments: "Json") -> None:
    """Stores the caller's record in place of the one its role had before; the same record again changes nothing."""
    record = checked_record(codec.fields(arguments, "arguments", ("record",))["record"])
    session.require_participant()
    require_time(session, record)
    require_writer(session, record)
    if record["role"] == NODE:
        require_opened(session, record)
    name = storage_key(session.account.account_id, record["role"])
    before = records.load(session.store, name)
    if before is not None and before["exchange_id"] == record["exchange_id"]:
        if [field for field in FIELDS if before[field] != record[field]]:
            raise ContractError("the exchange_id has another record of this role; open an exchange with a new one")
        return
    record["account_id"] = session.account.account_id
    record["submitted_in"] = session.height
    records.save(session.store, name, record)


def storage_key(account_id: str, role: str) -> str:
    return f"ephemeral/{role}/{account_id}"


def checked_record(value: "Json") -> "dict[str, Any]":
    """The record in its one form; what it says about chain and caller is not checked here."""
    record = codec.fields(value, "record", FIELDS)
    codec.hexadecimal(record["exchange_id"], "record.exchange_id", EXCHANGE_ID_BYTES, EXCHANGE_ID_BYTES)
    if codec.one_of(record["purpose"], "record.purpose", (BACKUP, RECOVERY)) == RECOVERY:
        codec.integer(record["recovery_id"], "record.recovery_id")
    elif record["recovery_id"] is not None:
        raise ContractError("record.recovery_id must be null for a backup")
    if codec.one_of(record["role"], "record.role", (BACKUP_SERVICE, NODE)) == NODE:
        codec.digest(record["answers"], "record.answers")
    elif record["answers"] is not None:
        raise ContractError("record.answers must be null for the backup service, which opens the exchange")
    codec.public_key(record["public_key"], "record.public_key", X25519, X25519_BYTES)
    codec.integer(record["expires_on"], "record.expires_on")
    codec.digest(record["hash"], "record.hash")
    codec.hexadecimal(record["signature"], "record.signature", SIGNATURE_BYTES, SIGNATURE_BYTES)
    return record


def require_time(session: Session, record: "dict[str, Any]") -> None:
    last = session.height + session.config["ephemeral_key_max_blocks"]
    if not session.height < record["expires_on"] <= last:
        raise ContractError(f"record.expires_on must be after block {session.height} and at most {last}; sign it anew")


def require_writer(session: Session, record: "dict[str, Any]") -> None:
    """The caller is the account's machine of that role: for a recovery, the node that recovers."""
    recovery = records.load_recovery(session.store)
    if record["purpose"] == BACKUP:
        if recovery is not None:
            raise ContractError("a backup is possible only in Running and the contract is Recovery; wait for Running")
        session.require((NODE_IN_FORCE if record["role"] == NODE else BACKUP_SERVICE_IN_FORCE,))
        return
    if recovery is None or recovery.recovery_id != record["recovery_id"]:
        raise ContractError(f"recovery {record['recovery_id']} is not in progress; read the view state")
    if recovery.account_id != session.account.account_id:
        raise ContractError(f"{recovery.account_id} is recovering; only its own machines exchange keys for that")
    if record["role"] == BACKUP_SERVICE:
        session.require((BACKUP_SERVICE_IN_FORCE,))
    elif session.signer_key != recovery.pair.signer:
        raise ContractError("only the recovering node, by the access key it recovers with, answers for a recovery")


def require_opened(session: Session, record: "dict[str, Any]") -> None:
    """The node's record answers the account's opening record, which is still in time."""
    opening = records.load(session.store, storage_key(session.account.account_id, BACKUP_SERVICE))
    if opening is None or session.height >= opening["expires_on"]:
        raise ContractError("the backup service has opened no exchange; wait for its record in the view ephemeral_keys")
    for field in ("exchange_id", "purpose", "recovery_id"):
        if opening[field] != record[field]:
            raise ContractError(f"record.{field} is not that of the opening record; read the view ephemeral_keys")
    if opening["hash"] != record["answers"]:
        raise ContractError("record.answers is not the hash of the opening record; read the view ephemeral_keys")


def ephemeral_keys(reader: "Reader", arguments: "Json") -> str:
    """Both records of an account; null for one that is not there or has expired."""
    given = codec.fields(arguments, "arguments", ("account_id",))
    account_id = codec.account_id(given["account_id"], "account_id")
    service = shown(reader, storage_key(account_id, BACKUP_SERVICE))
    return f'{{"backup_service":{service},"node":{shown(reader, storage_key(account_id, NODE))}}}'


def shown(reader: "Reader", name: str) -> str:
    stored = reader.store.get(name)
    return "null" if stored is None or reader.height >= json.loads(stored)["expires_on"] else stored
