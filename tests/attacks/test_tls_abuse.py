"""A peer that lies about frames, stalls or floods costs one connection, never the service (docs/architecture.md, bad input)."""

import asyncio
import contextlib
import os
import resource
import socket
import struct

import pytest

from sharekeeper.adapters.tls_channel import ChannelListener, ChannelTimeouts, accept, connect
from sharekeeper.crypto.pinning import client_context
from sharekeeper.errors import (
    AddressInUse,
    ChainUnavailable,
    HostFault,
    PeerClosed,
    PeerFault,
    PeerNotAuthenticated,
    PeerStalled,
    PeerUnreachable,
    ProtocolViolation,
)

from .channels import BACKUP_SERVICE, HOST, LIMIT, NODE, SHORT, USUAL, node, raw_client, raw_server


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


async def ping(port: int, timeouts=USUAL) -> None:
    """The node serves one honest client."""
    channel = await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=timeouts)
    await channel.send_frame(b"ping")
    assert await channel.receive_frame(LIMIT) == b"ping"
    await channel.close()


# --- frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, LIMIT])
async def test_frames_from_one_byte_to_the_limit_are_accepted(size):
    async with node() as server, raw_client(server.port) as (reader, writer):
        writer.write(frame(b"x" * size))
        assert await reader.readexactly(size + 4) == frame(b"x" * size)


async def test_frame_that_arrives_one_byte_at_a_time_is_the_same_frame():
    async with node() as server, raw_client(server.port) as (reader, writer):
        for byte in frame(b"drip") + frame(b"drop"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        assert await reader.readexactly(16) == frame(b"drip") + frame(b"drop")


async def test_frames_that_arrive_together_are_told_apart():
    async with node() as server, raw_client(server.port) as (reader, writer):
        writer.write(frame(b"one") + frame(b"two") + frame(b"three"))
        assert await reader.readexactly(23) == frame(b"one") + frame(b"two") + frame(b"three")


@pytest.mark.parametrize("length", [0, LIMIT + 1, 2**32 - 1])
async def test_empty_or_oversized_frame_is_refused_by_its_header_alone(length):
    async with node() as server, raw_client(server.port) as (reader, writer):
        writer.write(struct.pack(">I", length))
        fault = await server.fault()
        assert isinstance(fault, ProtocolViolation)
        assert f"a frame of {length} bytes; 1 to {LIMIT} are allowed" in str(fault)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_client_that_dies_in_the_middle_of_a_frame_is_a_closed_peer():
    async with node() as server:
        async with raw_client(server.port) as (_, writer):
            writer.write(frame(b"whole")[:-1])
            await asyncio.sleep(0.1)
        assert isinstance(await server.fault(), PeerClosed)


async def test_client_that_ends_the_channel_in_the_middle_of_a_frame_violates_the_protocol():
    context = client_context(BACKUP_SERVICE, NODE.tls_key)

    def truncate(port: int) -> None:
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="dummy") as tls,
        ):
            tls.sendall(frame(b"whole")[:-1])
            tls.unwrap()

    async with node() as server:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(truncate, server.port)
        fault = await server.fault()
        assert isinstance(fault, ProtocolViolation)
        assert "in the middle of a frame" in str(fault)


async def test_peer_that_closes_between_frames_is_a_closed_peer():
    async with node() as server:
        await ping(server.port)
        fault = await server.fault()
        assert isinstance(fault, PeerClosed)
        assert "before the exchange was complete" in str(fault)


async def test_tampered_record_ends_the_channel():
    async with node() as server, relay(server.port) as (port, spoil):
        channel = await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(b"ping")
        assert await channel.receive_frame(LIMIT) == b"ping"
        spoil.set()
        await channel.send_frame(b"ping")
        fault = await server.fault()
        assert isinstance(fault, ProtocolViolation)
        assert "broke the TLS protocol" in str(fault)
        with pytest.raises(PeerClosed):
            await channel.receive_frame(LIMIT)


