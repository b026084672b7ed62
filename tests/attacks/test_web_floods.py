"""A client that stalls, floods or never ends costs its own connection; so does a node that does so to its client."""

import asyncio
import contextlib
import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.adapters import http_signatures
from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.http_signatures import HttpRequest, NonceMemory, sign_request, verify_request
from sharekeeper.adapters.web_client import WebClient, WebTimeouts
from sharekeeper.adapters.web_server import WebLimits, WebServer
from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    AddressInUse,
    PeerClosed,
    PeerFault,
    PeerNotAuthenticated,
    PeerStalled,
    PeerUnreachable,
    ProtocolViolation,
    Replayed,
    UnknownExchange,
)
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SEALED_BODY_BYTES
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, STRANGER

HOST = "127.0.0.1"
CLOCK = SystemClock()
ID = ExchangeId("ab" * 16)
SHORT = WebLimits(head_seconds=0.6, stall_seconds=0.3, session_seconds=1.5, max_connections=16, max_sessions=2)
QUICK = WebTimeouts(connect_seconds=1, stall_seconds=0.5, session_seconds=1.5)


@dataclass
class Echo:
    """Exchanges that answer with what they were sent, or wait."""

    held: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    waits: bool = False
    bodies: list[int] = field(default_factory=list)
    unknown: bool = False

    async def expected_peers(self):
        self.asked += 1
        return (BACKUP_SERVICE.tls_key,)

    def admit(self, peer, purpose, exchange_id):
        if self.unknown:
            raise UnknownExchange("no such exchange")

    async def serve(self, peer, purpose, exchange_id, body):
        self.bodies.append(len(body))
        if self.waits:
            await self.held.wait()
        return b"sealed" + body


@contextlib.asynccontextmanager
async def served(limits=SHORT, **settings):
    echo = Echo(**settings)
    server = WebServer(HOST, 0, NODE, echo, CLOCK, pages={}, limits=limits)
    await server.start()
    try:
        yield server, echo
    finally:
        echo.held.set()
        await server.stop()


async def ask(port, body=b"", *, timeouts=QUICK, purpose=Purpose.RECOVERY):
    client = WebClient(BACKUP_SERVICE, CLOCK, timeouts=timeouts)
    return await client.request(f"http://{HOST}:{port}", purpose, ID, body, NODE.tls_key)


def head(*, length: str, key=BACKUP_SERVICE, nonce=bytes(16), body=b"") -> bytes:
    request = sign_request("POST", "/shares_recover", ID, body, identity=key, nonce=nonce, now_ns=CLOCK.wall_ns())
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /shares_recover HTTP/1.1\r\nhost: node\r\n{fields}{length}\r\n\r\n".encode()


async def until_closed(reader, *, seconds=3.0) -> bytes:
    """What still comes until the other side closes; fails when it does not."""
    got = b""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(2**16):
                got += chunk
    return got


# --- one connection -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"GET /shares_backup HTTP/1.1\r\nhost: n"])
async def test_a_slow_head_is_cut_at_its_deadline(start):
    async with served() as (server, _):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(start)
        assert await until_closed(reader) == b""
        assert server.open_connections == 0
        writer.close()


async def test_a_head_that_drips_is_cut_at_the_same_deadline():
    async with served() as (server, _):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"GET /shares_backup HTTP/1.1\r\n")
        closed = asyncio.ensure_future(until_closed(reader))
        for number in range(40):
            if closed.done():
                break
            with contextlib.suppress(ConnectionError):
                writer.write(f"x-{number}: y\r\n".encode())
            await asyncio.sleep(0.05)
        assert closed.done()
        writer.close()


async def test_a_slow_body_is_refused_after_one_stall():
    async with served() as (server, echo):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(head(length="content-length: 100") + b"x")
        answer = await until_closed(reader)
        assert b"peer_stalled" in answer
        assert echo.bodies == []
        writer.close()


async def test_an_endless_body_is_refused_at_the_limit_and_takes_no_more_memory(monkeypatch):
    monkeypatch.setattr("sharekeeper.adapters.web_server.MAX_SEALED_BODY_BYTES", 2**20)
    limits = WebLimits(session_seconds=10)
    async with served(limits) as (server, echo):
        tracemalloc.start()
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(head(length="transfer-encoding: chunked"))
        closed = asyncio.ensure_future(until_closed(reader, seconds=8))
        chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
        with contextlib.suppress(ConnectionError):
            while not closed.done():
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0)
        assert b"protocol_violation" in await closed
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()
        assert echo.bodies == []
        writer.close()


async def test_an_oversized_body_is_refused_by_its_announcement_alone():
    async with served() as (server, echo):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(head(length=f"content-length: {MAX_SEALED_BODY_BYTES + 1}"))
        assert b"protocol_violation" in await until_closed(reader)
        assert echo.bodies == []
        writer.close()


