"""The vault: verified, damage put aside, a lost head record or identity given up."""

import shutil

import pytest

from sharekeeper.adapters.vault import AgeVault
from sharekeeper.adapters.vault_reader import Problem
from sharekeeper.errors import (
    ChainContradiction,
    ConfigInvalid,
    VaultCorrupt,
)
from sharekeeper.secret import Secret
from tests.unit.protocol_values import ALICE, NETWORK
from tests.unit.vault_values import (
    NEW_RECIPIENTS,
    RECIPIENTS,
    SECOND_OPERATOR_IDENTITY,
    SERVICE_IDENTITY,
    SIGNING_KEY,
    SOURCE,
    SteppingClock,
    backup_id,
    keyset,
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


# --- verifying ----------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_vault_verifies_and_the_service_remembers_it(vault, deep):
    store(vault, K5)
    assert vault.last_verification(deep=deep) is None
    report = vault.verify(deep=deep)
    assert report.ok
    assert [finding.backup for finding in report.findings] == list(vault.index())
    last = vault.last_verification(deep=deep)
    assert (last.at_ns, last.deep, last.ok, last.entries) == (report.at_ns, deep, True, 1)
    assert vault.last_verification(deep=not deep) is None


def test_a_damaged_verification_record_is_an_alarm(vault, tmp_path):
    store(vault, K5)
    vault.verify(deep=True)
    (tmp_path / "state" / "vault" / "verified-deep.json").write_bytes(b"{}")
    with pytest.raises(VaultCorrupt, match="verify again"):
        vault.last_verification(deep=True)


def test_a_damaged_backup_is_moved_to_quarantine_and_a_fresh_copy_takes_its_place(vault, tmp_path):
    store(vault, K5)
    (entry(tmp_path) / "shares.age").write_bytes(b"damaged")
    report = vault.verify(deep=False)
    assert [finding.problem for finding in report.problems] == [Problem.DAMAGED]
    assert vault.last_verification(deep=False).ok is False
    assert vault.index() == ()
    [evidence] = (tmp_path / "vault" / "quarantine").iterdir()
    assert (evidence / "shares.age").read_bytes() == b"damaged"
    store(vault, K5)
    assert vault.open_now(backup_id(K5)) == shares_of(K5)
    assert vault.verify(deep=True).ok


def test_storing_over_a_damaged_backup_repairs_it_and_keeps_the_evidence(vault, tmp_path):
    store(vault, K5)
    (entry(tmp_path) / "shares.age").write_bytes(b"damaged")
    store(vault, K5)
    assert vault.open_now(backup_id(K5)) == shares_of(K5)
    assert len(list((tmp_path / "vault" / "quarantine").iterdir())) == 1


def test_another_process_reports_but_moves_nothing(vault, tmp_path):
    store(vault, K5)
    (entry(tmp_path) / "shares.age").write_bytes(b"damaged")
    reader = vault_at(tmp_path)
    assert not reader.verify(deep=True).ok
    assert entry(tmp_path).exists()
    assert reader.last_verification(deep=True) is None


def test_a_backup_this_identity_does_not_open_stays_where_it_is(vault, tmp_path):
    store(vault, K5)
    vault.close()
    other = vault_at(tmp_path, identity=SECOND_OPERATOR_IDENTITY, recipients=(NEW_RECIPIENTS[1], RECIPIENTS[1]))
    other.acquire()
    report = other.verify(deep=True)
    assert [finding.problem for finding in report.findings] == [Problem.NOT_OPENED]
    assert other.verify(deep=False).ok
    other.close()
    assert vault.open_now(backup_id(K5)) == shares_of(K5)


def test_a_backup_the_disk_does_not_give_stays_where_it_is(vault, tmp_path):
    store(vault, K5)
    shares = entry(tmp_path) / "shares.age"
    shares.rename(tmp_path / "elsewhere")
    shares.symlink_to(tmp_path / "elsewhere")  # refused as unreadable, as a failing disk would be
    assert [finding.problem for finding in vault.verify(deep=True).findings] == [Problem.UNREADABLE]
    shares.unlink()
    (tmp_path / "elsewhere").rename(shares)
    assert vault.verify(deep=True).ok


# --- adopting -----------------------------------------------------------------------------------


def test_a_lost_head_record_is_an_alarm_until_the_operator_adopts_what_is_there(vault, tmp_path):
    made = (store(vault, K5), store(vault, K6))
    vault.close()
    (tmp_path / "state" / "vault" / "head.json").unlink()
    for act in (vault.index, vault.acquire, lambda: vault.verify(deep=False)):
        with pytest.raises(VaultCorrupt, match="--adopt"):
            act()
    assert vault.adopt() == made
    assert vault.index() == made
    with pytest.raises(ChainContradiction):
        store(vault, keyset(4))
    assert vault.verify(deep=True).ok


def test_an_emptied_vault_without_its_head_record_is_not_taken_for_a_new_one(vault, tmp_path):
    store(vault, K5)
    vault.close()
    (tmp_path / "state" / "vault" / "head.json").unlink()
    shutil.rmtree(tmp_path / "vault" / "keysets")
    with pytest.raises(VaultCorrupt, match="missing and the vault is not empty"):
        vault.acquire()


def test_adopting_takes_in_only_what_is_authentic_and_opens(vault, tmp_path):
    store(vault, K5)
    store(vault, K6)
    (entry(tmp_path, K5) / "shares.age").write_bytes(b"damaged")
    (tmp_path / "vault" / "keysets" / "foreign").mkdir()
    assert [stored.keyset for stored in vault.adopt()] == [K6]


def test_adopting_does_not_let_an_older_epoch_in(vault, tmp_path):
    store(vault, K5)
    store(vault, K6)
    (entry(tmp_path, K6) / "shares.age").write_bytes(b"damaged")
    assert [stored.keyset for stored in vault.adopt()] == [K5]
    with pytest.raises(ChainContradiction):
        store(vault, keyset(5, attempt=1))


def test_adopting_never_counts_down(vault, tmp_path):
    store(vault, K5)
    store(vault, K6)
    vault.destroy_older_now(backup_id(K6))
    vault.rekey(NEW_RECIPIENTS)
    head = vault._read_head()
    assert vault.adopt() == vault.index()
    assert vault._read_head() == head


def test_giving_up_a_lost_identity_makes_room_for_a_fresh_copy(vault, tmp_path):
    store(vault, K5)
    vault.close()
    other = vault_at(tmp_path, identity=SECOND_OPERATOR_IDENTITY, recipients=(NEW_RECIPIENTS[1], RECIPIENTS[1]))
    assert other.adopt() == ()
    store(other, K5)
    assert other.open_now(backup_id(K5)) == shares_of(K5)
    other.verify(deep=True)
    assert other.verify(deep=True).ok
    other.close()


def test_a_fresh_signing_key_starts_over_after_adopting(vault, tmp_path):
    store(vault, K5)
    vault.close()
    other = vault_at(tmp_path, signing_key=type(SIGNING_KEY).generate(b"t" * 32))
    assert other.adopt() == ()
    store(other, K6)
    assert [stored.keyset for stored in other.index()] == [K6]
    other.close()


@pytest.mark.parametrize("place", ["vault", "state/vault", "state", "elsewhere/../state/vault/.."])
def test_the_head_record_may_not_lie_in_the_vault(tmp_path, place):
    with pytest.raises(ConfigInvalid, match="head record into the vault"):
        AgeVault(
            tmp_path / place,
            state_dir=tmp_path / "vault" if place == "vault" else tmp_path / "state",
            network=NETWORK,
            account_id=ALICE,
            recipients=RECIPIENTS,
            identity=Secret(SERVICE_IDENTITY.encode()),
            signing_key=SIGNING_KEY,
            clock=SteppingClock(),
        )
