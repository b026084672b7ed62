"""Which peers the leader signs with: those whose verifying shares belong to the group key."""

import asyncio
import logging
import secrets

import pytest

from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo
from sharekeeper_devnet.network.channels import p2p_address
from sharekeeper_devnet.network.coordinator import NotSigned, _Arriving, _consistent_offers, _Offer
from sharekeeper_devnet.network.curves import GROUPS, split
from sharekeeper_devnet.network.frost import Commitment
from sharekeeper_devnet.network.messages import CommitReply

GROUP = GROUPS[Curve.ED25519]
KEY, SHARES = split(Curve.ED25519, threshold=3, identifiers=range(1, 6), random_below=secrets.randbelow)
POINTS = {identifier: GROUP.base_multiple(share) for identifier, share in SHARES.items()}


def participant(identifier: int, url: str = "http://h") -> Participant:
    info = ParticipantInfo(url=url, tls_public_key=TlsKey(bytes([identifier]) * 32))
    return Participant(account_id=AccountId(f"node{identifier}.near"), participant_id=identifier - 1, info=info)


def offer(identifier: int, point: bytes | None = None) -> _Offer:
    commitment = Commitment(identifier=identifier, hiding=KEY, binding=KEY)
    reply = CommitReply(commitment=commitment, verifying_share=point or POINTS[identifier])
    return _Offer(peer=participant(identifier), channel=None, reply=reply)


async def chosen(*items: _Offer | None) -> set[int]:
    queue: asyncio.Queue[_Offer | None] = asyncio.Queue()
    for item in items:
        queue.put_nowait(item)
    arriving = _Arriving(queue=queue, expected=len(items))
    return set(await _consistent_offers(arriving, {1: POINTS[1]}, 3, KEY))


async def test_the_first_offers_that_fit_are_taken_and_later_ones_not_waited_for() -> None:
    assert await chosen(offer(4), offer(2), offer(3)) == {2, 4}


async def test_peers_without_an_offer_are_skipped() -> None:
    assert await chosen(None, offer(5), None, offer(3)) == {3, 5}


async def test_a_peer_with_a_verifying_share_that_does_not_fit_is_named_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert await chosen(offer(2, point=POINTS[3]), offer(4), offer(5)) == {4, 5}
    (record,) = caplog.records
    assert (record.getMessage(), record.facts) == ("bad verifying share", {"peer": "node2.near"})


@pytest.mark.parametrize(
    "items", [(), (None,), (offer(2),), (offer(2), None), (offer(2), offer(3, point=POINTS[4]), None)]
)
async def test_too_few_fitting_offers_sign_nothing(items: tuple[_Offer | None, ...]) -> None:
    with pytest.raises(NotSigned, match="2 peers with shares of the group key"):
        await chosen(*items)


async def test_points_that_cancel_out_do_not_stop_the_search() -> None:
    assert await chosen(offer(2, point=POINTS[1]), offer(3, point=POINTS[1]), offer(4), offer(5)) == {4, 5}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.90.0.11:8090", ("127.90.0.11", 8090)),
        ("https://node.example.org", ("node.example.org", 80)),
        ("http://[::1]:7", ("::1", 7)),
    ],
)
def test_the_p2p_address_is_that_of_the_url(url: str, address: tuple[str, int]) -> None:
    assert p2p_address(participant(1, url)) == address


@pytest.mark.parametrize("url", ["", "http://", "http://h:99999"])
def test_a_url_without_an_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        p2p_address(participant(1, url))
