"""Resharing, in memory: another set and threshold, the same key, and nobody ever holds it."""

import itertools
from dataclasses import replace

import pytest

from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import ORDER
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS, lagrange, scalar_bytes, scalar_from_bytes, share_identifier
from sharekeeper_devnet.network.session import Agreement, NotYet
from sharekeeper_devnet.network.shares import verifies
from sharekeeper_devnet.network.sharing import Dealing, SharingFault
from tests.network.attempts import generated, play, public_key_of, resharing_of
from tests.network.test_keygen import sign


@pytest.mark.parametrize("curve", list(Curve))
def test_the_new_shares_of_a_larger_set_and_threshold_are_of_the_same_key(curve: Curve) -> None:
    old = generated(curve, (0, 1, 2), 2)
    new = play(resharing_of(old, old_threshold=2, recipients=(0, 1, 2, 3), threshold=3))
    for holders in itertools.combinations(new, 3):
        assert public_key_of(new, holders) == old[0].public_key
    assert public_key_of(new, (0, 3)) != old[0].public_key
    assert {share.public_key for share in new.values()} == {old[0].public_key}
    mixed = {0: old[0], 1: new[1]}
    assert public_key_of(mixed, (0, 1)) != old[0].public_key


@pytest.mark.parametrize(
    ("recipients", "threshold", "living"),
    [
        ((1, 2), 1, (0, 1, 2)),  # smaller, lower
        ((0, 1, 2), 2, (0, 1, 2)),  # refreshed
        ((2, 3, 4), 2, (0, 2)),  # one holder stays, one that leaves deals, one is dead
        ((3, 4, 5), 3, (1, 2)),  # nobody stays
    ],
)
def test_any_old_threshold_of_holders_reshapes_the_network(recipients, threshold, living) -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    new = play(resharing_of(old, old_threshold=2, recipients=recipients, threshold=threshold, dealers=living))
    assert sorted(new) == sorted(recipients)
    assert verifies(old[0].public_key, b"hello", sign(new, tuple(recipients[:threshold]), b"hello"))


def test_resharing_again_and_back_keeps_the_key() -> None:
    shares = generated(Curve.SECP256K1, (0, 1, 2), 2)
    key = shares[0].public_key
    for recipients, old_threshold, threshold in [((0, 1, 2, 3), 2, 3), ((1, 3, 4), 3, 2), ((1, 2), 2, 2)]:
        shares = play(resharing_of(shares, old_threshold=old_threshold, recipients=recipients, threshold=threshold))
        assert public_key_of(shares, recipients[:threshold]) == key


def test_nothing_that_any_participant_has_is_the_key() -> None:
    """Whatever one session holds or was sent, and any weighted sum of the shares it was dealt: not the secret."""
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    sessions = resharing_of(old, old_threshold=2, recipients=(0, 1, 2, 3), threshold=3)
    new = play(sessions)
    secret = (
        sum(
            lagrange(Curve.ED25519, share_identifier(each), [1, 2]) * number(old[each].private_share) for each in (0, 1)
        )
        % ORDER[Curve.ED25519]
    )
    assert GROUPS[Curve.ED25519].base_multiple(secret) == old[0].public_key
    for own, session in sessions.items():
        held = {number(share) for share in session._shares.values()} | {number(new[own].private_share)}
        if session.dealt is not None:
            held |= {number(share) for share in session.dealt.shares.values()} | {number(old[own].private_share)}
        assert secret not in held
        assert all(
            (first + second) % ORDER[Curve.ED25519] != secret for first, second in itertools.combinations(held, 2)
        )


def number(share: Secret) -> int:
    return scalar_from_bytes(Curve.ED25519, share.reveal())


# --- every lie has a name ---------------------------------------------------------------------------


def test_a_holder_that_shares_something_else_is_passed_over_and_named() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    forged = {**old, 1: replace(old[1], private_share=Secret(scalar_bytes(Curve.ED25519, 7)))}
    sessions = resharing_of(forged, old_threshold=2, recipients=(0, 1, 3), threshold=2)
    new = play(sessions)
    assert sessions[0].agreement().dealers == (0, 2)
    assert sessions[0].misfits() == (1,)
    assert public_key_of(new, (1, 3)) == old[0].public_key


