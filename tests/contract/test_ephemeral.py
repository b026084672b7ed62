"""Ephemeral keys: the agent writes the record the contract takes, and what no sequence reaches."""

import json

import pytest

from contract.codec import ContractError
from contract.logic import execute
from sharekeeper.domain.ephemeral import EphemeralRecord, ExchangeId, X25519Key
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.protocol.contract_json import decode_ephemeral_keys, encode_ephemeral_record
from tests.contract import steps
from tests.contract.steps import BACKUP, NEW, Layer, take
from tests.contract.test_logic_rules import DictStore, chain, look
from tests.contract.world import (
    ALICE,
    CONTRACT,
    ephemeral_record,
    init_arguments,
    key,
    node_signer,
    private_key,
    recovery_arguments,
)

NETWORK = NetworkId(chain_id="dev", genesis_hash="GENESIS", contract_id=AccountId(CONTRACT))
SERVICE = {"backup_service_info": {"public_key": key("alice backup TLS key")}}


def agent_record(given: dict) -> EphemeralRecord:
    """The agent's value of a record that world.py wrote."""
    return EphemeralRecord(
        account_id=AccountId(ALICE),
        role=Role(given["role"]),
        purpose=Purpose(given["purpose"]),
        recovery_id=given["recovery_id"],
        exchange_id=ExchangeId(given["exchange_id"]),
        public_key=X25519Key.parse(given["public_key"]),
        expires_on=given["expires_on"],
        answers=None if given["answers"] is None else Sha256Hex(given["answers"]),
    )


OPENING = ephemeral_record(expires_on=60)
RECORDS = {
    "an opening record": OPENING,
    "an answer": ephemeral_record(expires_on=60, answers=OPENING),
    "a record for a recovery": ephemeral_record(expires_on=60, recovery_id=3),
}


@pytest.mark.parametrize("given", RECORDS.values(), ids=RECORDS)
def test_the_agent_writes_the_record_as_the_second_implementation_does(given: dict) -> None:
    record = agent_record(given)
    signature = private_key("alice backup TLS key").sign(record.canonical(NETWORK))
    assert encode_ephemeral_record(record, NETWORK, signature) == {"record": given}


def test_the_agent_reads_back_what_the_contract_accepted(layer: Layer) -> None:
    answer = ephemeral_record(expires_on=60, answers=OPENING)
    for step in (
        steps.init(),
        steps.register(10),
        steps.publish(20, OPENING),
        steps.publish(21, answer, signer=node_signer(ALICE)),
    ):
        take(layer, step)
    keys, other = decode_ephemeral_keys(layer.view(method="ephemeral_keys", args={"account_id": ALICE}, height=21))
    assert (other.backup_service, other.node) == (None, None)
    assert keys.backup_service is not None
    assert keys.node is not None
    assert (keys.backup_service.record, keys.backup_service.submitted_in) == (agent_record(OPENING), 20)
    assert (keys.node.record, keys.node.submitted_in) == (agent_record(answer), 21)
    assert keys.node.record.answers == keys.backup_service.claimed_hash == agent_record(OPENING).hash(NETWORK)


@pytest.fixture
def store() -> DictStore:
    """A network without cooldown in which Alice has a backup service."""
    storage = DictStore()
    arguments = init_arguments()
    arguments["config"]["recovery_cooldown_blocks"] = 0
    execute(chain(storage, caller=CONTRACT, height=1), "init", arguments)
    execute(chain(storage, signer=BACKUP), "register_backup_service", SERVICE)
    return storage


def publish(store: DictStore, record: dict, signer: str = BACKUP) -> None:
    execute(chain(store, signer=signer), "submit_ephemeral_key", {"record": record})


def test_an_opening_record_of_an_earlier_recovery_cannot_be_answered_in_a_later_one(store: DictStore) -> None:
    execute(chain(store, signer="first"), "submit_participant_recovery_info", recovery_arguments(ALICE, "first TLS"))
    opening = ephemeral_record(expires_on=60, recovery_id=1)
    publish(store, opening)
    execute(chain(store), "cancel_recovery", {"recovery_id": 1})
    execute(chain(store, signer=NEW), "submit_participant_recovery_info", recovery_arguments(ALICE, "new TLS"))
    with pytest.raises(ContractError, match="recovery 1 is not in progress"):
        publish(store, ephemeral_record(expires_on=60, recovery_id=1, answers=opening), NEW)
    with pytest.raises(ContractError, match=r"record\.recovery_id is not that of the opening record"):
        publish(store, ephemeral_record(expires_on=60, recovery_id=2, answers=opening), NEW)


def test_however_many_exchanges_there_are_a_slot_has_two_records(store: DictStore) -> None:
    before = set(store)
    for number in range(20):
        opening = ephemeral_record(exchange=f"exchange {number}", expires_on=60)
        publish(store, opening)
        answer = ephemeral_record(exchange=f"exchange {number}", expires_on=60, answers=opening)
        publish(store, answer, node_signer(ALICE))
    assert set(store) - before == {f"ephemeral/backup-service/0/{ALICE}", f"ephemeral/node/0/{ALICE}"}
    assert len(json.dumps(look(store, "ephemeral_keys", account_id=ALICE))) < 1500


def test_the_contract_cannot_tell_a_forged_signature_so_readers_must(store: DictStore) -> None:
    publish(store, OPENING | {"signature": "00" * 64, "hash": "00" * 32})
    assert look(store, "ephemeral_keys", account_id=ALICE)["backup_services"][0]["signature"] == "00" * 64
