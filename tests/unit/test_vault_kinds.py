"""What every vault keeps, whichever kind it is: directory for two, sealed to the TEE alone, memory."""

import os
from dataclasses import replace

import pytest

from sharekeeper.adapters import memory_vault
from sharekeeper.adapters.memory_vault import MemoryVault
from sharekeeper.adapters.vault_manifest import VaultOwner
from sharekeeper.adapters.vault_reader import encode_plaintext
from sharekeeper.adapters.vault_writer import SealedTo
from sharekeeper.crypto.sealing import identity_of, recipient_of, seal
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import ChainContradiction, ConfigInvalid, NoBackup, SharesRefused, VaultCorrupt
from sharekeeper.secret import Secret
from tests.unit.protocol_values import ALICE, NETWORK
from tests.unit.vault_values import (
    RECIPIENTS,
    SOURCE,
    SteppingClock,
    backup_id,
    keyset,
    shares_of,
    vault_at,
)

K5, K6 = keyset(5), keyset(6)
TEE_KEY = identity_of(Secret(b"\x07" * 32))
TEE_ALONE = (recipient_of(TEE_KEY),)


def sealed_at(root, recipients=TEE_ALONE):
    return vault_at(root, identity=TEE_KEY.reveal().decode(), recipients=recipients, sealed_to=SealedTo.TEE_ALONE)


def memory():
    return MemoryVault(network=NETWORK, account_id=ALICE, clock=SteppingClock(), entropy=os.urandom)


@pytest.fixture(params=["directory", "sealed", "memory"])
def vault(request, tmp_path):
    if request.param == "memory":
        yield memory()
        return
    made = vault_at(tmp_path) if request.param == "directory" else sealed_at(tmp_path)
    yield made
    made.close()


async def store(vault, of, **options):
    return await vault.store(of, shares_of(of, **options), SOURCE)


# --- all kinds ----------------------------------------------------------------------------------


async def test_what_was_stored_opens(vault):
    stored = await store(vault, K5)
    assert await vault.open(stored.backup_id) == shares_of(K5)


async def test_the_facts_of_a_backup_are_its_own(vault):
    stored = await store(vault, K5)
    assert (stored.backup_id, stored.keyset, stored.digest) == (backup_id(K5), K5, K5.digest())
    assert stored.source_tls_key == SOURCE
    assert stored.ciphertext_bytes > 0


async def test_an_unused_vault_is_empty(vault):
    assert vault.index() == ()
    with pytest.raises(NoBackup):
        await vault.open(backup_id(K5))


async def test_storing_again_changes_nothing(vault):
    first = await store(vault, K5)
    assert await store(vault, K5) == first
    assert vault.index() == (first,)


async def test_backups_are_listed_oldest_first_and_each_opens(vault):
    made = [await store(vault, of) for of in (K5, K6, keyset(6, attempt=1))]
    assert list(vault.index()) == made
    for stored in made:
        assert await vault.open(stored.backup_id) == shares_of(stored.keyset)


async def test_shares_of_another_keyset_are_refused(vault):
    with pytest.raises(SharesRefused, match="nothing was stored"):
        await vault.store(K5, shares_of(K6), SOURCE)
    assert vault.index() == ()


async def test_other_shares_of_a_held_keyset_are_refused_and_the_held_ones_stay(vault):
    stored = await store(vault, K5)
    with pytest.raises(SharesRefused, match="one of the two copies is wrong"):
        await store(vault, K5, base=900)
    assert await vault.open(stored.backup_id) == shares_of(K5)


async def test_an_older_epoch_never_replaces_a_newer_one(vault):
    await store(vault, K6)
    with pytest.raises(ChainContradiction, match="epoch 5 was not stored"):
        await store(vault, K5)
    assert [stored.keyset for stored in vault.index()] == [K6]


async def test_an_older_epoch_that_is_held_may_be_stored_again(vault):
    first = await store(vault, K5)
    await store(vault, K6)
    assert await store(vault, K5) == first


async def test_a_hundred_domains_are_stored_and_opened(vault):
    large = keyset(5, domains=100)
    stored = await store(vault, large)
    assert await vault.open(stored.backup_id) == shares_of(large)


async def test_older_backups_are_destroyed_and_the_current_one_stays(vault):
    for of in (K5, keyset(6, attempt=1), K6):
        await store(vault, of)
    assert list(await vault.destroy_older(backup_id(K6))) == [backup_id(K5), backup_id(keyset(6, attempt=1))]
    assert await vault.open(backup_id(K6)) == shares_of(K6)
    assert [stored.keyset for stored in vault.index()] == [K6]
    assert list(await vault.destroy_older(backup_id(K6))) == []
    with pytest.raises(NoBackup):
        await vault.open(backup_id(K5))


