"""The transition table is the contract: every row is taken, and every call without a row is refused."""

import pytest

from contract.logic import CALLS, EXPIRED, NOT_INITIALIZED, RECOVERY, RUNNING, TRANSITIONS, current_state
from contract.records import Header
from contract.recovery import CANCEL_VOTE
from tests.contract import steps
from tests.contract.layers import SourceLayer
from tests.contract.steps import OPERATOR, RefusedError, take
from tests.contract.world import ALICE, BOB, ephemeral_record, node_signer, node_tls, url

# Alice has a backup service; Bob's recovery was cancelled, so he has a cooldown to waive; request 1 is open.
RUN_IN = (
    steps.init(1),
    steps.register(10),
    steps.submit_recovery(20, caller=BOB, signer="bob new", tls="bob new TLS"),
    steps.cancel(30, caller=BOB, signer="bob operator"),
    steps.ask(1000),
)
RECOVER = (*RUN_IN, steps.submit_recovery(1001), steps.confirm(1002, 2))
PREPARED = {
    NOT_INITIALIZED: ((), 1),
    RUNNING: (RUN_IN, 1010),
    RECOVERY: (RECOVER, 1010),
    EXPIRED: (RECOVER, 1101),
}


def valid_call(event: str, height: int, state: str = RUNNING) -> steps.Call:
    """A call that takes the row of `event` in `state`, if there is one."""
    recovery_id = 2 if state == RECOVERY else None
    calls = {
        "init": steps.init(height),
        "submit_participant_info": steps.submit(
            height, caller=ALICE, signer=node_signer(ALICE), tls=node_tls(ALICE), address=url(ALICE)
        ),
        "update_participant_url": steps.change_url(height, "http://b.example", caller=BOB),
        "register_backup_service": steps.register(height, caller=BOB, signer="bob backup", tls="bob backup TLS"),
        "submit_participant_recovery_info": steps.submit_recovery(
            height, caller="carol.test.near", signer="carol new", tls="carol new TLS"
        ),
        "confirm_key_share_delivery": steps.confirm(height, 2),
        "conclude_recovery": steps.conclude(height, 2),
        "cancel_recovery": steps.cancel(height, 2, signer=OPERATOR),
        CANCEL_VOTE: steps.cancel(height, 2, caller=BOB, signer=node_signer(BOB)),
        "expire_recovery": steps.expire(height, 2),
        "waive_recovery_cooldown": steps.waive(height, caller=BOB, account=BOB),
        "submit_ephemeral_key": steps.publish(
            height, ephemeral_record(expires_on=height + 50, recovery_id=recovery_id)
        ),
        "sign": steps.ask(height),
        "respond": steps.answer(height),
    }
    return calls[event]


class TextStore:
    """The storage of the source layer, for questions no view answers."""

    def __init__(self, storage: dict[str, str]) -> None:
        self.get = storage.get


def state_of(layer: SourceLayer, height: int) -> str:
    store = TextStore(layer.near.storage)
    return current_state(Header(store), store, height)


def prepare(layer: SourceLayer, state: str) -> int:
    calls, height = PREPARED[state]
    for step in calls:
        take(layer, step)
    assert state_of(layer, height) == state
    return height


@pytest.mark.parametrize(("state", "event"), TRANSITIONS, ids=lambda part: part)
def test_every_row_of_the_table_leads_where_it_says(source: SourceLayer, state: str, event: str) -> None:
    height = prepare(source, state)
    take(source, valid_call(event, height, state))
    assert state_of(source, height) == TRANSITIONS[(state, event)]


REFUSED = [
    (state, method)
    for state in PREPARED
    for method in CALLS
    if (state, method) not in TRANSITIONS and (state != EXPIRED or (RUNNING, method) not in TRANSITIONS)
]


@pytest.mark.parametrize(("state", "method"), REFUSED)
def test_a_call_without_a_row_is_refused_and_changes_nothing(source: SourceLayer, state: str, method: str) -> None:
    height = prepare(source, state)
    before = dict(source.near.storage)
    with pytest.raises(RefusedError, match=f"^{method} is possible only in "):
        take(source, valid_call(method, height))
    assert source.near.storage == before


@pytest.mark.parametrize("method", [method for state, method in TRANSITIONS if state == RUNNING])
def test_an_expired_recovery_is_running_for_every_call(source: SourceLayer, method: str) -> None:
    height = prepare(source, EXPIRED)
    step = valid_call(method, height)
    if method == "waive_recovery_cooldown":
        step = steps.waive(height, caller=BOB, account=ALICE)
    if method == "respond":
        take(source, steps.ask(height))
        step = steps.answer(height, 2)
    take(source, step)
    assert state_of(source, height) == TRANSITIONS[(RUNNING, method)]
    cooldown = source.view(method="participant_info", args={"account_id": ALICE}, height=height)["cooldown_until"]
    assert cooldown == 1001 + 100 + 1000


def test_every_call_has_a_row_and_every_row_a_call() -> None:
    assert {event for _, event in TRANSITIONS} - {CANCEL_VOTE} == set(CALLS)
    assert {state for state, _ in TRANSITIONS} == set(PREPARED)


def test_recovery_is_entered_only_from_running_and_left_only_to_running() -> None:
    moves = {(state, after) for (state, _), after in TRANSITIONS.items() if state != after}
    assert moves == {(NOT_INITIALIZED, RUNNING), (RUNNING, RECOVERY), (RECOVERY, RUNNING), (EXPIRED, RUNNING)}
