"""FROST(Ed25519, SHA-512) against RFC 9591, appendix E.1, and against an independent Ed25519 verifier."""

import json
import secrets
from pathlib import Path

import nacl.exceptions
import nacl.signing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import ORDER
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS, interpolate, scalar_bytes, scalar_from_bytes, split
from sharekeeper_devnet.network.frost import (
    Commitment,
    NoncesSpent,
    SharesInvalid,
    SigningNonces,
    SigningRound,
    aggregate,
    share_is_valid,
)

ED = Curve.ED25519
VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "frost_ed25519_sha512.json").read_text())
INPUTS = VECTOR["inputs"]
SIGNERS = INPUTS["participant_list"]
GROUP_KEY = bytes.fromhex(INPUTS["group_public_key"])
MESSAGE = bytes.fromhex(INPUTS["message"])


def vector_share(identifier: int) -> bytes:
    return bytes.fromhex(INPUTS["participant_shares"][str(identifier)])


def vector_nonces(identifier: int) -> SigningNonces:
    values = VECTOR["round_one"][str(identifier)]
    return SigningNonces(
        identifier=identifier,
        private_share=Secret(vector_share(identifier)),
        hiding=Secret.from_hex(values["hiding_nonce_randomness"]),
        binding=Secret.from_hex(values["binding_nonce_randomness"]),
    )


def vector_round() -> tuple[dict[int, SigningNonces], SigningRound]:
    nonces = {identifier: vector_nonces(identifier) for identifier in SIGNERS}
    commitments = [item.commitment for item in nonces.values()]
    return nonces, SigningRound.of(message=MESSAGE, group_key=GROUP_KEY, commitments=commitments)


def verifying(shares: dict[int, int]) -> dict[int, bytes]:
    return {x: GROUPS[ED].base_multiple(share) for x, share in shares.items()}


def fresh_nonces(identifier: int, share: int) -> SigningNonces:
    return SigningNonces(
        identifier=identifier,
        private_share=Secret(scalar_bytes(ED, share)),
        hiding=Secret(secrets.token_bytes(32)),
        binding=Secret(secrets.token_bytes(32)),
    )


def sign(shares: dict[int, int], group_key: bytes, message: bytes) -> bytes:
    nonces = {x: fresh_nonces(x, share) for x, share in shares.items()}
    commitments = [item.commitment for item in nonces.values()]
    signing_round = SigningRound.of(message=message, group_key=group_key, commitments=commitments)
    return aggregate(signing_round, {x: item.sign(signing_round) for x, item in nonces.items()}, verifying(shares))


def verifies(group_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        nacl.signing.VerifyKey(group_key).verify(message, signature)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


@pytest.mark.parametrize("identifier", SIGNERS)
def test_nonces_and_commitments_are_those_of_the_rfc(identifier: int) -> None:
    nonces, expected = vector_nonces(identifier), VECTOR["round_one"][str(identifier)]
    assert [nonce.reveal().hex() for nonce in nonces._nonces] == [expected["hiding_nonce"], expected["binding_nonce"]]
    assert nonces.commitment.hiding.hex() == expected["hiding_nonce_commitment"]
    assert nonces.commitment.binding.hex() == expected["binding_nonce_commitment"]


@pytest.mark.parametrize("identifier", SIGNERS)
def test_binding_factors_are_those_of_the_rfc(identifier: int) -> None:
    _, signing_round = vector_round()
    found = scalar_bytes(ED, signing_round.binding_factors[identifier]).hex()
    assert found == VECTOR["round_one"][str(identifier)]["binding_factor"]


def test_signature_shares_and_signature_are_those_of_the_rfc() -> None:
    nonces, signing_round = vector_round()
    shares = {x: item.sign(signing_round) for x, item in nonces.items()}
    assert {str(x): share.hex() for x, share in shares.items()} == VECTOR["round_two"]
    points = verifying({x: scalar_from_bytes(ED, vector_share(x)) for x in SIGNERS})
    assert aggregate(signing_round, shares, points).hex() == VECTOR["signature"]
    assert verifies(GROUP_KEY, MESSAGE, bytes.fromhex(VECTOR["signature"]))


def test_every_pair_of_the_rfc_shares_holds_the_rfc_group_key() -> None:
    points = verifying({x: scalar_from_bytes(ED, vector_share(x)) for x in (1, 2, 3)})
    assert all(interpolate(ED, {x: points[x] for x in pair}) == GROUP_KEY for pair in ((1, 2), (1, 3), (2, 3)))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), total=st.integers(1, 6), message=st.binary(max_size=64))
