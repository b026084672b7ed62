"""The node's key-share directory: staged, promoted, read back checked."""

import asyncio
import json
import os
import stat
from dataclasses import replace

import pytest

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.errors import SharesRefused, ShareStoreCorrupt, StoreFailed
from sharekeeper.protocol.codec import encode_keyset, encode_shares
from sharekeeper.secret import Secret
from tests.unit.vault_values import BROKEN, FULL, Counter, SteppedDisk, failing, keyset, leftovers, shares_of

KEYSET = keyset(5)
SHARES = shares_of(KEYSET)


@pytest.fixture
def store(tmp_path):
    return DirectoryKeyShareStore(tmp_path)


def permanent(root, of=KEYSET):
    return root / "permanent" / f"{of.epoch_id}-{of.digest()}.json"


async def test_nothing_is_held_at_first(store):
    assert await store.read(KEYSET) is None
    assert await store.staged() is None
    assert await store.discard_staged() is False


async def test_staged_shares_are_not_in_use(store):
    await store.stage(7, KEYSET, SHARES)
    assert await store.staged() == 7
    assert await store.read(KEYSET) is None


async def test_promoted_shares_are_in_use_and_no_longer_staged(store):
    await store.stage(7, KEYSET, SHARES)
    await store.promote(7, KEYSET)
    assert await store.read(KEYSET) == SHARES
    assert await store.staged() is None


async def test_promoting_again_changes_nothing(store):
    await store.stage(7, KEYSET, SHARES)
    await store.promote(7, KEYSET)
    await store.promote(7, KEYSET)
    assert await store.read(KEYSET) == SHARES


async def test_another_store_object_sees_the_same(store, tmp_path):
    await store.stage(7, KEYSET, SHARES)
    assert await DirectoryKeyShareStore(tmp_path).staged() == 7
    await store.promote(7, KEYSET)
    assert await DirectoryKeyShareStore(tmp_path).read(KEYSET) == SHARES


async def test_staging_replaces_what_was_staged_before(store, tmp_path):
    await store.stage(7, KEYSET, shares_of(KEYSET, base=900))
    await store.stage(7, KEYSET, SHARES)
    await store.stage(8, KEYSET, SHARES)
    assert [path.name for path in (tmp_path / "staged").iterdir()] == ["8.json"]
    await store.promote(8, KEYSET)
    assert await store.read(KEYSET) == SHARES


async def test_discarding_leaves_no_staged_share_on_disk(store, tmp_path):
    await store.stage(7, KEYSET, SHARES)
    (tmp_path / "staged" / ".tmp-9.json-left").write_bytes(b"torn")
    assert await store.discard_staged() is True
    assert list((tmp_path / "staged").iterdir()) == []
    assert await store.discard_staged() is False


async def test_a_crash_before_the_older_staging_was_removed_leaves_the_newer_one_in_force(store, tmp_path):
    await store.stage(9, KEYSET, SHARES)
    (tmp_path / "staged" / "10.json").write_bytes((tmp_path / "staged" / "9.json").read_bytes())
    assert await store.staged() == 10


