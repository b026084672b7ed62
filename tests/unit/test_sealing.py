"""age files: who opens them, and that nothing but the whole file opens."""

import subprocess

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.crypto.bech32 import bech32
from sharekeeper.crypto.sealing import Unopenable, identity_of, recipient_of, seal, unseal
from sharekeeper.errors import ConfigInvalid, KeysMissing
from sharekeeper.secret import Secret
from tests.unit.vault_values import OPERATOR_IDENTITY, RECIPIENTS, SECOND_OPERATOR_IDENTITY, SERVICE_IDENTITY

PLAIN = Secret(b"the shares")
SEALED = seal(PLAIN, RECIPIENTS)


def key(text):
    return Secret(text.encode())


@pytest.mark.parametrize("identity", [SERVICE_IDENTITY, OPERATOR_IDENTITY, f" {SERVICE_IDENTITY}\n"])
def test_each_recipient_opens_what_was_sealed(identity):
    assert unseal(SEALED, key(identity)) == PLAIN


def test_others_do_not_open_it():
    with pytest.raises(Unopenable):
        unseal(SEALED, key(SECOND_OPERATOR_IDENTITY))


def test_the_recipient_of_an_identity_is_its_public_form():
    assert recipient_of(key(SERVICE_IDENTITY)) == RECIPIENTS[0]


def test_an_empty_and_a_long_plaintext_come_back_whole():
    for plain in (b"", b"x" * 200_000):
        assert unseal(seal(Secret(plain), RECIPIENTS), key(OPERATOR_IDENTITY)) == Secret(plain)


def test_sealing_twice_gives_two_ciphertexts():
    assert seal(PLAIN, RECIPIENTS) != SEALED


def test_every_cut_is_refused():
    for length in range(len(SEALED)):
        with pytest.raises(Unopenable):
            unseal(SEALED[:length], key(SERVICE_IDENTITY))


def test_every_flipped_byte_is_refused():
    for position in range(len(SEALED)):
        flipped = bytearray(SEALED)
        flipped[position] ^= 0x01
        with pytest.raises(Unopenable):
            unseal(bytes(flipped), key(SERVICE_IDENTITY))


def test_bytes_after_the_end_are_refused():
    with pytest.raises(Unopenable):
        unseal(SEALED + b"\0", key(SERVICE_IDENTITY))


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(Unopenable):
        unseal(data, key(SERVICE_IDENTITY))


@given(st.binary(max_size=200))
def test_any_bytes_after_an_age_header_are_refused(data):
    with pytest.raises(Unopenable):
        unseal(b"age-encryption.org/v1\n-> " + data, key(SERVICE_IDENTITY))


@pytest.mark.parametrize("text", [b"", b"AGE-SECRET-KEY-1QQ", b"\xff\xfe", RECIPIENTS[0].encode()])
def test_a_malformed_identity_is_a_missing_key_and_is_not_quoted(text):
    with pytest.raises(KeysMissing) as refused:
        recipient_of(Secret(text))
    assert not text or text.decode("latin-1") not in str(refused.value)


def test_nothing_is_sealed_to_nobody():
    with pytest.raises(ConfigInvalid):
        seal(PLAIN, ())


@pytest.mark.parametrize("text", ["age1qqq", "", "ssh-ed25519 AAAA", SERVICE_IDENTITY[:30], "age1\ud800"])
def test_a_malformed_recipient_is_refused(text):
    with pytest.raises(ConfigInvalid, match="not an age recipient"):
        seal(PLAIN, (*RECIPIENTS, text))


def test_all_malformed_recipients_are_named_at_once():
    with pytest.raises(ConfigInvalid, match=r"'wrong1'.*'wrong2'"):
        seal(PLAIN, ("wrong1", *RECIPIENTS, "wrong2"))


# --- identities made from 32 bytes ----------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_an_identity_made_from_bytes_is_the_x25519_key_of_these_bytes(raw):
    identity = identity_of(Secret(raw))
    assert identity.reveal().startswith(b"AGE-SECRET-KEY-1")
    assert str(pyrage.x25519.Identity.from_str(identity.reveal().decode())) == identity.reveal().decode()
    public = X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
    assert recipient_of(identity) == bech32("age", public)


def test_the_same_bytes_make_the_same_identity_and_others_another():
    assert identity_of(Secret(b"\x01" * 32)) == identity_of(Secret(b"\x01" * 32))
    assert identity_of(Secret(b"\x01" * 32)) != identity_of(Secret(b"\x02" * 32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_bytes_of_another_length_make_no_identity(length):
    with pytest.raises(ValueError, match="32 bytes"):
        identity_of(Secret(b"\x01" * length))


@pytest.mark.needs("age")
def test_stock_age_opens_with_an_identity_made_from_bytes(tmp_path):
    identity = identity_of(Secret(bytes(range(32))))
    (tmp_path / "sealed").write_bytes(seal(PLAIN, (recipient_of(identity),)))
    (tmp_path / "key").write_bytes(identity.reveal() + b"\n")
    command = ["age", "-d", "-i", tmp_path / "key", tmp_path / "sealed"]
    assert subprocess.run(command, capture_output=True, check=True, timeout=20).stdout == PLAIN.reveal()
