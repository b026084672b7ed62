"""Reference nodes over real TLS, on a real dev chain, against the real contract."""

import asyncio
import logging
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.tls_channel import AuthenticatedChannel, ChannelListener, ChannelTimeouts, connect
from sharekeeper.config import NetAddress
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import Running
from sharekeeper.errors import AddressInUse, PeerFault, PeerRefused, TransactionFailed
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS
from sharekeeper_devnet.network import admin
from sharekeeper_devnet.network.channels import receive, send
from sharekeeper_devnet.network.curves import GROUPS
from sharekeeper_devnet.network.frost import Commitment, SigningRound
from sharekeeper_devnet.network.health import HealthServer
from sharekeeper_devnet.network.messages import CommitReply, CommitRequest, SignReply, SignRequest, encode
from sharekeeper_devnet.network.shares import fresh_nonces, verifying_share
from sharekeeper_devnet.network.standing import Idle
from tests.network.rehearsal import CONTRACT, Operator, Rehearsal, grant_key, key_pair, rehearsal

DOMAIN = 1
PACKAGE = "sharekeeper_devnet.network"
GENERATOR = GROUPS[Curve.ED25519].base_multiple(1)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with rehearsal(tmp_path) as running:
        yield running


async def running_state(network: Rehearsal) -> Running:
    rpc = await network.rpc()
    state = await rpc.protocol_state(await rpc.head())
    assert isinstance(state, Running)
    return state


async def open_request(network: Rehearsal, payload: bytes) -> int:
    """A signature request that is final on chain."""
    caller = await network.caller(CONTRACT, network.owner)
    request = {"domain_id": DOMAIN, "payload": payload.hex()}
    return (await caller.call("sign", {"request": request}))["request_id"]


async def health(operator: Operator) -> dict[str, object]:
    url = f"http://127.0.0.1:{operator.node.health_port}/health"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


