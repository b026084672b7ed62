from dataclasses import replace

import pytest

from sharekeeper.domain.keyset import Curve, DomainPublicKey
from sharekeeper.domain.protocol_state import NotInitialized, Running
from sharekeeper.errors import ChainContradiction, NoBackup
from sharekeeper.protocol.monitoring import (
    Alarm,
    ConfirmDelivery,
    DestroyOlder,
    FetchCopy,
    FetchShares,
    HandOut,
    Holdings,
    Rest,
    VerifyVault,
    decide_backup,
    goes_backwards,
    supersedes,
)

from .protocol_values import (
    ALICE,
    BOB,
    NETWORK,
    NEW,
    NOW_NS,
    OLD,
    PARTICIPANTS,
    RUNNING,
    initializing,
    keyset,
    node_keys,
    recovery,
    resharing,
    stored,
)

DAY_NS = 24 * 3600 * 10**9
CURRENT = stored(keyset())


def held(*backups, delivered=None, verified_at_ns=NOW_NS):
    return Holdings(usable=backups, verified_at_ns=verified_at_ns, delivered=delivered)


def decide(state, holdings, *, now_ns=NOW_NS, account_id=ALICE):
    return decide_backup(
        state=state,
        account_id=account_id,
        holdings=holdings,
        now_ns=now_ns,
        grace_seconds=3600,
    )


EMPTY = replace(RUNNING, keyset=keyset(domains=0))
WITHOUT_ALICE = replace(PARTICIPANTS, members=PARTICIPANTS.members[1:])


def test_before_the_contract_is_initialised_there_is_nothing_to_do():
    assert isinstance(decide(NotInitialized(), held()), Rest)


@pytest.mark.parametrize("state", [EMPTY, initializing(EMPTY), recovery(previous=EMPTY)])
def test_an_empty_keyset_needs_no_backup(state):
    assert isinstance(decide(state, held()), Rest)


@pytest.mark.parametrize("state", [RUNNING, initializing(), resharing(), recovery(account_id=BOB, new=node_keys(12))])
def test_a_keyset_in_force_that_is_not_held_is_fetched_from_the_node_in_force(state):
    assert decide(state, held()) == FetchShares(keyset=RUNNING.keyset, node=OLD.info)


def test_a_held_keyset_needs_nothing():
    assert isinstance(decide(RUNNING, held(CURRENT)), Rest)


def test_a_new_epoch_is_fetched_although_the_old_one_is_held():
    state = replace(RUNNING, keyset=keyset(6))
    assert decide(state, held(CURRENT)) == FetchShares(keyset=keyset(6), node=OLD.info)


def test_another_attempt_of_the_same_epoch_is_another_backup():
    state = replace(RUNNING, keyset=keyset(attempt=1))
    assert decide(state, held(CURRENT)) == FetchShares(keyset=keyset(attempt=1), node=OLD.info)


def test_an_added_domain_is_fetched():
    state = replace(RUNNING, keyset=keyset(domains=3))
    assert decide(state, held(CURRENT)) == FetchShares(keyset=keyset(domains=3), node=OLD.info)


def test_a_key_that_was_just_generated_is_backed_up_before_the_key_generation_ends():
    state = initializing(replace(RUNNING, keyset=keyset(domains=3)))
    assert decide(state, held(CURRENT)) == FetchShares(keyset=keyset(domains=3), node=OLD.info)
    assert isinstance(decide(state, held(CURRENT, stored(keyset(domains=3)))), Rest)


def test_an_account_that_is_no_participant_has_nothing_to_back_up():
    assert isinstance(decide(replace(RUNNING, participants=WITHOUT_ALICE), held()), Rest)


def test_an_account_that_left_the_network_keeps_what_it_has_and_fetches_nothing():
    state = replace(RUNNING, keyset=keyset(6), participants=WITHOUT_ALICE)
    assert isinstance(decide(state, held(CURRENT), now_ns=NOW_NS + 3600 * 10**9), Rest)


def test_an_account_that_joins_has_its_first_backup_when_the_running_of_the_new_epoch_is_final():
    before = replace(RUNNING, participants=WITHOUT_ALICE)
    assert isinstance(decide(resharing(before, to=PARTICIPANTS), held()), Rest)
    after = replace(RUNNING, keyset=keyset(6))
    assert decide(after, held()) == FetchShares(keyset=keyset(6), node=OLD.info)


def test_an_account_that_leaves_is_backed_up_until_the_resharing_ends():
    assert decide(resharing(to=WITHOUT_ALICE), held()) == FetchShares(keyset=RUNNING.keyset, node=OLD.info)


