"""Commitments made ahead of requests: used once, bound to TLS key and keyset, dropped by comparing state."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sharekeeper.adapters.tls_channel import connect
from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import Curve, KeysetDigest
from sharekeeper.domain.protocol_state import BlockRef, Participant, ParticipantInfo, Participants, Running
from sharekeeper.errors import PeerRefused
from sharekeeper_devnet.network.channels import PeerLine, receive, send
from sharekeeper_devnet.network.dealer import deal
from sharekeeper_devnet.network.messages import (
    CommitReply,
    CommitRequest,
    PrecomputeReply,
    PrecomputeRequest,
    PresignedRequest,
    SignReply,
)
from sharekeeper_devnet.network.presigning import BATCH, Bond, KeptNonces, Precomputed, Presigning, _checked
from sharekeeper_devnet.network.standing import Signing
from tests.network.making_keys import participant
from tests.network.rehearsal import CLOCK, Rehearsal, key_pair, rehearsal
from tests.network.test_nodes import is_signing, open_request, recover, running_state, until

DEALT = deal(epoch_id=5, domains=2, threshold=2, participant_ids=(0, 1, 2), random_below=secrets.randbelow)
SHARE = next(share for share in DEALT.shares[0] if share.curve is Curve.ED25519)
PEERS = tuple(TlsKey(bytes([number]) * 32) for number in (1, 2))


def standing(*peers: TlsKey, epoch: int = 5) -> Signing:
    keys = (TlsKey(bytes([9]) * 32), *peers)
    members = tuple(
        Participant(
            account_id=AccountId(f"node{number}.near"),
            participant_id=number,
            info=ParticipantInfo(url="http://127.0.0.1:9", tls_public_key=key),
        )
        for number, key in enumerate(keys)
    )
    keyset = replace(DEALT.keyset, epoch_id=epoch)
    running = Running(keyset=keyset, participants=Participants(members=members), threshold=2)
    return Signing(
        block=BlockRef(height=1, hash="h", timestamp_ns=1), running=running, me=members[0], shares={}, requests=()
    )


def bond(peer: TlsKey = PEERS[0], keyset: KeysetDigest | None = None) -> Bond:
    return Bond(peer=peer, keyset=keyset or DEALT.keyset.digest(), domain_id=1)


# --- the signer's end -------------------------------------------------------------------------------


def test_kept_nonces_are_taken_once_and_for_their_leader_alone() -> None:
    kept = KeptNonces()
    made = kept.renew(bond(), SHARE, 1, secrets.token_bytes)
    assert len(set(made)) == BATCH
    assert kept.take(bond(PEERS[1]), made) is None
    assert kept.take(bond(keyset=KeysetDigest("00" * 32)), made) is None
    assert kept.take(bond(), made[1:2]).commitment == made[1]
    assert kept.take(bond(), made[1:2]) is None
    assert kept.take(bond(), made[:1]).commitment == made[0]


def test_a_leader_that_asks_again_holds_no_more_than_one_batch() -> None:
    kept = KeptNonces()
    first = kept.renew(bond(), SHARE, 1, secrets.token_bytes)
    second = kept.renew(bond(), SHARE, 1, secrets.token_bytes)
    assert kept.take(bond(), first) is None
    assert kept.take(bond(), second) is not None


def test_nonces_of_a_key_or_keyset_that_the_contract_no_longer_shows_are_gone() -> None:
    kept = KeptNonces()
    for peer in PEERS:
        kept.renew(bond(peer), SHARE, 1, secrets.token_bytes)
    kept.purge(standing(*PEERS))
    assert len(kept.bonds) == 2
    kept.purge(standing(PEERS[0], TlsKey(bytes([3]) * 32)))
    assert kept.bonds == (bond(PEERS[0]),)
    kept.purge(standing(*PEERS, epoch=6))
    assert kept.bonds == ()


# --- the leader's end -------------------------------------------------------------------------------


def precomputed(peer: Participant, number: int) -> list[Precomputed]:
    made = KeptNonces().renew(bond(), SHARE, peer.participant_id + 1, secrets.token_bytes)[:number]
    return _checked(peer, PrecomputeReply(commitments=made, verifying_share=made[0].hiding))


def test_a_reply_under_another_identifier_or_too_long_is_not_taken() -> None:
    peer = standing(*PEERS).peers[0]
    made = KeptNonces().renew(bond(), SHARE, 1, secrets.token_bytes)
    with pytest.raises(ValueError, match="another identifier"):
        _checked(peer, PrecomputeReply(commitments=made, verifying_share=made[0].hiding))
    right = KeptNonces().renew(bond(), SHARE, 2, secrets.token_bytes)
    with pytest.raises(ValueError, match="too often"):
        _checked(peer, PrecomputeReply(commitments=right * 2, verifying_share=made[0].hiding))
    twice = (right[0], right[0])
    assert len(_checked(peer, PrecomputeReply(commitments=twice, verifying_share=made[0].hiding))) == 1


async def test_a_spent_commitment_is_never_offered_again() -> None:
    now = standing(*PEERS)
    presigning = Presigning(identity=key_pair(), clock=CLOCK)
    presigning._stock = {bond(peer.info.tls_public_key): precomputed(peer, 2) for peer in now.peers}
    seen = []
    for _ in range(2):
        offers = presigning.offers(now, 1)
        assert set(offers) == {2, 3}
        seen += offers.values()
        presigning.spend(offers.values())
    assert presigning.offers(now, 1) == {}
    assert len({each.reply.commitment for each in seen}) == 4


async def test_commitments_of_a_key_or_keyset_that_the_contract_no_longer_shows_are_dropped() -> None:
    now = standing(*PEERS)
    presigning = Presigning(identity=key_pair(), clock=CLOCK)
    presigning._stock = {bond(peer.info.tls_public_key): precomputed(peer, 1) for peer in now.peers}
    await presigning.act(standing(PEERS[0], TlsKey(bytes([3]) * 32)))
    assert presigning.bonds == (bond(PEERS[0]),)
    await presigning.act(standing(*PEERS, epoch=6))
    assert presigning.bonds == ()
    await presigning.stop()


# --- the network ------------------------------------------------------------------------------------


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with rehearsal(tmp_path) as running:
        yield running


async def stocked(network: Rehearsal, leader: str, *peers: str) -> None:
    node, keys = network.operators[leader].node, {network.operators[name].tls.tls_key for name in peers}
    await network.wait_for(lambda: {bond.peer for bond in node._presigning.bonds} == keys)


async def test_with_commitments_made_ahead_a_signature_takes_one_round(
    network: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sharekeeper_devnet.network")
    await network.start("alice", "bob")
    await stocked(network, "alice", "bob")
    await stocked(network, "bob", "alice")
    for number in range(3):
        assert len((await network.sign(b"number %d" % number)).signature) == 64
    said = [record.getMessage() for record in caplog.records]
    assert said.count("share sent ahead") >= 2
    assert "bad signature share" not in said


async def test_a_node_that_slept_through_a_recovery_drops_what_it_had_precomputed_with_the_old_machine(
    network: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sharekeeper_devnet.network")
    await network.start("alice", "bob", "carol")
    alice, bob = network.operators["alice"], network.operators["bob"]
    old = bob.tls.tls_key
    await stocked(network, "alice", "bob", "carol")
    await stocked(network, "bob", "alice", "carol")
    assert old in {kept.peer for kept in alice.node._kept_nonces.bonds}

    asleep, ready = asyncio.Event(), alice.node._reader.read  # alice sees no block while bob's machine is replaced

    async def read():
        await asleep.wait()
        return await ready()

    alice.node._reader.read = read
    await network.kill("bob")
    bob.tls, bob.account = await recover(network, "bob", watched=False)
    await network.start("bob")
    assert old in {bond.peer for bond in alice.node._presigning.bonds}
    caplog.clear()
    asleep.set()

    await stocked(network, "alice", "bob", "carol")
    assert old not in {kept.peer for kept in alice.node._kept_nonces.bonds}
    dropped = [record.facts for record in caplog.records if record.getMessage() == "precomputed commitments dropped"]
    assert {"peer": str(old)} in dropped
    idle = [record.facts.get("reason") for record in caplog.records if record.getMessage() == "idle"]
    assert not any("Recovery" in str(reason) for reason in idle)
    assert len((await network.sign(b"after")).signature) == 64


async def test_a_signer_signs_with_kept_nonces_once_and_for_open_requests_only(network: Rehearsal) -> None:
    await network.start("bob")
    bob, alice = network.operators["bob"], network.operators["alice"]
    await until(lambda: is_signing(bob))
    digest = (await running_state(network)).keyset.digest()
    line = PeerLine(alice.tls, participant(bob, 1))
    made = await line.ask(PrecomputeRequest(domain_id=1, keyset=digest), PrecomputeReply)
    number = await open_request(network, b"pay 1")
    mine = KeptNonces().renew(bond(), SHARE, 1, secrets.token_bytes)[0]
    right = PresignedRequest(
        request_id=number, domain_id=1, payload=b"pay 1", keyset=digest, commitments=(mine, made.commitments[0])
    )
    for wrong, reason in [
        ({"payload": b"pay 1000"}, "asks for another payload"),
        ({"request_id": number + 1}, "no open request"),
        ({"keyset": KeysetDigest("00" * 32)}, "keyset is another one"),
        ({"commitments": (mine,)}, "keeps no nonces"),
        ({"commitments": (made.commitments[1],)}, "at least threshold participants"),
    ]:
        with pytest.raises(PeerRefused, match=reason):
            await line.ask(replace(right, **wrong), SignReply)
    assert len((await line.ask(right, SignReply)).share) == 32
    for used in (0, 1):
        with pytest.raises(PeerRefused, match="keeps no nonces"):
            await line.ask(replace(right, commitments=(mine, made.commitments[used])), SignReply)
    with pytest.raises(PeerRefused, match="signs for no domain"):
        await line.ask(PrecomputeRequest(domain_id=0, keyset=digest), PrecomputeReply)
    line.close()
    channel = await connect("127.0.0.1", bob.port, alice.tls, bob.tls.tls_key)
    await send(channel, CommitRequest(request_id=number, domain_id=1, payload=b"pay 1", keyset=digest))
    assert (await receive(channel, CommitReply)).commitment not in made.commitments
    await channel.close()