async def test_the_file_is_near_mpc_json_with_the_keyset(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    content = json.loads(permanent(tmp_path).read_bytes())
    assert content == {"format": 1, "keyset": encode_keyset(KEYSET), "shares": encode_shares(SHARES)}


async def test_files_and_directories_are_their_owners_alone(store, tmp_path):
    await store.stage(7, KEYSET, SHARES)
    await store.store_permanent(KEYSET, SHARES)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    files = {permanent(tmp_path).name: 0o600, "7.json": 0o600, "lock": 0o600}
    assert modes == {"permanent": 0o700, "staged": 0o700, **files}


async def test_two_attempts_of_one_epoch_are_two_keysets(store):
    other = keyset(5, attempt=1)
    await store.store_permanent(KEYSET, SHARES)
    assert await store.read(other) is None
    await store.store_permanent(other, shares_of(other))
    assert await store.read(KEYSET) == SHARES


async def test_only_the_shares_of_the_kept_keyset_survive_destroying_the_others(store, tmp_path):
    newer = keyset(6)
    await store.store_permanent(KEYSET, SHARES)
    await store.store_permanent(newer, shares_of(newer))
    assert list(await store.destroy_others(newer)) == [permanent(tmp_path).name]
    assert await store.read(KEYSET) is None
    assert await store.read(newer) == shares_of(newer)


async def test_nothing_is_destroyed_while_the_kept_keyset_is_absent_or_damaged(store, tmp_path):
    newer = keyset(6)
    await store.store_permanent(KEYSET, SHARES)
    with pytest.raises(ShareStoreCorrupt, match="nothing was deleted"):
        await store.destroy_others(newer)
    await store.store_permanent(newer, shares_of(newer))
    permanent(tmp_path, newer).write_bytes(b"{}")
    with pytest.raises(ShareStoreCorrupt):
        await store.destroy_others(newer)
    assert await store.read(KEYSET) == SHARES


async def test_shares_of_another_keyset_are_not_written(store, tmp_path):
    for wrong in (SHARES[:2], shares_of(keyset(6)), tuple(reversed(SHARES))):
        with pytest.raises(SharesRefused, match="nothing was written"):
            await store.stage(7, KEYSET, wrong)
        with pytest.raises(SharesRefused):
            await store.store_permanent(KEYSET, wrong)
    assert list(tmp_path.rglob("*.json")) == []


async def test_what_was_not_staged_is_not_promoted(store):
    with pytest.raises(ShareStoreCorrupt, match="no shares are staged for recovery 7"):
        await store.promote(7, KEYSET)
    await store.stage(6, KEYSET, SHARES)
    with pytest.raises(ShareStoreCorrupt):
        await store.promote(7, KEYSET)


async def test_staged_shares_of_another_keyset_are_not_promoted(store):
    await store.stage(7, KEYSET, SHARES)
    with pytest.raises(ShareStoreCorrupt, match=r"7\.json was not used"):
        await store.promote(7, keyset(6))
    assert await store.staged() == 7


async def test_promoting_replaces_a_damaged_file(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    permanent(tmp_path).write_bytes(b"damaged")
    await store.stage(7, KEYSET, SHARES)
    await store.promote(7, KEYSET)
    assert await store.read(KEYSET) == SHARES


async def test_what_a_crash_left_is_removed_by_the_next_write(store, tmp_path):
    for place in ("staged", "permanent"):
        (tmp_path / place).mkdir()
        (tmp_path / place / ".tmp-left").write_bytes(b"half a share")
    await store.stage(7, KEYSET, SHARES)
    await store.store_permanent(KEYSET, SHARES)
    assert leftovers(tmp_path) == []


async def test_a_repeated_promotion_is_durable_before_it_is_confirmed(tmp_path):
    counter = Counter()
    store = DirectoryKeyShareStore(tmp_path, disk=SteppedDisk(counter))
    await store.stage(7, KEYSET, SHARES)
    await store.promote(7, KEYSET)
    before = len(counter.calls)
    await store.promote(7, KEYSET)
    assert counter.calls[before:] == ["fsync"]


# --- damage -------------------------------------------------------------------------------------


async def test_every_cut_of_the_file_is_refused(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    whole = permanent(tmp_path).stat().st_size
    for length in reversed(range(whole - 1)):  # all but the last line feed
        os.truncate(permanent(tmp_path), length)
        with pytest.raises(ShareStoreCorrupt, match="was not used"):
            store._read(permanent(tmp_path), KEYSET)


async def test_every_flipped_byte_is_refused_or_harmless(store, tmp_path):
    """A flip inside a private share cannot be seen here: one share alone shows nothing (the vault's hash does)."""
    await store.store_permanent(KEYSET, SHARES)
    whole = permanent(tmp_path).read_bytes()
    refused = 0
    for position in range(len(whole)):
        with permanent(tmp_path).open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes([whole[position] ^ 0x10]), position)
            try:
                found = store._read(permanent(tmp_path), KEYSET)
            except ShareStoreCorrupt:
                refused += 1
            else:
                assert [share.key_id for share in found] == [share.key_id for share in SHARES]
            os.pwrite(file.fileno(), whole[position : position + 1], position)
    assert refused > len(whole) - 64 * len(SHARES)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format":1}', b"\xff", b"null", b'{"format":true}'])
async def test_other_content_is_refused_with_a_cure(store, tmp_path, content):
    await store.store_permanent(KEYSET, SHARES)
    permanent(tmp_path).write_bytes(content)
    with pytest.raises(ShareStoreCorrupt, match="recover the shares again"):
        await store.read(KEYSET)


@pytest.mark.parametrize(
    "change",
    [
        {"keyset": encode_keyset(keyset(6))},
        {"keyset": encode_keyset(keyset(5, attempt=1))},
        {"shares": encode_shares(shares_of(keyset(6)))},
        {"shares": encode_shares(SHARES)[:2]},
        {
            "shares": [
                *encode_shares(SHARES)[:2],
                encode_shares((replace(SHARES[2], private_share=Secret(b"\0" * 32)),))[0],
            ]
        },
    ],
)
async def test_content_of_another_keyset_or_out_of_range_is_refused(store, tmp_path, change):
    await store.store_permanent(KEYSET, SHARES)
    content = json.loads(permanent(tmp_path).read_bytes())
    permanent(tmp_path).write_text(json.dumps({**content, **change}))
    with pytest.raises(ShareStoreCorrupt, match="was not used"):
        await store.read(KEYSET)


async def test_another_format_is_refused(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    content = json.loads(permanent(tmp_path).read_bytes())
    permanent(tmp_path).write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(ShareStoreCorrupt, match="format"):
        await store.read(KEYSET)


async def test_a_file_that_others_may_read_is_refused_and_the_cure_named(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    permanent(tmp_path).chmod(0o644)
    with pytest.raises(ShareStoreCorrupt, match=r"readable by other users.*chmod 0600"):
        await store.read(KEYSET)


async def test_a_link_in_place_of_the_file_is_refused(store, tmp_path):
    await store.store_permanent(KEYSET, SHARES)
    permanent(tmp_path).rename(tmp_path / "elsewhere")
    permanent(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShareStoreCorrupt, match="repair or remove"):
        await store.read(KEYSET)


async def test_a_file_in_place_of_a_directory_is_refused_by_name(store, tmp_path):
    (tmp_path / "staged").write_bytes(b"")
    with pytest.raises(ShareStoreCorrupt, match=r"staged cannot be listed: Not a directory; make it a directory"):
        await store.staged()


# --- failing disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [FULL, BROKEN])
async def test_a_failure_at_any_call_of_an_import_leaves_it_repeatable(tmp_path, code):
    counter = Counter()
    counting = DirectoryKeyShareStore(tmp_path / "count", disk=SteppedDisk(counter))
    await counting.stage(6, KEYSET, SHARES)
    await counting.stage(7, KEYSET, SHARES)
    await counting.promote(7, KEYSET)
    for at in range(len(counter.calls)):
        store = DirectoryKeyShareStore(tmp_path / str(at), disk=failing(at, code))
        with pytest.raises(StoreFailed):  # noqa: PT012  # the whole import; where it fails is the point
            await store.stage(6, KEYSET, SHARES)
            await store.stage(7, KEYSET, SHARES)
            await store.promote(7, KEYSET)
        assert await store.staged() in {None, 6, 7}
        await store.stage(7, KEYSET, SHARES)
        await store.promote(7, KEYSET)
        assert await store.read(KEYSET) == SHARES
        await store.discard_staged()
        assert leftovers(tmp_path / str(at)) == []


async def test_a_cancelled_import_is_complete_or_absent(store, tmp_path):
    task = asyncio.create_task(store.stage(7, KEYSET, SHARES))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.stage(7, KEYSET, SHARES)  # waits for the thread of the cancelled one
    assert leftovers(tmp_path) == []
    assert await store.staged() == 7


async def test_a_hundred_domains_are_staged_and_promoted(store):
    large = keyset(5, domains=100)
    await store.stage(7, large, shares_of(large))
    await store.promote(7, large)
    assert await store.read(large) == shares_of(large)
