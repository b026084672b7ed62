"""What `wait` and `chain state` make of every protocol state."""

import dataclasses

import pytest

from sharekeeper.cli import backup_service, chain
from sharekeeper.cli.wait import Condition, Seen, Wanted, holds
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.domain.protocol_state import BlockRef, NotInitialized
from sharekeeper.errors import PolicyRefused
from sharekeeper.ops.state_words import describe_state
from sharekeeper.protocol.contract_json import decode_account, decode_state
from tests.unit.test_contract_json import ACCOUNT, NEW_TLS, RECOVERY, SHAPES

ALPHA, DELTA = AccountId("alpha.example.near"), AccountId("delta.example.near")
NETWORK = NetworkId(chain_id="devnet", genesis_hash="g", contract_id=AccountId("mpc.near"))
BLOCK = BlockRef(height=7, hash="h", timestamp_ns=10**18)
RUNNING, RESHARING = decode_state(SHAPES["running"]), decode_state(SHAPES["resharing"])
RECOVERING, INITIALIZING = decode_state(RECOVERY), decode_state(SHAPES["initializing"])
EMPTY = dataclasses.replace(RUNNING, keyset=dataclasses.replace(RUNNING.keyset, domains=()), domains=())
OLD_TLS = RUNNING.participants.find(ALPHA).info.tls_public_key
BACKUP = RUNNING.keyset.backup_id(NETWORK, ALPHA)
RECORD = decode_account(ACCOUNT)


def seen(state, record=None, held=()):
    return Seen(network=NETWORK, block=BLOCK, state=state, record=record, held=held)


def wanted(condition, account_id=ALPHA, tls_key=None):
    return Wanted(condition=Condition(condition), account_id=account_id, tls_key=tls_key, vault=None)


@pytest.mark.parametrize(
    ("want", "look", "expected"),
    [
        (wanted("running"), seen(RUNNING), True),
        (wanted("running"), seen(RECOVERING), False),
        (wanted("running"), seen(RESHARING), False),
        (wanted("recovery"), seen(RECOVERING), True),
        (wanted("recovery", None), seen(RECOVERING), True),
        (wanted("recovery", DELTA), seen(RECOVERING), False),
        (wanted("recovery"), seen(RUNNING), False),
        (wanted("recovered", ALPHA, OLD_TLS), seen(RUNNING), True),
        (wanted("recovered", ALPHA, NEW_TLS), seen(RUNNING), False),
        (wanted("recovered", DELTA, OLD_TLS), seen(RUNNING), False),
        (wanted("recovered", ALPHA, OLD_TLS), seen(RECOVERING), False),
        (wanted("backed-up"), seen(RUNNING, held=(BACKUP,)), True),
        (wanted("backed-up"), seen(RECOVERING, held=(BACKUP,)), True),
        (wanted("backed-up"), seen(RUNNING), False),
        (wanted("backed-up", DELTA), seen(RUNNING, held=(BACKUP,)), False),
        (wanted("backed-up"), seen(INITIALIZING, held=(BACKUP,)), False),
        (wanted("backed-up"), seen(EMPTY), True),
        (wanted("registered"), seen(RUNNING, RECORD), True),
        (wanted("registered"), seen(RUNNING, dataclasses.replace(RECORD, backup_service=None)), False),
        (wanted("registered"), seen(RUNNING, dataclasses.replace(RECORD, node=None)), False),
        (
            wanted("registered"),
            seen(RUNNING, dataclasses.replace(RECORD, node=None, node_candidate=RECORD.node)),
            True,
        ),
    ],
)
def test_a_condition_holds_exactly_when_the_contract_says_so(want, look, expected):
    assert holds(want, look) is expected


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (NotInitialized(), "NotInitialized"),
        (
            INITIALIZING,
            "Initializing, epoch 5: the key of domain 1 is generated; attempt 0 until block 180000030, 2 of 3 voted",
        ),
        (EMPTY, "Running, epoch 5, no domain yet"),
        (RUNNING, "Running, epoch 5"),
        (
            RESHARING,
            (
                "Resharing, epoch 5: domain 1 is reshared for epoch 6 to 4 participants, threshold 3; "
                "attempt 1 until block 180001030, 1 of 4 voted"
            ),
        ),
        (RECOVERING, "Recovery 7 of alpha.example.near, epoch 5, shares not confirmed"),
    ],
)
def test_every_state_is_told_in_one_line_and_shown(state, words):
    assert describe_state(state) == words
    facts = chain.facts(NETWORK, BLOCK, state)
    assert facts["state"] == words.split(",")[0].split()[0]
    assert facts["description"] == words
    assert (facts["running"] is None) == ("epoch" not in words)
    assert chain.lines(facts).startswith("state")


def test_a_key_event_is_shown_with_who_takes_part_and_who_voted():
    facts = chain.facts(NETWORK, BLOCK, RESHARING)
    assert facts["key_event"] == {
        "epoch_id": 6,
        "domain_id": 1,
        "protocol": "Frost",
        "done": [0],
        "threshold": 3,
        "participants": [f"{name}.example.near" for name in ("alpha", "bravo", "charlie", "delta")],
        "attempt_id": 1,
        "expires_on": 180001030,
        "voted": ["alpha.example.near"],
        "next_attempt_id": 2,
    }
    assert "alpha.example.near, bravo.example.near" in chain.lines(facts)
    waiting = dataclasses.replace(RESHARING, resharing=dataclasses.replace(RESHARING.resharing, instance=None))
    assert describe_state(waiting).endswith("attempt 2 is to be started")
    assert chain.facts(NETWORK, BLOCK, waiting)["key_event"]["voted"] == []
    assert chain.facts(NETWORK, BLOCK, INITIALIZING)["key_event"]["done"] == [0]
    assert chain.facts(NETWORK, BLOCK, RUNNING)["key_event"] is None


def test_nothing_can_be_approved_before_there_is_a_keyset():
    assert backup_service.keyset_in_force(RECOVERING) == RUNNING.keyset.digest()
    for state in (NotInitialized(), EMPTY):
        with pytest.raises(PolicyRefused, match="no keyset"):
            backup_service.keyset_in_force(state)
    with pytest.raises(PolicyRefused, match="once it is Running"):
        backup_service.keyset_in_force(INITIALIZING)
