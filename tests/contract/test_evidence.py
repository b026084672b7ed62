"""Evidence as time passes, and what an attacker tries with it and with votes on code (docs/contract.md, "Evidence")."""

from typing import Any

import pytest

from contract.logic import execute
from contract.records import SLOTS
from tests.contract import key_event_steps
from tests.contract.layers import SourceLayer, WasmLayer
from tests.contract.steps import (
    BACKUP,
    NEW,
    NEW_TLS,
    OPERATOR,
    SECOND,
    SECOND_TLS,
    RefusedError,
    cancel,
    init,
    register,
    submit,
    submit_recovery,
    take,
    vote_code,
)
from tests.contract.test_logic_rules import DictStore, chain, look
from tests.contract.test_logic_table import PREPARED, RUN_IN
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    CONFIG,
    NOW,
    code_hash,
    evidence,
    init_arguments,
    key,
    node_signer,
    node_tls,
    shown_evidence,
    url,
)

Layer = SourceLayer | WasmLayer
VALIDITY = CONFIG["evidence_validity_seconds"]
SAY_HELLO = {"caller": ALICE, "signer": node_signer(ALICE), "tls": node_tls(ALICE), "address": url(ALICE)}


def shown(layer: Layer, height: int = 10) -> dict[str, Any]:
    return layer.view(method="participant_info", args={"account_id": ALICE}, height=height)


def machines(shown_account: dict[str, Any]) -> list[Any]:
    """The evidence of node, announced node and each backup service."""
    pairs = [shown_account["node"], shown_account["node_candidate"], *shown_account["backup_services"]]
    return [pair and pair["evidence"] for pair in pairs]


def everything(layer: Layer) -> None:
    """Every machine an account can have is there, each with evidence of one second before the next."""
    for step in (
        init(),
        register(2, evidence=evidence("service 0", 3)),
        register(2, signer=SECOND, tls=SECOND_TLS, slot=1, evidence=evidence("service 1", 2)),
        submit(3, **SAY_HELLO, evidence=evidence("node", 1)),
        submit_recovery(4, evidence=evidence("new node"), result={"recovery_id": 1}),
    ):
        take(layer, step)


def test_evidence_older_than_its_validity_counts_as_none_whosever_it_is(layer: Layer) -> None:
    everything(layer)
    whole = [shown_evidence("node", 1), shown_evidence("new node"), shown_evidence("service 0", 3)]
    whole.append(shown_evidence("service 1", 2))
    assert machines(shown(layer)) == whole
    for seconds, valid in ((-4, 4), (-3, 3), (-2, 2), (-1, 1), (0, 0), (VALIDITY, 0)):
        layer.now = NOW + VALIDITY + seconds
        left = [one for one in machines(shown(layer)) if one is not None]
        assert len(left) == valid
        assert all(one in whole for one in left)


def test_a_machine_whose_evidence_expired_names_new_evidence_and_nothing_else_changed(layer: Layer) -> None:
    everything(layer)
    layer.now = NOW + 2 * VALIDITY
    before = shown(layer)
    assert machines(before) == [None] * 4
    with pytest.raises(RefusedError, match="the evidence is older than evidence_validity_seconds"):
        take(layer, register(5, evidence=evidence("late", 0)))
    take(layer, register(5))
    assert shown(layer) == before
    take(layer, register(5, evidence=evidence("again", -2 * VALIDITY)))
    renewed = shown(layer)
    assert renewed["backup_services"][0].pop("evidence") == shown_evidence("again", -2 * VALIDITY)
    assert before["backup_services"][0].pop("evidence") is None
    assert renewed == before


def test_evidence_of_long_ago_cannot_be_dated_back_into_its_validity(layer: Layer) -> None:
    """Once newer evidence was named, older evidence is refused even after the newer one expired."""
    take(layer, init())
    take(layer, register(2, evidence=evidence("newer", -200)))
    layer.now = NOW + VALIDITY
    with pytest.raises(RefusedError, match="the evidence is not newer than what is recorded"):
        take(layer, register(3, evidence=evidence("older", -199)))


@pytest.mark.parametrize("state", [state for state in PREPARED if state != "NotInitialized"])
def test_machines_renew_their_evidence_in_every_state(source: SourceLayer, state: str) -> None:
    steps, height = PREPARED[state]
    for step in steps:
        take(source, step)
    take(source, register(height, evidence=evidence("service")))
    take(source, submit(height, **SAY_HELLO, evidence=evidence("node")))
    found = machines(shown(source, height))
    assert found[0] == shown_evidence("node")
    assert found[2] == shown_evidence("service")


def test_evidence_changes_no_key_no_vote_and_no_state(source: SourceLayer) -> None:
    for step in RUN_IN:
        take(source, step)

    def seen() -> list[Any]:
        views = [("state", {}), ("backup_services", {}), ("code_hash_votes", {}), ("config", {})]
        views += [("participant_info", {"account_id": name}) for name in (BOB, CAROL)]
        return [source.view(method=method, args=args, height=1010) for method, args in views]

    before = seen()
    take(source, register(1010, evidence=evidence("service")))
    take(source, submit(1010, **SAY_HELLO, evidence=evidence("node")))
    assert seen() == before


