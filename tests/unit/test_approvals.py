"""Approvals: durable, single-use, one file each."""

import asyncio
import json
from dataclasses import replace

import pytest

from sharekeeper.adapters.approvals import DirectoryApprovalStore
from sharekeeper.adapters.durable_file import FileLock
from sharekeeper.errors import PolicyRefused, StoreFailed
from tests.unit.protocol_values import APPROVAL, BOB
from tests.unit.vault_values import BROKEN, FULL, Counter, SteppedDisk, failing, leftovers


@pytest.fixture
def store(tmp_path):
    return DirectoryApprovalStore(tmp_path / "approvals")


async def test_there_is_no_approval_at_first(store):
    assert store.pending() == []


async def test_an_approval_is_on_record_for_every_later_store(store, tmp_path):
    await store.add(APPROVAL)
    assert DirectoryApprovalStore(tmp_path / "approvals").pending() == [APPROVAL]


async def test_approvals_come_oldest_first(store):
    later, other = replace(APPROVAL, approved_at_height=1200), replace(APPROVAL, account_id=BOB, approved_at_height=9)
    for approval in (later, other, APPROVAL):
        await store.add(approval)
    assert store.pending() == [other, APPROVAL, later]


async def test_a_spent_approval_names_its_recovery(store):
    await store.add(APPROVAL)
    await store.spend(APPROVAL, 7)
    assert store.pending() == [replace(APPROVAL, used_for=7)]


async def test_spending_again_on_the_same_recovery_is_accepted(store):
    await store.add(APPROVAL)
    await store.spend(APPROVAL, 7)
    await store.spend(APPROVAL, 7)
    await store.spend(replace(APPROVAL, used_for=7), 7)
    assert store.pending() == [replace(APPROVAL, used_for=7)]


async def test_an_approval_is_not_spent_on_a_second_recovery(store):
    await store.add(APPROVAL)
    await store.spend(APPROVAL, 7)
    with pytest.raises(PolicyRefused, match="spent on recovery 7, not 8"):
        await store.spend(APPROVAL, 8)
    assert store.pending() == [replace(APPROVAL, used_for=7)]


async def test_two_recoveries_at_the_same_moment_spend_it_once(store):
    await store.add(APPROVAL)
    results = await asyncio.gather(*(store.spend(APPROVAL, n) for n in range(7, 12)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", *["PolicyRefused"] * 4]


async def test_another_process_that_changes_approvals_is_waited_for(store, tmp_path):
    await store.add(APPROVAL)
    lock = FileLock.take(tmp_path / "approvals" / "lock", what="the lock")
    spending = asyncio.create_task(store.spend(APPROVAL, 7))
    await asyncio.sleep(0.1)
    assert store.pending() == [APPROVAL]
    lock.release()
    await spending
    assert store.pending() == [replace(APPROVAL, used_for=7)]


async def test_adding_it_again_does_not_make_it_fresh(store):
    await store.add(APPROVAL)
    await store.spend(APPROVAL, 7)
    await store.add(APPROVAL)
    await store.add(replace(APPROVAL, used_for=None))
    assert store.pending() == [replace(APPROVAL, used_for=7)]


async def test_an_approval_is_added_unspent(store):
    await store.add(replace(APPROVAL, used_for=3))
    assert store.pending() == [APPROVAL]


async def test_what_was_never_approved_cannot_be_spent(store):
    await store.add(APPROVAL)
    with pytest.raises(PolicyRefused, match="no such approval"):
        await store.spend(replace(APPROVAL, deadline_ns=APPROVAL.deadline_ns + 1), 7)


async def test_only_the_owner_can_read_approvals(store, tmp_path):
    await store.add(APPROVAL)
    await store.spend(APPROVAL, 7)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "approvals").iterdir()} == {0o600}
    assert (tmp_path / "approvals").stat().st_mode & 0o777 == 0o700


async def test_what_a_crash_left_is_removed_by_the_next_change(store, tmp_path):
    await store.add(APPROVAL)
    (tmp_path / "approvals" / ".tmp-left").write_bytes(b"half")
    await store.spend(APPROVAL, 7)
    assert leftovers(tmp_path) == []


def the_file(tmp_path):
    return next((tmp_path / "approvals").glob("*.json"))


async def test_a_directory_that_cannot_be_read_is_not_taken_for_no_approval(store, tmp_path):
    (tmp_path / "approvals").write_bytes(b"")
    with pytest.raises(PolicyRefused, match=r"cannot be read: Not a directory; give that directory"):
        store.pending()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b"x" * 5000])
async def test_a_file_that_is_no_approval_is_named_with_its_cure(store, tmp_path, content):
    await store.add(APPROVAL)
    the_file(tmp_path).write_bytes(content)
    with pytest.raises(PolicyRefused, match=r"\.json .*approve again"):
        store.pending()
    with pytest.raises(PolicyRefused):
        await store.spend(APPROVAL, 7)


@pytest.mark.parametrize(
    "change",
    [{"account_id": "bob.test.near"}, {"format": 2}, {"account_id": "?"}, {"used_for": "7"}, {"deadline_ns": 1}],
)
async def test_a_file_changed_by_hand_is_refused(store, tmp_path, change):
    await store.add(APPROVAL)
    path = the_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(PolicyRefused):
        store.pending()


async def test_a_file_longer_than_any_approval_is_refused_whatever_it_says(store, tmp_path):
    await store.add(APPROVAL)
    path = the_file(tmp_path)
    path.write_bytes(path.read_bytes() + b" " * 4096)
    with pytest.raises(PolicyRefused, match="remove it and approve again"):
        store.pending()


@pytest.mark.parametrize("code", [FULL, BROKEN])
async def test_a_failure_at_any_call_never_spends_it_twice(tmp_path, code):
    counter = Counter()
    counting = DirectoryApprovalStore(tmp_path / "count", disk=SteppedDisk(counter))
    await counting.add(APPROVAL)
    await counting.spend(APPROVAL, 7)
    for at in range(len(counter.calls)):
        store = DirectoryApprovalStore(tmp_path / str(at), disk=failing(at, code))
        with pytest.raises(StoreFailed):  # noqa: PT012  # both steps; where it fails is the point
            await store.add(APPROVAL)
            await store.spend(APPROVAL, 7)
        await store.add(APPROVAL)
        await store.spend(APPROVAL, 7)
        with pytest.raises(PolicyRefused):
            await store.spend(APPROVAL, 8)
        assert store.pending() == [replace(APPROVAL, used_for=7)]
        assert leftovers(tmp_path / str(at)) == []
