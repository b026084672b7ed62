"""What onboarding does with the evidence of a machine: names it, renews it, waits for it, and holds nothing up."""

from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import KeyRetired
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
)

from .protocol_values import (
    NEW,
    OLD,
    PARTICIPANTS,
    RUNNING,
    node_keys,
    record,
    recorded,
    recovery,
    resharing,
    signer,
    stamp,
    tls,
)

SERVICE = BackupServiceKeys(tls_public_key=tls(21), signer_key=signer(21))
WITHOUT_ALICE = replace(RUNNING, participants=replace(PARTICIPANTS, members=PARTICIPANTS.members[1:]))
OLD_KEY, NEW_KEY = OLD.info.tls_public_key, NEW.info.tls_public_key
HOUR = 3600


def node(state, known, own=OLD, evidence=None, *, attested=True, history=None):
    return decide_node_onboarding(
        state=state,
        record=known,
        own=own,
        history=history or KeyHistory(),
        height=1000,
        evidence=evidence,
        attested=attested,
    )


def service(known, evidence=None, attested=True, history=None):
    return decide_backup_service_onboarding(
        record=known, own=SERVICE, history=history or KeyHistory(), slot=1, evidence=evidence, attested=attested
    )


def test_every_first_registration_carries_the_evidence_of_its_machine():
    outsider = record(node=None, is_participant=False)
    assert node(WITHOUT_ALICE, outsider, NEW, stamp(9)) == SubmitParticipantInfo(info=NEW.info, evidence=stamp(9))
    asked = node(RUNNING, record(), NEW, stamp(9))
    assert isinstance(asked, SubmitRecoveryInfo)
    assert asked.evidence == stamp(9)
    assert service(record(), stamp(9)) == RegisterBackupService(
        tls_public_key=SERVICE.tls_public_key, slot=1, evidence=stamp(9)
    )


@pytest.mark.parametrize(
    "decide",
    [
        lambda **how: node(WITHOUT_ALICE, record(node=None, is_participant=False), NEW, **how),
        lambda **how: node(RUNNING, record(), NEW, **how),
        lambda **how: node(RUNNING, record(), OLD, **how),
        lambda **how: service(record(), **how),
        lambda **how: service(record(backup_service=SERVICE), **how),
    ],
    ids=["newcomer", "replacement", "participant", "new service", "service in force"],
)
def test_a_machine_that_must_be_attested_waits_until_it_has_evidence(decide):
    assert isinstance(decide(), Wait)
    assert "no evidence" in decide().reason
    assert not isinstance(decide(attested=False), Wait)
    assert not isinstance(decide(evidence=stamp(9)), Wait)


def test_a_replacement_without_evidence_asks_for_no_recovery_though_the_contract_still_has_its_older_evidence():
    expired = record(candidate=NEW, evidence=(recorded(NEW_KEY, 9),))
    assert isinstance(node(RUNNING, expired, NEW, history=KeyHistory(recorded=True)), Wait)


def test_a_machine_in_force_renews_its_evidence_whenever_it_has_newer():
    known = record(backup_service=SERVICE, evidence=(recorded(OLD_KEY, HOUR), recorded(SERVICE.tls_public_key, HOUR)))
    renewed = node(RUNNING, known, evidence=stamp(2 * HOUR))
    assert isinstance(renewed, Onboarded)
    assert renewed.renewal == SubmitParticipantInfo(info=OLD.info, evidence=stamp(2 * HOUR))
    renewed = service(known, stamp(2 * HOUR))
    assert isinstance(renewed, Onboarded)
    assert renewed.renewal == RegisterBackupService(
        tls_public_key=SERVICE.tls_public_key, slot=0, evidence=stamp(2 * HOUR)
    )


@pytest.mark.parametrize("evidence", [None, stamp(HOUR), stamp(HOUR - 1)])
def test_evidence_that_the_contract_has_or_has_newer_is_not_sent(evidence):
    known = record(backup_service=SERVICE, evidence=(recorded(OLD_KEY, HOUR), recorded(SERVICE.tls_public_key, HOUR)))
    assert node(RUNNING, known, evidence=evidence) == Onboarded(reason="this node is the participant")
    assert service(known, evidence) == Onboarded(reason="this backup service is registered in slot 0")


def test_a_machine_in_force_without_valid_evidence_on_the_contract_is_not_onboarded_before_it_names_some():
    known = record(backup_service=SERVICE)
    assert node(RUNNING, known, evidence=stamp(9)) == SubmitParticipantInfo(info=OLD.info, evidence=stamp(9))
    assert service(known, stamp(9)) == RegisterBackupService(
        tls_public_key=SERVICE.tls_public_key, slot=0, evidence=stamp(9)
    )


def test_an_announced_node_renews_its_evidence_and_goes_on_waiting():
    announced = record(node=None, candidate=NEW, is_participant=False, evidence=(recorded(NEW_KEY, HOUR),))
    joining = resharing(
        WITHOUT_ALICE,
        to=replace(PARTICIPANTS, members=(replace(PARTICIPANTS.members[0], info=NEW.info), *PARTICIPANTS.members[1:])),
    )
    for state in (WITHOUT_ALICE, joining):
        assert isinstance(node(state, announced, NEW, stamp(HOUR)), Wait)
        assert node(state, announced, NEW, stamp(2 * HOUR)) == SubmitParticipantInfo(
            info=NEW.info, evidence=stamp(2 * HOUR)
        )


def test_the_recovering_node_keeps_the_evidence_it_asked_with():
    known = record(candidate=NEW, evidence=(recorded(NEW_KEY, HOUR),))
    assert node(recovery(), known, NEW, stamp(2 * HOUR)) == Onboarded(reason="recovery 7 of this node is under way")


def test_newer_evidence_makes_no_second_call_for_the_same_recovery():
    assert node(RUNNING, record(), NEW, stamp(HOUR)) == node(RUNNING, record(), NEW, stamp(2 * HOUR))


def test_a_retired_machine_needs_new_keys_whatever_its_evidence():
    step = node(RUNNING, record(node=node_keys(12)), OLD, stamp(9), history=KeyHistory(recorded=True, named=True))
    assert isinstance(step, OperatorNeeded)
    assert step.fault is KeyRetired
    gone = service(record(), stamp(9), history=KeyHistory(recorded=True))
    assert isinstance(gone, OperatorNeeded)


def test_the_soft_launch_names_no_evidence():
    known = record(backup_service=SERVICE)
    assert node(RUNNING, known, attested=False) == Onboarded(reason="this node is the participant")
    assert service(known, attested=False) == Onboarded(reason="this backup service is registered in slot 0")
    assert service(record(), attested=False) == RegisterBackupService(tls_public_key=SERVICE.tls_public_key, slot=1)
