"""The vault: stored, listed, opened, encrypted anew, destroyed."""

import json
import stat
import subprocess
from dataclasses import replace

import pytest

from sharekeeper.adapters import vault_writer
from sharekeeper.adapters.durable_file import Disk
from sharekeeper.adapters.vault_manifest import VaultOwner
from sharekeeper.adapters.vault_reader import encode_plaintext
from sharekeeper.crypto.sealing import seal
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import (
    ChainContradiction,
    ConfigInvalid,
    KeysMissing,
    NoBackup,
    StoreFailed,
    VaultCorrupt,
)
from sharekeeper.protocol.codec import encode_keyset, encode_shares
from tests.unit.protocol_values import ALICE, BOB, NETWORK
from tests.unit.vault_values import (
    FULL,
    NEW_RECIPIENTS,
    OPERATOR_IDENTITY,
    RECIPIENTS,
    SECOND_OPERATOR_IDENTITY,
    SERVICE_IDENTITY,
    SIGNING_KEY,
    SOURCE,
    Counter,
    SteppedDisk,
    backup_id,
    failing,
    keyset,
    recipient,
    shares_of,
    vault_at,
)

K5, K6 = keyset(5), keyset(6)


@pytest.fixture
def vault(tmp_path):
    made = vault_at(tmp_path)
    yield made
    made.close()


def entry(root, of=K5, suffix=""):
    return root / "vault" / "keysets" / f"{of.epoch_id}-{of.digest()}{suffix}"


def store(vault, of, **options):
    return vault.store_now(of, shares_of(of, **options), SOURCE)


def journal(root):
    return [json.loads(line) for line in (root / "vault" / "journal.jsonl").read_bytes().splitlines()]


# --- storing and opening ------------------------------------------------------------------------


async def test_the_stored_facts_are_those_of_the_file(vault, tmp_path):
    stored = store(vault, K5)
    ciphertext = (entry(tmp_path) / "shares.age").read_bytes()
    assert (stored.keyset, stored.digest, stored.source_tls_key) == (K5, K5.digest(), SOURCE)
    assert (stored.ciphertext_sha256, stored.ciphertext_bytes) == (Sha256Hex.of(ciphertext), len(ciphertext))
    assert stored.backup_id == backup_id(K5)
    assert vault.index() == (stored,)


async def test_an_unused_vault_is_empty_and_reading_it_makes_nothing(vault, tmp_path):
    assert vault.index() == ()
    assert vault.verify(deep=True).findings == ()
    with pytest.raises(NoBackup):
        await vault.open(backup_id(K5))
    assert list(tmp_path.iterdir()) == []


