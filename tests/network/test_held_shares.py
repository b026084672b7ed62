"""Shares of key events on disk: held until a final Running names them, in use from then on, erased when nothing can."""

import asyncio
import json
import secrets
import stat
import threading
from pathlib import Path

import pytest

from sharekeeper.adapters.durable_file import FileLock
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.keyset import DomainKey, KeyEventId, Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.errors import SharesRefused, ShareStoreCorrupt
from sharekeeper_devnet.network.dealer import deal

DEALT = deal(epoch_id=5, domains=3, threshold=2, participant_ids=(0, 1), random_below=secrets.randbelow)
SHARES = DEALT.shares[0]
KEYSET = DEALT.keyset
SMALLER = Keyset(epoch_id=5, domains=KEYSET.domains[:2])
EMPTY = Keyset(epoch_id=5, domains=())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryKeyShareStore:
    return DirectoryKeyShareStore(tmp_path / "keyshares")


async def hold(store: DirectoryKeyShareStore, *shares: KeyShare) -> None:
    for share in shares:
        await store.hold(share, height=100)


def event(attempt: int, domain: int = 2) -> KeyEventId:
    return KeyEventId(epoch_id=5, domain_id=domain, attempt_id=attempt)


async def test_a_held_share_is_read_back_by_its_key_event_and_is_not_in_use(store, tmp_path: Path) -> None:
    await hold(store, *SHARES)
    assert await store.held(SHARES[1].key_id) == SHARES[1]
    assert await store.held(event(7)) is None
    assert await store.read(KEYSET) is None
    path = tmp_path / "keyshares" / "temporary" / "5-2-0.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_held_shares_come_into_use_together_when_a_keyset_names_all_of_them(store) -> None:
    await hold(store, *SHARES[:2])
    assert not await store.make_permanent(KEYSET)
    assert await store.read(KEYSET) is None
    await hold(store, SHARES[2])
    assert await store.make_permanent(KEYSET)
    assert await store.read(KEYSET) == SHARES
    assert await store.held(SHARES[0].key_id) == SHARES[0]


async def test_a_grown_keyset_takes_the_shares_that_are_in_use_already(store) -> None:
    await store.store_permanent(SMALLER, SHARES[:2])
    await hold(store, SHARES[2])
    assert await store.make_permanent(KEYSET)
    assert await store.read(KEYSET) == SHARES
    assert await store.read(SMALLER) == SHARES[:2]


async def test_a_held_share_that_is_damaged_does_not_matter_where_the_share_is_in_use_already(
    store, tmp_path: Path
) -> None:
    await store.store_permanent(SMALLER, SHARES[:2])
    await hold(store, SHARES[0], SHARES[2])
    (tmp_path / "keyshares" / "temporary" / "5-0-0.json").write_bytes(b"")
    assert await store.make_permanent(KEYSET)
    assert await store.read(KEYSET) == SHARES


async def test_another_attempt_or_epoch_does_not_count(store) -> None:
    await hold(store, *SHARES)
    domains = tuple(
        DomainKey(domain_id=each.domain_id, attempt=1, public_key=each.public_key) for each in KEYSET.domains
    )
    assert not await store.make_permanent(Keyset(epoch_id=5, domains=domains))
    assert not await store.make_permanent(Keyset(epoch_id=6, domains=KEYSET.domains))


async def test_a_held_share_of_another_public_key_is_refused(store) -> None:
    other = deal(epoch_id=5, domains=3, threshold=2, participant_ids=(0, 1), random_below=secrets.randbelow)
    await hold(store, *SHARES)
    with pytest.raises(SharesRefused, match="another public key"):
        await store.make_permanent(other.keyset)


async def test_a_keyset_without_domains_has_no_shares_and_needs_none(store, tmp_path: Path) -> None:
    assert await store.read(EMPTY) == ()
    assert not (tmp_path / "keyshares").exists()


async def test_where_nothing_was_ever_held_looking_for_shares_writes_nothing(store, tmp_path: Path) -> None:
    assert not await store.make_permanent(KEYSET)
    assert not (tmp_path / "keyshares").exists()


async def test_only_the_named_key_events_stay_held(store) -> None:
    assert await store.erase_held(height=100) == ()
    await hold(store, *SHARES)
    assert await store.erase_held(keep=[SHARES[1].key_id, event(9)], height=100) == ["5-0-0.json", "5-2-0.json"]
    assert await store.held(SHARES[1].key_id) == SHARES[1]
    assert await store.erase_held(height=100) == ["5-1-0.json"]
    assert await store.held(SHARES[1].key_id) is None


