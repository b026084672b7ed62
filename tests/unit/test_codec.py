"""The codec: total on any bytes, exact on near/mpc's forms."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.protocol import codec
from sharekeeper.protocol.codec import DecodeError
from tests.unit.test_keyset import KEYSET

SHARES = [
    {
        "key_id": {"epoch_id": 5, "domain_id": 0, "attempt_id": 240},
        "data": {
            "Secp256k1": {
                "private_share": "add8bea105e6085a3f9d4ee613834280ae277e9516a6d08ba8a1fa88d7ce6225",
                "public_key": "03aa034760c5846f61bd047a4edd088a2b32bee7473a1163926fcc4b27ebc916f0",
            }
        },
    },
    {
        "key_id": {"epoch_id": 5, "domain_id": 1, "attempt_id": 2**64 - 1},
        "data": {
            "Ed25519": {
                "private_share": "4868e82fde014d20fa7316500332a9cad79dee5c7aac79b82e69019da9b1790b",
                "public_key": "e291381fe6d842f30412315cb431acdc18a02cbad062165e863f1a060e2ba4b4",
            }
        },
    },
]
"""near/mpc's public test snapshots (near/mpc interop, section 3.1); the ids are synthetic."""

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data):
    try:
        codec.parse_json(data)
    except DecodeError:
        return
    json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b"NaN",
        b"[Infinity]",
        b'"\xff"',
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
        b"",
        b"{}x",
        b"1" * 5000,
    ],
    ids=["repeated name", "nan", "infinity", "not utf-8", "deep", "very deep", "empty", "trailing", "huge integer"],
)
def test_lenient_json_is_refused(data):
    with pytest.raises(DecodeError):
        codec.parse_json(data)


@given(JSON_VALUES)
def test_canonical_json_parses_back_to_the_same_value(value):
    assert codec.parse_json(codec.canonical_json(value)) == value


@given(JSON_VALUES)
def test_any_json_is_a_keyset_and_shares_or_refused(value):
    for decode in (codec.decode_keyset, codec.decode_shares):
        try:
            decode(value)
        except DecodeError:
            continue


def test_a_keyset_reads_back_what_it_writes():
    assert codec.decode_keyset(codec.encode_keyset(KEYSET)) == KEYSET


def test_an_ed25519_domain_carries_its_point_as_near_mpc_does():
    key = codec.encode_keyset(KEYSET)["domains"][1]["key"]["Ed25519"]
    assert bytes(key["edwards_point"]) == KEYSET.domains[1].public_key.raw


def test_shares_of_near_mpc_read_back_as_they_were():
    assert codec.encode_shares(codec.decode_shares(SHARES)) == SHARES


def test_a_decoded_share_hides_its_secret():
    assert "add8bea1" not in repr(codec.decode_shares(SHARES))


def _broken(path, value):
    shares = copy.deepcopy(SHARES)
    *parents, last = path
    target = shares
    for step in parents:
        target = target[step]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    return shares


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((0, "key_id", "epoch_id"), True),
        ((0, "key_id", "epoch_id"), "5"),
        ((0, "key_id", "epoch_id"), -1),
        ((0, "key_id", "attempt_id"), 2**64),
        ((0, "key_id"), KeyError),
        ((0, "data"), {}),
        ((0, "data"), {"P256": {}}),
        ((0, "data", "Secp256k1", "private_share"), "AD" * 32),
        ((0, "data", "Secp256k1", "private_share"), "ad" * 31),
        ((0, "data", "Secp256k1", "public_key"), "03" * 32),
        ((0, "data", "Secp256k1", "public_key"), KeyError),
    ],
)
def test_a_malformed_share_is_refused_without_quoting_it(path, value):
    with pytest.raises(DecodeError) as refusal:
        codec.decode_shares(_broken(path, value))
    assert "add8bea1" not in str(refusal.value)