async def test_storing_again_changes_nothing(vault, tmp_path):
    first = store(vault, K5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert store(vault, K5) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_a_later_process_finds_what_was_stored(vault, tmp_path):
    stored = store(vault, K5)
    vault.close()
    later = vault_at(tmp_path)
    assert later.index() == (stored,)
    assert later.open_now(stored.backup_id) == shares_of(K5)
    assert later.store_now(K5, shares_of(K5), SOURCE) == stored
    later.close()


async def test_an_older_epoch_is_refused_even_after_the_newer_one_was_lost(vault, tmp_path):
    store(vault, K6)
    (entry(tmp_path, K6) / "shares.age").write_bytes(b"")
    vault.verify(deep=True)
    assert vault.index() == ()
    with pytest.raises(ChainContradiction):
        store(vault, K5)


async def test_repairing_an_older_backup_does_not_let_other_old_ones_in(vault, tmp_path):
    store(vault, K5)
    store(vault, K6)
    (entry(tmp_path, K5) / "shares.age").write_bytes(b"damaged")
    store(vault, K5)
    with pytest.raises(ChainContradiction):
        store(vault, keyset(5, attempt=1))
    assert vault.open_now(backup_id(K5)) == shares_of(K5)


async def test_the_vault_is_its_owners_alone(vault, tmp_path):
    store(vault, K5)
    vault.verify(deep=False)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_a_vault_open_to_others_is_closed_to_them(vault, tmp_path):
    store(vault, K5)
    vault.close()
    (tmp_path / "vault").chmod(0o755)
    vault.acquire()
    assert stat.S_IMODE((tmp_path / "vault").stat().st_mode) == 0o700


async def test_no_secret_is_on_disk_in_the_clear(vault, tmp_path):
    store(vault, K5)
    share = shares_of(K5)[0].private_share.reveal()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert share not in path.read_bytes()
            assert share.hex().encode() not in path.read_bytes()


def test_what_a_reader_remembers_is_bounded(vault):
    stored = store(vault, K5)
    [manifest] = vault._manifests(vault._read_head())
    for number in range(200):
        vault._learn(Sha256Hex.of(number.to_bytes(2, "big")), manifest)
    assert len(vault._known) <= 50
    assert vault.index() == (stored,)


async def test_the_journal_tells_the_history(vault, tmp_path):
    first = store(vault, K5)
    store(vault, K6)
    vault.destroy_older_now(backup_id(K6))
    lines = journal(tmp_path)
    assert [line["event"] for line in lines] == ["stored", "stored", "destroyed"]
    assert [line.get("number") for line in lines] == [1, 2, None]
    assert lines[1]["previous"] == lines[0]["manifest_sha256"] == lines[2]["manifest_sha256"]
    assert lines[2]["entry"] == f"5-{first.digest}"


# --- reading back -------------------------------------------------------------------------------


class FlippingDisk(Disk):
    """Writes one bit of every ciphertext wrong and says nothing."""

    def write(self, descriptor, data):
        if bytes(data).startswith(b"age-encryption"):
            data = memoryview(bytes(data[:-1]) + bytes([data[-1] ^ 1]))
        return super().write(descriptor, data)


def test_one_wrongly_written_ciphertext_leaves_the_backups_before_it_and_a_retry_succeeds(vault, tmp_path):
    store(vault, K5)
    vault.close()
    second = vault_at(tmp_path, disk=FlippingDisk())
    head = second._read_head()
    with pytest.raises(VaultCorrupt, match="not the ciphertext the manifest names"):
        store(second, K6)
    assert second._read_head() == head
    assert [stored.keyset for stored in second.index()] == [K5]
    assert len(list((tmp_path / "vault" / "quarantine").iterdir())) == 1
    second.close()
    store(vault, K6)
    assert vault.verify(deep=True).ok


def test_an_encryption_that_seals_something_else_is_noticed_before_the_backup_counts(vault, tmp_path, monkeypatch):
    other = encode_plaintext(VaultOwner(network=NETWORK, account_id=ALICE), K5, shares_of(K5, base=900))
    monkeypatch.setattr(vault_writer, "seal", lambda plaintext, recipients: seal(other, recipients))
    with pytest.raises(VaultCorrupt, match="read back differs"):
        store(vault, K5)
    assert vault.index() == ()
    monkeypatch.undo()
    assert vault.open_now(store(vault, K5).backup_id) == shares_of(K5)


# --- what is confirmed is durable ---------------------------------------------------------------


def interrupted_before_its_commit(root):
    """A store that stopped when the entry was written and the head record did not name it yet."""
    counter = Counter()
    counted = vault_at(root.with_name("count"), disk=SteppedDisk(counter))
    store(counted, K5)
    counted.close()
    stopped = vault_at(root, disk=failing(len(counter.calls) - 5, FULL))
    with pytest.raises(StoreFailed):
        store(stopped, K5)
    stopped.close()


def test_an_entry_found_after_a_crash_is_synced_before_it_counts(tmp_path):
    interrupted_before_its_commit(tmp_path / "root")
    counter = Counter()
    vault = vault_at(tmp_path / "root", disk=SteppedDisk(counter))
    assert vault.index() == ()
    vault.acquire()
    assert [stored.keyset for stored in vault.index()] == [K5]
    assert counter.calls[:2] == ["fsync", "append"]
    vault.close()


def test_a_verification_settles_what_a_failed_store_left_open(tmp_path):
    counter = Counter()
    counted = vault_at(tmp_path / "count", disk=SteppedDisk(counter))
    store(counted, K5)
    counted.close()
    vault = vault_at(tmp_path / "root", disk=failing(len(counter.calls) - 5, FULL))
    with pytest.raises(StoreFailed):
        store(vault, K5)
    report = vault.verify(deep=True)
    assert [finding.backup.keyset for finding in report.findings] == [K5]
    vault.close()


def test_a_repeated_store_syncs_the_names_again_before_it_confirms(tmp_path):
    counter = Counter()
    vault = vault_at(tmp_path, disk=SteppedDisk(counter))
    store(vault, K5)
    before = len(counter.calls)
    store(vault, K5)
    assert counter.calls[before:] == ["fsync", "fsync"]
    vault.close()


# --- recipients ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipients", [(), RECIPIENTS[:1], RECIPIENTS[1:], RECIPIENTS[:1] * 2, (RECIPIENTS[1], NEW_RECIPIENTS[1])]
)
def test_a_vault_without_two_recipients_or_without_its_own_is_refused(tmp_path, recipients):
    with pytest.raises(ConfigInvalid, match="operator_recipient"):
        vault_at(tmp_path, recipients=recipients)