def test_a_candidate_that_a_resharing_includes_renews_its_evidence_and_nothing_else(source: SourceLayer) -> None:
    steps, height = PREPARED["Resharing"]
    for step in steps:
        take(source, step)
    erin = {"caller": key_event_steps.ERIN, "signer": key_event_steps.ERIN_NODE, "tls": key_event_steps.ERIN_TLS}
    take(source, submit(height, **erin, address=key_event_steps.ERIN_URL, evidence=evidence("candidate")))
    account = source.view(method="participant_info", args={"account_id": key_event_steps.ERIN}, height=height)
    assert account["node_candidate"]["evidence"] == shown_evidence("candidate")
    with pytest.raises(RefusedError, match="its node stays as proposed"):
        take(source, submit(height, **erin, address="http://moved.example", evidence=evidence("candidate")))


def test_a_refused_call_leaves_no_evidence(layer: Layer) -> None:
    take(layer, init())
    take(layer, register(2, evidence=evidence("first", 9)))
    before = shown(layer)
    refused = (
        register(3, evidence=evidence("forged"), signer=SECOND),
        register(3, evidence=evidence("forged"), slot=1),
        submit(3, **(SAY_HELLO | {"signer": OPERATOR}), evidence=evidence("forged")),
        submit(3, **(SAY_HELLO | {"signer": BACKUP}), evidence=evidence("forged")),
        submit_recovery(3, evidence=evidence("forged", VALIDITY)),
        submit_recovery(3, evidence=evidence("forged"), tls=SECOND),
    )
    for step in refused[:-1]:
        with pytest.raises(RefusedError):
            take(layer, step)
    assert shown(layer) == before
    # The last is no forgery: the call is in order, and its evidence is that of the new machine alone.
    take(layer, refused[-1])
    assert machines(shown(layer)) == [None, shown_evidence("forged"), shown_evidence("first", 9), None]


def test_a_cancelled_recovery_takes_the_evidence_of_its_node_along(layer: Layer) -> None:
    take(layer, init())
    take(layer, submit(2, **SAY_HELLO, evidence=evidence("node")))
    take(layer, submit_recovery(3, signer=NEW, tls=NEW_TLS, evidence=evidence("new node")))
    take(layer, cancel(4, signer=OPERATOR))
    assert machines(shown(layer)) == [shown_evidence("node"), None, None, None]


def test_a_pair_stored_before_there_was_evidence_has_none_until_it_names_some() -> None:
    """Texts of earlier versions stay readable: a pair without evidence is stored as it was."""
    store = DictStore()
    execute(chain(store, caller="mpc.test.near", height=1), "init", init_arguments())
    assert (
        f'"node": ["{key(node_signer(ALICE))}", "{key(node_tls(ALICE))}", "{url(ALICE)}"]' in store[f"account/{ALICE}"]
    )
    assert look(store, "participant_info", account_id=ALICE)["node"]["evidence"] is None


def test_an_account_stores_little_more_with_evidence() -> None:
    store = DictStore()
    execute(chain(store, caller="mpc.test.near", height=1), "init", init_arguments())

    def call(step: Any) -> None:
        execute(chain(store, caller=step.caller, signer=step.signer, height=step.height), step.method, step.args)

    for slot in SLOTS:
        call(register(2, signer=f"slot {slot}", tls=f"slot {slot} TLS", slot=slot))
    before = sum(map(len, store.values()))
    for number in range(40):
        for slot in SLOTS:
            stamp = evidence(f"evidence {number}", 100 - number)
            call(register(2, signer=f"slot {slot}", tls=f"slot {slot} TLS", slot=slot, evidence=stamp))
    assert sum(map(len, store.values())) - before < len(SLOTS) * 100


# --- votes on code, as attacks ------------------------------------------------------------------------


def allowed(layer: Layer, height: int) -> list[Any]:
    return layer.view(method="allowed_node_code_hashes", args={}, height=height)


def test_votes_below_the_threshold_allow_no_code(layer: Layer) -> None:
    take(layer, init())
    for number in range(3):
        take(layer, vote_code(10 + number, "bad code", caller=ALICE, signer="" if number else OPERATOR))
        assert allowed(layer, 10 + number) == []
    take(layer, vote_code(20, "other code", caller=BOB))
    take(layer, vote_code(21, "third code", caller=CAROL))
    assert allowed(layer, 10**6) == []


def test_code_whose_vote_was_withdrawn_is_allowed_to_the_end_of_its_grace_and_no_longer(layer: Layer) -> None:
    take(layer, init())
    for allow, height in ((True, 10), (False, 20)):
        for caller in (ALICE, BOB):
            take(layer, vote_code(height, "code", allow, caller=caller))
    ends = 20 + CONFIG["code_hash_grace_blocks"]
    assert allowed(layer, ends - 1) == [{"code_hash": code_hash("code"), "allowed_until": ends}]
    assert allowed(layer, ends) == []
