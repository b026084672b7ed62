"""Distributed key generation, in memory: the shares are of one key that nobody knows, and every lie has a name."""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from sharekeeper.domain.keyset import Curve, Sha256Hex
from sharekeeper.domain.keyshare import ORDER, KeyShare
from sharekeeper.secret import Secret
from sharekeeper_devnet.network import sharing
from sharekeeper_devnet.network.curves import GROUPS, scalar_bytes, share_identifier
from sharekeeper_devnet.network.frost import SigningRound, aggregate
from sharekeeper_devnet.network.keygen import key_generation
from sharekeeper_devnet.network.session import Agreement, NotYet
from sharekeeper_devnet.network.shares import fresh_nonces, verifies, verifying_share
from sharekeeper_devnet.network.sharing import Dealing, SharingFault, check_dealing, deal
from tests.network.attempts import attempt_of, generated, generation, parties, play, public_key_of


def sign(shares: dict[int, KeyShare], holders: tuple[int, ...], message: bytes) -> bytes:
    nonces = {
        share_identifier(each): fresh_nonces(shares[each], share_identifier(each), secrets.token_bytes)
        for each in holders
    }
    signing_round = SigningRound.of(
        message=message,
        group_key=shares[holders[0]].public_key,
        commitments=[item.commitment for item in nonces.values()],
    )
    return aggregate(
        signing_round,
        {identifier: item.sign(signing_round) for identifier, item in nonces.items()},
        {share_identifier(each): verifying_share(shares[each]) for each in holders},
    )


@pytest.mark.parametrize("curve", list(Curve))
def test_every_threshold_of_generated_shares_is_of_the_one_public_key(curve: Curve) -> None:
    shares = generated(curve, (0, 1, 2, 5), 3)
    (key,) = {share.public_key for share in shares.values()}
    for holders in itertools.combinations(shares, 3):
        assert public_key_of(shares, holders) == key
    assert public_key_of(shares, (0, 1)) != key
    assert len({share.private_share.reveal() for share in shares.values()}) == 4


@pytest.mark.parametrize("holders", [(0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_any_threshold_of_generated_shares_signs_under_the_public_key(holders: tuple[int, ...]) -> None:
    shares = generated(Curve.ED25519, (0, 1, 2), 2)
    assert verifies(shares[0].public_key, b"hello", sign(shares, holders, b"hello"))


@pytest.mark.parametrize(("ids", "threshold"), [((7,), 1), ((0, 1), 2), ((0, 1, 2), 1), ((0, 1, 2), 3)])
def test_a_network_of_any_size_and_threshold_generates(ids: tuple[int, ...], threshold: int) -> None:
    shares = generated(Curve.SECP256K1, ids, threshold)
    assert public_key_of(shares, ids[:threshold]) == shares[ids[0]].public_key


def test_two_attempts_make_two_keys() -> None:
    first, second = generated(Curve.ED25519, (0, 1), 2), generated(Curve.ED25519, (0, 1), 2)
    assert first[0].public_key != second[0].public_key


# --- every lie has a name ---------------------------------------------------------------------------


def wrong_share(curve: Curve) -> Secret:
    return Secret(scalar_bytes(curve, 1 + secrets.randbelow(ORDER[curve] - 1)))


@pytest.mark.parametrize("curve", list(Curve))
def test_a_wrong_share_names_its_dealer(curve: Curve) -> None:
    def twist(sender: int, receiver: int, said: object) -> object:
        return wrong_share(curve) if (sender, receiver) == (2, 0) and isinstance(said, Secret) else said

    with pytest.raises(SharingFault, match="participant 2 sent a share that does not fit its commitments"):
        play(generation(curve), twist)


@pytest.mark.parametrize("share", [bytes(32), b"\xff" * 32, b"\x01"])
def test_a_share_that_is_no_scalar_names_its_dealer(share: bytes) -> None:
    def twist(sender: int, _receiver: int, said: object) -> object:
        return Secret(share) if sender == 1 and isinstance(said, Secret) else said

    with pytest.raises(SharingFault, match="participant 1 sent no share") as caught:
        play(generation(), twist)
    assert caught.value.culprit == 1


def test_a_share_for_another_recipient_is_refused() -> None:
    sessions = generation()

    def twist(sender: int, receiver: int, said: object) -> object:
        swapped = (sender, receiver) == (1, 0) and isinstance(said, Secret)
        return sessions[1].share_for(2) if swapped else said

    with pytest.raises(SharingFault, match="participant 1 sent a share that does not fit"):
        play(sessions, twist)


def test_a_dealer_that_tells_two_recipients_two_things_is_found_out_before_any_share_counts() -> None:
    sessions = generation()
    other = generation()[2].dealing()

    def twist(sender: int, receiver: int, said: object) -> object:
        return other if (sender, receiver) == (2, 1) and isinstance(said, Dealing) else said

    with pytest.raises(SharingFault, match="dealt something else than this node: it or a dealer lies"):
        play(sessions, twist)
    for session in sessions.values():
        with pytest.raises(NotYet):
            session.key_share()


def test_a_dealer_that_deals_twice_is_refused() -> None:
    sessions, again = generation(), generation()
    sessions[0].take_dealing(1, sessions[1].dealing())
    sessions[0].take_dealing(1, sessions[1].dealing())
    with pytest.raises(SharingFault, match="participant 1 dealt twice"):
        sessions[0].take_dealing(1, again[1].dealing())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda made: replace(made, commitments=made.commitments[:1]), "committed to 1 coefficients, not 2"),
        (lambda made: replace(made, commitments=(*made.commitments, made.constant)), "committed to 3 coeff"),
        (lambda made: replace(made, commitments=made.commitments[::-1]), "did not prove"),
        (lambda made: replace(made, proof_scalar=b"\x01" + bytes(31)), "did not prove"),
        (lambda made: replace(made, proof_scalar=bytes(32)), "nonsense: not a scalar"),
        (lambda made: replace(made, proof_point=b"\x01" + bytes(31)), "nonsense: not a point"),
        (lambda made: replace(made, commitments=(b"", b"")), "nonsense: not a point"),
    ],
)
def test_wrong_commitments_name_their_dealer(change, reason: str) -> None:
    sessions = generation()
    with pytest.raises(SharingFault, match=f"participant 1 .*{reason}"):
        sessions[0].take_dealing(1, change(sessions[1].dealing()))


