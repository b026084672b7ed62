"""The trusted dealer's keyset and shares."""

import itertools
import secrets

import pytest

from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Curve, DomainPublicKey
from sharekeeper.domain.keyshare import SharesMismatch, check_shares
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo, Participants
from sharekeeper.protocol.codec import decode_keyset
from sharekeeper_devnet.network.curves import GROUPS, interpolate, scalar_from_bytes
from sharekeeper_devnet.network.dealer import Deal, deal, init_arguments


def dealt(domains: int = 4, threshold: int = 2, participants: int = 3) -> Deal:
    return deal(
        epoch_id=5,
        domains=domains,
        threshold=threshold,
        participant_ids=range(participants),
        random_below=secrets.randbelow,
    )


def public_point(one: Deal, participant_id: int, index: int) -> bytes:
    share = one.shares[participant_id][index]
    return GROUPS[share.curve].base_multiple(scalar_from_bytes(share.curve, share.private_share.reveal()))


def test_domains_cycle_through_the_three_curves() -> None:
    curves = [key.public_key.curve for key in dealt(domains=4).keyset.domains]
    assert curves == [Curve.SECP256K1, Curve.ED25519, Curve.BLS12381, Curve.SECP256K1]


def test_every_participant_holds_the_shares_of_the_keyset() -> None:
    one = dealt()
    for shares in one.shares.values():
        check_shares(one.keyset, shares)
    with pytest.raises(SharesMismatch):
        check_shares(dealt().keyset, one.shares[0])


def test_any_threshold_of_participants_holds_each_domain_key_at_participant_id_plus_one() -> None:
    one = dealt(domains=3)
    for index, key in enumerate(one.keyset.domains):
        for pair in itertools.combinations(range(3), 2):
            points = {participant + 1: public_point(one, participant, index) for participant in pair}
            assert interpolate(key.public_key.curve, points) == key.public_key.share_form()


def test_a_hundred_domains_are_dealt_with_distinct_keys() -> None:
    keyset = dealt(domains=100).keyset
    assert len({key.public_key for key in keyset.domains}) == 100


def test_two_deals_share_no_key() -> None:
    assert dealt(domains=1).keyset != dealt(domains=1).keyset


@pytest.mark.parametrize(("domains", "threshold"), [(0, 4), (1, 4), (1, 0)])
def test_a_deal_that_cannot_work_is_refused(domains: int, threshold: int) -> None:
    with pytest.raises(ValueError):
        dealt(domains=domains, threshold=threshold)


def test_without_a_domain_nothing_is_dealt_and_the_network_starts_from_nothing() -> None:
    one = dealt(domains=0)
    assert one.keyset.domains == ()
    assert set(one.shares.values()) == {()}


def test_init_arguments_carry_public_facts_in_the_contracts_form() -> None:
    one = dealt(domains=3, participants=2)
    members = tuple(
        Participant(
            account_id=AccountId(f"{name}.test.near"),
            participant_id=number,
            info=ParticipantInfo(url=f"http://127.90.0.{number}:8090", tls_public_key=TlsKey(bytes([number]) * 32)),
        )
        for number, name in enumerate(("alice", "bob"))
    )
    keys = {member.account_id: str(SignerKey(bytes([9 + member.participant_id]) * 32)) for member in members}
    arguments = init_arguments(one, Participants(members=members), keys)
    assert decode_keyset(arguments["keyset"]) == one.keyset
    assert arguments["parameters"]["threshold"] == 2
    assert arguments["parameters"]["participants"]["next_id"] == 2
    assert [entry[:2] for entry in arguments["parameters"]["participants"]["participants"]] == [
        ["alice.test.near", 0],
        ["bob.test.near", 1],
    ]
    assert [domain["protocol"] for domain in arguments["domains"]["domains"]] == [
        "CaitSith",
        "Frost",
        "ConfidentialKeyDerivation",
    ]
    assert arguments["domains"]["next_domain_id"] == 3
    assert arguments["signer_keys"]["bob.test.near"] == keys[members[1].account_id]
    assert DomainPublicKey.parse(
        Curve.ED25519, arguments["keyset"]["domains"][1]["key"]["Ed25519"]["near_public_key_compressed"]
    )
    private = [share.private_share.reveal().hex() for shares in one.shares.values() for share in shares]
    assert not any(text in str(arguments) for text in private)
