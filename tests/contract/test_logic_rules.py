"""Rules that hold for every call, and limits no sequence reaches."""

import json
from typing import Any

import pytest

from contract.codec import ContractError
from contract.domains import MOST_DOMAINS
from contract.logic import CALLS, VERSION, execute, view
from contract.session import MOST_PAIRS_OF_AN_ACCOUNT, Chain
from contract.signing import MOST_OPEN, REMEMBERED
from tests.contract.layers import sha256, verify
from tests.contract.world import (
    ALICE,
    BOB,
    CONTRACT,
    ERIN,
    NOW,
    domains,
    info,
    init_arguments,
    key,
    node_signer,
    node_tls,
    participants,
    private_key,
    raw_key,
    recovery_arguments,
    sign_arguments,
    signature,
    url,
)


class DictStore(dict[str, str]):
    """A contract's storage."""

    set = dict.__setitem__
    remove = dict.__delitem__


def chain(store: DictStore, **changed: Any) -> Chain:
    """A call by Alice's operator at height 10, except for what `changed` says."""
    who = changed.pop("caller", ALICE)
    values = {
        "store": store,
        "height": 10,
        "now": NOW,
        "contract_id": CONTRACT,
        "signer_id": who,
        "predecessor_id": who,
        "signer_key": b"\0" + raw_key(changed.pop("signer", f"{who} operator key")),
        "deposit": 0,
        "sha256": sha256,
        "ed25519_verify": verify,
    }
    return Chain(**(values | changed))


@pytest.fixture
def store() -> DictStore:
    """An initialised contract."""
    storage = DictStore()
    execute(chain(storage, caller=CONTRACT, height=1), "init", init_arguments())
    return storage


def look(store: DictStore, method: str, *, height: int = 10, now: int = NOW, **args: Any) -> Any:
    return json.loads(view(store, height, now, method, args))


@pytest.mark.parametrize("method", CALLS)
def test_a_call_through_another_contract_is_refused(store: DictStore, method: str) -> None:
    with pytest.raises(ContractError, match="the signer is not the caller"):
        execute(chain(store, predecessor_id="proxy.test.near"), method, {})


@pytest.mark.parametrize("method", CALLS)
def test_a_call_with_a_deposit_is_refused_since_it_would_be_lost(store: DictStore, method: str) -> None:
    with pytest.raises(ContractError, match="a deposit is attached"):
        execute(chain(store, deposit=1), method, {})


@pytest.mark.parametrize("method", CALLS)
def test_an_access_key_of_an_unknown_curve_is_refused(store: DictStore, method: str) -> None:
    with pytest.raises(ContractError, match="of an unknown curve"):
        execute(chain(store, signer_key=b"\2" + bytes(32)), method, {})


@pytest.mark.parametrize("method", CALLS)
def test_a_retired_key_is_refused_in_every_call(store: DictStore, method: str) -> None:
    for number in (1, 2):
        service = {"backup_service_info": {"public_key": key(f"backup TLS {number}")}}
        execute(chain(store, signer=f"backup {number}"), "register_backup_service", service)
    before = dict(store)
    with pytest.raises(ContractError, match="the access key is retired"):
        execute(chain(store, signer="backup 1"), method, {})
    assert store == before


@pytest.mark.parametrize("method", CALLS)
def test_a_key_recorded_for_another_account_is_refused_in_every_call(store: DictStore, method: str) -> None:
    with pytest.raises(ContractError, match="the access key is recorded for another account"):
        execute(chain(store, signer=node_signer(BOB)), method, {})


def test_a_secp256k1_access_key_may_vote_but_stands_for_no_machine(store: DictStore) -> None:
    secp256k1 = b"\1" + bytes(range(64))
    args = recovery_arguments(ALICE, "new TLS")
    with pytest.raises(ContractError, match="the access key is no ed25519 key"):
        execute(chain(store, signer_key=secp256k1), "submit_participant_recovery_info", args)
    execute(chain(store, signer="new"), "submit_participant_recovery_info", args)
    execute(chain(store, signer_key=secp256k1), "cancel_recovery", {"recovery_id": 1})
    assert "Running" in look(store, "state")


