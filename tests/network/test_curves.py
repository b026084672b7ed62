"""Curve arithmetic against independent implementations: `cryptography`, RFC 8032, near/mpc's published keys, pairings."""

import hashlib
import itertools
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from sharekeeper.domain.keyset import Curve, DomainPublicKey
from sharekeeper.domain.keyshare import ORDER
from sharekeeper_devnet.network.curves import (
    GROUPS,
    domain_public_key,
    interpolate,
    lagrange,
    scalar_bytes,
    scalar_from_bytes,
    split,
)

CURVES = list(Curve)
# RFC 8032, section 7.1, test 1: the clamped SHA-512 half of the seed and its public key.
RFC8032_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC8032_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize("curve", CURVES)
def test_any_two_of_three_shares_hold_the_public_key_and_one_does_not(curve: Curve) -> None:
    key, shares = split(curve, threshold=2, identifiers=(1, 2, 3), random_below=secrets.randbelow)
    points = {x: GROUPS[curve].base_multiple(share) for x, share in shares.items()}
    for pair in itertools.combinations(points, 2):
        assert interpolate(curve, {x: points[x] for x in pair}) == key
    assert all(interpolate(curve, {x: point}) != key for x, point in points.items())


@pytest.mark.parametrize("curve", CURVES)
def test_a_missing_share_point_is_interpolated_from_the_others(curve: Curve) -> None:
    _, shares = split(curve, threshold=2, identifiers=(1, 2, 5), random_below=secrets.randbelow)
    points = {x: GROUPS[curve].base_multiple(share) for x, share in shares.items()}
    assert interpolate(curve, {1: points[1], 2: points[2]}, at=5) == points[5]
    assert interpolate(curve, {1: points[1], 2: points[2]}, at=2) == points[2]


@settings(max_examples=30, deadline=None)
@given(curve=st.sampled_from(CURVES), total=st.integers(1, 7), data=st.data())
def test_lagrange_weights_rebuild_the_secret_from_any_threshold_of_shares(curve: Curve, total: int, data) -> None:
    threshold = data.draw(st.integers(1, total))
    chosen = data.draw(st.permutations(range(1, total + 1)))[:threshold]
    key, shares = split(curve, threshold=threshold, identifiers=range(1, total + 1), random_below=secrets.randbelow)
    secret = sum(lagrange(curve, x, chosen) * shares[x] for x in chosen) % ORDER[curve]
    assert GROUPS[curve].base_multiple(secret) == key


@settings(max_examples=10, deadline=None)
@given(scalar=st.integers(1, ORDER[Curve.SECP256K1] - 1))
def test_secp256k1_points_agree_with_openssl(scalar: int) -> None:
    numbers = ec.derive_private_key(scalar, ec.SECP256K1()).public_key().public_numbers()
    point = GROUPS[Curve.SECP256K1].base_multiple(scalar)
    key = domain_public_key(Curve.SECP256K1, point)
    assert key.raw == numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    assert key.share_form() == point


def test_ed25519_points_agree_with_rfc_8032() -> None:
    half = bytearray(hashlib.sha512(RFC8032_SEED).digest()[:32])
    half[0] &= 248
    half[31] = (half[31] & 127) | 64
    scalar = int.from_bytes(half, "little") % ORDER[Curve.ED25519]
    assert GROUPS[Curve.ED25519].base_multiple(scalar).hex() == RFC8032_KEY


def test_bls12381_points_agree_with_a_pairing() -> None:
    scalar = secrets.randbelow(ORDER[Curve.BLS12381] - 1) + 1
    point = G2Point.from_compressed_bytes(GROUPS[Curve.BLS12381].base_multiple(scalar))
    assert GT.pairing(G1Point(), point) == GT.pairing(G1Point() * Scalar(scalar), G2Point())