def test_a_malformed_recipient_or_identity_is_refused(tmp_path):
    with pytest.raises(ConfigInvalid, match="age1wrong"):
        vault_at(tmp_path, recipients=(*RECIPIENTS, "age1wrong"))
    with pytest.raises(KeysMissing):
        vault_at(tmp_path, identity="AGE-SECRET-KEY-1WRONG")


def test_a_vault_of_another_account_or_signing_key_is_refused(vault, tmp_path):
    store(vault, K5)
    with pytest.raises(ConfigInvalid, match=r"belongs to alice\.test\.near"):
        vault_at(tmp_path, account_id=BOB).index()
    with pytest.raises(VaultCorrupt, match="did not sign"):
        vault_at(tmp_path, signing_key=type(SIGNING_KEY).generate(b"t" * 32)).index()


@pytest.mark.needs("age")
@pytest.mark.parametrize("identity", [OPERATOR_IDENTITY, SERVICE_IDENTITY], ids=["operator", "service"])
def test_stock_age_opens_a_backup_with_either_identity(vault, tmp_path, identity):
    store(vault, K5)
    (tmp_path / "key").write_text(identity + "\n")
    command = ["age", "-d", "-i", tmp_path / "key", entry(tmp_path) / "shares.age"]
    plain = subprocess.run(command, capture_output=True, check=True, timeout=20).stdout
    assert json.loads(plain) == {
        "format": 1,
        "chain_id": "devnet",
        "genesis_hash": "3" * 44,
        "contract_id": "mpc.test.near",
        "account_id": "alice.test.near",
        "keyset": encode_keyset(K5),
        "shares": encode_shares(shares_of(K5)),
    }


@pytest.mark.needs("age")
def test_stock_age_opens_it_with_a_recipient_added_by_rekey_only(vault, tmp_path):
    store(vault, K5)
    vault.rekey(NEW_RECIPIENTS)
    [path] = (tmp_path / "vault" / "keysets").iterdir()
    for identity, opens in ((SECOND_OPERATOR_IDENTITY, True), (OPERATOR_IDENTITY, False)):
        (tmp_path / "key").write_text(identity + "\n")
        ran = subprocess.run(
            ["age", "-d", "-i", tmp_path / "key", path / "shares.age"], capture_output=True, check=False, timeout=20
        )
        assert (ran.returncode == 0) is opens


# --- rekey --------------------------------------------------------------------------------------


def test_rekey_encrypts_every_backup_anew_and_keeps_its_facts(vault, tmp_path):
    before = [store(vault, K5), store(vault, K6)]
    after = vault.rekey(NEW_RECIPIENTS)
    assert vault.index() == after
    for old, new in zip(before, after, strict=True):
        sealed = {"ciphertext_sha256": new.ciphertext_sha256, "ciphertext_bytes": new.ciphertext_bytes}
        assert replace(old, **sealed) == new
    assert all(a.ciphertext_sha256 != b.ciphertext_sha256 for a, b in zip(after, before, strict=True))
    assert [path.name for path in sorted((tmp_path / "vault" / "keysets").iterdir())] == [
        f"5-{K5.digest()}.3",
        f"6-{K6.digest()}.4",
    ]
    assert vault.verify(deep=True).ok