def test_only_the_contract_account_initialises() -> None:
    with pytest.raises(ContractError, match=r"only mpc\.test\.near itself can initialise"):
        execute(chain(DictStore()), "init", init_arguments())


def test_what_an_account_makes_the_contract_remember_is_bounded(store: DictStore) -> None:
    for number in range(MOST_PAIRS_OF_AN_ACCOUNT):
        args = {"participant_info": info(f"TLS {number}")}
        execute(chain(store, caller=ERIN, signer=f"erin {number}"), "submit_participant_info", args)
    one_more = {"participant_info": info("one more TLS")}
    with pytest.raises(ContractError, match="the most there may be"):
        execute(chain(store, caller=ERIN, signer="one more"), "submit_participant_info", one_more)


def test_open_signature_requests_are_bounded_and_make_room_when_they_expire(store: DictStore) -> None:
    for number in range(1, MOST_OPEN + 1):
        assert execute(chain(store), "sign", sign_arguments()) == {"request_id": number}
    with pytest.raises(ContractError, match="too many signature requests are open; call again from block 30"):
        execute(chain(store), "sign", sign_arguments())
    assert len(look(store, "open_signature_requests")) == MOST_OPEN
    assert execute(chain(store, height=30), "sign", sign_arguments()) == {"request_id": MOST_OPEN + 1}
    assert [request["request_id"] for request in look(store, "open_signature_requests", height=30)] == [MOST_OPEN + 1]


def test_old_requests_are_forgotten_but_never_while_they_are_open(store: DictStore) -> None:
    execute(chain(store), "sign", sign_arguments())
    for number in range(2, REMEMBERED + 1):
        execute(chain(store), "sign", sign_arguments())
        execute(chain(store), "respond", {"request_id": number, "signature": signature()})
    with pytest.raises(ContractError, match="call again from block 30"):
        execute(chain(store), "sign", sign_arguments())
    execute(chain(store, height=30), "sign", sign_arguments())
    assert look(store, "signature_request", request_id=1) is None
    assert look(store, "signature_request", request_id=2)["signature"] == signature()
    assert look(store, "signature_request", request_id=REMEMBERED + 1)["requested_in"] == 30
    with pytest.raises(ContractError, match="signature request 1 is unknown or forgotten"):
        execute(chain(store, height=30), "respond", {"request_id": 1, "signature": signature()})


def test_votes_of_accounts_that_left_do_not_count(store: DictStore) -> None:
    execute(chain(store, signer="new"), "submit_participant_recovery_info", recovery_arguments(ALICE, "new TLS"))
    execute(chain(store, caller=BOB), "cancel_recovery", {"recovery_id": 1})
    stored = json.loads(store["recovery"])
    store["recovery"] = json.dumps(stored | {"cancel_votes": ["gone.test.near"]})
    execute(chain(store, caller=BOB), "cancel_recovery", {"recovery_id": 1})
    assert look(store, "state")["Recovery"]["cancel_votes"] == ["gone.test.near", BOB]


def test_a_participant_that_changes_its_vote_again_and_again_leaves_one(store: DictStore) -> None:
    def vote(number: int) -> int:
        added = domains()["domains"][0] | {"id": 4, "reconstruction_threshold": 1 + number % 3}
        execute(chain(store), "vote_add_domains", {"domains": [added]})
        proposal = {"parameters": {"participants": participants(), "threshold": 1 + number % 3}}
        execute(chain(store), "vote_new_parameters", {"prospective_epoch_id": 6, "proposal": proposal})
        return len(store["votes/add_domains"]) + len(store["votes/parameters"])

    assert len({vote(number) for number in range(6)}) == 1


def test_no_more_domains_are_voted_for_than_a_call_can_hold(store: DictStore) -> None:
    added = domains()["domains"][0] | {"id": 4}
    line = store["domains"].split("\n")[0]
    store["domains"] = "\n".join([line] * MOST_DOMAINS)
    with pytest.raises(ContractError, match="come to 1000 at most"):
        execute(chain(store), "vote_add_domains", {"domains": [added]})
    store["domains"] = "\n".join([line] * (MOST_DOMAINS - 1))
    execute(chain(store), "vote_add_domains", {"domains": [added]})


