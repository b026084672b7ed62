"""Votes on code: what bounds them, and what no sequence reaches."""

from typing import Any

import pytest

from contract.code_hashes import MOST_ALLOWED
from contract.codec import ContractError
from contract.logic import execute
from tests.contract import key_event_steps
from tests.contract.steps import vote_code
from tests.contract.test_logic_rules import DictStore, chain, look
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    CONTRACT,
    EPOCH,
    PARTICIPANTS,
    code_hash,
    init_arguments,
    measurements,
)

KINDS = {
    "vote_node_code_hash": lambda name: {"code_hash": code_hash(name)},
    "vote_backup_service_code_hash": lambda name: {"code_hash": code_hash(name)},
    "vote_measurements": lambda name: {"measurements": measurements(name)},
}
VIEWS = {
    "vote_node_code_hash": "allowed_node_code_hashes",
    "vote_backup_service_code_hash": "allowed_backup_service_code_hashes",
    "vote_measurements": "allowed_measurements",
}


@pytest.fixture
def store() -> DictStore:
    """An initialised contract."""
    storage = DictStore()
    execute(chain(storage, caller=CONTRACT, height=1), "init", init_arguments())
    return storage


def vote(store: DictStore, method: str, name: str, *, caller: str, allow: bool = True, height: int = 10) -> None:
    execute(chain(store, caller=caller, height=height), method, KINDS[method](name) | {"allow": allow})


def decide(store: DictStore, method: str, name: str, *, allow: bool = True, height: int = 10) -> None:
    """By as many votes as the threshold."""
    for caller in (ALICE, BOB):
        vote(store, method, name, caller=caller, allow=allow, height=height)


def allowed(store: DictStore, method: str, height: int = 10) -> list[Any]:
    return look(store, VIEWS[method], height=height)


@pytest.mark.parametrize("method", KINDS)
def test_what_is_allowed_is_bounded_and_makes_room_when_its_grace_is_over(store: DictStore, method: str) -> None:
    for number in range(MOST_ALLOWED):
        decide(store, method, f"code {number}")
    vote(store, method, "one more", caller=ALICE)
    with pytest.raises(ContractError, match="16 are allowed already, the most there may be; withdraw one first"):
        vote(store, method, "one more", caller=BOB)
    decide(store, method, "code 3", allow=False, height=20)
    with pytest.raises(ContractError, match="16 are allowed already"):
        decide(store, method, "one more", height=59)
    decide(store, method, "one more", height=60)
    entries = allowed(store, method, 60)
    assert len(entries) == MOST_ALLOWED
    assert entries[-1] == KINDS[method]("one more") | {"allowed_until": None}
    assert KINDS[method]("code 3") | {"allowed_until": 60} not in entries


@pytest.mark.parametrize("method", KINDS)
def test_however_often_participants_vote_each_has_one_vote_stored(store: DictStore, method: str) -> None:
    for number in range(30):
        for caller in PARTICIPANTS:
            vote(store, method, f"{caller} {number}", caller=caller)
    sizes = {key: len(value) for key, value in store.items() if key.startswith(("allowed/", "code-votes/"))}
    assert len(sizes) == 1
    assert sum(sizes.values()) < len(PARTICIPANTS) * 700
    voters = [entry["voters"] for entries in look(store, "code_hash_votes").values() for entry in entries]
    assert voters == [[name] for name in PARTICIPANTS]


def test_votes_of_accounts_that_left_neither_count_nor_stay(store: DictStore) -> None:
    vote(store, "vote_node_code_hash", "code", caller=ALICE)
    left = store["code-votes/node"].replace(ALICE, "left.test.near")
    store["code-votes/node"] = left + "\n" + left.replace("left", "gone")
    assert look(store, "code_hash_votes")["node"] == []
    vote(store, "vote_node_code_hash", "code", caller=CAROL)
    assert allowed(store, "vote_node_code_hash") == []
    assert look(store, "code_hash_votes")["node"] == [
        {"code_hash": code_hash("code"), "allow": True, "voters": [CAROL]}
    ]
    assert "left.test.near" not in store["code-votes/node"]


def test_another_participant_set_starts_with_no_open_votes() -> None:
    store = DictStore()
    same = {"parameters": init_arguments()["parameters"]}
    for step in (
        key_event_steps.init_without_domains(),
        vote_code(2, "code", caller=ALICE),
        key_event_steps.propose(3, same, caller=BOB),
        key_event_steps.propose(3, same, caller=CAROL),
    ):
        execute(chain(store, caller=step.caller, signer=step.signer, height=step.height), step.method, step.args)
    assert look(store, "state")["Running"]["keyset"]["epoch_id"] == EPOCH + 1
    assert look(store, "code_hash_votes")["node"] == []
    vote(store, "vote_node_code_hash", "code", caller=BOB)
    assert allowed(store, "vote_node_code_hash") == []


def test_no_vote_given_before_a_value_was_allowed_counts_after_it_was_withdrawn(store: DictStore) -> None:
    """A late vote to allow must not lie in wait until the code is found bad and withdrawn."""
    decide(store, "vote_node_code_hash", "code")
    vote(store, "vote_node_code_hash", "code", caller=CAROL)
    decide(store, "vote_node_code_hash", "code", allow=False, height=20)
    vote(store, "vote_node_code_hash", "code", caller=ALICE, height=21)
    assert allowed(store, "vote_node_code_hash", 21)[0]["allowed_until"] == 60
    assert allowed(store, "vote_node_code_hash", 60) == []


def test_without_a_grace_time_a_withdrawal_takes_effect_at_once() -> None:
    store = DictStore()
    args = init_arguments()
    args["config"]["code_hash_grace_blocks"] = 0
    execute(chain(store, caller=CONTRACT, height=1), "init", args)
    decide(store, "vote_measurements", "TEE")
    decide(store, "vote_measurements", "TEE", allow=False, height=20)
    assert allowed(store, "vote_measurements", 20) == []
