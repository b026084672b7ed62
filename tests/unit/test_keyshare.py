"""Key shares are exactly those of their keyset, or refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import BYTE_ORDER, ORDER, SHARE_BYTES, SharesMismatch, check_shares
from sharekeeper.secret import Secret
from tests.unit.vault_values import keyset, shares_of

KEYSET = keyset(5, domains=6)
SHARES = shares_of(KEYSET)
ON = {curve: number for number, curve in enumerate(Curve)}
"""Which domain is on which curve."""


def with_scalar(curve, scalar):
    raw = scalar.to_bytes(SHARE_BYTES, BYTE_ORDER[curve])
    return with_share(ON[curve], private_share=Secret(raw))


def with_share(number, **changes):
    return (*SHARES[:number], replace(SHARES[number], **changes), *SHARES[number + 1 :])


def test_the_shares_of_a_keyset_are_accepted():
    check_shares(KEYSET, SHARES)


@pytest.mark.parametrize("shares", [(), SHARES[:-1], (*SHARES, SHARES[0])])
def test_another_number_of_shares_is_refused(shares):
    with pytest.raises(SharesMismatch, match=f"{len(shares)} shares for 6 domains"):
        check_shares(KEYSET, shares)


def test_shares_out_of_keyset_order_are_refused():
    with pytest.raises(SharesMismatch, match="domain 0: share of key event"):
        check_shares(KEYSET, tuple(reversed(SHARES)))


@pytest.mark.parametrize("part", ["epoch_id", "domain_id", "attempt_id"])
def test_a_share_of_another_key_event_is_refused(part):
    key_id = SHARES[3].key_id
    other = replace(key_id, **{part: getattr(key_id, part) + 1})
    with pytest.raises(SharesMismatch, match="domain 3: share of key event"):
        check_shares(KEYSET, with_share(3, key_id=other))


def test_a_share_on_another_curve_is_refused():
    with pytest.raises(SharesMismatch, match="domain 1: share on Bls12381, expected Ed25519"):
        check_shares(KEYSET, with_share(1, curve=Curve.BLS12381))


def test_a_share_of_another_public_key_is_refused():
    with pytest.raises(SharesMismatch, match="domain 2: share of another public key"):
        check_shares(KEYSET, with_share(2, public_key=b"\0" * 96))


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("name", ["one", "order - 1"])
def test_the_smallest_and_the_largest_scalar_are_accepted(curve, name):
    check_shares(KEYSET, with_scalar(curve, 1 if name == "one" else ORDER[curve] - 1))


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("name", ["zero", "order", "largest"])
def test_a_scalar_out_of_range_is_refused(curve, name):
    scalar = {"zero": 0, "order": ORDER[curve], "largest": 2**256 - 1}[name]
    with pytest.raises(SharesMismatch, match="private share out of range"):
        check_shares(KEYSET, with_scalar(curve, scalar))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_scalar_of_another_length_is_refused(length):
    with pytest.raises(SharesMismatch, match=f"32 bytes, not {length}"):
        check_shares(KEYSET, with_share(0, private_share=Secret(b"\x01" * length)))


@given(st.integers(min_value=0, max_value=5), st.binary(min_size=32, max_size=32))
def test_a_refusal_never_quotes_the_share(number, raw):
    with pytest.raises(SharesMismatch) as refused:
        check_shares(KEYSET, with_share(number, private_share=Secret(raw), public_key=b""))
    assert raw.hex() not in str(refused.value)
    assert repr(raw) not in str(refused.value)


def test_a_share_is_shown_without_its_secret():
    assert SHARES[0].private_share.reveal().hex() not in repr(SHARES[0])
    assert "Secret(hidden)" in repr(SHARES[0])
