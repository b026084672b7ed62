from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import BackupServiceKeys, NotInitialized
from sharekeeper.errors import KeyRetired, NotRegistered
from sharekeeper.protocol.onboarding import (
    KeyHistory,
    Onboarded,
    OperatorNeeded,
    RegisterBackupService,
    SubmitParticipantInfo,
    SubmitRecoveryInfo,
    Wait,
    decide_backup_service_onboarding,
    decide_node_onboarding,
    remember_backup_service,
    remember_node,
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
    node_keys,
    record,
    recovery,
    resharing,
    signer,
    tls,
)

FRESH = KeyHistory()
WITHOUT_ALICE = replace(RUNNING, participants=replace(PARTICIPANTS, members=PARTICIPANTS.members[1:]))
ASK = SubmitRecoveryInfo(
    info=NEW.info,
    expected_tls_key=OLD.info.tls_public_key,
    expected_keyset=RUNNING.keyset.digest(),
    valid_until_block=1600,
)


def decide(state, known, own=NEW, history=FRESH, height=1000):
    return decide_node_onboarding(state=state, record=known, own=own, history=history, height=height)


def test_a_node_that_is_no_participant_announces_itself_and_then_waits():
    assert decide(WITHOUT_ALICE, record(node=None, is_participant=False)) == SubmitParticipantInfo(info=NEW.info)
    announced = record(node=None, candidate=NEW, is_participant=False)
    assert isinstance(decide(WITHOUT_ALICE, announced), Wait)


def test_a_prospective_node_with_changed_info_announces_it():
    announced = record(
        node=None, candidate=replace(NEW, info=replace(NEW.info, url="http://x:1")), is_participant=False
    )
    assert decide(WITHOUT_ALICE, announced) == SubmitParticipantInfo(info=NEW.info)


def test_the_participant_itself_submits_its_info_unless_the_contract_records_it_already():
    assert decide(RUNNING, record(node=None), own=OLD) == SubmitParticipantInfo(info=OLD.info)
    assert isinstance(decide(RUNNING, record(), own=OLD), Onboarded)


def test_a_participant_with_another_signer_key_needs_the_operator():
    step = decide(RUNNING, record(node=replace(OLD, signer_key=signer(99))), own=OLD)
    assert isinstance(step, OperatorNeeded)
    assert step.fault is NotRegistered
    assert "account_key" in step.message


def test_a_participant_with_another_url_needs_the_operator():
    moved = replace(OLD, info=replace(OLD.info, url="http://elsewhere:8090"))
    step = decide(RUNNING, record(), own=moved)
    assert isinstance(step, OperatorNeeded)
    assert "update_participant_url" in step.message


def test_a_replacement_asks_for_recovery_naming_what_it_replaces():
    step = decide(RUNNING, record())
    assert step == ASK
    assert isinstance(step, SubmitRecoveryInfo)
    assert step.valid_until_block == 1600


def test_a_replacement_whose_recovery_expired_asks_again_once_the_cooldown_is_over():
    expired = record(candidate=NEW, cooldown_until=1001)
    history = KeyHistory(recorded=True)
    waiting = decide(RUNNING, expired, history=history, height=1000)
    assert isinstance(waiting, Wait)
    assert waiting.until_height == 1001
    assert decide(RUNNING, expired, history=history, height=1001) == ASK


def test_a_machine_that_was_once_named_never_asks_for_recovery():
    step = decide(RECOVERED, record(node=NEW), own=OLD, history=KeyHistory(recorded=True, named=True))
    assert isinstance(step, OperatorNeeded)
    assert step.fault is KeyRetired
    assert "keys generate" in step.message


@pytest.mark.parametrize("candidate", [None, node_keys(12)])
def test_a_candidate_that_was_cancelled_or_superseded_is_retired(candidate):
    step = decide(RUNNING, record(candidate=candidate), history=KeyHistory(recorded=True))
    assert isinstance(step, OperatorNeeded)
    assert step.fault is KeyRetired


def test_a_machine_once_named_stays_silent_even_while_its_account_is_no_participant():
    gone = record(node=None, is_participant=False)
    assert isinstance(decide(WITHOUT_ALICE, gone, own=OLD, history=KeyHistory(named=True)), OperatorNeeded)


def test_a_replacement_waits_for_another_account_s_recovery():
    step = decide(recovery(account_id=BOB, new=node_keys(12)), record())
    assert isinstance(step, Wait)
    assert BOB in step.reason


def test_a_replacement_waits_while_another_machine_of_the_account_recovers():
    assert isinstance(decide(recovery(new=node_keys(12)), record(candidate=node_keys(12))), Wait)


def test_the_recovering_node_has_nothing_more_to_submit():
    assert isinstance(decide(recovery(), record(candidate=NEW)), Onboarded)


