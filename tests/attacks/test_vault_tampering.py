"""Someone who can write to the vault directory: he destroys and is noticed; he reads, replaces and revives nothing.

Each attack is made on a vault of two backups, epochs 5 and 6. The head record and the keys lie outside the
directory and are not his; where a test gives him the head record, it says so.
"""

import json
import os
import shutil
from dataclasses import replace

import pytest

from sharekeeper.adapters.vault_manifest import (
    EntryName,
    EntryRef,
    Head,
    Manifest,
    NotAuthentic,
    VaultOwner,
    decode_head,
    decode_manifest,
    encode_head,
    encode_manifest,
)
from sharekeeper.adapters.vault_reader import Problem, encode_plaintext
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.sealing import seal
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import NoBackup, StoreFailed, VaultCorrupt
from sharekeeper.ports import StoredBackup
from sharekeeper.protocol.codec import canonical_json, encode_keyset, encode_shares
from sharekeeper.secret import Secret
from tests.crash.conftest import memory_directory
from tests.unit.protocol_values import ALICE, BOB, NETWORK
from tests.unit.vault_values import (
    NEW_RECIPIENTS,
    RECIPIENTS,
    SIGNING_KEY,
    SOURCE,
    backup_id,
    keyset,
    shares_of,
    vault_at,
)

K5, K6 = keyset(5), keyset(6)
OWNER = VaultOwner(network=NETWORK, account_id=ALICE)
ATTACKER_KEY = KeyPair.generate(b"x" * 32)
PUBLIC = SIGNING_KEY.public_raw


@pytest.fixture
def tmp_path():
    """In memory where the machine has a memory file system: some attacks rewrite a file thousands of times."""
    directory = memory_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def vault(tmp_path):
    made = vault_at(tmp_path)
    for of in (K5, K6):
        made.store_now(of, shares_of(of), SOURCE)
    yield made
    made.close()


def entry(root, of=K5):
    return root / "vault" / "keysets" / f"{of.epoch_id}-{of.digest()}"


def head_file(root):
    return root / "state" / "vault" / "head.json"


def problems(vault, *, deep=False):
    return {finding.entry: finding.problem for finding in vault.verify(deep=deep).problems}


def each_flip(path):
    """The file with one bit of one byte changed, for every byte."""
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position in range(len(whole)):
            os.pwrite(file.fileno(), bytes([whole[position] ^ (1 << position % 8)]), position)
            yield position
            os.pwrite(file.fileno(), whole[position : position + 1], position)


def each_cut(path):
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        yield length


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [each_flip, each_cut])
def test_shares_changed_at_any_byte_or_cut_anywhere_are_not_used(vault, tmp_path, damage):
    reader = vault_at(tmp_path)
    for _ in damage(entry(tmp_path) / "shares.age"):
        with pytest.raises(VaultCorrupt, match=r"shares\.age was not used .*fresh copy"):
            reader.open_now(backup_id(K5))
    assert reader.open_now(backup_id(K6)) == shares_of(K6)


@pytest.mark.parametrize("damage", [each_flip, each_cut])
def test_a_manifest_changed_at_any_byte_or_cut_anywhere_is_not_used(vault, tmp_path, damage):
    reader = vault_at(tmp_path)
    for number in damage(entry(tmp_path) / "manifest.json"):
        with pytest.raises(VaultCorrupt, match=r"manifest\.json was not used"):
            reader.open_now(backup_id(K5))
        if number % 100 == 0:
            assert [stored.keyset for stored in reader.index()] == [K6]


@pytest.mark.parametrize("damage", [each_flip, each_cut])
def test_a_head_record_changed_at_any_byte_or_cut_anywhere_stops_everything(vault, tmp_path, damage):
    reader = vault_at(tmp_path)
    for _ in damage(head_file(tmp_path)):
        with pytest.raises(VaultCorrupt, match=r"head\.json was not used"):
            reader.index()


@pytest.mark.parametrize("damage", [each_flip, each_cut])
def test_a_manifest_is_authentic_whole_or_not_at_all_even_without_the_head_record(vault, tmp_path, damage):
    path = entry(tmp_path) / "manifest.json"
    for _ in damage(path):
        with pytest.raises(NotAuthentic):
            decode_manifest(path.read_bytes(), PUBLIC)


