"""FROST(Ed25519, SHA-512): threshold signatures in two rounds (RFC 9591, sections 4, 5 and 6.1).

Round one: every signer makes `SigningNonces` and publishes their `Commitment`. Round two: the coordinator's
`SigningRound` names message, group key and all commitments; every signer returns its signature share; the
coordinator checks each share against the signer's verifying share (its public point) and adds them up.

This file does no I/O. Random bytes are passed in.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import ORDER
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS, lagrange, scalar_bytes, scalar_from_bytes

NONCE_RANDOM_BYTES: Final = 32
"""Fresh random bytes for each of the two nonces (RFC 9591, section 4.1)."""

_CONTEXT: Final = b"FROST-ED25519-SHA512-v1"
_ORDER: Final = ORDER[Curve.ED25519]
_GROUP: Final = GROUPS[Curve.ED25519]


class NoncesSpent(RuntimeError):
    """These nonces have signed already; signing twice with them would give the key away."""


class SharesInvalid(ValueError):
    """Signature shares that do not fit; `culprits` are the identifiers of their signers, in ascending order."""

    def __init__(self, culprits: tuple[int, ...]) -> None:
        super().__init__(f"invalid signature shares from the signers {list(culprits)}")
        self.culprits = culprits


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What a signer publishes in round one: its identifier (1..) and the points of its two nonces (32 bytes each)."""

    identifier: int
    hiding: bytes
    binding: bytes

    def __post_init__(self) -> None:
        if not 0 < self.identifier < _ORDER:
            raise ValueError("a signer's identifier is in 1..order-1")
        _GROUP.check(self.hiding)
        _GROUP.check(self.binding)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRound:
    """Everything round two is about; built only by `SigningRound.of`, so that the derived values always fit."""

    message: bytes
    group_key: bytes
    commitments: tuple[Commitment, ...]
    binding_factors: Mapping[int, int]
    group_commitment: bytes
    challenge: int

    @classmethod
    def of(cls, *, message: bytes, group_key: bytes, commitments: Sequence[Commitment]) -> Self:
        """The round for that message, 32-byte group key and commitments.

        Raises:
            ValueError: no commitment, a signer named twice, a group key off the curve.
        """
        ordered = tuple(sorted(commitments, key=lambda commitment: commitment.identifier))
        if not ordered or len({commitment.identifier for commitment in ordered}) != len(ordered):
            raise ValueError("a signing round needs one commitment of each of its signers")
        _GROUP.check(group_key)
        factors = _binding_factors(message, group_key, ordered)
        group_commitment = _GROUP.add([_commitment_share(item, factors[item.identifier]) for item in ordered])
        return cls(
            message=message,
            group_key=group_key,
            commitments=ordered,
            binding_factors=factors,
            group_commitment=group_commitment,
            challenge=_to_scalar(group_commitment, group_key, message),
        )

    @property
    def identifiers(self) -> tuple[int, ...]:
        """The signers, in ascending order."""
        return tuple(commitment.identifier for commitment in self.commitments)

    def commitment_of(self, identifier: int) -> Commitment:
        """That signer's commitment. Raises `ValueError` when it does not sign in this round."""
        for commitment in self.commitments:
            if commitment.identifier == identifier:
                return commitment
        raise ValueError(f"signer {identifier} has no commitment in this round")

    def weight(self, identifier: int) -> int:
        """Challenge times the signer's Lagrange coefficient: the factor of its private share."""
        return self.challenge * lagrange(Curve.ED25519, identifier, self.identifiers) % _ORDER


