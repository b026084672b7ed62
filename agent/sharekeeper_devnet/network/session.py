"""One node's part in one attempt of a key event: what it dealt, what came in, what it may say to whom.

A recipient goes through four steps, in this order:

1. it takes a `Dealing` of each dealer, checked at once;
2. the leader of the key event chooses the dealers that count (`choose`), the others adopt its choice (`adopt`):
   that is the `Agreement`, the dealers and the hash of all that they dealt;
3. every other recipient has to name the same agreement (`confirm`), so that nobody was dealt something else;
4. it takes its share of each chosen dealer, checked against the dealing, and adds them up (`key_share`).

A node hands out a share only to a recipient, and if it is one itself only after its own step 2: by then every
dealer it counts is committed. What does not fit raises `SharingFault`, which names the participant; then the
attempt is lost. No I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.sharing import (
    Attempt,
    Dealing,
    Dealt,
    SharingFault,
    agreement_digest,
    check_dealing,
    check_share,
    combined_key,
    combined_share,
)


class NotYet(Exception):  # no fault of anyone
    """What is asked for will be there later in the attempt; the text says what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The dealers that count, by participant id in ascending order, and the digest of attempt and dealings."""

    dealers: tuple[int, ...]
    digest: Sha256Hex


class DealerRule(Protocol):
    """What key generation and resharing differ in: which dealers make the key, and what each weighs in it.

    Dealers are participant ids; dealings are by dealer, each checked.
    """

    def chosen(self, dealings: Mapping[int, Dealing]) -> tuple[int, ...] | None:
        """Dealers that suffice, or None while there are none."""

    def suffices(self, dealings: Mapping[int, Dealing], dealers: tuple[int, ...]) -> bool:
        """True when those dealers together make the key that is wanted."""

    def weights(self, dealers: tuple[int, ...]) -> Mapping[int, int]:
        """The factor of each dealer's sharing in the new key, each in 1..order-1."""

    def misfits(self, dealings: Mapping[int, Dealing], dealers: tuple[int, ...]) -> tuple[int, ...]:
        """Those whose dealing contradicts the dealings of `dealers`."""


class Session:
    """`own` is this node's participant id, `dealt` its sharing.

    A node that does not deal has no `dealt`, one that only deals is no recipient and takes no steps.
    """

    def __init__(self, *, attempt: Attempt, rule: DealerRule, own: int, dealt: Dealt | None) -> None:
        self.attempt = attempt
        self._rule = rule
        self.own = own
        self.dealt = dealt
        self.is_recipient = own in self.recipients
        self.dealings: dict[int, Dealing] = {} if dealt is None else {own: dealt.dealing}
        self._agreement: Agreement | None = None
        self._confirmed: set[int] = set()
        self._shares: dict[int, Secret] = {}

    @property
    def dealers(self) -> frozenset[int]:
        """Participant ids of all who may deal in this attempt."""
        return frozenset(party.participant_id for party in self.attempt.dealers)

    @property
    def recipients(self) -> frozenset[int]:
        """Participant ids of all who get a share of the new key."""
        return frozenset(party.participant_id for party in self.attempt.recipients)

    @property
    def leader(self) -> int:
        """The recipient that chooses the dealers: the lowest participant id, as on the contract."""
        return min(self.recipients)

    # --- what this node answers -------------------------------------------------------------------

    def dealing(self) -> Dealing:
        """The public half of this node's sharing. Raises `NotYet` when it has none."""
        if self.dealt is None:
            raise NotYet("this node does not deal in this attempt")
        return self.dealt.dealing

    def agreement(self) -> Agreement:
        """What this node holds the others to. Raises `NotYet` before it has chosen or adopted."""
        if self._agreement is None:
            raise NotYet("this node waits for dealings")
        return self._agreement

    def share_for(self, recipient: int) -> Secret:
        """The share this node dealt to that recipient. Raises `NotYet`."""
        if self.is_recipient:
            self.agreement()
        if self.dealt is None or recipient not in self.dealt.shares:
            raise NotYet("no share was dealt to you")
        return self.dealt.shares[recipient]

    # --- what this node takes -----------------------------------------------------------------------

    def take_dealing(self, dealer: int, dealing: Dealing) -> None:
        """The dealing counts as that dealer's. Raises `SharingFault`."""
        self._check_is(dealer, self.dealers, "does not deal in this attempt")
        check_dealing(self.attempt, dealer, dealing)
        if self.dealings.setdefault(dealer, dealing) != dealing:
            raise SharingFault(dealer, "dealt twice in this attempt")

    def choose(self) -> bool:
        """As leader: True once there is an agreement; `misfits` names whom it passed over."""
        if self._agreement is None and (chosen := self._rule.chosen(self.dealings)) is not None:
            self._agree(chosen)
        return self._agreement is not None

    def adopt(self, agreement: Agreement) -> bool:
        """This node agrees with its leader; False while dealings it counts are not in yet. Raises `SharingFault`."""
        if len(set(agreement.dealers)) != len(agreement.dealers) or not set(agreement.dealers) <= self.dealers:
            raise SharingFault(self.leader, "chose dealers that are none")
        if not set(agreement.dealers) <= self.dealings.keys():
            return False
        if not self._rule.suffices(self.dealings, agreement.dealers):
            raise SharingFault(self.leader, "chose dealers that do not make the key")
        self._agree(agreement.dealers)
        self.confirm(self.leader, agreement)
        return True

    def confirm(self, recipient: int, agreement: Agreement) -> None:
        """That recipient has the same agreement. Raises `SharingFault`, which names it: it or a dealer lies."""
        self._check_is(recipient, self.recipients, "gets no share in this attempt")
        if agreement != self.agreement():
            raise SharingFault(recipient, "was dealt something else than this node: it or a dealer lies")
        self._confirmed.add(recipient)

    def take_share(self, dealer: int, share: Secret) -> None:
        """The share is what that dealer committed to. Raises `SharingFault`."""
        self._check_is(dealer, frozenset(self.agreement().dealers), "is no dealer that counts")
        check_share(self.attempt, dealer, self.dealings[dealer], self.own, share)
        self._shares[dealer] = share

    def key_share(self) -> KeyShare:
        """This node's share of the key.

        Raises:
            NotYet: a recipient has not confirmed the agreement, or a share is missing.
            SharingFault: the shares add up to nothing.
        """
        dealers = self.agreement().dealers
        if self.own in dealers and self.dealt is not None:
            self._shares[self.own] = self.dealt.shares[self.own]
        if missing := sorted(self.recipients - self._confirmed - {self.own}):
            raise NotYet(f"participants {missing} have not confirmed the dealings")
        if missing := sorted(set(dealers) - self._shares.keys()):
            raise NotYet(f"shares of the dealers {missing} are missing")
        try:
            weights = self._rule.weights(dealers)
            return combined_share(
                self.attempt, self._shares, weights, combined_key(self.attempt, self.dealings, weights)
            )
        except ValueError as error:
            raise SharingFault(self.leader, f"chose dealings that are no key: {error}") from None

    def misfits(self) -> tuple[int, ...]:
        """Dealers whose dealing contradicts the agreement: they share something else than they should."""
        return self._rule.misfits(self.dealings, self.agreement().dealers)

    def _agree(self, dealers: tuple[int, ...]) -> None:
        counted = {dealer: self.dealings[dealer] for dealer in dealers}
        self._agreement = Agreement(dealers=tuple(sorted(dealers)), digest=agreement_digest(self.attempt, counted))

    def _check_is(self, participant: int, group: frozenset[int], otherwise: str) -> None:
        if participant not in group:
            raise SharingFault(participant, otherwise)
