"""Whether a backup service gives its sibling a copy."""

from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import AccountRecord, BackupServiceKeys, NotInitialized
from sharekeeper.errors import PinChanged, ViewsDiffer
from sharekeeper.protocol.copies import GiveCopy, NoCopy, decide_copy, sibling_of
from sharekeeper.protocol.monitoring import Holdings

from .protocol_values import (
    ALICE,
    OLD,
    PARTICIPANTS,
    RUNNING,
    initializing,
    keyset,
    recovery,
    resharing,
    signer,
    stored,
    tls,
)

OWN, SIBLING, OTHER = tls(21), tls(22), tls(23)
CURRENT = stored(keyset())


def record(*slots):
    return AccountRecord(
        account_id=ALICE,
        is_participant=True,
        node=OLD,
        node_candidate=None,
        backup_services=tuple(key and BackupServiceKeys(tls_public_key=key, signer_key=signer(9)) for key in slots),
        cooldown_until=0,
    )


def decide(state=RUNNING, slots=(OWN, SIBLING), backups=(CURRENT,), taker=SIBLING):
    return decide_copy(
        state=state,
        record=record(*slots),
        account_id=ALICE,
        own=OWN,
        taker=taker,
        holdings=Holdings(usable=backups),
    )


@pytest.mark.parametrize("slots", [(OWN, SIBLING), (SIBLING, OWN)])
@pytest.mark.parametrize(
    "state",
    [RUNNING, recovery(), recovery(confirmed=True), resharing(), initializing()],
    ids=lambda one: type(one).__name__,
)
def test_the_machine_in_the_other_slot_may_have_the_keyset_in_force(state, slots):
    assert decide(state, slots) == GiveCopy(taker=SIBLING, keyset=keyset(), backup_id=CURRENT.backup_id)


@pytest.mark.parametrize(
    "slots",
    [(OWN, None), (None, SIBLING), (OWN, OTHER), (OTHER, SIBLING), (OWN, OWN), (SIBLING, SIBLING), (None, None)],
)
def test_nobody_else_may(slots):
    step = decide(slots=slots)
    assert isinstance(step, NoCopy)
    assert step.fault is PinChanged


def test_the_own_key_is_no_sibling():
    assert decide(slots=(OWN, OWN), taker=OWN) == NoCopy(
        fault=PinChanged, reason=f"{OWN} is not the TLS key of the account's other backup service"
    )


@pytest.mark.parametrize(
    "state",
    [
        NotInitialized(),
        replace(RUNNING, keyset=keyset(domains=0)),
        replace(RUNNING, participants=replace(PARTICIPANTS, members=PARTICIPANTS.members[1:])),
    ],
    ids=["not initialised", "no domain", "no participant"],
)
def test_where_there_are_no_shares_in_force_none_are_given(state):
    step = decide(state)
    assert isinstance(step, NoCopy)
    assert step.fault is ViewsDiffer


def test_a_keyset_without_domains_is_not_given_even_where_a_backup_of_it_is_held():
    empty = keyset(domains=0)
    step = decide(replace(RUNNING, keyset=empty), backups=(stored(empty),))
    assert step == NoCopy(fault=ViewsDiffer, reason=f"{ALICE} has no key shares in force; try again")


@pytest.mark.parametrize("backups", [(), (stored(keyset(4)),), (stored(keyset(domains=1)),)])
def test_what_is_not_held_is_not_given(backups):
    step = decide(backups=backups)
    assert isinstance(step, NoCopy)
    assert "does not hold" in step.reason


def test_a_keyset_older_than_one_that_is_held_is_not_given():
    step = decide(backups=(CURRENT, stored(keyset(6))))
    assert isinstance(step, NoCopy)
    assert "older than what is held" in step.reason


@pytest.mark.parametrize(
    ("slots", "found"),
    [
        ((OWN, SIBLING), SIBLING),
        ((SIBLING, OWN), SIBLING),
        ((OWN, None), None),
        ((None, SIBLING), None),
        ((OWN, OWN), None),
    ],
)
def test_a_sibling_is_who_is_in_the_other_slot(slots, found):
    assert sibling_of(record(*slots), OWN) == found
