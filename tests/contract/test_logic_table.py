"""The transition table is the contract: every row is taken, and every call without a row is refused."""

import pytest

from contract.keygen import ADD_DOMAINS_VOTE, CANCEL_KEYGEN_VOTE, PK_VOTE
from contract.logic import (
    CALLS,
    EXPIRED,
    INITIALIZING,
    NOT_INITIALIZED,
    RECOVERY,
    RESHARING,
    RUNNING,
    TRANSITIONS,
    current_state,
)
from contract.proposals import NO_DOMAINS, PARAMETERS_VOTE
from contract.records import Header
from contract.recovery import CANCEL_VOTE
from contract.resharing import CANCEL_RESHARING_VOTE, RESHARED_VOTE
from tests.contract import key_event_steps, steps
from tests.contract.layers import SourceLayer
from tests.contract.steps import OPERATOR, RefusedError, take
from tests.contract.world import (
    ALICE,
    BOB,
    CAITSITH_DOMAIN,
    CAROL,
    ERIN,
    FROST_DOMAIN,
    ephemeral_record,
    node_signer,
    node_tls,
    recovery_arguments,
    url,
)

OUTCOMES = {
    CANCEL_VOTE,
    ADD_DOMAINS_VOTE,
    PK_VOTE,
    CANCEL_KEYGEN_VOTE,
    PARAMETERS_VOTE,
    NO_DOMAINS,
    RESHARED_VOTE,
    CANCEL_RESHARING_VOTE,
}

# Alice has a backup service; Bob's recovery was cancelled, so he has a cooldown to waive; request 1 is open. Bob has
# voted for a domain and for Erin as a participant. Wherever votes are counted Bob has voted, and Carol's decides.
RUN_IN = (
    steps.init(1),
    steps.register(10),
    steps.submit_recovery(20, caller=BOB, signer="bob new", tls="bob new TLS"),
    steps.cancel(30, caller=BOB, signer="bob operator"),
    steps.ask(1000),
    key_event_steps.announce_erin(1000),
    key_event_steps.add_domains(1000, key_event_steps.domain(4), caller=BOB),
    key_event_steps.propose(1000, caller=BOB),
)
RECOVER = (*RUN_IN, steps.submit_recovery(1001), steps.confirm(1002, 2))
INITIALIZE = (
    *RUN_IN,
    key_event_steps.add_domains(1001, key_event_steps.domain(4), caller=CAROL),
    key_event_steps.cancel_keygen(1002, caller=BOB),
    key_event_steps.start_keygen(1003),
    key_event_steps.vote_pk(1004, caller=ALICE),
    key_event_steps.vote_pk(1004, caller=BOB),
)
MEMBERS = (ALICE, BOB, ERIN, CAROL)
RESHARE = (
    *RUN_IN,
    key_event_steps.propose(1001, caller=CAROL),
    key_event_steps.cancel_resharing(1002, caller=BOB),
    *key_event_steps.reshare(1003, CAITSITH_DOMAIN, members=MEMBERS),
    *key_event_steps.reshare(1004, FROST_DOMAIN, members=MEMBERS)[:-1],
)
PREPARED = {
    NOT_INITIALIZED: ((), 1),
    RUNNING: (RUN_IN, 1010),
    RECOVERY: (RECOVER, 1010),
    EXPIRED: (RECOVER, 1101),
    INITIALIZING: (INITIALIZE, 1010),
    RESHARING: (RESHARE, 1010),
}

# The same for a network that has no domains yet.
EMPTY = (
    key_event_steps.init_without_domains(1),
    key_event_steps.announce_erin(1000),
    key_event_steps.propose(1000, caller=BOB),
)
EMPTY_RECOVERS = (
    *EMPTY,
    steps.submit_recovery(
        1001,
        args=recovery_arguments(ALICE, steps.NEW_TLS) | {"expected_keyset": key_event_steps.EMPTY_KEYSET_DIGEST},
    ),
)
PREPARED_EMPTY = {RUNNING: (EMPTY, 1010), RECOVERY: (EMPTY_RECOVERS, 1010), EXPIRED: (EMPTY_RECOVERS, 1101)}


