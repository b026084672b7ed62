"""The vault with several processes: one writer, readers beside it, cancelled calls."""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.errors import (
    AlreadyRunning,
    VaultCorrupt,
)
from tests.unit.vault_values import (
    NEW_RECIPIENTS,
    SOURCE,
    backup_id,
    keyset,
    leftovers,
    shares_of,
    vault_at,
)

K5, K6 = keyset(5), keyset(6)


@pytest.fixture
def vault(tmp_path):
    made = vault_at(tmp_path)
    yield made
    made.close()


def store(vault, of, **options):
    return vault.store_now(of, shares_of(of, **options), SOURCE)


# --- several processes and cancellation ----------------------------------------------------------


def test_two_writers_are_one_too_many(vault, tmp_path):
    store(vault, K5)
    second = vault_at(tmp_path)
    for act in (second.acquire, lambda: store(second, K6), lambda: second.rekey(NEW_RECIPIENTS), second.adopt):
        with pytest.raises(AlreadyRunning, match="vault's lock"):
            act()
    vault.close()
    store(second, K6)
    second.close()


async def test_a_reader_beside_a_busy_writer_always_sees_whole_backups(vault, tmp_path):
    store(vault, K5)
    reader = vault_at(tmp_path)

    async def write():
        for epoch in range(6, 16):
            of = keyset(epoch)
            await vault.store(of, shares_of(of), SOURCE)
            await vault.destroy_older(backup_id(of))

    writing = asyncio.create_task(write())
    seen = set()
    while not writing.done():
        held = await asyncio.to_thread(reader.index)
        seen.add(held[-1].keyset.epoch_id)
        assert 1 <= len(held) <= 2
        assert (await asyncio.to_thread(reader.verify, deep=True)).ok
    await writing
    assert len(seen) > 2
    assert [stored.keyset.epoch_id for stored in reader.index()] == [15]


def test_a_read_that_saw_a_change_is_repeated(vault, tmp_path):
    store(vault, K5)
    seen = []

    def read(head):
        seen.append(head)
        if len(seen) == 1:
            store(vault, K6)
            return "stale"
        if len(seen) == 2:
            vault.destroy_older_now(backup_id(K6))
            raise VaultCorrupt("an entry that was just destroyed")
        return head

    assert vault_at(tmp_path)._consistent(read) == vault._read_head()
    assert len(seen) == 3


def test_a_fault_that_no_change_explains_is_raised(vault):
    store(vault, K5)

    def read(head):
        raise VaultCorrupt("really")

    with pytest.raises(VaultCorrupt, match="really"):
        vault._consistent(read)


def test_a_vault_that_changes_all_the_time_is_given_up(vault):
    vault.acquire()

    def read(head):
        vault._write_head(replace(head, number=head.number + 1))

    with pytest.raises(AlreadyRunning, match="changed all the time"):
        vault._consistent(read)


async def test_a_cancelled_store_is_complete_or_absent(vault, tmp_path):
    task = asyncio.create_task(vault.store(K5, shares_of(K5), SOURCE))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await vault.store(K5, shares_of(K5), SOURCE)
    assert vault.verify(deep=True).ok
    assert leftovers(tmp_path) == []