async def test_a_body_under_an_unregistered_signature_is_never_read():
    async with served() as (server, echo):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(head(length="content-length: 10000000", key=STRANGER) + bytes(1000))
        answer = await until_closed(reader)
        assert answer.startswith(b"HTTP/1.1 401")
        assert echo.bodies == []
        writer.close()


async def test_the_body_of_an_unknown_exchange_is_never_read():
    async with served(unknown=True) as (server, echo):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(head(length="content-length: 10000000"))
        started = asyncio.get_running_loop().time()
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        assert asyncio.get_running_loop().time() - started < SHORT.stall_seconds
        assert echo.bodies == []
        writer.close()


async def test_an_exchange_may_take_longer_than_a_head():
    async with served(waits=True) as (server, echo):
        held = asyncio.ensure_future(ask(server.port, b"x", timeouts=WebTimeouts()))
        await asyncio.sleep(SHORT.head_seconds + 0.3)
        echo.held.set()
        assert await held == b"sealedx"


async def test_an_exchange_that_never_ends_is_cut():
    async with served(waits=True) as (server, _):
        with pytest.raises(PeerFault):
            await ask(server.port, b"x", timeouts=WebTimeouts())
        assert server.open_connections == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x01\xdf\x01{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /shares_backup?x=1 HTTP/1.1\r\nhost: n\r\n\r\n",
        b"GET /shares_backup/ HTTP/1.1\r\nhost: n\r\n\r\n",
        b"PUT /shares_recover HTTP/1.1\r\nhost: n\r\n\r\n",
        b"GET http://n/shares_backup HTTP/1.1\r\nhost: n\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET /shares_backup HTTP/1.1\r\nhost: n\r\nx: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET /shares_backup HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(200)) + b"\r\n",
    ],
    ids=["version 1", "TLS", "query", "slash", "method", "absolute", "long line", "long field", "many fields"],
)
async def test_what_is_no_request_of_ours_reaches_nothing(garbage):
    async with served() as (server, echo):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(garbage)
        answer = await until_closed(reader)
        assert answer == b"" or answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
        assert echo.bodies == []
        assert await ask(server.port, b"x") == b"sealedx"
        writer.close()


# --- many connections -----------------------------------------------------------------------------------


async def test_a_flood_of_idle_connections_is_bounded_and_others_are_served():
    async with served(WebLimits(max_connections=16)) as (server, _):
        writers = [(await asyncio.open_connection(HOST, server.port))[1] for _ in range(100)]
        await asyncio.sleep(0.05)
        assert server.open_connections <= 16
        assert await ask(server.port, b"x") == b"sealedx"
        for writer in writers:
            writer.close()


async def test_a_flood_from_one_address_costs_no_other_address_its_place():
    async with served(WebLimits(max_connections=16)) as (server, _):
        patient, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"GET /shares")
        flood = [(await asyncio.open_connection(HOST, server.port, local_addr=("127.0.0.66", 0)))[1] for _ in range(60)]
        writer.write(b"_none HTTP/1.1\r\nhost: n\r\n\r\n")
        assert (await until_closed(patient)).startswith(b"HTTP/1.1 404")
        for one in (*flood, writer):
            one.close()


async def test_a_flood_of_unsigned_requests_asks_the_chain_little_and_others_are_served():
    async with served(WebLimits(max_connections=64)) as (server, echo):
        client = WebClient(STRANGER, CLOCK, timeouts=WebTimeouts())

        async def bad():
            with pytest.raises(PeerFault):
                await client.request(f"http://{HOST}:{server.port}", Purpose.BACKUP, ID, b"", NODE.tls_key)

        flood = [asyncio.ensure_future(bad()) for _ in range(200)]
        assert await ask(server.port, b"x", timeouts=WebTimeouts()) == b"sealedx"
        await asyncio.gather(*flood)
        assert echo.asked <= 10
        assert server.open_connections == 0


async def test_exchanges_are_few_at_a_time_and_one_more_is_told_so():
    async with served(WebLimits(max_sessions=2), waits=True) as (server, echo):
        held = [asyncio.ensure_future(ask(server.port, b"x", timeouts=WebTimeouts())) for _ in range(2)]
        while len(echo.bodies) < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(PeerNotAuthenticated, match="503"):
            await ask(server.port, b"y")
        echo.held.set()
        assert await asyncio.gather(*held) == [b"sealedx"] * 2
        assert await ask(server.port, b"z") == b"sealedz"


async def test_an_open_exchange_is_cut_when_its_pin_changes(monkeypatch):
    async with served(WebLimits(), waits=True) as (server, echo):
        held = asyncio.ensure_future(ask(server.port, b"x", timeouts=WebTimeouts()))
        while not echo.bodies:
            await asyncio.sleep(0.01)
        await server.enforce_pins()
        await asyncio.sleep(0.05)
        assert not held.done()

        async def nobody():
            return ()

        monkeypatch.setattr(echo, "expected_peers", nobody)
        await server.enforce_pins()
        with pytest.raises(PeerClosed):
            await held