def test_without_a_cooldown_an_account_recovers_again_at_once() -> None:
    store = DictStore()
    args = init_arguments()
    args["config"] = {"recovery_cooldown_blocks": 0}
    execute(chain(store, caller=CONTRACT, height=1), "init", args)
    for number in (1, 2):
        recovery = recovery_arguments(ALICE, f"TLS {number}")
        result = execute(chain(store, signer=f"new {number}"), "submit_participant_recovery_info", recovery)
        assert result == {"recovery_id": number}
        execute(chain(store), "cancel_recovery", {"recovery_id": number})


def test_views_of_a_contract_not_initialised() -> None:
    store = DictStore()
    assert look(store, "state") == "NotInitialized"
    assert look(store, "version") == VERSION
    assert look(store, "backup_services") == {}
    assert look(store, "allowed_node_code_hashes") == []
    assert look(store, "allowed_backup_service_code_hashes") == []
    assert look(store, "allowed_measurements") == []
    assert look(store, "code_hash_votes") == {"node": [], "backup_service": [], "measurements": []}
    assert look(store, "open_signature_requests") == []
    assert look(store, "signature_request", request_id=1) is None
    assert look(store, "ephemeral_keys", account_id=ALICE) == {
        "backup_services": [None, None],
        "nodes": [None, None],
    }
    assert look(store, "participant_info", account_id=ALICE) == {
        "account_id": ALICE,
        "is_participant": False,
        "node": None,
        "node_candidate": None,
        "backup_services": [None, None],
        "cooldown_until": 0,
    }
    with pytest.raises(ContractError, match="the contract is not initialised; call init"):
        look(store, "config")


def test_config_shows_defaults_where_init_gave_none() -> None:
    store = DictStore()
    execute(chain(store, caller=CONTRACT, height=1), "init", init_arguments() | {"config": None})
    assert look(store, "config") == {
        "recovery_timeout_blocks": 6000,
        "recovery_cooldown_blocks": 60000,
        "request_timeout_blocks": 200,
        "ephemeral_key_max_blocks": 200,
        "key_event_timeout_blocks": 30,
        "code_hash_grace_blocks": 50000,
        "evidence_validity_seconds": 604_800,
        "max_url_bytes": 256,
        "max_prospective_accounts": 100,
    }


def test_the_state_is_near_mpcs_json(store: DictStore) -> None:
    given = init_arguments()
    assert look(store, "state") == {
        "Running": {
            "domains": given["domains"],
            "keyset": given["keyset"],
            "parameters": given["parameters"],
            "parameters_votes": {"proposal_by_account": {}},
            "add_domains_votes": {"proposal_by_account": {}},
            "previously_cancelled_resharing_epoch_id": None,
        }
    }


def test_the_state_during_a_recovery_is_running_within_recovery(store: DictStore) -> None:
    before = look(store, "state")["Running"]
    execute(chain(store, signer="new"), "submit_participant_recovery_info", recovery_arguments(ALICE, "new TLS"))
    expected = init_arguments()["parameters"]["participants"]
    expected["participants"][0][2] = info("new TLS")
    assert look(store, "state") == {
        "Recovery": {
            "recovery_id": 1,
            "previous_running_state": before,
            "prospective_participants": expected,
            "recovering": {
                "account_id": ALICE,
                "participant_info": info("new TLS"),
                "signer_account_pk": key("new"),
            },
            "started_in": 10,
            "expires_on": 110,
            "shares_confirmed": False,
            "cancel_votes": [],
        }
    }
    assert look(store, "state", height=110) == {"Running": before}


def test_a_signature_under_another_key_does_not_verify(store: DictStore) -> None:
    execute(chain(store), "sign", sign_arguments())
    forged = private_key("another").sign(b"a message to sign").hex()
    with pytest.raises(ContractError, match="the signature does not verify"):
        execute(chain(store), "respond", {"request_id": 1, "signature": forged})


def test_a_node_in_force_of_a_participant_is_shown_with_its_keys(store: DictStore) -> None:
    assert look(store, "participant_info", account_id=ALICE)["node"] == {
        "url": url(ALICE),
        "tls_public_key": key(node_tls(ALICE)),
        "signer_account_pk": key(node_signer(ALICE)),
        "evidence": None,
    }
