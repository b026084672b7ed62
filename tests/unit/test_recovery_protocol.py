from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import NotInitialized
from sharekeeper.protocol.recovery_protocol import (
    AwaitShares,
    Conclude,
    EraseStaged,
    NodeRun,
    NothingToDo,
    Promote,
    ShutDown,
    WaitForRunning,
    decide_node_run,
    decide_recovery,
    recovers,
)

from .protocol_values import (
    ALICE,
    BOB,
    NEW,
    OLD,
    PARTICIPANTS,
    RECOVERED,
    RUNNING,
    initializing,
    keyset,
    node_keys,
    recovery,
    resharing,
)

BOBS = recovery(account_id=BOB, new=node_keys(12), recovery_id=8)
CONFIRMED = recovery(confirmed=True)
AWAIT = AwaitShares(recovery_id=7, keyset=RUNNING.keyset)
WITHOUT_ALICE = replace(RUNNING, participants=replace(PARTICIPANTS, members=PARTICIPANTS.members[1:]))


def decide(state, own=NEW, *, held=False, staged=None):
    return decide_recovery(state=state, account_id=ALICE, tls_key=own.info.tls_public_key, held=held, staged=staged)


def run(state, own=OLD, *, held=True, staged=False, announced=None):
    return decide_node_run(
        state=state,
        account_id=ALICE,
        tls_key=own.info.tls_public_key,
        held=held,
        staged=staged,
        announced=announced,
    )


# --- the spec's three branches --------------------------------------------------------------------


def test_the_recovering_node_waits_for_its_shares():
    assert decide(recovery()) == AWAIT


def test_the_recovering_node_waits_on_while_delivery_is_not_confirmed():
    assert decide(recovery(), staged=7) == AWAIT


def test_the_recovering_node_concludes_once_shares_are_here_and_confirmed():
    assert decide(CONFIRMED, staged=7) == Conclude(recovery_id=7, expected_keyset=RUNNING.keyset.digest())


def test_without_any_domain_there_are_no_shares_to_wait_for():
    empty = replace(RUNNING, keyset=keyset(domains=0))
    state = recovery(previous=empty, confirmed=True)
    assert decide(state) == Conclude(recovery_id=7, expected_keyset=empty.keyset.digest())


def test_the_recovering_node_never_concludes_without_shares_of_its_own():
    assert decide(CONFIRMED) == AWAIT


def test_the_old_machine_of_the_recovering_account_shuts_down():
    assert isinstance(decide(recovery(), OLD, held=True), ShutDown)
    assert run(recovery()).run is NodeRun.STOP
    assert run(recovery()).fenced


def test_a_recovery_of_another_account_is_not_this_node_s_though_it_named_the_same_tls_key():
    same_key = recovery(account_id=BOB, new=NEW, recovery_id=7)
    assert not recovers(same_key, ALICE, NEW.info.tls_public_key)
    assert recovers(recovery(), ALICE, NEW.info.tls_public_key)


def test_other_accounts_wait_for_running():
    assert isinstance(decide(BOBS, OLD, held=True), WaitForRunning)
    assert run(BOBS).run is NodeRun.RUN


@pytest.mark.parametrize("state", [RUNNING, resharing(), initializing(), NotInitialized()])
def test_without_a_recovery_there_is_nothing_to_do(state):
    assert isinstance(decide(state), NothingToDo)


# --- staged shares ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [RECOVERED, initializing(RECOVERED), resharing(RECOVERED), replace(BOBS, previous=RECOVERED)]
)
def test_staged_shares_are_promoted_when_a_running_in_force_names_this_node(state):
    assert decide(state, staged=7) == Promote(recovery_id=7, keyset=RUNNING.keyset)


@pytest.mark.parametrize(
    "state",
    [
        RUNNING,  # cancelled or expired
        resharing(),  # resharing ended the recovery
        initializing(),
        NotInitialized(),
        BOBS,  # over, and another account's began
        recovery(recovery_id=9),  # over, and a new one of this node began
        recovery(new=node_keys(12)),  # this id, another machine
        WITHOUT_ALICE,
    ],
)
def test_staged_shares_are_erased_when_their_recovery_ended_otherwise(state):
    assert isinstance(decide(state, staged=7), EraseStaged)