def test_rekeying_to_the_same_recipients_changes_nothing(vault):
    stored = store(vault, K5)
    assert vault.rekey(tuple(reversed(RECIPIENTS))) == ()
    assert vault.index() == (stored,)


def test_rekeying_there_and_back_keeps_every_name_unique(vault):
    store(vault, K5)
    for _ in range(3):
        vault.rekey(NEW_RECIPIENTS)
        vault.rekey(RECIPIENTS)
    assert vault.open_now(backup_id(K5)) == shares_of(K5)
    assert vault.verify(deep=True).ok


def test_the_service_identity_is_replaced_in_two_rekeys(vault, tmp_path):
    store(vault, K5)
    new = recipient(SECOND_OPERATOR_IDENTITY)
    vault.rekey((*RECIPIENTS, new))
    vault.close()
    successor = vault_at(tmp_path, identity=SECOND_OPERATOR_IDENTITY, recipients=(new, RECIPIENTS[1]))
    assert len(successor.rekey((new, RECIPIENTS[1]))) == 1
    assert successor.open_now(backup_id(K5)) == shares_of(K5)
    successor.close()


def test_rekey_refuses_too_few_recipients(vault):
    stored = store(vault, K5)
    with pytest.raises(ConfigInvalid):
        vault.rekey(RECIPIENTS[:1])
    assert vault.index() == (stored,)


def test_stores_after_a_rekey_use_the_new_recipients(vault):
    vault.rekey(NEW_RECIPIENTS)
    store(vault, K5)
    assert vault.rekey(NEW_RECIPIENTS) == ()


# --- destroying ---------------------------------------------------------------------------------


async def test_older_backups_are_destroyed_and_the_current_one_stays(vault, tmp_path):
    for of in (K5, keyset(6, attempt=1), K6):
        store(vault, of)
    destroyed = await vault.destroy_older(backup_id(K6))
    assert list(destroyed) == [backup_id(K5), backup_id(keyset(6, attempt=1))]
    assert vault.open_now(backup_id(K6)) == shares_of(K6)
    assert [path.name for path in (tmp_path / "vault" / "keysets").iterdir()] == [entry(tmp_path, K6).name]
    assert await vault.destroy_older(backup_id(K6)) == ()
    assert vault.verify(deep=True).ok


def test_nothing_is_destroyed_when_the_current_backup_is_absent_or_does_not_open(vault, tmp_path):
    store(vault, K5)
    with pytest.raises(NoBackup):
        vault.destroy_older_now(backup_id(K6))
    store(vault, K6)
    (entry(tmp_path, K6) / "shares.age").write_bytes(b"damaged")
    with pytest.raises(VaultCorrupt):
        vault.destroy_older_now(backup_id(K6))
    assert vault.open_now(backup_id(K5)) == shares_of(K5)


def test_what_is_in_quarantine_of_the_current_keyset_is_kept_as_evidence(vault, tmp_path):
    store(vault, K6)
    (entry(tmp_path, K6) / "shares.age").write_bytes(b"damaged")
    vault.verify(deep=False)
    store(vault, K6)
    vault.destroy_older_now(backup_id(K6))
    [kept] = (tmp_path / "vault" / "quarantine").iterdir()
    assert (kept / "shares.age").read_bytes() == b"damaged"


def test_what_is_in_quarantine_of_older_keysets_is_destroyed_with_them(vault, tmp_path):
    store(vault, K5)
    (entry(tmp_path, K5) / "manifest.json").write_bytes(b"damaged")
    vault.verify(deep=False)
    store(vault, K6)
    assert len(list((tmp_path / "vault" / "quarantine").iterdir())) == 1
    vault.destroy_older_now(backup_id(K6))
    assert list((tmp_path / "vault" / "quarantine").iterdir()) == []