def test_a_cancelled_resharing_needs_no_other_backup_and_the_epoch_after_it_skips_one():
    assert isinstance(decide(resharing(), held(CURRENT)), Rest)
    assert isinstance(decide(RUNNING, held(CURRENT)), Rest)
    assert isinstance(decide(resharing(epoch=7), held(CURRENT)), Rest)
    done = replace(RUNNING, keyset=keyset(7, attempt=3))
    assert decide(done, held(CURRENT)) == FetchShares(keyset=keyset(7, attempt=3), node=OLD.info)


@pytest.mark.parametrize("newer", [keyset(6), keyset(domains=3)])
@pytest.mark.parametrize("state", [RUNNING, initializing(), recovery(), recovery(account_id=BOB), resharing()])
def test_a_chain_that_goes_backwards_is_an_alarm_and_no_command(state, newer):
    step = decide(state, held(CURRENT, stored(newer)), now_ns=NOW_NS + 10 * DAY_NS)
    assert isinstance(step, Alarm)
    assert step.fault is ChainContradiction


def test_a_domain_that_vanished_is_a_step_back_whatever_else_was_added():
    ours = keyset(domains=3)
    other = replace(ours, domains=(ours.domains[0], ours.domains[2]))
    assert goes_backwards(other, keyset(domains=2))
    assert not goes_backwards(ours, keyset(domains=2))
    assert not goes_backwards(keyset(attempt=1), keyset())


def test_the_own_recovery_hands_out_the_backup_of_the_keyset_in_force():
    assert decide(recovery(), held(CURRENT)) == HandOut(recovery=recovery(), backup_id=CURRENT.backup_id)


def test_the_own_recovery_without_a_backup_is_an_alarm_with_the_cure():
    step = decide(recovery(), held(stored(keyset(4))))
    assert isinstance(step, Alarm)
    assert step.fault is NoBackup
    assert "cancel the recovery" in step.message


def test_a_delivered_backup_is_confirmed():
    assert decide(recovery(), held(CURRENT, delivered=7)) == ConfirmDelivery(recovery_id=7)


def test_the_receipt_of_an_earlier_recovery_confirms_nothing():
    assert isinstance(decide(recovery(), held(CURRENT, delivered=6)), HandOut)


def test_a_confirmed_delivery_is_neither_repeated_nor_confirmed_again():
    assert isinstance(decide(recovery(confirmed=True), held(CURRENT, delivered=7)), Rest)


def test_a_confirmation_by_a_stolen_key_does_not_keep_the_shares_back():
    assert isinstance(decide(recovery(confirmed=True), held(CURRENT)), HandOut)


def test_what_another_service_confirmed_is_no_alarm_for_one_without_a_backup():
    assert isinstance(decide(recovery(confirmed=True), held()), Rest)


def test_the_recovery_of_another_account_hands_out_nothing():
    state = recovery(account_id=BOB, new=node_keys(12))
    assert isinstance(decide(state, held(CURRENT)), Rest)


def test_a_recovery_whose_prospective_participants_disagree_is_an_alarm():
    step = decide(replace(recovery(), prospective=PARTICIPANTS), held(CURRENT))
    assert isinstance(step, Alarm)
    assert step.fault is ChainContradiction


def test_a_recovery_whose_prospective_participants_lack_the_account_is_an_alarm():
    assert isinstance(decide(replace(recovery(), prospective=WITHOUT_ALICE), held(CURRENT)), Alarm)


def test_after_the_recovery_the_new_node_is_the_one_to_fetch_from():
    state = Running(keyset=keyset(6), participants=recovery().prospective, threshold=2)
    assert decide(state, held(CURRENT)) == FetchShares(keyset=keyset(6), node=NEW.info)


def test_the_vault_is_verified_at_the_start_even_before_a_missing_backup_is_fetched_and_again_after_a_day():
    assert decide(RUNNING, held(CURRENT, verified_at_ns=None)) == VerifyVault()
    assert decide(RUNNING, held(verified_at_ns=None)) == VerifyVault()
    assert isinstance(decide(RUNNING, held(CURRENT), now_ns=NOW_NS + DAY_NS - 1), Rest)
    assert decide(RUNNING, held(CURRENT), now_ns=NOW_NS + DAY_NS) == VerifyVault()


def test_neither_a_fetch_nor_a_hand_out_waits_for_the_daily_verification():
    assert isinstance(decide(RUNNING, held(), now_ns=NOW_NS + DAY_NS), FetchShares)
    assert isinstance(decide(recovery(), held(CURRENT, verified_at_ns=None)), HandOut)


def test_older_backups_are_destroyed_only_past_the_grace_time_and_only_in_running():
    both = held(stored(keyset(4)), CURRENT)
    later = NOW_NS + 3600 * 10**9
    assert isinstance(decide(RUNNING, both, now_ns=later - 1), Rest)
    assert decide(RUNNING, both, now_ns=later) == DestroyOlder(current=CURRENT.backup_id)
    assert isinstance(decide(resharing(), both, now_ns=later), Rest)
    assert isinstance(decide(recovery(account_id=BOB), both, now_ns=later), Rest)