def test_a_vault_without_its_head_record_is_not_taken_for_a_new_one(vault, tmp_path):
    vault.close()
    head_file(tmp_path).unlink()
    for act in (vault.index, vault.acquire, lambda: vault.store_now(K6, shares_of(K6), SOURCE)):
        with pytest.raises(VaultCorrupt, match="missing and the vault is not empty"):
            act()
    assert not head_file(tmp_path).exists()


@pytest.mark.parametrize("name", ["shares.age", "manifest.json", ""])
def test_a_missing_file_or_entry_is_an_alarm_until_a_fresh_copy_is_there(vault, tmp_path, name):
    gone = entry(tmp_path, K6) / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert problems(vault_at(tmp_path)) == {entry(tmp_path, K6).name: Problem.MISSING}
    with pytest.raises(VaultCorrupt, match="missing"):
        vault.open_now(backup_id(K6))
    vault.store_now(K6, shares_of(K6), SOURCE)
    assert vault.verify(deep=True).ok


def test_an_emptied_vault_is_an_alarm_and_not_an_empty_vault(vault, tmp_path):
    vault.close()
    shutil.rmtree(tmp_path / "vault")
    assert vault.index() == ()
    assert set(problems(vault).values()) == {Problem.MISSING}
    vault.store_now(K6, shares_of(K6), SOURCE)
    assert vault.open_now(backup_id(K6)) == shares_of(K6)


# --- planting and swapping ----------------------------------------------------------------------


def planted(of, key, *, shares=None, owner=OWNER):
    """An entry as the vault makes it, from public recipients, signed by `key`."""
    ciphertext = seal(encode_plaintext(owner, of, shares or shares_of(of, base=900)), RECIPIENTS)
    backup = StoredBackup(
        backup_id=of.backup_id(owner.network, owner.account_id),
        keyset=of,
        digest=of.digest(),
        source_tls_key=SOURCE,
        stored_at_ns=1,
        ciphertext_sha256=Sha256Hex.of(ciphertext),
        ciphertext_bytes=len(ciphertext),
    )
    manifest = Manifest(owner=owner, backup=backup, recipients=RECIPIENTS, number=3, previous=Sha256Hex.of(b""))
    return {"shares.age": ciphertext, "manifest.json": encode_manifest(manifest, key)}


def plant(path, files):
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


def test_a_backup_sealed_by_someone_else_is_not_used_though_it_opens(vault, tmp_path):
    plant(entry(tmp_path), {"shares.age": planted(K5, ATTACKER_KEY)["shares.age"]})
    with pytest.raises(VaultCorrupt, match="not the ciphertext the manifest names"):
        vault.open_now(backup_id(K5))


@pytest.mark.parametrize("key", [ATTACKER_KEY, SIGNING_KEY], ids=["another key", "even the vault's own"])
def test_an_entry_put_in_place_of_one_is_not_used(vault, tmp_path, key):
    plant(entry(tmp_path), planted(K5, key))
    with pytest.raises(VaultCorrupt, match="not the manifest the head record names"):
        vault.open_now(backup_id(K5))
    assert problems(vault_at(tmp_path)) == {entry(tmp_path).name: Problem.NOT_AUTHENTIC}


@pytest.mark.parametrize("key", [ATTACKER_KEY, SIGNING_KEY], ids=["another key", "even the vault's own"])
def test_an_entry_planted_for_another_keyset_is_no_backup(vault, tmp_path, key):
    newer = keyset(7)
    plant(entry(tmp_path, newer), planted(newer, key))
    assert [stored.keyset for stored in vault.index()] == [K5, K6]
    with pytest.raises(NoBackup):
        vault.open_now(backup_id(newer))
    assert problems(vault) == {entry(tmp_path, newer).name: Problem.UNEXPECTED}
    assert not entry(tmp_path, newer).exists()


def test_an_entry_planted_where_the_next_one_belongs_is_put_aside(vault, tmp_path):
    newer = keyset(7)
    plant(entry(tmp_path, newer), planted(newer, ATTACKER_KEY))
    vault.store_now(newer, shares_of(newer), SOURCE)
    assert vault.open_now(backup_id(newer)) == shares_of(newer)
    assert vault.verify(deep=True).ok
    assert len(list((tmp_path / "vault" / "quarantine").iterdir())) == 1


