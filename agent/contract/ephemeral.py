"""Ephemeral keys for one exchange: the backup service opens with a record, the node answers that record once.

The contract keeps the records in order and says who wrote them and when. It cannot know the network they are for, so
it verifies neither their hash nor their signature: their reader does, by the TLS key the writer is pinned to then.
"""

import json

from contract import codec, records
from contract.codec import ContractError
from contract.records import BACKUP_SERVICE, NODE, SLOTS
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
    """Stores the caller's record in place of the one its role had in that slot; the same record again changes nothing.

    A backup service's slot is that of its key; a node's record goes to the slot of the record it answers.
    """
    record = checked_record(codec.fields(arguments, "arguments", ("record",))["record"])
    session.require_participant()
    require_time(session, record)
    require_writer(session, record)
    slot = opened_slot(session, record) if record["role"] == NODE else own_slot(session, record["exchange_id"])
    name = storage_key(session.account.account_id, record["role"], slot)
    before = records.load(session.store, name)
    if before is not None and before["exchange_id"] == record["exchange_id"]:
        if [field for field in FIELDS if before[field] != record[field]]:
            raise ContractError("the exchange_id has another record of this role; open an exchange with a new one")
        return
    record["account_id"] = session.account.account_id
    record["submitted_in"] = session.height
    records.save(session.store, name, record)


def storage_key(account_id: str, role: str, slot: int) -> str:
    return f"ephemeral/{role}/{slot}/{account_id}"


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
    """The caller is the account's machine of that role: for a recovery, the node that recovers, and it alone."""
    recovery = records.load_recovery(session.store)
    if record["purpose"] == BACKUP:
        if recovery is not None and recovery.account_id == session.account.account_id:
            raise ContractError("this account is recovering; a backup is possible once its recovery is over")
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


def own_slot(session: Session, exchange_id: str) -> int:
    """The slot of the backup service that calls; the other slot's record may not have its exchange_id."""
    own = session.account.slot_of(session.signer_key)
    if own is None:
        raise ContractError("the stored backup service is missing; report this contract as faulty")
    other = records.load(session.store, storage_key(session.account.account_id, BACKUP_SERVICE, 1 - own))
    if other is not None and other["exchange_id"] == exchange_id:
        raise ContractError("the exchange_id is that of the other slot's record; open an exchange with a new one")
    return own


def opened_slot(session: Session, record: "dict[str, Any]") -> int:
    """The slot whose opening record, still in time, the node's record answers."""
    openings = []
    for slot in SLOTS:
        opening = records.load(session.store, storage_key(session.account.account_id, BACKUP_SERVICE, slot))
        if opening is not None and session.height < opening["expires_on"]:
            openings.append((slot, opening))
    if not openings:
        raise ContractError("no backup service has opened an exchange; wait for a record in the view ephemeral_keys")
    for slot, opening in openings:
        if opening["exchange_id"] == record["exchange_id"]:
            require_answer(opening, record)
            return slot
    raise ContractError("record.exchange_id is that of no opening record; read the view ephemeral_keys")


def require_answer(opening: "dict[str, Any]", record: "dict[str, Any]") -> None:
    for field in ("purpose", "recovery_id"):
        if opening[field] != record[field]:
            raise ContractError(f"record.{field} is not that of the opening record; read the view ephemeral_keys")
    if opening["hash"] != record["answers"]:
        raise ContractError("record.answers is not the hash of the opening record; read the view ephemeral_keys")


def ephemeral_keys(reader: "Reader", arguments: "Json") -> str:
    """The records of an account by role and slot; null for one that is not there or has expired."""
    given = codec.fields(arguments, "arguments", ("account_id",))
    account_id = codec.account_id(given["account_id"], "account_id")
    services = [shown(reader, storage_key(account_id, BACKUP_SERVICE, slot)) for slot in SLOTS]
    nodes = [shown(reader, storage_key(account_id, NODE, slot)) for slot in SLOTS]
    return f'{{"backup_services":[{",".join(services)}],"nodes":[{",".join(nodes)}]}}'


def shown(reader: "Reader", name: str) -> str:
    stored = reader.store.get(name)
    return "null" if stored is None or reader.height >= json.loads(stored)["expires_on"] else stored