def test_the_old_node_submits_nothing_while_it_is_being_replaced():
    step = decide(recovery(), record(candidate=NEW), own=OLD, history=KeyHistory(recorded=True, named=True))
    assert isinstance(step, Onboarded)


@pytest.mark.parametrize("state", [initializing(WITHOUT_ALICE), resharing(WITHOUT_ALICE)])
def test_a_newcomer_announces_itself_in_every_state(state):
    outsider = record(node=None, is_participant=False)
    assert decide(state, outsider, own=NEW) == SubmitParticipantInfo(info=NEW.info)
    assert isinstance(decide(state, replace(outsider, node_candidate=NEW), own=NEW), Wait)


def test_a_newcomer_waits_while_a_resharing_includes_it():
    state = resharing(WITHOUT_ALICE, to=PARTICIPANTS)
    outsider = record(node=None, candidate=OLD, is_participant=False)
    assert decide(state, outsider, own=OLD) == Wait(reason="the resharing under way includes this node")
    assert decide(state, outsider, own=NEW) == Wait(
        reason="the resharing under way includes another machine of this account"
    )


def test_the_node_of_an_account_that_a_resharing_removed_needs_new_keys():
    outsider = record(node=None, is_participant=False)
    step = decide(WITHOUT_ALICE, outsider, own=OLD, history=KeyHistory(recorded=True, named=True))
    assert isinstance(step, OperatorNeeded)
    assert step.fault is KeyRetired


def test_a_participant_is_one_during_key_events_too():
    for state in (initializing(), resharing()):
        assert decide(state, record(), own=OLD) == Onboarded(reason="this node is the participant")


@pytest.mark.parametrize("state", [NotInitialized(), initializing(), resharing()])
def test_recovery_is_asked_for_only_in_running(state):
    assert isinstance(decide(state, record()), Wait)


def test_a_node_remembers_that_it_was_recorded_and_named_and_never_forgets():
    nothing = remember_node(FRESH, state=NotInitialized(), record=None, account_id=ALICE, tls_key=tls(11))
    assert nothing == FRESH
    announced = remember_node(
        FRESH, state=RUNNING, record=record(candidate=NEW), account_id=ALICE, tls_key=NEW.info.tls_public_key
    )
    assert announced == KeyHistory(recorded=True, named=False)
    named = remember_node(announced, state=RECOVERED, record=None, account_id=ALICE, tls_key=NEW.info.tls_public_key)
    assert named == KeyHistory(recorded=True, named=True)
    assert remember_node(named, state=RUNNING, record=record(), account_id=ALICE, tls_key=tls(11)) == named


# --- backup service ----------------------------------------------------------------------------

OWN = BackupServiceKeys(tls_public_key=tls(21), signer_key=signer(21))


def decide_service(known, history=FRESH, slot=0):
    return decide_backup_service_onboarding(record=known, own=OWN, history=history, slot=slot)


def test_a_backup_service_registers_once():
    assert decide_service(record()) == RegisterBackupService(tls_public_key=tls(21), slot=0)
    assert isinstance(decide_service(record(backup_service=OWN)), Onboarded)


def test_a_new_backup_service_takes_over_from_another_one():
    other = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    assert decide_service(record(backup_service=other)) == RegisterBackupService(tls_public_key=tls(21), slot=0)


def test_a_backup_service_registers_in_its_slot_and_leaves_the_other_alone():
    other = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    assert decide_service(record(backup_service=other), slot=1) == RegisterBackupService(tls_public_key=tls(21), slot=1)


@pytest.mark.parametrize("slot", [0, 1])
def test_a_backup_service_is_registered_in_whichever_slot_has_its_key(slot):
    step = decide_service(record(second=OWN), slot=slot)
    assert step == Onboarded(reason="this backup service is registered in slot 1")
    assert remember_backup_service(FRESH, record=record(second=OWN), tls_key=tls(21)).named


def test_a_prospective_account_may_register_and_an_unknown_one_waits():
    assert isinstance(decide_service(record(node=None, is_participant=False)), Wait)
    prospective = record(node=None, candidate=NEW, is_participant=False)
    assert isinstance(decide_service(prospective), RegisterBackupService)


def test_a_backup_service_that_was_replaced_is_retired():
    other = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    history = remember_backup_service(FRESH, record=record(backup_service=OWN), tls_key=tls(21))
    assert remember_backup_service(history, record=record(backup_service=other), tls_key=tls(21)) == history
    step = decide_service(record(backup_service=other), history)
    assert isinstance(step, OperatorNeeded)
    assert step.fault is KeyRetired


def test_a_backup_service_with_the_wrong_account_key_needs_the_operator():
    step = decide_service(record(backup_service=replace(OWN, signer_key=signer(99))))
    assert isinstance(step, OperatorNeeded)
    assert step.fault is NotRegistered
