"""Verifiable secret sharing (Feldman), with the proof of possession of the FROST paper (figure 1, round 1).

A dealer publishes commitments to its polynomial and a proof that it knows the constant term; each recipient checks
its share against them. Everything is bound to one `Attempt`: what was dealt for one serves for no other. Key
generation adds up fresh sharings of all participants, resharing those that holders make of their own shares
(`keygen.py`, `resharing.py`).

This file does no I/O. Random numbers are passed in.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sharekeeper.domain.identity import NetworkId, TlsKey
from sharekeeper.domain.keyset import Curve, KeyEventId, KeysetDigest, Sha256Hex
from sharekeeper.domain.keyshare import ORDER, KeyShare
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import (
    GROUPS,
    RandomBelow,
    evaluate,
    scalar_bytes,
    scalar_from_bytes,
    share_identifier,
)

_ATTEMPT_LABEL: Final = "sharekeeper-key-event-v1"
_AGREEMENT_LABEL: Final = b"sharekeeper-key-event-agreement-v1\n"
_PROOF_LABEL: Final = b"sharekeeper-key-event-possession-v1\n"


class SharingFault(ValueError):
    """A participant did not keep to the protocol; `culprit` is its participant id, the text says what is wrong."""

    def __init__(self, culprit: int, text: str) -> None:
        super().__init__(f"participant {culprit} {text}")
        self.culprit = culprit


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A machine that takes part: its participant id and the TLS key it proves."""

    participant_id: int
    tls_key: TlsKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of one key event, and everything that its messages are bound to.

    `keyset` is the keyset in force before it, `threshold` that of the new shares. In a key generation dealers and
    recipients are the same; in a resharing the dealers hold shares of the old epoch.
    """

    network: NetworkId
    key_event: KeyEventId
    curve: Curve
    keyset: KeysetDigest
    threshold: int
    dealers: tuple[Party, ...]
    recipients: tuple[Party, ...]

    def __post_init__(self) -> None:
        for parties in (self.dealers, self.recipients):
            if not parties or len({party.participant_id for party in parties}) != len(parties):
                raise ValueError("dealers and recipients are distinct participants, at least one of each")
        if not 1 <= self.threshold <= len(self.recipients):
            raise ValueError(f"a threshold of {self.threshold} does not fit {len(self.recipients)} recipients")

    def digest(self) -> Sha256Hex:
        """Names this attempt: SHA-256 over every field."""
        event = self.key_event
        lines = [
            _ATTEMPT_LABEL,
            *(self.network.chain_id, self.network.genesis_hash, self.network.contract_id),
            f"{event.epoch_id}:{event.domain_id}:{event.attempt_id}:{self.curve}:{self.threshold}",
            self.keyset,
            *(f"dealer {party.participant_id} {party.tls_key}" for party in self.dealers),
            *(f"recipient {party.participant_id} {party.tls_key}" for party in self.recipients),
        ]
        return Sha256Hex.of("".join(f"{line}\n" for line in lines).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealing:
    """The public half of a sharing: one commitment per coefficient, constant term first, and the proof of possession.

    The proof is a Schnorr signature: a point and a scalar (32 bytes).
    """

    commitments: tuple[bytes, ...]
    proof_point: bytes
    proof_scalar: bytes

    @property
    def constant(self) -> bytes:
        """The commitment to what is shared."""
        return self.commitments[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """A sharing as its dealer has it: the public half, and one share per recipient's participant id."""

    dealing: Dealing
    shares: Mapping[int, Secret]


def deal(attempt: Attempt, dealer: int, secret: Secret | None, random_below: RandomBelow) -> Dealt:
    """A sharing of `secret` (a scalar as a key share has it; None: a fresh one) among the attempt's recipients.

    The polynomial lives in this call alone.
    """
    curve, order = attempt.curve, ORDER[attempt.curve]
    identifiers = {party.participant_id: share_identifier(party.participant_id) for party in attempt.recipients}
    constant = 1 + random_below(order - 1) if secret is None else scalar_from_bytes(curve, secret.reveal())
    while True:
        coefficients = [constant, *(1 + random_below(order - 1) for _ in range(attempt.threshold - 1))]
        shares = {recipient: evaluate(coefficients, x, order) for recipient, x in identifiers.items()}
        if all(shares.values()):
            return Dealt(
                dealing=_dealing(attempt, dealer, coefficients, random_below),
                shares={recipient: Secret(scalar_bytes(curve, share)) for recipient, share in shares.items()},
            )


