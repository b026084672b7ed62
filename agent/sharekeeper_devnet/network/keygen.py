"""Distributed key generation: every participant shares a fresh secret, the key is their sum (FROST paper, figure 1).

All participants deal and all get a share; one that fails or lies costs the attempt. Nobody knows the key, unless
a threshold of participants puts its shares together. As in every key generation without a commitment round, a
participant that deals last can choose among a few keys; it learns none of them.
"""

from collections.abc import Mapping

from sharekeeper_devnet.network.curves import RandomBelow
from sharekeeper_devnet.network.session import Session
from sharekeeper_devnet.network.sharing import Attempt, Dealing, deal


class AllParticipants:
    """The dealers of a key generation: everyone, with equal weight."""

    def __init__(self, attempt: Attempt) -> None:
        self._dealers = tuple(sorted(party.participant_id for party in attempt.dealers))

    def chosen(self, dealings: Mapping[int, Dealing]) -> tuple[int, ...] | None:
        """All of them, once all have dealt."""
        return self._dealers if set(self._dealers) <= dealings.keys() else None

    def suffices(self, _dealings: Mapping[int, Dealing], dealers: tuple[int, ...]) -> bool:
        """True for all of them."""
        return tuple(sorted(dealers)) == self._dealers

    def weights(self, dealers: tuple[int, ...]) -> Mapping[int, int]:
        """One each."""
        return dict.fromkeys(dealers, 1)

    def misfits(self, _dealings: Mapping[int, Dealing], _dealers: tuple[int, ...]) -> tuple[int, ...]:
        """Nobody: fresh secrets contradict nothing."""
        return ()


def key_generation(attempt: Attempt, own: int, random_below: RandomBelow) -> Session:
    """The part of participant `own` in that key generation. Raises `ValueError` if it is not one of them."""
    if attempt.dealers != attempt.recipients:
        raise ValueError("in a key generation all participants deal, and nobody else")
    if own not in {party.participant_id for party in attempt.dealers}:
        raise ValueError(f"participant {own} takes no part in this key generation")
    dealt = deal(attempt, own, None, random_below)
    return Session(attempt=attempt, rule=AllParticipants(attempt), own=own, dealt=dealt)