def test_swapped_ciphertexts_are_not_used(vault, tmp_path):
    a, b = entry(tmp_path, K5) / "shares.age", entry(tmp_path, K6) / "shares.age"
    first = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(first)
    assert set(problems(vault_at(tmp_path)).values()) == {Problem.DAMAGED}
    for of in (K5, K6):
        with pytest.raises(VaultCorrupt):
            vault.open_now(backup_id(of))


def test_swapped_entries_are_not_used(vault, tmp_path):
    entry(tmp_path, K5).rename(tmp_path / "swap")
    entry(tmp_path, K6).rename(entry(tmp_path, K5))
    (tmp_path / "swap").rename(entry(tmp_path, K6))
    assert set(problems(vault_at(tmp_path)).values()) == {Problem.NOT_AUTHENTIC}
    assert vault.index() == ()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname"), lambda path: path.mkdir()])
@pytest.mark.parametrize("name", ["shares.age", "manifest.json"])
def test_a_pipe_a_link_or_a_directory_in_place_of_a_file_stops_nothing(vault, tmp_path, make, name):
    (entry(tmp_path) / name).unlink()
    make(entry(tmp_path) / name)
    with pytest.raises(VaultCorrupt, match="unreadable"):
        vault.open_now(backup_id(K5))
    assert vault.open_now(backup_id(K6)) == shares_of(K6)


@pytest.mark.parametrize(
    "name", ["foreign", "6-" + "0" * 64, "a\nb", "\udcff", "n" * 255, ".hidden", "18446744073709551616-" + "0" * 64]
)
def test_anything_else_in_the_directory_is_an_alarm_and_is_put_aside(vault, tmp_path, name):
    (tmp_path / "vault" / "keysets" / name).mkdir()
    assert problems(vault) == {name: Problem.UNEXPECTED}
    assert vault.verify(deep=True).ok
    assert [stored.keyset for stored in vault.index()] == [K5, K6]
    for line in (tmp_path / "vault" / "journal.jsonl").read_bytes().splitlines():
        json.loads(line)


def test_a_huge_file_is_refused_unread(vault, tmp_path):
    with (entry(tmp_path) / "shares.age").open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(VaultCorrupt, match="larger than"):
        vault.open_now(backup_id(K5))


# --- bringing back the past ---------------------------------------------------------------------


def test_a_rolled_back_vault_is_an_alarm_and_its_old_backup_is_not_used(vault, tmp_path):
    """A copy of the directory from before epoch 6 comes back."""
    vault.destroy_older_now(backup_id(K6))
    vault.close()
    past = tmp_path / "past"
    other = vault_at(past)
    other.store_now(K5, shares_of(K5), SOURCE)
    other.close()
    shutil.rmtree(tmp_path / "vault" / "keysets")
    shutil.copytree(past / "vault" / "keysets", tmp_path / "vault" / "keysets")
    assert vault.index() == ()
    with pytest.raises(NoBackup):
        vault.open_now(backup_id(K5))
    assert problems(vault) == {entry(tmp_path, K6).name: Problem.MISSING, entry(tmp_path, K5).name: Problem.UNEXPECTED}


def test_a_destroyed_backup_that_comes_back_is_an_alarm_and_goes_again(vault, tmp_path):
    shutil.copytree(entry(tmp_path, K5), tmp_path / "stolen")
    vault.destroy_older_now(backup_id(K6))
    shutil.copytree(tmp_path / "stolen", entry(tmp_path, K5))
    with pytest.raises(NoBackup):
        vault.open_now(backup_id(K5))
    assert problems(vault) == {entry(tmp_path, K5).name: Problem.UNEXPECTED}
    assert vault.destroy_older_now(backup_id(K6)) == ()
    assert list((tmp_path / "vault").rglob(f"*{K5.digest()}*")) == []


def test_an_unnamed_entry_of_an_older_keyset_goes_with_the_older_ones_and_any_other_waits(vault, tmp_path):
    older, same, newer = keyset(4), keyset(6, attempt=1), keyset(7)
    for of in (older, same, newer):
        plant(entry(tmp_path, of), planted(of, SIGNING_KEY))
    vault.destroy_older_now(backup_id(K6))
    assert not entry(tmp_path, older).exists()
    assert not entry(tmp_path, same).exists()
    assert list((tmp_path / "vault" / "quarantine").iterdir()) == []
    assert problems(vault) == {entry(tmp_path, newer).name: Problem.UNEXPECTED}