async def until(what, *, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await what():  # what is waited for is in another task's answers
            await asyncio.sleep(0.02)


async def is_signing(operator: Operator) -> bool:
    return (await health(operator))["signing"] is True


async def is_idle_because(operator: Operator, text: str) -> bool:
    found = await health(operator)
    return found["signing"] is False and text in str(found["reason"])


# --- who signs ------------------------------------------------------------------------------------


async def test_any_two_of_three_nodes_sign_and_one_alone_does_not(network: Rehearsal) -> None:
    await network.start("alice", "bob", "carol")
    first = await network.sign(b"all three")
    assert len(first.signature) == 64

    await network.kill("carol")
    for number in range(3):  # each request starts with another leader, one of them the dead one
        assert (await network.sign(b"two %d" % number)).public_key == first.public_key

    await network.kill("bob")
    with pytest.raises(admin.Unanswered, match="fewer than threshold"):
        await network.sign(b"one", timeout_blocks=15)

    await network.start("carol")
    assert (await network.sign(b"two again")).public_key == first.public_key


async def test_a_network_of_one_signs_alone(tmp_path: Path) -> None:
    async with rehearsal(tmp_path, names=("alice",), threshold=1) as network:
        await network.start("alice")
        assert len((await network.sign(b"alone")).signature) == 64


async def test_the_old_node_is_idle_and_its_replacement_signs_with_the_same_key(network: Rehearsal) -> None:
    await network.start("alice", "bob")
    before = await network.sign(b"before")
    bob, new = network.operators["bob"], await recover(network, "bob")
    await until(lambda: is_idle_because(bob, "the contract names"))
    await network.kill("bob")
    bob.tls, bob.account = new
    await network.start("bob")
    after = await network.sign(b"after")
    assert after.public_key == before.public_key


async def recover(network: Rehearsal, name: str, *, watched: bool = True) -> tuple[KeyPair, KeyPair]:
    """The spec's Recovery Protocol by hand; the shares stay where they are. Returns the new TLS and account key.

    `watched`: alice's node has seen the Recovery.
    """
    operator, (tls, account, backup_tls, backup_account) = network.operators[name], [key_pair() for _ in range(4)]
    await grant_key(network, operator, account, NODE_METHODS)
    await grant_key(network, operator, backup_account, BACKUP_SERVICE_METHODS)
    state = await running_state(network)
    digest = state.keyset.digest()
    node = await network.caller(operator.account_id, account)
    backup_service = await network.caller(operator.account_id, backup_account)
    await backup_service.call(
        "register_backup_service", {"backup_service_info": {"public_key": str(backup_tls.tls_key)}}
    )
    entered = await node.call(
        "submit_participant_recovery_info",
        {
            "participant_info": {"url": f"http://127.0.0.1:{operator.port}", "tls_public_key": str(tls.tls_key)},
            "expected_tls_key": str(operator.tls.tls_key),
            "expected_keyset": digest,
            "valid_until_block": 10**6,
        },
    )
    recovery_id = entered["recovery_id"]
    with pytest.raises(TransactionFailed):
        await network.sign(b"not in Recovery")
    alice = network.operators["alice"]
    if watched:
        await until(lambda: is_idle_because(alice, "Recovery"))
    await backup_service.call("confirm_key_share_delivery", {"recovery_id": recovery_id})
    await node.call("conclude_recovery", {"recovery_id": recovery_id, "expected_keyset": digest})
    return tls, account


async def test_a_node_without_shares_is_idle_and_signs_once_it_has_them(network: Rehearsal) -> None:
    carol = network.operators["carol"]
    kept = carol.directory / "elsewhere"
    shutil.move(carol.keyshares_dir, kept)
    await network.start("carol")
    await until(lambda: is_idle_because(carol, "holds no key shares"))
    shutil.copytree(kept, carol.keyshares_dir)
    await until(lambda: is_signing(carol))


async def test_a_node_with_damaged_shares_is_idle_and_stays_up(network: Rehearsal) -> None:
    carol = network.operators["carol"]
    next((carol.keyshares_dir / "permanent").iterdir()).write_bytes(b"{}")
    await network.start("carol")
    await until(lambda: is_idle_because(carol, "share_store_corrupt"))


async def test_a_node_the_contract_does_not_name_is_idle_and_says_why(network: Rehearsal) -> None:
    stranger = network.operators["carol"]
    stranger.tls = key_pair()
    await network.start("carol")
    await until(lambda: is_idle_because(stranger, f"this node has {stranger.tls.tls_key}"))


async def test_a_node_stays_up_while_the_chain_is_down(network: Rehearsal) -> None:
    await network.start("alice")
    alice = network.operators["alice"]
    await until(lambda: is_signing(alice))
    await network.chain.stop()
    await until(lambda: is_idle_because(alice, "chain_unavailable"), seconds=15)


# --- what a peer refuses ----------------------------------------------------------------------------


@asynccontextmanager
async def as_leader(network: Rehearsal, name: str, to: str) -> AsyncIterator[AuthenticatedChannel]:
    """A channel on which that operator's key leads."""
    signer = network.operators[to]
    channel = await connect("127.0.0.1", signer.port, network.operators[name].tls, signer.tls.tls_key)
    try:
        yield channel
    finally:
        await channel.close()


async def test_a_peer_signs_only_what_the_contract_asks_for(network: Rehearsal) -> None:
    await network.start("bob")
    await until(lambda: is_signing(network.operators["bob"]))
    digest = (await running_state(network)).keyset.digest()
    number = await open_request(network, b"pay 1")
    right = {"request_id": number, "domain_id": DOMAIN, "payload": b"pay 1", "keyset": digest}
    for wrong, reason in [
        ({"payload": b"pay 1000"}, "asks for another payload or domain"),
        ({"domain_id": 0}, "asks for another payload or domain"),
        ({"request_id": number + 1}, "no open request"),
        ({"keyset": type(digest)("00" * 32)}, "keyset is another one"),
    ]:
        async with as_leader(network, "alice", to="bob") as channel:
            await send(channel, CommitRequest(**{**right, **wrong}))
            with pytest.raises(PeerRefused, match=reason):
                await receive(channel, CommitReply)
    async with as_leader(network, "alice", to="bob") as channel:
        await send(channel, CommitRequest(**right))
        reply = await receive(channel, CommitReply)
        await send(channel, SignRequest(commitments=(reply.commitment,)))
        with pytest.raises(PeerRefused, match="at least threshold participants"):
            await receive(channel, SignReply)


async def test_a_peer_signs_with_its_own_commitment_only(network: Rehearsal) -> None:
    await network.start("bob")
    await until(lambda: is_signing(network.operators["bob"]))
    digest = (await running_state(network)).keyset.digest()
    number = await open_request(network, b"pay 1")
    question = CommitRequest(request_id=number, domain_id=DOMAIN, payload=b"pay 1", keyset=digest)
    alice, carol, forged = [
        Commitment(identifier=identifier, hiding=GENERATOR, binding=GENERATOR) for identifier in (1, 3, 2)
    ]
    for commitments, reason in [
        ((alice, forged), "another commitment than this signer made"),
        ((alice, carol), "no commitment in this round"),
        ((alice, alice, carol), "one commitment of each"),
    ]:
        async with as_leader(network, "alice", to="bob") as channel:
            await send(channel, question)
            await receive(channel, CommitReply)
            await send(channel, SignRequest(commitments=commitments))
            with pytest.raises(PeerRefused, match=reason):
                await receive(channel, SignReply)


@pytest.mark.parametrize("frame", [b"{}", b"\xff", encode(SignReply(share=bytes(32)))])
async def test_a_leader_that_does_not_speak_the_protocol_loses_its_channel(network: Rehearsal, frame: bytes) -> None:
    await network.start("bob")
    await until(lambda: is_signing(network.operators["bob"]))
    async with as_leader(network, "alice", to="bob") as channel:
        await channel.send_frame(frame)
        with pytest.raises(PeerFault):
            await channel.receive_frame(1000)


async def test_a_health_address_in_use_is_told(network: Rehearsal) -> None:
    await network.start("alice")
    taken = NetAddress(host="127.0.0.1", port=network.operators["alice"].node.health_port)
    with pytest.raises(AddressInUse, match="cannot listen"):
        await HealthServer(taken, lambda: Idle(block=None, reason="")).start()


async def test_a_stranger_gets_no_channel(network: Rehearsal) -> None:
    await network.start("bob")
    await until(lambda: is_signing(network.operators["bob"]))
    network.operators["alice"].tls = key_pair()
    async with as_leader(network, "alice", to="bob") as channel:
        with pytest.raises(PeerFault):
            await channel.receive_frame(100)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers may stall for a minute, so that only a changed pin ends a channel in these tests."""
    for module in ("coordinator", "mpc_node"):
        monkeypatch.setattr(
            f"sharekeeper_devnet.network.{module}.PEER_TIMEOUTS", ChannelTimeouts(stall_seconds=60, session_seconds=60)
        )


@pytest.mark.usefixtures("patient")
async def test_a_leaders_channel_is_cut_when_the_contract_no_longer_names_its_key(network: Rehearsal) -> None:
    await network.start("alice")
    await until(lambda: is_signing(network.operators["alice"]))
    async with as_leader(network, "bob", to="alice") as channel:
        waiting = asyncio.create_task(channel.receive_frame(100))
        await recover(network, "bob")
        with pytest.raises(PeerFault):
            async with asyncio.timeout(5):
                await waiting


@pytest.mark.usefixtures("patient")
async def test_a_signature_under_way_lets_go_of_a_peer_whose_key_changed(network: Rehearsal) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hang(channel: AuthenticatedChannel) -> None:
        await receive(channel, CommitRequest)
        asked.set()
        with pytest.raises(PeerFault):
            await channel.receive_frame(100)
        ended.set()

    async with Rogue(network, "bob", serve=hang):
        await network.start("alice")
        await open_request(network, b"hangs")
        async with asyncio.timeout(10):
            await asked.wait()
            assert not ended.is_set()
            await recover(network, "bob")
            await ended.wait()


# --- peers that lie -----------------------------------------------------------------------------------


class Rogue:
    """A participant with its true key and share that answers with what `twist` makes of each reply."""

    def __init__(self, network: Rehearsal, name: str, twist=None, serve=None) -> None:
        self._network, self._operator, self._twist = network, network.operators[name], twist
        others = tuple(each.tls.tls_key for each in network.operators.values() if each is not self._operator)
        self._listener = ChannelListener(
            "127.0.0.1", self._operator.port, self._operator.tls, self._pins(others), serve or self._serve
        )

    @staticmethod
    def _pins(keys):
        async def pins():
            return keys

        return pins

    async def __aenter__(self) -> Self:
        state = await running_state(self._network)
        shares = await DirectoryKeyShareStore(self._operator.keyshares_dir).read(state.keyset)
        self._share: KeyShare = next(share for share in shares if share.curve is Curve.ED25519)
        self._identifier = 1 + state.participants.find(self._operator.account_id).participant_id
        await self._listener.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._listener.stop()

    async def _serve(self, channel: AuthenticatedChannel) -> None:
        question = await receive(channel, CommitRequest)
        nonces = fresh_nonces(self._share, self._identifier, secrets.token_bytes)
        reply = CommitReply(commitment=nonces.commitment, verifying_share=verifying_share(self._share))
        await send(channel, self._twist(reply))
        asked = await receive(channel, SignRequest)
        signing_round = SigningRound.of(
            message=question.payload, group_key=self._share.public_key, commitments=asked.commitments
        )
        answer = self._twist(SignReply(share=nonces.sign(signing_round)))
        if answer is not None:
            await send(channel, answer)


def bad_signature_share(message):
    return SignReply(share=b"\x01" * 31 + b"\x00") if isinstance(message, SignReply) else message


def bad_verifying_share(message):
    if not isinstance(message, CommitReply):
        return message
    return CommitReply(commitment=message.commitment, verifying_share=message.commitment.hiding)


def no_signature_share(message):
    return None if isinstance(message, SignReply) else message


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """The log as lines of a sentence and its facts."""
    records = [(record.getMessage(), getattr(record, "facts", {})) for record in caplog.records]
    return "\n".join(" ".join([text, *(f"{name}={value}" for name, value in facts.items())]) for text, facts in records)


@pytest.mark.parametrize(
    ("twist", "named"),
    [
        (bad_signature_share, "bad signature share peer=bob.test.near"),
        (no_signature_share, "peer lost peer=bob.test.near"),
        (bad_verifying_share, "answered have: bob.test.near"),
    ],
)
async def test_a_lying_peer_is_named_and_the_others_sign_without_it(
    network: Rehearsal, caplog: pytest.LogCaptureFixture, twist, named: str
) -> None:
    caplog.set_level(logging.INFO, logger=PACKAGE)
    async with Rogue(network, "bob", twist):
        await network.start("alice")
        with pytest.raises(admin.Unanswered):
            await network.sign(b"with a liar", timeout_blocks=25)
        assert named in logged(caplog)
        await network.start("carol")
        assert len((await network.sign(b"without it")).signature) == 64
