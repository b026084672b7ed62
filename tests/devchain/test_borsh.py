"""Signed transactions against py-near's encoder, and against bytes that are none."""

import base64
import hashlib

import base58
import coincurve
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_near import transactions as py_near

from sharekeeper_devnet.chain.borsh import DecodeError
from sharekeeper_devnet.chain.primitives import is_account_id
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    AddKey,
    CreateAccount,
    DeleteKey,
    DeployContract,
    FullAccess,
    FunctionCall,
    FunctionCallAccess,
    Transfer,
    decode_signed_transaction,
)
from sharekeeper_devnet.runtime import PublicKey
from tests.devchain.conftest import ALICE, BOB

U64, U128 = 2**64 - 1, 2**128 - 1
BOB_BARE = BOB.public.removeprefix("ed25519:")
BOB_KEY = PublicKey.from_text(BOB.public)
ACTIONS = [
    py_near.create_create_account_action(),
    py_near.create_deploy_contract_action(b"\0asm"),
    py_near.create_function_call_action("m", b"args", U64, U128),
    py_near.create_transfer_action(7),
    py_near.create_full_access_key_action(BOB_BARE),
    py_near.create_function_call_access_key_action(BOB_BARE, 5, "mpc.near", ["a", "b"]),
    py_near.create_delete_access_key_action(BOB_BARE),
]
CALL_ACCESS = FunctionCallAccess(allowance=5, receiver_id="mpc.near", method_names=("a", "b"))
EXPECTED = (
    CreateAccount(),
    DeployContract(code=b"\0asm"),
    FunctionCall(method_name="m", args=b"args", gas=U64, deposit=U128),
    Transfer(deposit=7),
    AddKey(public_key=BOB_KEY, access_key=AccessKey(nonce=0, permission=FullAccess())),
    AddKey(public_key=BOB_KEY, access_key=AccessKey(nonce=0, permission=CALL_ACCESS)),
    DeleteKey(public_key=BOB_KEY),
)


def signed(actions=ACTIONS, nonce: int = 9) -> bytes:
    arguments = ("alice.near", ALICE.secret, "bob.near", nonce, actions, bytes(range(32)))
    return base64.b64decode(py_near.sign_and_serialize_transaction(*arguments))


def test_what_py_near_encodes_is_read_back():
    transaction = decode_signed_transaction(signed())
    assert (transaction.signer_id, transaction.receiver_id, transaction.nonce) == ("alice.near", "bob.near", 9)
    assert (str(transaction.public_key), transaction.block_hash) == (ALICE.public, bytes(range(32)))
    assert transaction.actions == EXPECTED
    assert transaction.has_valid_signature()


def test_the_hash_is_the_one_py_near_computes():
    arguments = ("alice.near", ALICE.secret, "bob.near", 9, ACTIONS, bytes(range(32)))
    assert decode_signed_transaction(signed()).hash == base58.b58decode(py_near.calc_trx_hash(*arguments))


def test_every_flipped_bit_is_refused_or_breaks_the_signature():
    good = signed()
    for index in range(len(good)):
        for bit in (0, 7):
            bad = bytearray(good)
            bad[index] ^= 1 << bit
            try:
                transaction = decode_signed_transaction(bytes(bad))
            except DecodeError:
                continue
            assert not transaction.has_valid_signature(), index


def test_every_cut_and_every_addition_is_refused():
    good = signed()
    for length in range(len(good)):
        with pytest.raises(DecodeError):
            decode_signed_transaction(good[:length])
    with pytest.raises(DecodeError, match="1 bytes follow"):
        decode_signed_transaction(good + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(DecodeError):
        decode_signed_transaction(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_transaction_with_any_part_replaced_is_read_or_refused(data):
    good = signed()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    changed = good[:start] + data.draw(st.binary(max_size=40)) + good[end:]
    try:
        transaction = decode_signed_transaction(changed)
    except DecodeError:
        return
    assert transaction.encoded == changed


@pytest.mark.parametrize("count", [0xFFFFFFFF, 1001])
def test_a_huge_count_of_actions_is_refused_before_any_is_read(count):
    head = signed([])[: -4 - 65]
    with pytest.raises(DecodeError, match=f"{count} actions"):
        decode_signed_transaction(head + count.to_bytes(4, "little"))


def test_a_huge_length_is_refused_without_being_allocated():
    with pytest.raises(DecodeError, match="4294967295 bytes wanted"):
        decode_signed_transaction(b"\xff\xff\xff\xff" + b"a" * 100)


def test_a_secp256k1_key_signs_too():
    key = coincurve.PrivateKey(b"\5" * 32)
    unsigned = signed([py_near.create_transfer_action(1)])[:-65]
    at = 4 + len("alice.near")
    unsigned = unsigned[:at] + b"\1" + key.public_key.format(compressed=False)[1:] + unsigned[at + 33 :]
    signature = key.sign_recoverable(hashlib.sha256(unsigned).digest(), hasher=None)
    transaction = decode_signed_transaction(unsigned + b"\1" + signature)
    assert str(transaction.public_key).startswith("secp256k1:")
    assert transaction.has_valid_signature()
    other = decode_signed_transaction(unsigned + b"\1" + bytes([signature[0] ^ 1]) + signature[1:])
    assert not other.has_valid_signature()
    broken = decode_signed_transaction(unsigned + b"\1" + bytes(64) + b"\x09")
    assert not broken.has_valid_signature()


@pytest.mark.parametrize("text", ["ab", "alice.near", "a-b_c.d1.near", "0" * 64, "system", "100", "x" * 64])
def test_account_ids_nearcore_accepts(text):
    assert is_account_id(text)


@pytest.mark.parametrize(
    "text", ["", "a", "x" * 65, "A.near", "a..near", ".near", "near.", "a-_b", "-a", "a_", "a b", "ü.near", "a\n"]
)
def test_account_ids_nearcore_refuses(text):
    assert not is_account_id(text)
