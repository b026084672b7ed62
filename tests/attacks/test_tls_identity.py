"""Nobody but the owner of the pinned key gets a channel, on either side (design decision 2)."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from sharekeeper.adapters.tls_channel import connect
from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.crypto.pinning import client_context, server_context
from sharekeeper.errors import PeerClosed, PeerNotAuthenticated, PinChanged

from .channels import (
    BACKUP_SERVICE,
    HOST,
    LIMIT,
    NODE,
    STRANGER,
    USUAL,
    identify,
    load_identity,
    node,
    raw_client,
    raw_server,
    trusting_client,
)


async def ask(port: int, identity=BACKUP_SERVICE, peer=NODE.tls_key) -> bytes:
    """What the node echoes to one frame on a new channel."""
    channel = await connect(HOST, port, identity, peer, timeouts=USUAL)
    try:
        await channel.send_frame(b"ping")
        return await channel.receive_frame(LIMIT)
    finally:
        await channel.close()


async def nothing(_reader, writer) -> None:
    await asyncio.sleep(0.2)
    writer.close()


async def test_pinned_peers_talk_both_ways():
    async with node() as server:
        assert await ask(server.port) == b"ping"
        assert [channel.peer for channel in server.sessions] == [BACKUP_SERVICE.tls_key]


async def test_client_of_another_key_reaches_no_handler_and_learns_that_its_key_is_refused():
    async with node() as server:
        with pytest.raises(PeerNotAuthenticated, match="ended the channel before its first message"):
            await ask(server.port, identity=STRANGER)
        assert server.sessions == []
        assert await ask(server.port) == b"ping"


async def test_server_of_another_key_is_refused_before_a_byte_is_sent():
    got = []

    async def record(reader, _writer):
        got.append(await reader.read(100))

    async with raw_server(record, server_context(STRANGER, BACKUP_SERVICE.tls_key)) as port:
        with pytest.raises(PeerNotAuthenticated, match="it did not prove the pinned key"):
            await ask(port)
    assert got == []


async def test_node_without_a_registered_key_turns_everybody_away():
    async with node() as server:
        server.pins = None
        with pytest.raises(PeerClosed, match="the contract has no key for this machine"):
            await ask(server.port)
        assert server.sessions == []
        server.pins = BACKUP_SERVICE.tls_key
        assert await ask(server.port) == b"ping"


async def test_client_without_a_certificate_is_refused():
    async with node() as server:
        async with raw_client(server.port, trusting_client()) as (reader, _):
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
                await reader.read(1)
        assert server.sessions == []


async def test_server_that_asks_for_no_certificate_but_owns_the_key_still_gets_the_channel_of_its_key_only():
    context = identify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NODE)

    async def echo(reader, writer):
        writer.write(await reader.readexactly(8))
        await writer.drain()
        await reader.read(1)

    async with raw_server(echo, context) as port:
        assert await ask(port) == b"ping"
        with pytest.raises(PeerNotAuthenticated):
            await ask(port, peer=STRANGER.tls_key)


async def test_client_that_sends_two_certificates_is_refused():
    context = client_context(BACKUP_SERVICE, NODE.tls_key)
    identify(context, BACKUP_SERVICE, leaf_certificate(STRANGER.tls_key))
    async with node() as server:
        async with raw_client(server.port, context) as (reader, writer):
            writer.write(b"\0\0\0\4ping")
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await reader.readexactly(8)
        assert server.sessions == []


async def test_server_that_sends_two_certificates_is_refused():
    context = server_context(NODE, BACKUP_SERVICE.tls_key)
    identify(context, NODE, leaf_certificate(STRANGER.tls_key))
    async with raw_server(nothing, context) as port:
        with pytest.raises(PeerNotAuthenticated, match="exactly one certificate; it sent 2"):
            await ask(port)


async def test_stranger_who_appends_the_pinned_certificate_is_refused():
    context = identify(trusting_client(), STRANGER, leaf_certificate(BACKUP_SERVICE.tls_key))
    async with node() as server:
        async with raw_client(server.port, context) as (reader, _):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await reader.readexactly(1)
        assert server.sessions == []


async def test_certificate_that_the_pinned_key_issued_to_a_stranger_is_refused():
    """A trusted leaf is the end of its chain: its owner cannot pass the trust on."""
    stranger = issued(subject=STRANGER, issuer=BACKUP_SERVICE)
    context = load_identity(trusting_client(), STRANGER, stranger, leaf_certificate(BACKUP_SERVICE.tls_key))
    async with node() as server:
        async with raw_client(server.port, context) as (reader, _):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert server.sessions == []


async def test_certificate_of_the_pinned_key_with_other_bytes_is_refused():
    context = load_identity(trusting_client(), BACKUP_SERVICE, issued(subject=BACKUP_SERVICE, issuer=BACKUP_SERVICE))
    async with node() as server:
        async with raw_client(server.port, context) as (reader, _):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await reader.readexactly(1)
        assert server.sessions == []


def issued(*, subject, issuer) -> bytes:
    """A certificate with the usual names for the subject's key, signed with the issuer's private key."""
    usual = x509.load_der_x509_certificate(leaf_certificate(subject.tls_key))
    builder = x509.CertificateBuilder(
        subject_name=usual.subject,
        issuer_name=usual.issuer,
        public_key=usual.public_key(),
        serial_number=usual.serial_number,
        not_valid_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2090, 1, 1, tzinfo=UTC),
    )
    key = Ed25519PrivateKey.from_private_bytes(issuer.seed.reveal())
    return builder.sign(key, algorithm=None).public_bytes(Encoding.DER)


async def test_tls_1_2_is_refused_by_the_listener():
    context = identify(trusting_client(), BACKUP_SERVICE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with node() as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with raw_client(server.port, context):
                pass
        assert server.sessions == []


async def test_tls_1_2_is_refused_by_the_client():
    context = identify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NODE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with raw_server(nothing, context) as port:
        with pytest.raises((PeerNotAuthenticated, PeerClosed), match="the TLS handshake"):
            await ask(port)


@pytest.mark.parametrize("junk", [b"GET /get_keyshares HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 999, b"\0"])
async def test_bytes_that_are_no_tls_reach_no_handler(junk):
    async with node() as server:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(junk)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        assert server.sessions == []
        assert await ask(server.port) == b"ping"


async def test_session_is_never_resumed():
    """A client that keeps its context and its TLS session still goes through the whole handshake."""
    context = client_context(BACKUP_SERVICE, NODE.tls_key)

    def twice(port: int) -> tuple[bool, bool]:
        import socket

        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="dummy") as first,
        ):
            first.sendall(b"\0\0\0\4ping")
            assert first.recv(8)
            session = first.session
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="dummy", session=session) as second,
        ):
            second.sendall(b"\0\0\0\4ping")
            assert second.recv(8)
            return bool(session is not None and session.has_ticket), bool(second.session_reused)

    async with node() as server:
        assert await asyncio.to_thread(twice, server.port) == (False, False)
        assert len(server.sessions) == 2


async def test_tickets_of_a_server_that_gives_them_change_nothing():
    context = server_context(NODE, BACKUP_SERVICE.tls_key)
    context.options &= ~ssl.OP_NO_TICKET
    context.num_tickets = 2

    async def echo(reader, writer):
        writer.write(await reader.readexactly(8))
        await writer.drain()
        await reader.read(1)

    async with raw_server(echo, context) as port:
        assert await ask(port) == b"ping"
        assert await ask(port) == b"ping"


# --- pins that change -------------------------------------------------------------------------------


async def test_pin_that_changes_while_the_channel_is_open_cuts_it_as_pin_changed():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(b"ping")
        assert await channel.receive_frame(LIMIT) == b"ping"
        server.pins = STRANGER.tls_key
        await server.listener.enforce_pins()
        assert isinstance(await server.fault(), PinChanged)
        with pytest.raises(PeerClosed):
            await channel.receive_frame(LIMIT)
        with pytest.raises(PeerNotAuthenticated):
            await ask(server.port)


async def test_pin_that_stays_leaves_the_channel_open():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        for _ in range(2):
            await channel.send_frame(b"ping")
            assert await channel.receive_frame(LIMIT) == b"ping"
            await server.listener.enforce_pins()
        await channel.close()


async def test_pin_that_changes_during_the_handshake_admits_nobody():
    async with node() as server:
        answers = iter([BACKUP_SERVICE.tls_key, STRANGER.tls_key])

        async def changing():
            return next(answers)

        server.listener._expected_peer = changing
        with pytest.raises(PeerNotAuthenticated):
            await ask(server.port)
        assert server.sessions == []


async def test_user_of_a_channel_aborted_for_a_changed_pin_gets_that_reason_and_no_later_one():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        waiting = asyncio.create_task(channel.receive_frame(LIMIT))
        await asyncio.sleep(0.05)
        channel.abort(PinChanged("the contract pins another key now"))
        with pytest.raises(PinChanged):
            await waiting
        channel.abort(PeerClosed("too late to matter"))
        with pytest.raises(PinChanged):
            await channel.send_frame(b"ping")
        await channel.close()


async def test_listener_that_pins_several_keys_knows_whom_it_talks_to():
    async with node() as server:
        server.pins = (STRANGER.tls_key, BACKUP_SERVICE.tls_key)
        assert await ask(server.port) == b"ping"
        assert await ask(server.port, identity=STRANGER) == b"ping"
        assert [channel.peer for channel in server.sessions] == [BACKUP_SERVICE.tls_key, STRANGER.tls_key]