def test_a_dealing_of_another_attempt_key_event_set_or_dealer_is_refused() -> None:
    ids = (0, 1, 2)
    first = attempt_of(Curve.ED25519, dealers=ids, recipients=ids, threshold=2)
    dealing = deal(first, 1, None, secrets.randbelow).dealing
    check_dealing(first, 1, dealing)
    others = [
        replace(first, key_event=replace(first.key_event, attempt_id=1)),
        replace(first, key_event=replace(first.key_event, epoch_id=6)),
        replace(first, key_event=replace(first.key_event, domain_id=1)),
        replace(first, keyset=type(first.keyset)("11" * 32)),
        replace(first, network=replace(first.network, genesis_hash="other")),
        replace(first, dealers=parties((0, 1, 3))),
        replace(first, dealers=tuple(replace(party, tls_key=parties((9,))[0].tls_key) for party in parties((0,)))
                + parties((1, 2))),
        replace(first, recipients=tuple(replace(party, tls_key=parties((9,))[0].tls_key) for party in parties((0,)))
                + parties((1, 2))),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(
            SharingFault, match="participant 1 did not prove that it knows what it shares in this attempt"
        ):
            check_dealing(other, 1, dealing)
    with pytest.raises(SharingFault, match="participant 2 did not prove"):
        check_dealing(first, 2, dealing)


def test_a_constant_chosen_to_cancel_the_others_is_refused() -> None:
    """The rogue-key attack: a last dealer that subtracts the others' commitments knows no secret of its own."""
    sessions = generation(Curve.SECP256K1, (0, 1), 1)
    honest = sessions[0].dealing()
    negated = bytes([honest.constant[0] ^ 1]) + honest.constant[1:]
    wanted = GROUPS[Curve.SECP256K1].add([GROUPS[Curve.SECP256K1].base_multiple(5), negated])
    forged = replace(sessions[1].dealing(), commitments=(wanted,))
    with pytest.raises(SharingFault, match="participant 1 did not prove"):
        sessions[0].take_dealing(1, forged)


def test_a_proof_fitted_to_a_challenge_known_before_it_is_refused() -> None:
    """Who could choose the point after the challenge would prove whatever it likes."""
    ids, group = (0, 1), GROUPS[Curve.ED25519]
    attempt = attempt_of(Curve.ED25519, dealers=ids, recipients=ids, threshold=2)
    dealing = deal(attempt, 1, None, secrets.randbelow).dealing
    challenge = sharing._challenge(attempt, 1, dealing.constant, dealing.proof_point)
    fitted = group.multiple(dealing.constant, ORDER[Curve.ED25519] - challenge)
    forged = replace(
        dealing,
        proof_point=group.add([group.base_multiple(7), fitted]),
        proof_scalar=scalar_bytes(Curve.ED25519, 7),
    )
    with pytest.raises(SharingFault, match="participant 1 did not prove"):
        check_dealing(attempt, 1, forged)


def test_a_dealer_that_differs_in_a_later_coefficient_only_is_found_out_too() -> None:
    sessions, other = generation(), generation()[2].dealing()

    def twist(sender: int, receiver: int, said: object) -> object:
        if (sender, receiver) != (2, 1) or not isinstance(said, Dealing):
            return said
        return replace(said, commitments=(said.constant, *other.commitments[1:]))

    with pytest.raises(SharingFault, match="dealt something else than this node: it or a dealer lies"):
        play(sessions, twist)


def test_a_leader_whose_agreement_has_another_digest_is_named_by_who_adopts_it() -> None:
    sessions = generation()
    for other in (0, 2):
        sessions[1].take_dealing(other, sessions[other].dealing())
    with pytest.raises(SharingFault, match="participant 0 was dealt something else"):
        sessions[1].adopt(Agreement(dealers=(0, 1, 2), digest=Sha256Hex("00" * 32)))


@pytest.mark.parametrize("dealers", [(), (0, 0, 1)])
def test_no_party_or_the_same_twice_is_no_attempt(dealers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distinct participants, at least one of each"):
        attempt_of(Curve.ED25519, dealers=dealers, recipients=(0, 1), threshold=2)


def test_a_key_share_of_other_dealers_than_those_weighted_is_refused() -> None:
    attempt = generation()[0].attempt
    with pytest.raises(ValueError, match="one share of each chosen dealer"):
        sharing.combined_share(attempt, {0: wrong_share(Curve.ED25519)}, {0: 1, 1: 1}, b"")


def test_too_few_dealers_make_no_key() -> None:
    sessions = generation()
    sessions[0].take_dealing(1, sessions[1].dealing())
    assert not sessions[0].choose()
    with pytest.raises(NotYet, match="waits for dealings"):
        sessions[0].agreement()


@pytest.mark.parametrize(
    ("dealers", "reason"), [((0, 1), "do not make the key"), ((0, 1, 1), "are none"), ((0, 1, 9), "are none")]
)
def test_a_leader_that_leaves_a_dealer_out_is_named(dealers: tuple[int, ...], reason: str) -> None:
    sessions = generation()
    for other in (0, 2):
        sessions[1].take_dealing(other, sessions[other].dealing())
    with pytest.raises(SharingFault, match=f"participant 0 chose dealers that {reason}"):
        sessions[1].adopt(Agreement(dealers=dealers, digest=Sha256Hex("00" * 32)))


def test_a_share_is_handed_out_only_after_every_dealer_is_committed() -> None:
    sessions = generation()
    with pytest.raises(NotYet):
        sessions[0].share_for(1)
    play(sessions)
    assert len(sessions[0].share_for(1)) == 32
    with pytest.raises(NotYet, match="no share was dealt to you"):
        sessions[0].share_for(9)


def test_a_key_share_needs_every_confirmation_and_every_share() -> None:
    sessions = generation()
    for own, other in itertools.permutations(sessions, 2):
        sessions[own].take_dealing(other, sessions[other].dealing())
    assert sessions[0].choose()
    assert sessions[1].adopt(sessions[0].agreement())
    assert sessions[2].adopt(sessions[0].agreement())
    with pytest.raises(NotYet, match=r"participants \[1, 2\] have not confirmed"):
        sessions[0].key_share()
    for other in (1, 2):
        sessions[0].confirm(other, sessions[other].agreement())
    with pytest.raises(NotYet, match=r"shares of the dealers \[1, 2\] are missing"):
        sessions[0].key_share()


def test_dealings_that_cancel_each_other_out_are_no_key() -> None:
    attempt = generation(ids=(0, 1))[0].attempt
    order = ORDER[Curve.ED25519]

    def dealing_constant(constant: int) -> Callable[[int], int]:
        first = iter((constant - 1,))
        return lambda limit: next(first, None) or secrets.randbelow(limit)

    sessions = {
        own: key_generation(attempt, own, dealing_constant(constant)) for own, constant in ((0, 5), (1, order - 5))
    }
    with pytest.raises(SharingFault, match="participant 0 chose dealings that are no key"):
        play(sessions)


def test_strangers_neither_deal_nor_confirm_nor_take_part() -> None:
    sessions = generation()
    with pytest.raises(SharingFault, match="participant 7 does not deal"):
        sessions[0].take_dealing(7, sessions[1].dealing())
    play(sessions)
    with pytest.raises(SharingFault, match="participant 7 gets no share"):
        sessions[0].confirm(7, sessions[1].agreement())
    with pytest.raises(SharingFault, match="participant 7 is no dealer that counts"):
        sessions[0].take_share(7, sessions[1].share_for(0))
    with pytest.raises(ValueError, match="takes no part"):
        key_generation(sessions[0].attempt, 7, secrets.randbelow)
    with pytest.raises(ValueError, match="all participants deal"):
        key_generation(replace(sessions[0].attempt, dealers=parties((0, 1))), 0, secrets.randbelow)


@pytest.mark.parametrize("threshold", [0, 4])
def test_a_threshold_that_does_not_fit_is_no_attempt(threshold: int) -> None:
    with pytest.raises(ValueError, match="does not fit 3 recipients"):
        attempt_of(Curve.ED25519, dealers=(0, 1, 2), recipients=(0, 1, 2), threshold=threshold)


def test_no_secret_is_in_the_text_of_a_session_or_fault() -> None:
    sessions = generation()
    shares = play(sessions)
    told = repr((sessions[0].dealt, shares[0], sessions[0].attempt))
    for secret in (*sessions[0].dealt.shares.values(), shares[0].private_share):
        assert secret.reveal().hex() not in told
        assert repr(secret.reveal()) not in told
