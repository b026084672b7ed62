"""Key pairs: NEAR's text form, total parsing, signatures that a second implementation accepts."""

import base58
import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import SignerKey, TlsKey
from sharekeeper.secret import Secret

# RFC 8032, section 7.1, TEST 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def text_of(raw: bytes) -> str:
    return "ed25519:" + base58.b58encode(raw).decode()


def test_public_key_and_signature_are_those_of_rfc_8032():
    pair = KeyPair.generate(SEED)
    assert pair.public_raw == PUBLIC
    assert pair.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")
    assert pair.tls_key == TlsKey(PUBLIC)
    assert pair.signer_key == SignerKey(PUBLIC)


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=64))
def test_text_form_round_trips_and_libsodium_agrees(seed, message):
    pair = KeyPair.generate(seed)
    assert KeyPair.parse(pair.text().reveal().decode()) == pair
    libsodium = nacl.signing.SigningKey(seed)
    assert pair.text().reveal().decode() == text_of(seed + libsodium.verify_key.encode())
    assert libsodium.verify_key.verify(message, pair.sign(message)) == message


@given(
    text=st.text(max_size=120)
    | st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabc", max_size=90).map("ed25519:{}".format)
)
def test_any_other_text_is_a_value_error_that_does_not_quote_it(text):
    with pytest.raises(ValueError) as caught:
        KeyPair.parse(text)
    assert len(text) < 9 or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text_of(SEED + bytes(32)), "does not belong to its seed"),
        (text_of(SEED), "64 bytes"),
        (text_of(SEED + PUBLIC) + " ", "white space|longer"),
        (text_of(SEED + PUBLIC) + "\n", "white space|longer"),
        ("secp256k1:abc", "starts with 'ed25519:'"),
        ("ed25519:0OIl", "other characters"),
        ("ed25519:" + "1" * 10_000_000, "longer"),
        ("ed25519:é", "other characters"),
    ],
    ids=[
        "foreign public half",
        "seed only",
        "trailing space",
        "line end",
        "other curve",
        "not base58",
        "huge",
        "not ascii",
    ],
)
def test_malformed_private_key_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message):
        KeyPair.parse(text)


def test_white_space_around_a_short_private_key_is_refused():
    short = KeyPair.generate(bytes(16) + SEED[:16]).text().reveal().decode()
    with pytest.raises(ValueError, match="white space"):
        KeyPair.parse(short + " ")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seed_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair(seed=Secret(bytes(length)))


def test_no_text_form_of_a_key_pair_shows_the_seed():
    pair = KeyPair.generate(SEED)
    assert SEED.hex() not in repr(pair)
    assert repr(pair) == "KeyPair(seed=Secret(hidden))"