def test_any_threshold_of_the_shares_signs_and_one_fewer_does_not(data, total: int, message: bytes) -> None:
    threshold = data.draw(st.integers(1, total))
    chosen = data.draw(st.permutations(range(1, total + 1)))[:threshold]
    group_key, shares = split(ED, threshold=threshold, identifiers=range(1, total + 1), random_below=secrets.randbelow)
    assert verifies(group_key, message, sign({x: shares[x] for x in chosen}, group_key, message))
    if threshold > 1:
        fewer = {x: shares[x] for x in chosen[1:]}
        assert not verifies(group_key, message, sign(fewer, group_key, message))


def test_nonces_sign_once() -> None:
    nonces, signing_round = vector_round()
    nonces[1].sign(signing_round)
    with pytest.raises(NoncesSpent):
        nonces[1].sign(signing_round)


def test_nonces_are_spent_even_by_a_round_that_is_refused() -> None:
    nonces, signing_round = vector_round()
    other = vector_round()[1]
    stranger = fresh_nonces(2, 7)
    foreign = SigningRound.of(message=b"x", group_key=GROUP_KEY, commitments=[stranger.commitment])
    with pytest.raises(ValueError, match="signer 1 has no commitment"):
        nonces[1].sign(foreign)
    with pytest.raises(NoncesSpent):
        nonces[1].sign(other)
    assert signing_round == other


def test_a_signer_refuses_a_round_with_another_commitment_under_its_name() -> None:
    nonces, _ = vector_round()
    forged = [fresh_nonces(1, 5).commitment, nonces[3].commitment]
    with pytest.raises(ValueError, match="another commitment"):
        nonces[1].sign(SigningRound.of(message=MESSAGE, group_key=GROUP_KEY, commitments=forged))


@pytest.mark.parametrize("bad", [bytes(32), b"\xff" * 32, b"", scalar_bytes(ED, 12345)])
def test_an_invalid_signature_share_names_its_signer(bad: bytes) -> None:
    nonces, signing_round = vector_round()
    shares = {1: nonces[1].sign(signing_round), 3: bad}
    points = verifying({x: scalar_from_bytes(ED, vector_share(x)) for x in SIGNERS})
    with pytest.raises(SharesInvalid) as caught:
        aggregate(signing_round, shares, points)
    assert caught.value.culprits == (3,)


def test_without_a_verifying_share_only_malformed_shares_are_named() -> None:
    nonces, signing_round = vector_round()
    good = nonces[1].sign(signing_round)
    assert share_is_valid(signing_round, 3, scalar_bytes(ED, 12345), None)
    with pytest.raises(SharesInvalid) as caught:
        aggregate(signing_round, {1: good, 3: b"\xff" * 32}, {})
    assert caught.value.culprits == (3,)


def test_a_signature_needs_exactly_the_shares_of_the_round() -> None:
    nonces, signing_round = vector_round()
    with pytest.raises(ValueError, match="one share of each signer"):
        aggregate(signing_round, {1: nonces[1].sign(signing_round)}, {})


def test_a_round_refuses_no_signers_and_a_signer_twice() -> None:
    nonces, _ = vector_round()
    for commitments in ([], [nonces[1].commitment, nonces[1].commitment]):
        with pytest.raises(ValueError, match="one commitment of each"):
            SigningRound.of(message=MESSAGE, group_key=GROUP_KEY, commitments=commitments)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"short"])
def test_a_commitment_refuses_points_off_the_prime_order_group(point: bytes) -> None:
    good = vector_nonces(1).commitment
    with pytest.raises(ValueError, match="prime-order group"):
        Commitment(identifier=1, hiding=point, binding=good.binding)
    with pytest.raises(ValueError, match="identifier"):
        Commitment(identifier=ORDER[ED], hiding=good.hiding, binding=good.binding)


def test_nonces_refuse_short_randomness_and_a_zero_share() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        SigningNonces(
            identifier=1, private_share=Secret(vector_share(1)), hiding=Secret(b"x"), binding=Secret(bytes(32))
        )
    with pytest.raises(ValueError, match="not a scalar"):
        SigningNonces(
            identifier=1, private_share=Secret(bytes(32)), hiding=Secret(bytes(32)), binding=Secret(bytes(32))
        )
