"""The keyset's canonical form, its digest and the identity of a backup."""

import dataclasses

import pytest

from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.domain.keyset import BackupId, Curve, DomainKey, DomainPublicKey, Keyset, KeysetDigest

SECP = "secp256k1:4Q9aK3YhZAugWM3vJrePc5CAxL81yEXzkcT5zqSscURArmybYWJyDLhJ6vijgdDr6PfCcc3dgCvG2fgdoTtFfM7i"
EDWARDS = "ed25519:GFRaCJ8UDCWt7ZawnTbQ83RGPo7o3viyyer68jysLmVM"
BLS = "bls12381g2:22a3grHFot4p2otPhqmDThWfuhW3x9A3f9MfhwTBQtzu1XW3V79udzBo3EEFqmVnMKdW1X5WFVuwjLHaXdnbHFPAWbDt9WScv4qg8uHgmhTcSipU6CJkjQY8ywHeuMcHkK1x"
KEYSET = Keyset(
    epoch_id=5,
    domains=(
        DomainKey(domain_id=0, attempt=240, public_key=DomainPublicKey.parse(Curve.SECP256K1, SECP)),
        DomainKey(domain_id=1, attempt=0, public_key=DomainPublicKey.parse(Curve.ED25519, EDWARDS)),
        DomainKey(domain_id=2, attempt=1, public_key=DomainPublicKey.parse(Curve.BLS12381, BLS)),
    ),
)
NETWORK = NetworkId(chain_id="mainnet", genesis_hash="h", contract_id=AccountId("v1.signer"))
ALICE = AccountId("alice.near")


def test_the_canonical_form_is_the_documented_text():
    assert KEYSET.canonical() == f"sharekeeper-keyset-v1\n5\n0:240:{SECP}\n1:0:{EDWARDS}\n2:1:{BLS}\n".encode()


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(KEYSET, epoch_id=6),
        dataclasses.replace(KEYSET, domains=KEYSET.domains[:2]),
        dataclasses.replace(KEYSET, domains=KEYSET.domains[::-1]),
        dataclasses.replace(KEYSET, domains=(dataclasses.replace(KEYSET.domains[0], attempt=241), *KEYSET.domains[1:])),
    ],
    ids=["epoch", "fewer domains", "order", "attempt"],
)
def test_any_difference_gives_another_digest(other):
    assert other.digest() != KEYSET.digest()
    assert other.backup_id(NETWORK, ALICE) != KEYSET.backup_id(NETWORK, ALICE)


def test_a_backup_belongs_to_network_contract_and_account():
    ids = {
        KEYSET.backup_id(NETWORK, ALICE),
        KEYSET.backup_id(NETWORK, AccountId("bob.near")),
        KEYSET.backup_id(dataclasses.replace(NETWORK, chain_id="testnet"), ALICE),
        KEYSET.backup_id(dataclasses.replace(NETWORK, genesis_hash="i"), ALICE),
        KEYSET.backup_id(dataclasses.replace(NETWORK, contract_id=AccountId("v2.signer")), ALICE),
    }
    assert len(ids) == 5


def test_digest_and_backup_id_are_different_types_and_values():
    assert isinstance(KEYSET.digest(), KeysetDigest)
    assert isinstance(KEYSET.backup_id(NETWORK, ALICE), BackupId)
    assert KEYSET.digest() != KEYSET.backup_id(NETWORK, ALICE)


def test_public_keys_in_share_form_are_those_of_near_mpc():
    forms = [domain.public_key.share_form().hex() for domain in KEYSET.domains]
    assert forms[0] == "03aa034760c5846f61bd047a4edd088a2b32bee7473a1163926fcc4b27ebc916f0"
    assert forms[1] == "e291381fe6d842f30412315cb431acdc18a02cbad062165e863f1a060e2ba4b4"
    assert forms[2].startswith("acede0416bc326a4a52a52f74391b1bbd131a45950bfe4ee7be1cfb18bb0cb8e")


def test_a_keyset_has_each_domain_once():
    with pytest.raises(ValueError, match="keyset"):
        Keyset(epoch_id=1, domains=(KEYSET.domains[0], KEYSET.domains[0]))


def test_a_keyset_may_have_no_domain_and_then_differs_by_its_epoch_alone():
    empty = Keyset(epoch_id=1, domains=())
    assert empty.canonical() == b"sharekeeper-keyset-v1\n1\n"
    assert empty.digest() != Keyset(epoch_id=2, domains=()).digest()


@pytest.mark.parametrize("number", [-1, 2**64])
def test_epoch_and_attempt_are_u64(number):
    with pytest.raises(ValueError, match="u64"):
        dataclasses.replace(KEYSET, epoch_id=number)


@pytest.mark.parametrize("text", ["", "sha", "A" * 64, "0" * 63, "0" * 65])
def test_a_digest_is_64_lower_case_hex_digits(text):
    with pytest.raises(ValueError, match="SHA-256"):
        KeysetDigest(text)
