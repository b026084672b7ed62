"""Which shares a node keeps at each state of the contract."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import KeyEventId, Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import (
    DomainConfig,
    Initializing,
    KeyEvent,
    KeyEventInstance,
    NotInitialized,
    Participant,
    ParticipantInfo,
    Participants,
    Recovering,
    Recovery,
    Resharing,
    Running,
)
from sharekeeper_devnet.network.dealer import Deal, deal
from sharekeeper_devnet.network.keeping import ShareKeeper

ALICE, TLS = AccountId("alice.test.near"), TlsKey(b"\x01" * 32)
OTHERS = TlsKey(b"\x02" * 32)


def dealt(epoch: int, domains: int) -> Deal:
    return deal(epoch_id=epoch, domains=domains, threshold=1, participant_ids=(0,), random_below=secrets.randbelow)


OLD, NEW = dealt(5, 3), dealt(6, 3)


def first(of: Deal, number: int) -> Keyset:
    return Keyset(epoch_id=of.keyset.epoch_id, domains=of.keyset.domains[:number])


def participants(account_id: AccountId = ALICE, key: TlsKey = TLS) -> Participants:
    info = ParticipantInfo(url="http://127.0.0.1:9", tls_public_key=key)
    return Participants(members=(Participant(account_id=account_id, participant_id=0, info=info),))


def running(keyset: Keyset, members: Participants | None = None) -> Running:
    return Running(keyset=keyset, participants=members or participants(), threshold=1)


def key_event(epoch: int, domain: int, attempt: int | None) -> KeyEvent:
    instance = None
    if attempt is not None:
        instance = KeyEventInstance(attempt_id=attempt, started_in=1, expires_on=9, completed=(), public_key=None)
    return KeyEvent(
        epoch_id=epoch,
        domain=DomainConfig(domain_id=domain, protocol="Frost", reconstruction_threshold=1, purpose="Sign"),
        participants=participants(),
        threshold=1,
        instance=instance,
        next_attempt_id=9,
    )


@pytest.fixture
def store(tmp_path: Path) -> DirectoryKeyShareStore:
    return DirectoryKeyShareStore(tmp_path)


@pytest.fixture
def keeper(store: DirectoryKeyShareStore) -> ShareKeeper:
    return ShareKeeper(store=store, account_id=ALICE, tls_key=TLS)


def names(tmp_path: Path, kind: str) -> list[str]:
    return sorted(path.name for path in (tmp_path / kind).iterdir()) if (tmp_path / kind).exists() else []


async def hold(store: DirectoryKeyShareStore, *shares: KeyShare) -> None:
    for share in shares:
        await store.hold(share, height=10)


def another_attempt(share: KeyShare, attempt: int) -> KeyShare:
    event = share.key_id
    named = KeyEventId(epoch_id=event.epoch_id, domain_id=event.domain_id, attempt_id=attempt)
    return replace(share, key_id=named)


async def test_in_a_key_generation_the_done_domains_and_the_attempt_in_progress_stay(store, keeper, tmp_path) -> None:
    done, current, lost = OLD.shares[0][0], another_attempt(OLD.shares[0][1], 2), OLD.shares[0][1]
    await hold(store, done, current, lost)
    await keeper.settle(Initializing(previous=running(first(OLD, 1)), generating=key_event(5, 1, 2)), 20)
    assert names(tmp_path, "temporary") == ["5-0-0.json", "5-1-2.json"]
    await keeper.settle(Initializing(previous=running(first(OLD, 1)), generating=key_event(5, 1, None)), 21)
    assert names(tmp_path, "temporary") == ["5-0-0.json"]
    assert names(tmp_path, "permanent") == []


async def test_running_brings_the_named_shares_into_use_and_erases_the_others(store, keeper, tmp_path) -> None:
    await store.store_permanent(first(OLD, 1), OLD.shares[0][:1])
    await hold(store, *OLD.shares[0][1:], another_attempt(OLD.shares[0][1], 2))
    for _ in range(2):
        await keeper.settle(running(OLD.keyset), 20)
        assert names(tmp_path, "permanent") == [f"5-{OLD.keyset.digest()}.json"]
        assert names(tmp_path, "temporary") == []
    assert await store.read(OLD.keyset) == OLD.shares[0]


async def test_what_is_named_stays_held_while_a_share_is_missing(store, keeper, tmp_path) -> None:
    await hold(store, OLD.shares[0][0], another_attempt(OLD.shares[0][0], 2))
    await keeper.settle(running(OLD.keyset), 20)
    assert names(tmp_path, "temporary") == ["5-0-0.json"]
    await hold(store, *OLD.shares[0][1:])
    await keeper.settle(running(OLD.keyset), 21)
    assert await store.read(OLD.keyset) == OLD.shares[0]


async def test_the_old_shares_stay_through_a_resharing_and_go_after_it(store, keeper, tmp_path) -> None:
    await store.store_permanent(OLD.keyset, OLD.shares[0])
    await hold(store, *NEW.shares[0][:2], another_attempt(NEW.shares[0][1], 2), another_attempt(NEW.shares[0][0], 2))
    state = Resharing(previous=running(OLD.keyset), reshared=NEW.keyset.domains[:1], resharing=key_event(6, 1, 0))
    await keeper.settle(state, 20)
    assert names(tmp_path, "permanent") == [f"5-{OLD.keyset.digest()}.json"]
    assert names(tmp_path, "temporary") == ["6-0-0.json", "6-1-0.json"]
    await hold(store, NEW.shares[0][2])
    await keeper.settle(running(NEW.keyset), 21)
    assert names(tmp_path, "permanent") == [f"6-{NEW.keyset.digest()}.json"]
    assert names(tmp_path, "temporary") == []


async def test_a_running_that_was_missed_is_made_up_for_in_the_resharing_after_it(store, keeper) -> None:
    await hold(store, *OLD.shares[0])
    state = Resharing(previous=running(OLD.keyset), reshared=(), resharing=key_event(6, 0, None))
    await keeper.settle(state, 20)
    assert await store.read(OLD.keyset) == OLD.shares[0]


async def test_a_cancelled_resharing_leaves_the_old_shares_alone(store, keeper, tmp_path) -> None:
    await store.store_permanent(OLD.keyset, OLD.shares[0])
    await hold(store, *NEW.shares[0])
    await keeper.settle(running(OLD.keyset), 20)
    assert names(tmp_path, "permanent") == [f"5-{OLD.keyset.digest()}.json"]
    assert names(tmp_path, "temporary") == []


async def test_a_node_that_a_resharing_left_out_destroys_what_it_has(store, keeper, tmp_path) -> None:
    await store.store_permanent(OLD.keyset, OLD.shares[0])
    await hold(store, NEW.shares[0][0])
    without = participants(AccountId("bob.test.near"), OTHERS)
    await keeper.settle(Resharing(previous=running(OLD.keyset), reshared=(), resharing=key_event(6, 0, 0)), 20)
    assert names(tmp_path, "temporary") == ["6-0-0.json"]
    await keeper.settle(running(NEW.keyset, without), 21)
    assert names(tmp_path, "permanent") == []
    assert names(tmp_path, "temporary") == []


async def test_a_machine_that_was_replaced_leaves_the_shares_in_use_to_its_fence(store, keeper, tmp_path) -> None:
    await store.store_permanent(OLD.keyset, OLD.shares[0])
    await hold(store, NEW.shares[0][0])
    await keeper.settle(running(OLD.keyset, participants(key=OTHERS)), 20)
    assert names(tmp_path, "permanent") == [f"5-{OLD.keyset.digest()}.json"]
    assert names(tmp_path, "temporary") == []


async def test_recovery_is_kept_as_the_running_it_began_from(store, keeper) -> None:
    await hold(store, *OLD.shares[0])
    info = ParticipantInfo(url="http://127.0.0.1:9", tls_public_key=OTHERS)
    bob = Recovering(account_id=AccountId("bob.test.near"), info=info, signer_key=SignerKey(b"\x05" * 32))
    state = Recovery(
        recovery_id=1,
        previous=running(OLD.keyset),
        prospective=participants(),
        recovering=bob,
        started_in=1,
        expires_on=9,
        shares_confirmed=False,
    )
    await keeper.settle(state, 20)
    assert await store.read(OLD.keyset) == OLD.shares[0]


async def test_before_init_and_without_domains_nothing_is_touched(store, keeper, tmp_path) -> None:
    await keeper.settle(NotInitialized(), 20)
    await keeper.settle(running(Keyset(epoch_id=0, domains=())), 21)
    assert list(tmp_path.iterdir()) == []


async def test_a_machine_that_is_not_its_accounts_node_puts_nothing_to_use_and_destroys_nothing_in_use(keeper, store):
    await store.store_permanent(OLD.keyset, OLD.shares[0])
    for share in NEW.shares[0]:
        await store.hold(share)
    await keeper.settle(running(NEW.keyset, participants(key=OTHERS)), 9)
    assert await store.read(NEW.keyset) is None
    assert await store.read(OLD.keyset) == OLD.shares[0]


async def test_a_contract_that_is_not_initialised_erases_nothing(keeper, store):
    await store.hold(NEW.shares[0][0])
    await keeper.settle(NotInitialized(), 9)
    assert await store.held(NEW.shares[0][0].key_id) == NEW.shares[0][0]
