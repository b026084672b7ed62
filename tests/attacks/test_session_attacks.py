"""Whole exchanges over real channels, and a pinned peer that lies in them (design decision 3)."""

import asyncio
import contextlib
import struct
from dataclasses import replace

import pytest

from sharekeeper.adapters.tls_channel import connect
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Curve, Sha256Hex
from sharekeeper.domain.keyshare import ORDER
from sharekeeper.errors import (
    PeerClosed,
    PeerFault,
    PeerRefused,
    PeerStalled,
    PinChanged,
    ProtocolViolation,
    SharesRefused,
    ViewsDiffer,
)
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt, decode_hello, encode_message
from sharekeeper.protocol.session import BackupClient, BackupServer, RecoveryClient, RecoveryServer
from sharekeeper.protocol.session_tables import State
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES
from tests.protocol.exchange_values import RECOVERY_ID, SHARES, facts, keyset, scalar, shares_of, with_share

from .channels import BACKUP_SERVICE, HOST, NODE, SHORT, USUAL, node

RECOVERY = facts(recovery_id=RECOVERY_ID)


async def receive(channel, session):
    """The peer's next message; a violation is told to the peer before it is raised."""
    try:
        return session.receive(await channel.receive_frame(session.receive_limit))
    except PeerFault:
        if session.refusal:
            await channel.send_frame(session.refusal)
        raise


async def give(channel, session, shares=SHARES):
    await channel.send_frame(session.send_shares(shares))
    return await receive(channel, session)


async def take(channel, session):
    shares = (await receive(channel, session)).shares
    await channel.send_frame(session.send_receipt())
    return shares


async def greet(channel, session):
    await channel.send_frame(session.send_hello())
    await receive(channel, session)


class Server:
    """A node that serves whichever purpose the hello names and collects its sessions and faults."""

    def __init__(self) -> None:
        self.sessions = []
        self.faults = asyncio.Queue()
        self.taken = []

    async def __call__(self, channel) -> None:
        try:
            frame = await channel.receive_frame(MAX_CONTROL_FRAME_BYTES)
            backup = decode_hello(frame).exchange.recovery_id is None
            session = BackupServer(**facts()) if backup else RecoveryServer(**RECOVERY)
            self.sessions.append(session)
            await self._serve(channel, session, frame)
        except PeerFault as fault:
            self.faults.put_nowait(fault)
            raise

    async def _serve(self, channel, session, frame) -> None:
        try:
            session.receive(frame)
        except PeerFault:
            await channel.send_frame(session.refusal)
            raise
        await channel.send_frame(session.send_hello())
        if isinstance(session, BackupServer):
            await give(channel, session)
        else:
            self.taken.append(await take(channel, session))

    async def fault(self):
        return await asyncio.wait_for(self.faults.get(), 5)


async def dial(port, timeouts=USUAL):
    return await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=timeouts)


async def test_backup_and_recovery_succeed_on_the_same_listener():
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), BackupClient(**facts())
        await greet(channel, session)
        assert await take(channel, session) == SHARES
        await channel.close()
        channel, session = await dial(listening.port), RecoveryClient(**RECOVERY)
        await greet(channel, session)
        assert isinstance(await give(channel, session), Receipt)
        await channel.close()
        assert server.taken == [SHARES]
        assert [session.state for session in server.sessions] == [State.DONE, State.DONE]


# --- lies in the hello --------------------------------------------------------------------------------


async def test_reflected_hello_gets_a_refusal_and_no_share():
    server = Server()
    async with node(handler=server) as listening:
        channel, reflected = await dial(listening.port), BackupServer(**facts())
        await channel.send_frame(encode_message(Hello(role=reflected.role, exchange=reflected.exchange)))
        with pytest.raises(PeerRefused, match=r"reflection.*\(protocol_violation\)"):
            BackupClient(**facts()).receive(await channel.receive_frame(MAX_SHARES_FRAME_BYTES))
        assert isinstance(await server.fault(), ProtocolViolation)
        await channel.close()


async def test_server_that_echoes_every_frame_is_refused():
    async with node() as listening:
        channel, session = await dial(listening.port), BackupClient(**facts())
        with pytest.raises(ProtocolViolation, match="reflection"):
            await greet(channel, session)
        await channel.close()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"keyset": keyset(epoch=6)}, ViewsDiffer),
        ({"keyset": keyset(attempt=1)}, ViewsDiffer),
        ({"account_id": AccountId("bob.test.near")}, ProtocolViolation),
    ],
)
async def test_hello_for_something_else_gets_a_refusal_and_no_share(changes, fault):
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), BackupClient(**facts(**changes))
        with pytest.raises(PeerRefused, match=fault.code):
            await greet(channel, session)
        assert isinstance(await server.fault(), fault)
        await channel.close()