def test_too_few_true_holders_make_no_agreement() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 3)
    forged = {**old, 1: replace(old[1], private_share=Secret(scalar_bytes(Curve.ED25519, 7)))}
    sessions = resharing_of(forged, old_threshold=3, recipients=(0, 1, 3), threshold=2)
    for dealer in (1, 2):
        sessions[0].take_dealing(dealer, sessions[dealer].dealing())
    assert not sessions[0].choose()


def test_a_leader_that_chooses_dealers_of_another_key_is_named() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    forged = {**old, 1: replace(old[1], private_share=Secret(scalar_bytes(Curve.ED25519, 7)))}
    sessions = resharing_of(forged, old_threshold=2, recipients=(0, 3), threshold=2)
    for dealer in (0, 1, 2):
        sessions[3].take_dealing(dealer, sessions[dealer].dealing())
    for dealers in ((0, 1), (0, 1, 2), (2,)):
        with pytest.raises(SharingFault, match="participant 0 chose dealers that do not make the key"):
            sessions[3].adopt(Agreement(dealers=dealers, digest=sessions[3].attempt.digest()))


def test_another_attempt_prefers_other_dealers() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    chosen = set()
    for number_of_attempt in range(3):
        sessions = resharing_of(old, old_threshold=2, recipients=(0, 1), threshold=2, number=number_of_attempt)
        play(sessions)
        chosen.add(sessions[0].agreement().dealers)
    assert chosen == {(0, 1), (1, 2), (0, 2)}


def test_a_wrong_sub_share_names_its_dealer() -> None:
    old = generated(Curve.BLS12381, (0, 1, 2), 2)

    def twist(sender: int, receiver: int, said: object) -> object:
        wrong = (sender, receiver) == (1, 3) and isinstance(said, Secret)
        return Secret(scalar_bytes(Curve.BLS12381, 7)) if wrong else said

    with pytest.raises(SharingFault, match="participant 1 sent a share that does not fit"):
        play(resharing_of(old, old_threshold=2, recipients=(0, 1, 3), threshold=2), twist)


def test_a_dealing_of_the_attempt_before_is_refused() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    before = resharing_of(old, old_threshold=2, recipients=(0, 1), threshold=2, number=0)
    now = resharing_of(old, old_threshold=2, recipients=(0, 1), threshold=2, number=1)

    def twist(sender: int, _receiver: int, said: object) -> object:
        return before[1].dealing() if sender == 1 and isinstance(said, Dealing) else said

    with pytest.raises(SharingFault, match="participant 1 did not prove"):
        play(now, twist)


def test_a_leader_that_has_chosen_keeps_to_it_whatever_comes_in_later() -> None:
    """It has handed out shares for that choice: another one would give out more than is needed for a key."""
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    sessions = resharing_of(old, old_threshold=2, recipients=(0, 3), threshold=2)
    sessions[0].take_dealing(2, sessions[2].dealing())
    assert sessions[0].choose()
    agreed = sessions[0].agreement()
    assert agreed.dealers == (0, 2)
    sessions[0].take_dealing(1, sessions[1].dealing())
    assert sessions[0].choose()
    assert sessions[0].agreement() == agreed
    fresh = resharing_of(old, old_threshold=2, recipients=(0, 3), threshold=2)[0]
    for dealer in (1, 2):
        fresh.take_dealing(dealer, sessions[dealer].dealing())
    assert fresh.choose()
    assert fresh.agreement().dealers == (0, 1), "with all of them it prefers the other"


def test_a_follower_waits_for_the_dealings_its_leader_counts() -> None:
    old = generated(Curve.ED25519, (0, 1, 2), 2)
    sessions = resharing_of(old, old_threshold=2, recipients=(0, 3), threshold=2)
    for dealer in (1, 2):
        sessions[0].take_dealing(dealer, sessions[dealer].dealing())
    assert sessions[0].choose()
    assert not sessions[3].adopt(sessions[0].agreement())
    for dealer in sessions[0].agreement().dealers:
        sessions[3].take_dealing(dealer, sessions[dealer].dealing())
    assert sessions[3].adopt(sessions[0].agreement())


def test_a_new_participant_without_an_old_share_does_not_deal() -> None:
    old = generated(Curve.ED25519, (0, 1), 2)
    sessions = resharing_of(old, old_threshold=2, recipients=(0, 3), threshold=2)
    with pytest.raises(NotYet, match="does not deal"):
        sessions[3].dealing()