@contextlib.asynccontextmanager
async def relay(port: int):
    """The port of a relay to `port`, and an event after which it flips a bit of what the client sends."""
    spoil = asyncio.Event()

    async def copy(reader, writer, *, spoiling: bool):
        while data := await reader.read(65536):
            writer.write(data[:-1] + bytes([data[-1] ^ (spoiling and spoil.is_set())]))
        writer.close()

    async def serve(reader, writer):
        up_reader, up_writer = await asyncio.open_connection(HOST, port)
        with contextlib.suppress(OSError):
            await asyncio.gather(copy(reader, up_writer, spoiling=True), copy(up_reader, writer, spoiling=False))
        up_writer.close()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1], spoil


async def test_failed_channel_repeats_its_first_fault():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(b"ping")
        with pytest.raises(ProtocolViolation, match="1 to 3 are allowed"):
            await channel.receive_frame(3)
        for attempt in (channel.receive_frame(LIMIT), channel.send_frame(b"x")):
            with pytest.raises(ProtocolViolation, match="1 to 3 are allowed"):
                await attempt


async def test_cancelled_receive_ends_the_channel():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.receive_frame(LIMIT), 0.05)
        with pytest.raises(PeerClosed, match="cancelled on this side"):
            await channel.send_frame(b"ping")


async def test_closed_channel_can_not_be_used():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        waiting = asyncio.create_task(channel.receive_frame(LIMIT))
        await asyncio.sleep(0.05)
        await channel.close()
        await channel.close()
        with pytest.raises(PeerClosed, match="closed on this side"):
            await waiting
        with pytest.raises(PeerClosed, match="closed on this side"):
            await channel.send_frame(b"ping")


async def test_frames_of_several_senders_are_not_mixed():
    async with node() as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        payloads = [bytes([number]) * LIMIT for number in range(8)]
        await asyncio.gather(*(channel.send_frame(payload) for payload in payloads))
        assert sorted([await channel.receive_frame(LIMIT) for _ in payloads]) == payloads
        await channel.close()


# --- stalls ---------------------------------------------------------------------------------------------


async def test_client_that_never_begins_the_handshake_is_dropped_at_the_deadline():
    async with node(timeouts=SHORT) as server:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()
        assert server.sessions == []


async def test_server_that_never_answers_the_handshake_is_given_up():
    with (
        socket.create_server((HOST, 0)) as silent,
        pytest.raises(PeerStalled, match=r"TLS handshake within 0\.8 s"),
    ):
        await connect(HOST, silent.getsockname()[1], BACKUP_SERVICE, NODE.tls_key, timeouts=SHORT)


@pytest.mark.parametrize("start", [b"", b"\0", b"\0\0\0\5whol"], ids=["before", "in the header", "in the payload"])
async def test_client_that_stalls_with_a_frame_loses_its_connection(start):
    async with node(timeouts=SHORT) as server, raw_client(server.port) as (_, writer):
        writer.write(start)
        fault = await server.fault()
        assert isinstance(fault, PeerStalled)
        assert "no byte for 0.4 s" in str(fault)


async def test_peer_that_drips_bytes_for_ever_meets_the_end_of_the_session():
    timeouts = ChannelTimeouts(handshake_seconds=3, stall_seconds=0.4, session_seconds=0.5)
    async with node(timeouts=timeouts) as server, raw_client(server.port) as (_, writer):
        writer.write(struct.pack(">I", LIMIT))
        while not server.failed.is_set():
            writer.write(b"x")
            await asyncio.sleep(0.05)
        fault = await server.fault()
        assert isinstance(fault, PeerStalled)
        assert "not complete after 0.5 s" in str(fault)