def check_dealing(attempt: Attempt, dealer: int, dealing: Dealing) -> None:
    """The dealing is well-formed and its dealer knows what it shares, for this attempt and under its own id.

    Not checked: that its shares fit, see `check_share`.

    Raises:
        SharingFault: the dealer, and what is wrong.
    """
    group = GROUPS[attempt.curve]
    if len(dealing.commitments) != attempt.threshold:
        raise SharingFault(dealer, f"committed to {len(dealing.commitments)} coefficients, not {attempt.threshold}")
    try:
        for point in (*dealing.commitments, dealing.proof_point):
            group.check(point)
        response = scalar_from_bytes(attempt.curve, dealing.proof_scalar)
        challenge = _challenge(attempt, dealer, dealing.constant, dealing.proof_point)
        owed = group.add([dealing.proof_point, group.multiple(dealing.constant, challenge)])
    except ValueError as error:
        raise SharingFault(dealer, f"committed to nonsense: {error}") from None
    if group.base_multiple(response) != owed:
        raise SharingFault(dealer, "did not prove that it knows what it shares in this attempt")


def check_share(attempt: Attempt, dealer: int, dealing: Dealing, recipient: int, share: Secret) -> None:
    """The share is the value of the committed polynomial for that recipient. Raises `SharingFault`."""
    group, x = GROUPS[attempt.curve], share_identifier(recipient)
    try:
        scalar = scalar_from_bytes(attempt.curve, share.reveal())
        powers = (pow(x, power, ORDER[attempt.curve]) for power in range(attempt.threshold))
        terms = [group.multiple(*term) for term in zip(dealing.commitments, powers, strict=True)]
        fits = group.base_multiple(scalar) == group.add(terms)
    except ValueError as error:
        raise SharingFault(dealer, f"sent no share: {error}") from None
    if not fits:
        raise SharingFault(dealer, "sent a share that does not fit its commitments")


def agreement_digest(attempt: Attempt, dealings: Mapping[int, Dealing]) -> Sha256Hex:
    """Names the attempt with those dealings by dealer: equal for all recipients who were dealt the same."""
    hashed = hashlib.sha256(_AGREEMENT_LABEL + attempt.digest().encode())
    for dealer in sorted(dealings):
        dealing = dealings[dealer]
        parts = (*dealing.commitments, dealing.proof_point, dealing.proof_scalar)
        hashed.update(b"\n" + str(dealer).encode() + b"".join(b":" + part.hex().encode() for part in parts))
    return Sha256Hex(hashed.hexdigest())


def combined_key(attempt: Attempt, dealings: Mapping[int, Dealing], weights: Mapping[int, int]) -> bytes:
    """The public key that those dealers make: the weighted sum of their constant terms. Raises `ValueError`."""
    group = GROUPS[attempt.curve]
    return group.add([group.multiple(dealings[dealer].constant, weight) for dealer, weight in weights.items()])


def combined_share(attempt: Attempt, shares: Mapping[int, Secret], weights: Mapping[int, int], key: bytes) -> KeyShare:
    """The recipient's key share: the weighted sum of one share per dealer. `key` is the public key it belongs to.

    Raises:
        ValueError: the shares are not those of exactly the weighted dealers, or add up to zero.
    """
    if shares.keys() != weights.keys():
        raise ValueError("a key share is made of one share of each chosen dealer")
    curve = attempt.curve
    total = sum(scalar_from_bytes(curve, share.reveal()) * weights[dealer] for dealer, share in shares.items())
    private = scalar_bytes(curve, total % ORDER[curve])
    scalar_from_bytes(curve, private)
    return KeyShare(key_id=attempt.key_event, curve=curve, private_share=Secret(private), public_key=key)


def _dealing(attempt: Attempt, dealer: int, coefficients: Sequence[int], random_below: RandomBelow) -> Dealing:
    group, order = GROUPS[attempt.curve], ORDER[attempt.curve]
    commitments = tuple(group.base_multiple(coefficient) for coefficient in coefficients)
    while True:
        nonce = 1 + random_below(order - 1)
        point = group.base_multiple(nonce)
        response = (nonce + coefficients[0] * _challenge(attempt, dealer, commitments[0], point)) % order
        if response:
            proof_scalar = scalar_bytes(attempt.curve, response)
            return Dealing(commitments=commitments, proof_point=point, proof_scalar=proof_scalar)


def _challenge(attempt: Attempt, dealer: int, constant: bytes, proof_point: bytes) -> int:
    text = f"{attempt.digest()}\n{dealer}\n{constant.hex()}\n{proof_point.hex()}\n"
    digest = hashlib.sha512(_PROOF_LABEL + text.encode()).digest()
    return 1 + int.from_bytes(digest, "big") % (ORDER[attempt.curve] - 1)