def test_staged_shares_that_are_in_place_already_are_erased():
    assert isinstance(decide(RECOVERED, held=True, staged=7), EraseStaged)


def test_staged_shares_are_kept_while_their_recovery_lasts():
    assert decide(recovery(), held=True, staged=7) == AWAIT


# --- should the MPC node run? -------------------------------------------------------------------


def test_the_participant_with_its_shares_runs():
    decision = run(RUNNING)
    assert decision.run is NodeRun.RUN
    assert not decision.fenced


@pytest.mark.parametrize("state", [RUNNING, resharing(), BOBS])
def test_a_replacement_does_not_run_before_a_running_names_it(state):
    decision = run(state, NEW)
    assert decision.run is NodeRun.STOP
    assert decision.fenced


def test_the_recovering_node_does_not_run_and_is_not_fenced():
    decision = run(recovery(), NEW)
    assert decision.run is NodeRun.STOP
    assert not decision.fenced


def test_the_recovered_node_runs_and_the_old_one_stays_fenced():
    assert run(RECOVERED, NEW).run is NodeRun.RUN
    assert run(RECOVERED, OLD).run is NodeRun.STOP
    assert run(RECOVERED, OLD).fenced


def test_the_old_node_runs_again_when_its_replacement_was_cancelled():
    assert run(recovery()).run is NodeRun.STOP
    assert run(RUNNING).run is NodeRun.RUN


def test_a_named_node_without_its_shares_is_neither_started_nor_stopped():
    assert run(replace(RUNNING, keyset=keyset(6)), held=False).run is NodeRun.LEAVE


def test_before_the_contract_is_initialised_the_node_is_left_as_it_is():
    assert run(NotInitialized()).run is NodeRun.LEAVE


def test_a_recovered_node_does_not_start_before_its_shares_are_in_place():
    for state in (RECOVERED, initializing(RECOVERED), resharing(RECOVERED)):
        assert run(state, NEW, held=False, staged=True).run is NodeRun.LEAVE
        assert run(state, NEW, held=True).run is NodeRun.RUN


def test_a_prospective_node_runs_to_join_by_resharing():
    for state in (WITHOUT_ALICE, initializing(WITHOUT_ALICE), resharing(WITHOUT_ALICE)):
        assert run(state, held=False, announced=True).run is NodeRun.RUN
        assert run(state, held=False, announced=None).run is NodeRun.LEAVE


def test_a_machine_whose_account_left_or_announces_another_one_does_not_run():
    decision = run(WITHOUT_ALICE, announced=False)
    assert decision.run is NodeRun.STOP
    assert not decision.fenced


# --- key events ----------------------------------------------------------------------------------


def test_a_participant_runs_to_generate_keys_although_it_has_no_share_of_them_yet():
    empty = replace(RUNNING, keyset=keyset(domains=0))
    for state in (initializing(), initializing(empty)):
        assert run(state, held=False).run is NodeRun.RUN


def test_a_participant_of_the_new_set_runs_to_get_its_share_even_if_it_lost_the_old_one():
    assert run(resharing(), held=False).run is NodeRun.RUN
    assert run(resharing(to=WITHOUT_ALICE.participants), held=False).run is NodeRun.LEAVE


def test_a_participant_that_leaves_runs_until_the_resharing_ends():
    assert run(resharing(to=WITHOUT_ALICE.participants)).run is NodeRun.RUN


def test_a_newcomer_runs_when_the_resharing_names_its_tls_key_and_no_other_machine_of_its_account_does():
    state = resharing(WITHOUT_ALICE, to=PARTICIPANTS)
    assert run(state, OLD, held=False).run is NodeRun.RUN
    other = run(state, NEW, held=False, announced=False)
    assert other.run is NodeRun.STOP
    assert other.fenced


@pytest.mark.parametrize("state", [initializing(RECOVERED), resharing(RECOVERED)])
def test_the_old_machine_stays_fenced_through_key_events(state):
    assert run(state, OLD).fenced
    assert run(state, OLD).run is NodeRun.STOP


def test_a_resharing_to_another_machine_of_the_account_does_not_lift_the_fence_of_the_one_in_force():
    state = resharing(to=RECOVERED.participants)
    assert run(state, NEW, held=False).fenced
