"""Arithmetic under the three curves of a keyset: points, Shamir sharing, Lagrange interpolation.

Scalars are integers below the order of the curve's scalar field. Points are bytes in the form a key share
carries its public key (near/mpc interop, section 3.1): 33 bytes SEC1 compressed (secp256k1), 32 bytes (Ed25519)
or 96 bytes compressed (BLS12-381 G2). A point is refused unless it is the one encoding of a point of the
prime-order group, the identity excluded.

Nothing here runs in constant time in Python; the reference network is for rehearsal only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Final, Protocol

import nacl.bindings as sodium
from coincurve import PublicKey as SecpPoint
from py_arkworks_bls12381 import G2Point, Scalar

from sharekeeper.domain.keyset import Curve, DomainPublicKey
from sharekeeper.domain.keyshare import BYTE_ORDER, ORDER, SHARE_BYTES

RandomBelow = Callable[[int], int]
"""A uniform random integer in 0..limit-1, as `secrets.randbelow`."""

_ED25519_POINT_BYTES: Final = 32
_G2_POINT_BYTES: Final = 96


class Group(Protocol):
    """The prime-order group of one curve. Every scalar is in 1..order-1, every point checked by `check`."""

    def check(self, point: bytes) -> None:
        """Returns when `point` is the one encoding of a point other than the identity. Raises `ValueError`."""

    def base_multiple(self, scalar: int) -> bytes:
        """The generator times `scalar`."""

    def multiple(self, point: bytes, scalar: int) -> bytes:
        """`point` times `scalar`."""

    def add(self, points: Sequence[bytes]) -> bytes:
        """The sum of at least one point. Raises `ValueError` when it is the identity."""


def scalar_bytes(curve: Curve, scalar: int) -> bytes:
    """The 32 bytes of a scalar in the byte order of the curve's key shares."""
    return scalar.to_bytes(SHARE_BYTES, BYTE_ORDER[curve])


def scalar_from_bytes(curve: Curve, data: bytes) -> int:
    """The scalar in 1..order-1 written as 32 bytes. Raises `ValueError`, which does not quote the bytes."""
    scalar = int.from_bytes(data, BYTE_ORDER[curve])
    if len(data) != SHARE_BYTES or not 0 < scalar < ORDER[curve]:
        raise ValueError(f"not a scalar of {curve} in 1..order-1")
    return scalar


class _Ed25519:
    def check(self, point: bytes) -> None:
        if len(point) != _ED25519_POINT_BYTES or not sodium.crypto_core_ed25519_is_valid_point(point):
            raise ValueError("not a point of the prime-order group of Ed25519")

    def base_multiple(self, scalar: int) -> bytes:
        return sodium.crypto_scalarmult_ed25519_base_noclamp(scalar_bytes(Curve.ED25519, scalar))

    def multiple(self, point: bytes, scalar: int) -> bytes:
        return sodium.crypto_scalarmult_ed25519_noclamp(scalar_bytes(Curve.ED25519, scalar), point)

    def add(self, points: Sequence[bytes]) -> bytes:
        total = reduce(sodium.crypto_core_ed25519_add, points)
        self.check(total)
        return total


class _Secp256k1:
    def check(self, point: bytes) -> None:
        if SecpPoint(point).format(compressed=True) != point:
            raise ValueError("not the compressed form of a secp256k1 point")

    def base_multiple(self, scalar: int) -> bytes:
        return SecpPoint.from_secret(scalar_bytes(Curve.SECP256K1, scalar)).format(compressed=True)

    def multiple(self, point: bytes, scalar: int) -> bytes:
        return SecpPoint(point).multiply(scalar_bytes(Curve.SECP256K1, scalar)).format(compressed=True)

    def add(self, points: Sequence[bytes]) -> bytes:
        return SecpPoint.combine_keys([SecpPoint(point) for point in points]).format(compressed=True)