def test_remembered_nonces_are_bounded_and_fall_out_of_the_window():
    memory = NonceMemory(limit=3)
    for number in range(3):
        memory.use(BACKUP_SERVICE.tls_key, str(number), 0)
    with pytest.raises(Replayed, match="within"):
        memory.use(BACKUP_SERVICE.tls_key, "3", 10**9)
    with pytest.raises(Replayed):
        memory.use(BACKUP_SERVICE.tls_key, "0", 60 * 10**9)
    memory.use(BACKUP_SERVICE.tls_key, "0", 61 * 10**9)
    assert len(memory) == 1


async def test_an_address_in_use_is_said_so():
    async with served() as (server, echo):
        with pytest.raises(AddressInUse):
            await WebServer(HOST, server.port, NODE, echo, CLOCK, pages={}).start()


# --- the other side ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def raw_server(behave):
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if behave in {hangs, drips, endless} else writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def says(data: bytes):
    async def behave(writer):
        writer.write(data)
        await writer.drain()

    return behave


async def hangs(writer):
    await asyncio.sleep(5)


async def drips(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nsignature: x\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def endless(writer):
    writer.write(b"HTTP/1.1 409 Conflict\r\nsignature: x\r\n\r\n")
    while True:
        writer.write(bytes(MAX_CONTROL_FRAME_BYTES))
        await writer.drain()


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (hangs, PeerStalled),
        (drips, PeerStalled),
        (endless, ProtocolViolation),
        (says(b""), PeerClosed),
        (says(b"no http\r\n\r\n"), PeerClosed),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsealed"), PeerNotAuthenticated),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsea"), PeerClosed),
        (
            says(b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
            PeerNotAuthenticated,
        ),
        (says(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops"), PeerNotAuthenticated),
        (
            says(b"HTTP/1.1 200 OK\r\nsignature: x\r\nsignature-input: y\r\ncontent-length: 0\r\n\r\n"),
            PeerNotAuthenticated,
        ),
    ],
    ids=[
        "hangs",
        "drips",
        "endless",
        "closes",
        "no http",
        "unsigned",
        "cut",
        "redirect",
        "gateway",
        "broken signature",
    ],
)
async def test_a_node_that_misbehaves_costs_one_request(behave, fault):
    async with raw_server(behave) as port:
        with pytest.raises(fault):
            await ask(port, purpose=Purpose.BACKUP)


async def test_what_answers_but_is_no_node_agent_costs_no_transaction():
    async with raw_server(says(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")) as port:
        with pytest.raises(PeerNotAuthenticated, match="no node agent"):
            await WebClient(BACKUP_SERVICE, CLOCK).reach(f"http://{HOST}:{port}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid:8080", "http://[::1", "nonsense"])
async def test_an_unreachable_node_is_said_so(url):
    with pytest.raises(PeerUnreachable):
        await WebClient(BACKUP_SERVICE, CLOCK, timeouts=QUICK).reach(url)


# --- any header --------------------------------------------------------------------------------------------


GOOD = sign_request("GET", "/shares_backup", ID, b"", identity=BACKUP_SERVICE, nonce=bytes(16), now_ns=10**18)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(GOOD.headers)),
    value=st.one_of(st.text(max_size=300), st.text(alphabet='sig=("@method");created=1:;,ab"\\x20', max_size=80)),
)
def test_any_field_in_place_of_a_good_one_is_refused(name, value):
    request = HttpRequest(method="GET", path="/shares_backup", headers=dict(GOOD.headers) | {name: value})
    if value.strip(" \t") == GOOD.headers[name]:
        return
    with pytest.raises(PeerFault):
        verify_request(request, (BACKUP_SERVICE.tls_key,), 10**18)


def test_a_signature_that_covers_less_is_refused():
    for left_out in ("@method", "@path", "content-digest", "sharekeeper-exchange"):
        components = tuple(name for name in http_signatures._OF_REQUEST if name != left_out)
        request = HttpRequest(method="GET", path="/shares_backup", headers={"sharekeeper-exchange": ID})
        http_signatures._sign(request, components, b"", BACKUP_SERVICE, 10**18, nonce="0" * 32)
        if left_out == "content-digest":  # the library adds it: the order then differs
            assert list(request.headers)
        with pytest.raises(PeerNotAuthenticated):
            verify_request(request, (BACKUP_SERVICE.tls_key,), 10**18)


@pytest.mark.parametrize("nonce", ["", "0" * 31, "0" * 33, "G" * 32, None])
def test_a_nonce_that_is_none_is_refused(nonce):
    request = HttpRequest(method="GET", path="/shares_backup", headers={"sharekeeper-exchange": ID})
    http_signatures._sign(request, http_signatures._OF_REQUEST, b"", BACKUP_SERVICE, 10**18, nonce=nonce)
    with pytest.raises(PeerNotAuthenticated):
        verify_request(request, (BACKUP_SERVICE.tls_key,), 10**18)
