"""Signature requests as the contract shows them, and the order of leaders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo, Participants
from sharekeeper.protocol.codec import DecodeError
from sharekeeper_devnet.network.requests import (
    LEADER_TURN_BLOCKS,
    SignatureRequest,
    decode_request,
    decode_requests,
    leader,
)

MEMBERS = Participants(
    members=tuple(
        Participant(
            account_id=AccountId(f"{name}.near"),
            participant_id=2 * number,
            info=ParticipantInfo(url="http://h", tls_public_key=TlsKey(bytes([number]) * 32)),
        )
        for number, name in enumerate(("alice", "bob", "carol"))
    )
)
JSON = {"request_id": 7, "domain_id": 1, "payload": "00ff", "signature": None, "requested_in": 100, "expires_on": 300}


def request(request_id: int = 7) -> SignatureRequest:
    return decode_request({**JSON, "request_id": request_id})


def test_a_request_is_read_from_the_contracts_json() -> None:
    assert request() == SignatureRequest(
        request_id=7, domain_id=1, payload=b"\x00\xff", signature=None, requested_in=100, expires_on=300
    )
    assert decode_request({**JSON, "signature": "ab" * 64}).signature == b"\xab" * 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload": ""},
        {"payload": "0g"},
        {"payload": "00" * 1025},
        {"signature": "ab"},
        {"signature": 5},
        {"request_id": -1},
        {"expires_on": "300"},
    ],
)
def test_a_request_of_another_form_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_request({**JSON, **wrong})


def test_a_list_of_more_requests_than_the_contract_keeps_is_refused() -> None:
    assert decode_requests([JSON, JSON]) == (request(), request())
    for wrong in ({}, [JSON] * 33):
        with pytest.raises(DecodeError, match="at most 32"):
            decode_requests(wrong)


def test_a_request_is_open_until_it_is_answered_or_expires() -> None:
    assert request().is_open(299)
    assert not request().is_open(300)
    assert not decode_request({**JSON, "signature": "ab" * 64}).is_open(100)


def test_the_first_leader_rotates_with_the_request_id() -> None:
    assert [leader(request(number), MEMBERS, 100).account_id for number in (6, 7, 8, 9)] == [
        "alice.near",
        "bob.near",
        "carol.near",
        "alice.near",
    ]


def test_the_next_leader_takes_over_after_a_turn_without_an_answer() -> None:
    last_block_of_turn = 100 + LEADER_TURN_BLOCKS - 1
    assert leader(request(6), MEMBERS, last_block_of_turn).account_id == "alice.near"
    assert leader(request(6), MEMBERS, last_block_of_turn + 1).account_id == "bob.near"


@given(number=st.integers(0, 2**64 - 1), height=st.integers(0, 2**64 - 1))
def test_every_participant_leads_within_one_round_of_turns(number: int, height: int) -> None:
    heights = [max(height, 100) + turn * LEADER_TURN_BLOCKS for turn in range(3)]
    assert {leader(request(number), MEMBERS, at) for at in heights} == set(MEMBERS.members)