class _Bls12381G2:
    def check(self, point: bytes) -> None:
        # The library takes several byte strings for the identity; only a round trip shows the one encoding.
        if len(point) != _G2_POINT_BYTES or bytes(self._decode(point).to_compressed_bytes()) != point:
            raise ValueError("not the compressed form of a BLS12-381 G2 point")
        if self._decode(point) == G2Point.identity():
            raise ValueError("the identity of BLS12-381 G2 is no public key")

    def base_multiple(self, scalar: int) -> bytes:
        return bytes((G2Point() * self._scalar(scalar)).to_compressed_bytes())

    def multiple(self, point: bytes, scalar: int) -> bytes:
        return bytes((self._decode(point) * self._scalar(scalar)).to_compressed_bytes())

    def add(self, points: Sequence[bytes]) -> bytes:
        total = sum((self._decode(point) for point in points), G2Point.identity())
        if total == G2Point.identity():
            raise ValueError("the sum is the identity of BLS12-381 G2")
        return bytes(total.to_compressed_bytes())

    @staticmethod
    def _decode(point: bytes) -> G2Point:
        return G2Point.from_compressed_bytes(point)

    @staticmethod
    def _scalar(scalar: int) -> Scalar:
        return Scalar.from_le_bytes(scalar_bytes(Curve.BLS12381, scalar))


GROUPS: Final[Mapping[Curve, Group]] = {
    Curve.SECP256K1: _Secp256k1(),
    Curve.ED25519: _Ed25519(),
    Curve.BLS12381: _Bls12381G2(),
}


def domain_public_key(curve: Curve, point: bytes) -> DomainPublicKey:
    """The keyset's form of a point: x||y without prefix for secp256k1, else the same bytes. Raises `ValueError`."""
    GROUPS[curve].check(point)
    raw = SecpPoint(point).format(compressed=False)[1:] if curve is Curve.SECP256K1 else point
    return DomainPublicKey(curve, raw)


# --- Shamir and Lagrange --------------------------------------------------------------------------


def share_identifier(participant_id: int) -> int:
    """Where a participant's share lies on the polynomial: participant id + 1 (near/mpc's convention)."""
    return participant_id + 1


def split(
    curve: Curve, *, threshold: int, identifiers: Sequence[int], random_below: RandomBelow
) -> tuple[bytes, dict[int, int]]:
    """A fresh random key: its public point and one share per identifier; any `threshold` of them hold the key.

    The polynomial lives in this call alone. No share is zero: such a polynomial is thrown away.

    Raises:
        ValueError: threshold not in 1..number of identifiers, or identifiers not distinct and in 1..order-1.
    """
    order = ORDER[curve]
    if not 1 <= threshold <= len(identifiers):
        raise ValueError(f"a threshold of {threshold} does not fit {len(identifiers)} participants")
    _check_identifiers(curve, identifiers)
    while True:
        coefficients = [1 + random_below(order - 1) for _ in range(threshold)]
        shares = {x: evaluate(coefficients, x, order) for x in identifiers}
        if all(shares.values()):
            return GROUPS[curve].base_multiple(coefficients[0]), shares


def lagrange(curve: Curve, identifier: int, identifiers: Iterable[int], at: int = 0) -> int:
    """The weight of `identifier`'s share when the polynomial is evaluated at `at` from all `identifiers`."""
    order = ORDER[curve]
    numerator = denominator = 1
    for other in identifiers:
        if other != identifier:
            numerator = numerator * (at - other) % order
            denominator = denominator * (identifier - other) % order
    return numerator * pow(denominator, -1, order) % order


def interpolate(curve: Curve, points: Mapping[int, bytes], at: int = 0) -> bytes:
    """The public point at `at`, from the public points of the shares. `at` 0 gives the group's public key.

    Raises:
        ValueError: identifiers not distinct and in range, or the result is the identity.
    """
    _check_identifiers(curve, list(points))
    if at in points:
        return points[at]
    group = GROUPS[curve]
    return group.add([group.multiple(point, lagrange(curve, x, points, at)) for x, point in points.items()])


def evaluate(coefficients: Sequence[int], x: int, order: int) -> int:
    """The polynomial with those coefficients, constant term first, at `x`."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % order
    return value


def _check_identifiers(curve: Curve, identifiers: Sequence[int]) -> None:
    if len(set(identifiers)) != len(identifiers) or not identifiers:
        raise ValueError("share identifiers are distinct and at least one")
    if not all(0 < x < ORDER[curve] for x in identifiers):
        raise ValueError("share identifiers are in 1..order-1")