@pytest.mark.parametrize(
    ("curve", "text", "compressed"),
    [
        (
            Curve.SECP256K1,
            "secp256k1:4Q9aK3YhZAugWM3vJrePc5CAxL81yEXzkcT5zqSscURArmybYWJyDLhJ6vijgdDr6PfCcc3dgCvG2fgdoTtFfM7i",
            "03aa034760c5846f61bd047a4edd088a2b32bee7473a1163926fcc4b27ebc916f0",
        ),
        (
            Curve.ED25519,
            "ed25519:GFRaCJ8UDCWt7ZawnTbQ83RGPo7o3viyyer68jysLmVM",
            "e291381fe6d842f30412315cb431acdc18a02cbad062165e863f1a060e2ba4b4",
        ),
    ],
)
def test_near_mpc_published_keys_have_the_text_form_of_the_contract(curve: Curve, text: str, compressed: str) -> None:
    assert domain_public_key(curve, bytes.fromhex(compressed)) == DomainPublicKey.parse(curve, text)


@pytest.mark.parametrize("curve", CURVES)
def test_scalars_outside_the_field_are_refused_without_quoting_them(curve: Curve) -> None:
    for bad in (bytes(32), scalar_bytes(curve, ORDER[curve]), b"\xff" * 32, b"\x01" * 31, b"\x01" * 33):
        with pytest.raises(ValueError, match="not a scalar") as caught:
            scalar_from_bytes(curve, bad)
        assert bad.hex() not in str(caught.value)
    assert scalar_from_bytes(curve, scalar_bytes(curve, ORDER[curve] - 1)) == ORDER[curve] - 1


@pytest.mark.parametrize(
    ("curve", "point"),
    [
        (Curve.BLS12381, b"\xff" * 96),  # the library takes it for the identity
        (Curve.BLS12381, bytes(96)),
        (Curve.BLS12381, b"\xc0" + bytes(95)),  # the identity, properly written
        (Curve.BLS12381, b"\x80" + bytes(95)),
        (Curve.BLS12381, b"\x80" * 95),
        (Curve.ED25519, b"\x01" + bytes(31)),
        (Curve.ED25519, b"\xff" * 32),
        (Curve.SECP256K1, b"\x02" + b"\xff" * 32),
        (Curve.SECP256K1, bytes(33)),
        (Curve.SECP256K1, b"\x04" + bytes(64)),
    ],
)
def test_points_that_are_no_public_key_are_refused(curve: Curve, point: bytes) -> None:
    with pytest.raises(ValueError):
        domain_public_key(curve, point)


def test_an_uncompressed_secp256k1_point_is_refused_as_a_share_form() -> None:
    uncompressed = ec.derive_private_key(7, ec.SECP256K1()).public_key().public_numbers()
    data = b"\x04" + uncompressed.x.to_bytes(32, "big") + uncompressed.y.to_bytes(32, "big")
    with pytest.raises(ValueError, match="not the compressed form"):
        domain_public_key(Curve.SECP256K1, data)


@pytest.mark.parametrize("curve", CURVES)
def test_a_sum_that_is_the_identity_is_refused(curve: Curve) -> None:
    group = GROUPS[curve]
    with pytest.raises(ValueError):
        group.add([group.base_multiple(5), group.base_multiple(ORDER[curve] - 5)])


@pytest.mark.parametrize(
    ("threshold", "identifiers"), [(0, (1, 2)), (3, (1, 2)), (1, (1, 1)), (1, (0, 1)), (1, (1, ORDER[Curve.ED25519]))]
)
def test_sharings_that_cannot_work_are_refused(threshold: int, identifiers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        split(Curve.ED25519, threshold=threshold, identifiers=identifiers, random_below=secrets.randbelow)


def test_a_polynomial_with_a_zero_share_is_thrown_away() -> None:
    # 1 + drawn: first polynomial (order-1, 1) is zero at x=1; the second one (2, 3) is kept.
    drawn = iter([ORDER[Curve.ED25519] - 2, 0, 1, 2])
    _, shares = split(Curve.ED25519, threshold=2, identifiers=(1, 2), random_below=lambda _: next(drawn))
    assert shares == {1: 5, 2: 8}