async def test_a_view_of_an_older_block_erases_nothing_that_was_held_since(store) -> None:
    """A NEAR node that restarts may show old blocks for a while, to which the key event is unknown."""
    await hold(store, SHARES[0])
    assert await store.erase_held(height=99) == []
    assert await store.held(SHARES[0].key_id) == SHARES[0]
    assert await store.erase_held(height=100) == ["5-0-0.json"]


async def test_a_view_of_an_older_keyset_destroys_no_shares_of_a_newer_one(store) -> None:
    newer = deal(epoch_id=6, domains=1, threshold=2, participant_ids=(0, 1), random_below=secrets.randbelow)
    await store.store_permanent(newer.keyset, newer.shares[0])
    await store.store_permanent(KEYSET, SHARES)
    assert await store.make_permanent(SMALLER)
    assert await store.destroy_others(SMALLER) == []
    assert await store.read(KEYSET) == SHARES
    assert await store.read(newer.keyset) == newer.shares[0]
    assert await store.destroy_others(KEYSET) == [f"5-{SMALLER.digest()}.json"]


async def test_a_node_that_left_destroys_what_it_has_of_older_epochs(store) -> None:
    assert await store.destroy_older(9) == ()
    await store.store_permanent(KEYSET, SHARES)
    assert await store.destroy_older(5) == []
    assert await store.read(KEYSET) == SHARES
    assert await store.destroy_older(6) == [f"5-{KEYSET.digest()}.json"]
    assert await store.read(KEYSET) is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":1,"shares":[]}'])
async def test_a_held_share_that_is_not_whole_is_not_used(store, tmp_path: Path, content: bytes) -> None:
    await hold(store, *SHARES)
    path = tmp_path / "keyshares" / "temporary" / "5-2-0.json"
    path.write_bytes(content)
    for reading in (store.held(SHARES[2].key_id), store.make_permanent(KEYSET)):
        with pytest.raises(ShareStoreCorrupt, match="was not used"):
            await reading


async def test_a_held_share_of_another_format_is_not_used(store, tmp_path: Path) -> None:
    await hold(store, *SHARES)
    path = tmp_path / "keyshares" / "temporary" / "5-2-0.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"format": 2}))
    for reading in (store.held(SHARES[2].key_id), store.make_permanent(KEYSET)):
        with pytest.raises(ShareStoreCorrupt, match="another key event or format"):
            await reading


async def test_a_held_share_under_the_name_of_another_key_event_is_not_used(store, tmp_path: Path) -> None:
    await hold(store, *SHARES)
    directory = tmp_path / "keyshares" / "temporary"
    (directory / "5-1-0.json").rename(directory / "5-1-7.json")
    with pytest.raises(ShareStoreCorrupt, match="another key event or format"):
        await store.held(event(7, domain=1))


async def test_what_is_no_held_share_is_left_where_it_lies(store, tmp_path: Path) -> None:
    await hold(store, SHARES[0])
    other = tmp_path / "keyshares" / "temporary" / "notes"
    other.write_bytes(b"the operator's")
    assert await store.erase_held(height=100) == ["5-0-0.json"]
    assert other.exists()


async def test_a_damaged_file_in_use_is_told_and_not_taken_over(store, tmp_path: Path) -> None:
    await store.store_permanent(SMALLER, SHARES[:2])
    await hold(store, *SHARES)
    next((tmp_path / "keyshares" / "permanent").iterdir()).write_bytes(b"{}")
    with pytest.raises(ShareStoreCorrupt, match="was not used"):
        await store.make_permanent(KEYSET)


async def test_two_processes_write_one_after_the_other(store, tmp_path: Path) -> None:
    await hold(store, SHARES[0])
    lock = FileLock.take(tmp_path / "keyshares" / "lock", what="lock")
    writing = asyncio.create_task(store.hold(SHARES[1], height=100))
    await asyncio.sleep(0.1)
    assert not writing.done()
    assert await store.held(SHARES[0].key_id) == SHARES[0]
    lock.release()
    await writing
    assert await store.held(SHARES[1].key_id) == SHARES[1]


async def test_a_reader_never_sees_half_a_share_while_another_store_writes(store, tmp_path: Path) -> None:
    """The node agent reads what the node writes: each look finds all shares or none."""
    agents, done = DirectoryKeyShareStore(tmp_path / "keyshares"), threading.Event()
    seen = []

    async def look() -> None:
        while not done.is_set():
            seen.append(await agents.read(KEYSET))

    looking = asyncio.create_task(look())
    await hold(store, *SHARES)
    for _ in range(10):
        assert await store.make_permanent(KEYSET)
        await store.destroy_older(6)
    done.set()
    await looking
    assert all(each in (None, SHARES) for each in seen)
