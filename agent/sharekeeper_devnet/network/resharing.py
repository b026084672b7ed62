"""Resharing: holders of the old shares share them anew among the new participants; the key stays what it is.

Each old holder deals a sharing of its own share. Of any old threshold of holders these sharings, each weighted
with its Lagrange coefficient, add up to a sharing of the key under the new threshold. Nobody ever holds the key:
a new participant gets one sub-share of each dealer. That a dealer shares its old share and nothing else shows in the
constant terms: those of the chosen dealers have to interpolate to the public key.
"""

import itertools
from collections.abc import Mapping

from sharekeeper.domain.keyset import Curve
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import RandomBelow, interpolate, lagrange, share_identifier
from sharekeeper_devnet.network.session import Session
from sharekeeper_devnet.network.sharing import Attempt, Dealing, deal


class OldThreshold:
    """The dealers of a resharing: any `threshold` holders whose dealt shares make the public key.

    `public_key` as a key share carries it. Among several sets the attempt id decides, so that a holder that spoils
    one attempt does not spoil all.
    """

    def __init__(self, attempt: Attempt, threshold: int, public_key: bytes) -> None:
        self._curve: Curve = attempt.curve
        self._threshold = threshold
        self._public_key = public_key
        ids = sorted(party.participant_id for party in attempt.dealers)
        turn = attempt.key_event.attempt_id % len(ids)
        self._preference = (*ids[turn:], *ids[:turn])

    def chosen(self, dealings: Mapping[int, Dealing]) -> tuple[int, ...] | None:
        """The first set in order of preference that suffices."""
        present = [dealer for dealer in self._preference if dealer in dealings]
        sets = itertools.combinations(present, self._threshold)
        return next((dealers for dealers in sets if self.suffices(dealings, dealers)), None)

    def suffices(self, dealings: Mapping[int, Dealing], dealers: tuple[int, ...]) -> bool:
        """True for exactly threshold dealers whose constant terms interpolate to the public key."""
        return len(dealers) == self._threshold and self._constant_at(dealings, dealers, 0) == self._public_key

    def weights(self, dealers: tuple[int, ...]) -> Mapping[int, int]:
        """The Lagrange coefficient of each."""
        points = [share_identifier(dealer) for dealer in dealers]
        return {dealer: lagrange(self._curve, share_identifier(dealer), points) for dealer in dealers}

    def misfits(self, dealings: Mapping[int, Dealing], dealers: tuple[int, ...]) -> tuple[int, ...]:
        """Dealers that shared something else than their old share, seen from the chosen ones."""
        return tuple(
            dealer
            for dealer, dealing in dealings.items()
            if self._constant_at(dealings, dealers, share_identifier(dealer)) != dealing.constant
        )

    def _constant_at(self, dealings: Mapping[int, Dealing], dealers: tuple[int, ...], at: int) -> bytes | None:
        points = {share_identifier(dealer): dealings[dealer].constant for dealer in dealers}
        try:
            return interpolate(self._curve, points, at)
        except ValueError:  # they add up to the identity: they are shares of no key
            return None


def resharing(
    attempt: Attempt,
    *,
    own: int,
    old_share: Secret | None,
    old_threshold: int,
    public_key: bytes,
    random_below: RandomBelow,
) -> Session:
    """The part of participant `own` in that resharing; it deals when it has an old share of that `public_key`."""
    is_dealer = own in {party.participant_id for party in attempt.dealers}
    dealt = deal(attempt, own, old_share, random_below) if is_dealer and old_share is not None else None
    rule = OldThreshold(attempt, old_threshold, public_key)
    return Session(attempt=attempt, rule=rule, own=own, dealt=dealt)