def valid_call(event: str, height: int, state: str = RUNNING) -> steps.Call:
    """A call that takes the row of `event` in `state`, if there is one."""
    recovery_id = 2 if state == RECOVERY else None
    timed_out = height + 30
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
        "vote_add_domains": key_event_steps.add_domains(height, key_event_steps.domain(4), caller=CAROL),
        ADD_DOMAINS_VOTE: key_event_steps.add_domains(height, key_event_steps.domain(4), caller=BOB),
        "start_keygen_instance": key_event_steps.start_keygen(timed_out, 1),
        "vote_pk": key_event_steps.vote_pk(height, caller=CAROL),
        PK_VOTE: key_event_steps.vote_pk(height, caller=BOB),
        "vote_cancel_keygen": key_event_steps.cancel_keygen(height, caller=CAROL),
        CANCEL_KEYGEN_VOTE: key_event_steps.cancel_keygen(height, caller=BOB),
        "vote_new_parameters": key_event_steps.propose(height, caller=CAROL),
        PARAMETERS_VOTE: key_event_steps.propose(height, caller=BOB),
        NO_DOMAINS: key_event_steps.propose(height, caller=CAROL),
        "start_reshare_instance": key_event_steps.start_reshare(timed_out, 1, of=FROST_DOMAIN),
        "vote_reshared": key_event_steps.vote_reshared(height, of=FROST_DOMAIN, caller=CAROL),
        RESHARED_VOTE: key_event_steps.vote_reshared(height, of=FROST_DOMAIN, caller=BOB),
        "vote_cancel_resharing": key_event_steps.cancel_resharing(height, caller=CAROL),
        CANCEL_RESHARING_VOTE: key_event_steps.cancel_resharing(height, caller=BOB),
    }
    return calls[event]


class TextStore:
    """The storage of the source layer, for questions no view answers."""

    def __init__(self, storage: dict[str, str]) -> None:
        self.get = storage.get


def state_of(layer: SourceLayer, height: int) -> str:
    store = TextStore(layer.near.storage)
    return current_state(Header(store), store, height)


def prepare(layer: SourceLayer, state: str, event: str = "") -> int:
    calls, height = (PREPARED_EMPTY if event == NO_DOMAINS else PREPARED)[state]
    for step in calls:
        take(layer, step)
    assert state_of(layer, height) == state
    return height


@pytest.mark.parametrize(("state", "event"), TRANSITIONS, ids=lambda part: part)
def test_every_row_of_the_table_leads_where_it_says(source: SourceLayer, state: str, event: str) -> None:
    height = prepare(source, state, event)
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
    height = prepare(source, EXPIRED, method)
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
    assert {event for _, event in TRANSITIONS} - OUTCOMES == set(CALLS)
    assert {state for state, _ in TRANSITIONS} == set(PREPARED)


def test_recovery_is_entered_only_from_running_and_left_only_to_running_or_resharing() -> None:
    moves = {(state, after) for (state, _), after in TRANSITIONS.items() if state != after}
    assert moves == {
        (NOT_INITIALIZED, RUNNING),
        (RUNNING, INITIALIZING),
        (INITIALIZING, RUNNING),
        (RUNNING, RESHARING),
        (RESHARING, RUNNING),
        (RUNNING, RECOVERY),
        (RECOVERY, RUNNING),
        (RECOVERY, RESHARING),
        (EXPIRED, RUNNING),
    }


def test_resharing_is_possible_from_recovery_exactly_when_it_is_from_running() -> None:
    from_running = {event: after for (state, event), after in TRANSITIONS.items() if state == RUNNING}
    from_recovery = {event: after for (state, event), after in TRANSITIONS.items() if state == RECOVERY}
    for event in ("vote_new_parameters", NO_DOMAINS):
        assert from_recovery[event] == from_running[event]
    assert from_recovery[PARAMETERS_VOTE] == RECOVERY