async def test_peer_that_takes_nothing_loses_its_connection():
    async def pour(channel):
        await channel.receive_frame(LIMIT)
        try:
            await channel.send_frame(bytes(64 * 1024 * 1024))
        except PeerFault as fault:
            poured.set_result(fault)
            raise

    poured = asyncio.get_running_loop().create_future()
    timeouts = ChannelTimeouts(handshake_seconds=3, stall_seconds=0.4, session_seconds=20)
    async with node(timeouts=timeouts, handler=pour) as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(b"pour")
        fault = await asyncio.wait_for(poured, 10)
        assert isinstance(fault, PeerStalled)
        assert "no byte for 0.4 s" in str(fault)
        await channel.close()


async def test_server_that_stalls_after_the_handshake_is_given_up():
    async def nothing(reader, _writer):
        await reader.read()

    async with raw_server(nothing) as port:
        channel = await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=SHORT)
        with pytest.raises(PeerStalled):
            await channel.receive_frame(LIMIT)


async def test_channel_without_session_deadline_lives_on():
    timeouts = ChannelTimeouts(handshake_seconds=3, stall_seconds=0.4, session_seconds=None)
    async with node(timeouts=timeouts) as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=timeouts)
        for _ in range(4):
            await channel.send_frame(b"ping")
            assert await channel.receive_frame(LIMIT) == b"ping"
            await asyncio.sleep(0.1)
        await channel.close()


# --- floods ---------------------------------------------------------------------------------------------


async def test_flood_of_silent_connections_does_not_keep_the_honest_client_out():
    async with node() as server:
        flood = [await asyncio.open_connection(HOST, server.port) for _ in range(100)]
        for _ in range(3):
            await ping(server.port)
        assert len(server.listener._pending) <= 32
        for _, writer in flood:
            writer.transport.abort()


async def test_flood_that_goes_on_does_not_keep_the_honest_client_out():
    async def flood(port):
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError), socket.socket() as plain:
                plain.setblocking(False)
                await loop.sock_connect(plain, (HOST, port))
                await loop.sock_sendall(plain, os.urandom(100))
                await asyncio.sleep(0.005)

    async with node() as server:
        flooding = [asyncio.create_task(flood(server.port)) for _ in range(4)]
        for _ in range(5):
            await ping(server.port)
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)


async def test_a_flood_of_strangers_does_not_fill_the_log(caplog):
    async def knock(port):
        with pytest.raises(PeerFault):
            await ping(port)

    async with node() as server:
        server.pins = None
        caplog.set_level("INFO")
        for _ in range(20):
            await knock(server.port)
        assert caplog.text.count("a client was turned away") == 1
        server.listener._quiet_until.clear()  # a minute later
        await knock(server.port)
        assert "; 19 more like it since the last line" in caplog.text


async def test_oldest_pending_connection_gives_way():
    async with node(max_pending=2) as server:
        first, *others = [await asyncio.open_connection(HOST, server.port) for _ in range(3)]
        assert await asyncio.wait_for(first[0].read(), 2) == b""
        await ping(server.port)
        for _, writer in (first, *others):
            writer.transport.abort()


async def test_one_session_more_than_allowed_is_turned_away_and_the_others_go_on():
    async with node(max_sessions=2) as server:
        held = [await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL) for _ in range(2)]
        for channel in held:
            await channel.send_frame(b"ping")
            assert await channel.receive_frame(LIMIT) == b"ping"
        with pytest.raises(PeerNotAuthenticated, match="overloaded"):
            await ping(server.port)
        await held[0].close()
        await asyncio.wait_for(server.failed.wait(), 5)
        await ping(server.port)
        await held[1].close()


async def test_listener_outlives_the_exhaustion_of_descriptors(caplog):
    async with node() as server:
        with socket.socket() as plain:
            plain.settimeout(5)
            with no_descriptor_left():
                plain.connect((HOST, server.port))
                await asyncio.sleep(0.3)
                with pytest.raises(HostFault, match="too many open files"):
                    await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
            assert "accept failed, trying again: too many open files" in caplog.text
        await ping(server.port)


@contextlib.contextmanager
def no_descriptor_left():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    holes = []
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                holes.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in holes:
            os.close(descriptor)