async def test_shares_before_any_hello_are_refused_without_being_read():
    server = Server()
    async with node(handler=server) as listening:
        channel = await dial(listening.port)
        await channel.send_frame(encode_message(KeyShares(shares=shares_of(keyset(domains=100)))))
        fault = await server.fault()
        assert isinstance(fault, ProtocolViolation)
        assert "1 to 4096 are allowed" in str(fault)
        with pytest.raises(PeerFault):
            await channel.receive_frame(MAX_CONTROL_FRAME_BYTES)


# --- lies about the shares ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        (shares_of(keyset(epoch=4)), "key event"),
        (shares_of(keyset(attempt=1)), "key event"),
        (SHARES[:2], "2 shares for 3 domains"),
        (with_share(SHARES, 0, private_share=scalar(0, Curve.SECP256K1)), "out of range"),
        (with_share(SHARES, 1, private_share=scalar(ORDER[Curve.ED25519], Curve.ED25519)), "out of range"),
        (with_share(SHARES, 1, public_key=bytes(32)), "another public key"),
    ],
    ids=["another epoch", "another attempt", "one missing", "zero", "the order itself", "another public key"],
)
async def test_node_takes_no_shares_but_its_own_and_says_why(shares, text):
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), RecoveryClient(**RECOVERY)
        await greet(channel, session)
        await channel.send_frame(encode_message(KeyShares(shares=shares)))
        session.send_shares(SHARES)
        with pytest.raises(PeerRefused, match="shares_refused") as refused:
            await receive(channel, session)
        assert text in str(refused.value)
        assert isinstance(await server.fault(), SharesRefused)
        assert server.taken == []
        await channel.close()


async def test_second_transfer_on_one_channel_is_refused():
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), RecoveryClient(**RECOVERY)
        await greet(channel, session)
        await give(channel, session)
        again = encode_message(KeyShares(shares=SHARES))
        with contextlib.suppress(PeerClosed):
            await channel.send_frame(again)
        with pytest.raises(PeerClosed):
            await channel.receive_frame(MAX_CONTROL_FRAME_BYTES)
        assert server.taken == [SHARES]


# --- lies in the receipt ------------------------------------------------------------------------------


def receipts():
    taker = BackupClient(**facts())
    receipt = Receipt(role=taker.role, exchange=taker.exchange, payload_digest=Sha256Hex.of(b"never sent"))
    yield "of other bytes", receipt, "for other bytes"
    yield "reflected", replace(receipt, role=BackupServer.role), "reflection"
    old = replace(receipt, exchange=replace(taker.exchange, keyset_digest=keyset(epoch=4).digest()))
    yield "of an older exchange", old, "for another exchange"


@pytest.mark.parametrize(
    ("receipt", "text"), [pytest.param(receipt, text, id=name) for name, receipt, text in receipts()]
)
async def test_node_believes_no_receipt_but_that_of_its_own_transfer(receipt, text):
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), BackupClient(**facts())
        await greet(channel, session)
        await receive(channel, session)
        await channel.send_frame(encode_message(receipt))
        fault = await server.fault()
        assert isinstance(fault, ProtocolViolation)
        assert text in str(fault)
        assert server.sessions[0].state is State.FAILED
        await channel.close()


async def test_shares_without_a_receipt_are_not_delivered():
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), BackupClient(**facts())
        await greet(channel, session)
        await receive(channel, session)
        await channel.close()
        assert isinstance(await server.fault(), PeerClosed)
        assert server.sessions[0].state is State.SHARES_SENT


async def test_taker_that_never_sends_its_receipt_is_given_up():
    server = Server()
    async with node(handler=server, timeouts=SHORT) as listening:
        channel, session = await dial(listening.port), BackupClient(**facts())
        await greet(channel, session)
        await receive(channel, session)
        assert isinstance(await server.fault(), PeerStalled)
        assert server.sessions[0].state is State.SHARES_SENT
        await channel.close()


# --- the pin ------------------------------------------------------------------------------------------


async def test_pin_that_changes_between_hello_and_shares_stops_the_exchange():
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), RecoveryClient(**RECOVERY)
        await greet(channel, session)
        listening.pins = None
        await listening.listener.enforce_pins()
        assert isinstance(await server.fault(), PinChanged)
        with pytest.raises(PeerClosed):
            await give(channel, session)
        assert server.taken == []
        assert server.sessions[0].state is State.READY


async def test_truncated_shares_are_not_taken():
    server = Server()
    async with node(handler=server) as listening:
        channel, session = await dial(listening.port), RecoveryClient(**RECOVERY)
        await greet(channel, session)
        whole = session.send_shares(SHARES)
        await channel._stream.write(memoryview(struct.pack(">I", len(whole)) + whole[:-1]))
        channel.abort(PeerClosed("cut by the test"))
        assert isinstance(await server.fault(), PeerClosed)
        assert server.taken == []
