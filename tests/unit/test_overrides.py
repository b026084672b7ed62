"""Overrides of the quorum: durable, and each for one hand-out alone."""

import asyncio
import json
from dataclasses import replace

import pytest

from sharekeeper.adapters.approvals import DirectoryApprovalStore, DirectoryOverrideStore
from sharekeeper.errors import PolicyRefused, StoreFailed
from tests.unit.protocol_values import OVERRIDE
from tests.unit.vault_values import BROKEN, FULL, Counter, SteppedDisk, failing, leftovers


@pytest.fixture
def store(tmp_path):
    return DirectoryOverrideStore(tmp_path / "overrides")


async def test_an_override_is_on_record_for_every_later_store_the_next_to_expire_first(store, tmp_path):
    assert store.pending() == []
    later = replace(OVERRIDE, deadline_ns=OVERRIDE.deadline_ns + 1)
    await store.add(later)
    await store.add(OVERRIDE)
    assert DirectoryOverrideStore(tmp_path / "overrides").pending() == [OVERRIDE, later]


async def test_an_override_is_used_once_and_says_when(store):
    await store.add(OVERRIDE)
    await store.spend(OVERRIDE, 5)
    assert store.pending() == [replace(OVERRIDE, used_at_ns=5)]
    with pytest.raises(PolicyRefused, match="for recovery 7 was used already"):
        await store.spend(OVERRIDE, 6)
    await store.add(OVERRIDE)
    assert store.pending() == [replace(OVERRIDE, used_at_ns=5)]


async def test_ten_hand_outs_at_the_same_moment_use_it_once(store):
    await store.add(OVERRIDE)
    results = await asyncio.gather(*(store.spend(OVERRIDE, n) for n in range(1, 11)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", *["PolicyRefused"] * 9]


async def test_what_was_never_said_cannot_be_used(store):
    await store.add(OVERRIDE)
    with pytest.raises(PolicyRefused, match="no such override is on record; make another"):
        await store.spend(replace(OVERRIDE, recovery_id=8), 5)


@pytest.mark.parametrize("change", [{"recovery_id": 8}, {"used_at_ns": "x"}, {"format": 2}, {"block_hash": "2" * 32}])
async def test_a_file_changed_by_hand_is_refused(store, tmp_path, change):
    await store.add(OVERRIDE)
    [path] = (tmp_path / "overrides").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(PolicyRefused, match="make another"):
        store.pending()


async def test_an_approval_is_no_override(store, tmp_path):
    await store.add(OVERRIDE)
    with pytest.raises(PolicyRefused, match="is not an approval"):
        DirectoryApprovalStore(tmp_path / "overrides").pending()


@pytest.mark.parametrize("code", [FULL, BROKEN])
async def test_a_failure_at_any_call_never_leaves_it_usable_twice(tmp_path, code):
    counter = Counter()
    counting = DirectoryOverrideStore(tmp_path / "count", disk=SteppedDisk(counter))
    await counting.add(OVERRIDE)
    await counting.spend(OVERRIDE, 5)
    for at in range(len(counter.calls)):
        store = DirectoryOverrideStore(tmp_path / str(at), disk=failing(at, code))
        with pytest.raises(StoreFailed):  # noqa: PT012  # both steps; where it fails is the point
            await store.add(OVERRIDE)
            await store.spend(OVERRIDE, 5)
        await store.add(OVERRIDE)
        [held] = store.pending()
        if held.used_at_ns is None:
            await store.spend(OVERRIDE, 6)
        with pytest.raises(PolicyRefused):
            await store.spend(OVERRIDE, 7)
        assert leftovers(tmp_path / str(at)) == []