class SigningNonces:
    """One signer's two nonces for one signature: `sign` works once, then they are gone."""

    __slots__ = ("_identifier", "_nonces", "_private_share", "commitment")

    def __init__(self, *, identifier: int, private_share: Secret, hiding: Secret, binding: Secret) -> None:
        """The nonces from the random bytes of each (32 bytes; RFC 9591, section 4.1). Raises `ValueError`."""
        self._identifier = identifier
        self._private_share = private_share
        scalar_from_bytes(Curve.ED25519, private_share.reveal())
        nonces = (_nonce(hiding, private_share), _nonce(binding, private_share))
        self._nonces: tuple[Secret, Secret] | None = nonces
        points = [_GROUP.base_multiple(_scalar(nonce)) for nonce in nonces]
        self.commitment = Commitment(identifier=identifier, hiding=points[0], binding=points[1])

    def sign(self, signing_round: SigningRound) -> bytes:
        """The signature share (32 bytes); the nonces are spent before anything is computed (section 5.2).

        Raises:
            NoncesSpent: they have signed already.
            ValueError: the round does not carry this signer's commitment as it was made.
        """
        if self._nonces is None:
            raise NoncesSpent("a signing nonce signs once; start a new round")
        hiding, binding = self._nonces
        self._nonces = None
        if signing_round.commitment_of(self._identifier) != self.commitment:
            raise ValueError("the round carries another commitment than this signer made")
        share = (
            _scalar(hiding)
            + _scalar(binding) * signing_round.binding_factors[self._identifier]
            + signing_round.weight(self._identifier) * _scalar(self._private_share)
        )
        return scalar_bytes(Curve.ED25519, share % _ORDER)


def share_is_valid(signing_round: SigningRound, identifier: int, share: bytes, verifying_share: bytes | None) -> bool:
    """True when the signature share is that signer's (RFC 9591, section 5.4).

    Without the verifying share (the public point of its private share) it is only checked to be a scalar.
    """
    commitment = signing_round.commitment_of(identifier)
    try:
        scalar = scalar_from_bytes(Curve.ED25519, share)
        if verifying_share is None:
            return True
        committed = _commitment_share(commitment, signing_round.binding_factors[identifier])
        owed = _GROUP.multiple(verifying_share, signing_round.weight(identifier))
        return _GROUP.base_multiple(scalar) == _GROUP.add([committed, owed])
    except ValueError:
        return False


def aggregate(signing_round: SigningRound, shares: Mapping[int, bytes], verifying_shares: Mapping[int, bytes]) -> bytes:
    """The 64-byte Ed25519 signature (RFC 9591, section 5.3). Not checked: that it verifies under the group key.

    A signer without an entry in `verifying_shares` is only checked for a share that is a scalar.

    Raises:
        ValueError: the shares are not exactly those of the round's signers.
        SharesInvalid: with the culprits; nothing was aggregated.
    """
    if set(shares) != set(signing_round.identifiers):
        raise ValueError("a signature needs one share of each signer of the round")
    culprits = tuple(
        identifier
        for identifier in signing_round.identifiers
        if not share_is_valid(signing_round, identifier, shares[identifier], verifying_shares.get(identifier))
    )
    if culprits:
        raise SharesInvalid(culprits)
    total = sum(scalar_from_bytes(Curve.ED25519, share) for share in shares.values()) % _ORDER
    return signing_round.group_commitment + scalar_bytes(Curve.ED25519, total)


def _binding_factors(message: bytes, group_key: bytes, commitments: Sequence[Commitment]) -> dict[int, int]:
    listed = b"".join(scalar_bytes(Curve.ED25519, item.identifier) + item.hiding + item.binding for item in commitments)
    prefix = group_key + _digest(_CONTEXT, b"msg", message) + _digest(_CONTEXT, b"com", listed)
    return {
        item.identifier: _to_scalar(_CONTEXT, b"rho", prefix, scalar_bytes(Curve.ED25519, item.identifier))
        for item in commitments
    }


def _commitment_share(commitment: Commitment, binding_factor: int) -> bytes:
    return _GROUP.add([commitment.hiding, _GROUP.multiple(commitment.binding, binding_factor)])


def _nonce(random_bytes: Secret, private_share: Secret) -> Secret:
    if len(random_bytes) != NONCE_RANDOM_BYTES:
        raise ValueError(f"a nonce is made from {NONCE_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    scalar = _to_scalar(_CONTEXT, b"nonce", random_bytes.reveal(), private_share.reveal())
    return Secret(scalar_bytes(Curve.ED25519, scalar))


def _scalar(secret: Secret) -> int:
    return int.from_bytes(secret.reveal(), "little")


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha512(b"".join(parts)).digest()


def _to_scalar(*parts: bytes) -> int:
    return int.from_bytes(_digest(*parts), "little") % _ORDER