def test_a_copy_from_before_a_rekey_is_not_used(vault, tmp_path):
    shutil.copytree(entry(tmp_path, K6), tmp_path / "stolen")
    vault.rekey(NEW_RECIPIENTS)
    shutil.copytree(tmp_path / "stolen", entry(tmp_path, K6))
    assert vault.open_now(backup_id(K6)) == shares_of(K6)
    assert problems(vault) == {entry(tmp_path, K6).name: Problem.UNEXPECTED}


def test_a_leftover_forged_as_temporary_is_removed_and_never_read(vault, tmp_path):
    vault.close()
    plant(tmp_path / "vault" / "keysets" / ".tmp-forged", planted(K6, SIGNING_KEY))
    vault.acquire()
    assert not (tmp_path / "vault" / "keysets" / ".tmp-forged").exists()
    assert vault.verify(deep=True).ok


# --- the signed documents -----------------------------------------------------------------------


def test_a_head_record_of_another_key_is_refused(vault, tmp_path):
    head_file(tmp_path).write_bytes(encode_head(Head(owner=OWNER), ATTACKER_KEY))
    with pytest.raises(VaultCorrupt, match="did not sign"):
        vault.index()


def test_a_manifest_does_not_pass_for_a_head_record_nor_the_reverse(vault, tmp_path):
    with pytest.raises(NotAuthentic, match="did not sign"):
        decode_head((entry(tmp_path) / "manifest.json").read_bytes(), PUBLIC)
    with pytest.raises(NotAuthentic, match="did not sign"):
        decode_manifest(head_file(tmp_path).read_bytes(), PUBLIC)


def signed_body(context, body):
    signature = SIGNING_KEY.sign(context + canonical_json(body)).hex()
    return canonical_json({"body": body, "signature": signature}) + b"\n"


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"backup_id": "0" * 64},
        {"keyset_digest": "0" * 64},
        {"recipients": [1]},
        {"recipients": ["age1"] * 17},
        {"source_tls_key": "ed25519:"},
        {"previous": "short"},
        {"number": -1},
        {"account_id": "?"},
        {"ciphertext_bytes": 1.5},
    ],
)
def test_a_signed_manifest_with_a_field_we_never_write_is_refused(vault, tmp_path, change):
    document = json.loads((entry(tmp_path) / "manifest.json").read_bytes())
    with pytest.raises(NotAuthentic):
        decode_manifest(signed_body(b"sharekeeper-vault-manifest-v1\n", {**document["body"], **change}), PUBLIC)
    assert decode_manifest(signed_body(b"sharekeeper-vault-manifest-v1\n", document["body"]), PUBLIC).number == 1


@pytest.mark.parametrize(
    "change",
    [
        {"entries": [{"name": "../../etc", "backup_id": "0" * 64, "manifest_sha256": "0" * 64}]},
        {"entries": {}},
        {"last": ""},
        {"leaving": [{}] * 1001},
    ],
)
def test_a_signed_head_record_with_a_field_we_never_write_is_refused(vault, tmp_path, change):
    document = json.loads(head_file(tmp_path).read_bytes())
    with pytest.raises(NotAuthentic):
        decode_head(signed_body(b"sharekeeper-vault-head-v1\n", {**document["body"], **change}), PUBLIC)


@pytest.mark.parametrize(
    "form", [lambda d: d[:-1], lambda d: b" " + d, lambda d: d.replace(b":", b": ", 1), lambda d: d + b"\n"]
)
def test_one_encoding_of_a_signed_document_is_accepted(vault, tmp_path, form):
    with pytest.raises(NotAuthentic):
        decode_manifest(form((entry(tmp_path) / "manifest.json").read_bytes()), PUBLIC)


def test_a_signature_written_in_capitals_or_with_spaces_is_refused(vault, tmp_path):
    document = json.loads((entry(tmp_path) / "manifest.json").read_bytes())
    signature = document["signature"]
    for other in (signature.upper(), signature[:2] + " " + signature[2:]):
        with pytest.raises(NotAuthentic, match="one form"):
            decode_manifest(canonical_json({**document, "signature": other}) + b"\n", PUBLIC)