async def test_nothing_is_destroyed_when_the_current_backup_is_absent(vault):
    await store(vault, K5)
    with pytest.raises(NoBackup):
        await vault.destroy_older(backup_id(K6))
    assert await vault.open(backup_id(K5)) == shares_of(K5)


async def test_a_newer_backup_is_never_destroyed_for_an_older_one(vault):
    await store(vault, K5)
    await store(vault, K6)
    with pytest.raises(ChainContradiction, match="nothing was destroyed"):
        await vault.destroy_older(backup_id(K5))
    assert len(vault.index()) == 2


async def test_an_older_epoch_is_refused_after_the_newer_one_displaced_it(vault):
    await store(vault, K5)
    await store(vault, K6)
    await vault.destroy_older(backup_id(K6))
    with pytest.raises(ChainContradiction):
        await store(vault, K5)


# --- memory ---------------------------------------------------------------------------------------


def damage(vault, of):
    held = vault._held[backup_id(of)]
    vault._held[backup_id(of)] = replace(held, ciphertext=held.ciphertext[:-1] + b"x")


async def test_memory_holds_nothing_after_a_restart_and_opens_no_other_processes_backup():
    first, second = memory(), memory()
    stored = await store(first, K5)
    assert second.index() == ()
    second._held = dict(first._held)
    with pytest.raises(VaultCorrupt, match="does not open"):
        await second.open(stored.backup_id)


async def test_memory_holds_no_share_in_the_clear():
    vault = memory()
    await store(vault, K5)
    share = shares_of(K5)[0].private_share.reveal().hex().encode()
    assert all(share not in held.ciphertext for held in vault._held.values())
    assert share.decode() not in repr(vars(vault))


async def test_what_does_not_open_any_more_is_reported_and_replaced_by_a_fresh_copy():
    vault = memory()
    await store(vault, K5)
    assert await vault.verify() == []
    damage(vault, K5)
    [problem] = await vault.verify()
    assert backup_id(K5) in problem
    with pytest.raises(VaultCorrupt):
        await vault.open(backup_id(K5))
    await store(vault, K5)
    assert await vault.verify() == []


async def test_an_encryption_that_seals_something_else_is_noticed_before_the_backup_counts(monkeypatch):
    vault = memory()
    other = encode_plaintext(VaultOwner(network=NETWORK, account_id=ALICE), K5, shares_of(K5, base=900))
    monkeypatch.setattr(memory_vault, "seal", lambda plaintext, recipients: seal(other, recipients))
    with pytest.raises(VaultCorrupt, match="other shares were opened"):
        await store(vault, K5)
    assert vault.index() == ()


async def test_nothing_in_memory_is_destroyed_when_the_current_backup_does_not_open():
    vault = memory()
    await store(vault, K5)
    await store(vault, K6)
    damage(vault, K6)
    with pytest.raises(VaultCorrupt):
        await vault.destroy_older(backup_id(K6))
    assert await vault.open(backup_id(K5)) == shares_of(K5)


async def test_the_facts_are_of_what_memory_holds():
    vault = memory()
    stored = await store(vault, K5)
    ciphertext = vault._held[stored.backup_id].ciphertext
    assert (stored.ciphertext_sha256, stored.ciphertext_bytes) == (Sha256Hex.of(ciphertext), len(ciphertext))


# --- sealed ---------------------------------------------------------------------------------------


async def test_a_sealed_vault_opens_again_with_the_key_the_same_tee_derives(tmp_path):
    vault = sealed_at(tmp_path)
    stored = await store(vault, K5)
    vault.close()
    later = sealed_at(tmp_path)
    assert await later.open(stored.backup_id) == shares_of(K5)
    later.close()


@pytest.mark.parametrize("recipients", [(), RECIPIENTS[:1], (*TEE_ALONE, RECIPIENTS[1])])
def test_a_sealed_vault_takes_no_recipient_but_its_tee(tmp_path, recipients):
    with pytest.raises(ConfigInvalid, match="nobody outside a TEE opens a backup"):
        sealed_at(tmp_path, recipients)


def test_a_sealed_vault_is_never_rekeyed_to_somebody_outside(tmp_path):
    vault = sealed_at(tmp_path)
    with pytest.raises(ConfigInvalid, match="remove the others"):
        vault.rekey((*TEE_ALONE, RECIPIENTS[1]))
    assert not (tmp_path / "vault").exists()