def test_the_backup_of_fewer_domains_is_destroyed_once_the_one_of_more_is_held():
    state = replace(RUNNING, keyset=keyset(domains=3))
    both = held(CURRENT, stored(keyset(domains=3)))
    step = decide(state, both, now_ns=NOW_NS + 3600 * 10**9)
    assert step == DestroyOlder(current=keyset(domains=3).backup_id(NETWORK, ALICE))


OTHER_KEY = replace(
    keyset(4),
    domains=tuple(replace(d, public_key=DomainPublicKey(Curve.ED25519, bytes(32))) for d in keyset(4).domains),
)


@pytest.mark.parametrize("kept", [keyset(attempt=1), OTHER_KEY, keyset(4, domains=3)])
def test_what_the_keyset_in_force_does_not_supersede_is_never_destroyed(kept):
    both = held(stored(kept), stored(keyset(4)), CURRENT)
    step = decide(RUNNING, both, now_ns=NOW_NS + 3600 * 10**9)
    assert isinstance(step, Alarm)
    assert step.fault is ChainContradiction
    assert kept.digest()[:12] in step.message


def test_a_later_keyset_supersedes_both_of_two_that_contradict_each_other():
    assert supersedes(keyset(6), keyset())
    assert supersedes(keyset(6), keyset(attempt=1))
    assert not supersedes(keyset(), keyset(6))


def test_older_backups_are_not_destroyed_before_the_current_one_was_verified():
    both = held(stored(keyset(4)), CURRENT, verified_at_ns=None)
    assert isinstance(decide(RUNNING, both, now_ns=NOW_NS + 3600 * 10**9), VerifyVault)


def test_older_backups_are_not_destroyed_while_the_current_one_is_missing():
    assert isinstance(decide(RUNNING, held(stored(keyset(3)), stored(keyset(4)))), FetchShares)


# --- the account's other backup service -----------------------------------------------------------


def with_sibling(*backups, failed=0, of=None, verified_at_ns=NOW_NS, **changes):
    return Holdings(
        usable=backups,
        verified_at_ns=verified_at_ns,
        sibling=True,
        failed=(of or keyset(), failed) if failed else None,
        **changes,
    )


@pytest.mark.parametrize(
    ("failed", "asked"),
    [(0, "node"), (1, "node"), (2, "node"), (3, "sibling"), (4, "node"), (5, "sibling"), (6, "node"), (7, "sibling")],
)
def test_the_node_is_asked_three_times_and_then_in_turn_with_the_sibling(failed, asked):
    step = decide(RUNNING, with_sibling(failed=failed))
    assert step == (FetchCopy(keyset=keyset()) if asked == "sibling" else FetchShares(keyset=keyset(), node=OLD.info))


def test_failures_count_for_the_keyset_they_happened_with():
    assert isinstance(decide(RUNNING, with_sibling(failed=3, of=keyset(4))), FetchShares)


@pytest.mark.parametrize("failed", [3, 5, 99])
def test_without_a_sibling_the_node_is_asked_for_ever(failed):
    holdings = replace(with_sibling(failed=failed), sibling=False)
    assert isinstance(decide(RUNNING, holdings), FetchShares)


def test_the_own_recovery_without_a_backup_asks_the_sibling_at_once():
    assert decide(recovery(), with_sibling()) == FetchCopy(keyset=keyset())
    assert decide(recovery(), with_sibling(stored(keyset(4)))) == FetchCopy(keyset=keyset())


def test_the_vault_is_verified_before_a_copy_could_hide_that_a_backup_is_missing():
    assert decide(recovery(), with_sibling(verified_at_ns=None)) == VerifyVault()


def test_the_own_recovery_with_a_backup_does_not_ask_the_sibling():
    assert isinstance(decide(recovery(), with_sibling(CURRENT)), HandOut)


def test_a_recovery_that_somebody_delivered_needs_no_copy():
    assert isinstance(decide(recovery(confirmed=True), with_sibling()), Rest)


@pytest.mark.parametrize("account_id", [BOB])
def test_the_recovery_of_another_account_changes_nothing(account_id):
    state = recovery(account_id=account_id, new=node_keys(12))
    assert isinstance(decide(state, with_sibling()), FetchShares)
    assert isinstance(decide(state, with_sibling(failed=3)), FetchCopy)


def test_a_chain_that_goes_backwards_gets_no_copy_fetched():
    step = decide(recovery(), with_sibling(stored(keyset(6))))
    assert (type(step), step.fault) == (Alarm, ChainContradiction)