async def test_accepting_without_a_descriptor_left_closes_the_connection():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        with no_descriptor_left(), pytest.raises(HostFault, match="limit of open files"):
            await accept(ours, NODE, BACKUP_SERVICE.tls_key)
        assert theirs.recv(1) == b""


async def test_handler_that_fails_ends_its_session_only(caplog):
    async def fail(channel):
        await channel.receive_frame(LIMIT)
        raise LookupError("a mistake")

    async with node(handler=fail) as server:
        for _ in range(2):
            channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
            await channel.send_frame(b"ping")
            with pytest.raises(PeerNotAuthenticated):
                await channel.receive_frame(LIMIT)
        assert "LookupError: a mistake" in caplog.text


@pytest.mark.parametrize("answer", ["raises", "hangs"])
async def test_unknown_pin_admits_nobody_and_the_listener_goes_on(answer):
    async def unknown():
        if answer == "hangs":
            await asyncio.sleep(60)
        raise ChainUnavailable("no endpoint answered in time")

    async with node(timeouts=SHORT) as server:
        known, server.listener._expected_peer = server.listener._expected_peer, unknown
        with pytest.raises(PeerClosed):
            await ping(server.port)
        server.listener._expected_peer = known
        await ping(server.port)


# --- start and stop -------------------------------------------------------------------------------------


async def test_stop_ends_every_session_and_frees_the_port():
    async with node() as server:
        port = server.port
        silent_reader, silent_writer = await asyncio.open_connection(HOST, port)
        channel = await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(b"ping")
        await channel.receive_frame(LIMIT)
        await server.listener.stop()
        with pytest.raises(PeerFault):
            await channel.receive_frame(LIMIT)
        assert await silent_reader.read() == b""
        silent_writer.close()
        with pytest.raises(PeerUnreachable, match="connection refused"):
            await connect(HOST, port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await server.listener.start()
        await ping(server.port)


async def test_address_in_use_is_named():
    async with node() as server:
        second = ChannelListener(HOST, server.port, NODE, server.expected_peer, server.echo)
        assert second.port == server.port
        with pytest.raises(AddressInUse, match=f"cannot listen on {HOST}:{server.port}: address already in use"):
            await second.start()
        await second.stop()


@pytest.mark.parametrize("host", ["x" * 70 + ".test", "256.256.256.256", ""])
async def test_host_that_has_no_address_is_unreachable(host):
    with pytest.raises(PeerUnreachable, match="no TCP connection to"):
        await connect(host, 1, BACKUP_SERVICE, NODE.tls_key, timeouts=SHORT)


async def test_ipv6_works_too():
    async def echo(channel):
        await channel.send_frame(await channel.receive_frame(LIMIT))

    async def expected():
        return BACKUP_SERVICE.tls_key

    listener = ChannelListener("::1", 0, NODE, expected, echo, timeouts=USUAL)
    try:
        await listener.start()
    except AddressInUse:
        pytest.skip("this machine has no IPv6")
    channel = await connect("::1", listener.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
    await channel.send_frame(b"six")
    assert await channel.receive_frame(LIMIT) == b"six"
    await channel.close()
    await listener.stop()


async def test_large_frame_crosses_whole():
    size = 8 * 1024 * 1024

    async def echo(channel):
        await channel.send_frame(await channel.receive_frame(size))
        with contextlib.suppress(PeerFault):
            await channel.receive_frame(1)

    payload = os.urandom(size)
    async with node(handler=echo) as server:
        channel = await connect(HOST, server.port, BACKUP_SERVICE, NODE.tls_key, timeouts=USUAL)
        await channel.send_frame(payload)
        assert await channel.receive_frame(size) == payload
        await channel.close()


async def test_server_that_never_completes_the_tcp_handshake_is_unreachable():
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(4):
            plain = stack.enter_context(socket.socket())
            plain.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                plain.connect(full.getsockname())
        with pytest.raises(PeerUnreachable, match="before the deadline"):
            await connect(HOST, full.getsockname()[1], BACKUP_SERVICE, NODE.tls_key, timeouts=SHORT)
