"""Account ids and public keys: what is accepted, what is refused, and that text comes back as it went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, Ed25519Key, SignerKey, TlsKey

KEY_TEXT = "ed25519:GFRaCJ8UDCWt7ZawnTbQ83RGPo7o3viyyer68jysLmVM"


@pytest.mark.parametrize("text", ["aa", "alice.test.near", "a-b_c.near", "0" * 64, "v1.signer"])
def test_near_account_ids_are_accepted(text):
    assert AccountId(text) == text


@pytest.mark.parametrize(
    "text", ["", "a", "Alice", "a..b", ".a", "a.", "a--b", "-a", "a-", "a b", "ä.near", "0" * 65, "aa\n"]
)
def test_other_account_ids_are_refused(text):
    with pytest.raises(ValueError, match="not a NEAR account id"):
        AccountId(text)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_reads_back_what_it_writes(raw):
    assert TlsKey.parse(str(TlsKey(raw))) == TlsKey(raw)


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "secp256k1:abc", KEY_TEXT[:-3], KEY_TEXT + "1", "ed25519:0OIl", "ed25519:ü"]
)
def test_a_malformed_key_is_refused(text):
    with pytest.raises(ValueError, match="public key"):
        Ed25519Key.parse(text)


def test_a_private_key_given_for_a_public_one_is_not_quoted():
    private = KeyPair.generate(bytes(range(32))).text().reveal().decode()
    with pytest.raises(ValueError, match="not an Ed25519 public key") as caught:
        SignerKey.parse(private)
    assert private[8:20] not in str(caught.value)


def test_a_tls_key_never_equals_a_signer_key_of_the_same_bytes():
    assert TlsKey.parse(KEY_TEXT) != SignerKey.parse(KEY_TEXT)