def take_in(root, vault, of, files):
    """The entry is on disk and the head record names it: the attacker has the signing key and the state directory."""
    plant(entry(root, of), files)
    head = vault._read_head()
    name = EntryName(epoch_id=of.epoch_id, digest=of.digest())
    ref = EntryRef(name=name, backup_id=backup_id(of), manifest=Sha256Hex.of(files["manifest.json"]))
    forged = replace(head, number=3, last=ref.manifest, newest_epoch=of.epoch_id, entries=(*head.entries, ref))
    head_file(root).write_bytes(encode_head(forged, SIGNING_KEY))


def sealed_as(of, plaintext):
    """An entry whose signed manifest names a ciphertext of `plaintext`."""
    files = planted(of, SIGNING_KEY)
    ciphertext = seal(plaintext, RECIPIENTS)
    body = json.loads(files["manifest.json"])["body"]
    body["ciphertext_sha256"] = Sha256Hex.of(ciphertext)
    return {"shares.age": ciphertext, "manifest.json": signed_body(b"sharekeeper-vault-manifest-v1\n", body)}


K7 = keyset(7)
GOOD = json.loads(encode_plaintext(OWNER, K7, shares_of(K7)).reveal())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"account_id": BOB}, "another account"),
        ({"genesis_hash": "4" * 44}, "another account or network"),
        ({"format": 2}, "format 1"),
        ({"keyset": encode_keyset(K6)}, "another keyset"),
        ({"shares": encode_shares(shares_of(K6))}, "share of key event"),
        ({"shares": None}, "array"),
    ],
)
def test_sealed_content_of_something_else_is_not_used_though_everything_is_signed(vault, tmp_path, change, why):
    """Even with the signing key and the head record, an entry must open to this account's shares of its keyset."""
    take_in(tmp_path, vault, K7, sealed_as(K7, Secret(canonical_json({**GOOD, **change}))))
    with pytest.raises(VaultCorrupt, match=why):
        vault.open_now(backup_id(K7))


def test_the_forgery_tools_of_these_tests_make_an_entry_that_opens(vault, tmp_path):
    take_in(tmp_path, vault, K7, sealed_as(K7, Secret(canonical_json(GOOD))))
    assert vault.open_now(backup_id(K7)) == shares_of(K7)


def test_a_signed_manifest_of_another_account_is_not_used(vault, tmp_path):
    take_in(tmp_path, vault, K7, planted(K7, SIGNING_KEY, owner=VaultOwner(network=NETWORK, account_id=BOB)))
    with pytest.raises(VaultCorrupt, match="another backup than its place"):
        vault.open_now(backup_id(K7))


def test_an_entry_that_claims_another_epoch_than_its_keyset_is_refused(vault, tmp_path):
    """The name in the head record, the manifest and the sealed keyset must agree."""
    head = vault._read_head()
    entry(tmp_path, K6).rename(tmp_path / "vault" / "keysets" / f"9-{K6.digest()}")
    wrong = EntryName(epoch_id=9, digest=K6.digest())
    ref = EntryRef(name=wrong, backup_id=backup_id(K6), manifest=head.entries[1].manifest)
    forged = Head(owner=OWNER, number=2, last=head.last, newest_epoch=9, entries=(head.entries[0], ref))
    head_file(tmp_path).write_bytes(encode_head(forged, SIGNING_KEY))
    with pytest.raises(VaultCorrupt, match="another backup than its place"):
        vault_at(tmp_path).open_now(backup_id(K6))


def test_a_directory_in_place_of_the_head_record_is_a_refusal(vault, tmp_path):
    head_file(tmp_path).unlink()
    head_file(tmp_path).mkdir()
    with pytest.raises(VaultCorrupt, match="cannot be read"):
        vault.index()


def test_a_file_in_place_of_the_keysets_is_a_refusal(vault, tmp_path):
    shutil.rmtree(tmp_path / "vault" / "keysets")
    (tmp_path / "vault" / "keysets").write_bytes(b"")
    with pytest.raises(VaultCorrupt, match="keysets cannot be read"):
        vault.verify(deep=False)


def test_a_file_in_place_of_the_directory_is_a_refusal(tmp_path):
    (tmp_path / "vault").write_bytes(b"")
    with pytest.raises(StoreFailed):
        vault_at(tmp_path).acquire()
