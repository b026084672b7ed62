"""The node agent's web endpoints (spec: "Version 2", "Node"; docs/wire-format.md): HTTP in, decisions elsewhere.

A hostile connection costs itself. Nothing of a request's body is read before its head is verified; every
connection has one request, a deadline before that and another after it, and a place among few; the place
of one more is that of the oldest unauthenticated connection of the address that has most of them.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from sharekeeper.adapters.http_signatures import (
    HttpRequest,
    NonceMemory,
    SignedHead,
    check_body,
    sign_response,
    verify_request,
)
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    AddressInUse,
    PeerFault,
    PeerNotAuthenticated,
    PeerStalled,
    ProtocolViolation,
    SharekeeperError,
    UnknownExchange,
)
from sharekeeper.ports import Clock
from sharekeeper.protocol.messages import Refusal, encode_message
from sharekeeper.spec import (
    HANDSHAKE_TIMEOUT_SECONDS,
    MAX_SEALED_BODY_BYTES,
    MAX_SESSIONS,
    MAX_WEB_CONNECTIONS,
    SESSION_TIMEOUT_SECONDS,
    SHARES_BACKUP_PATH,
    SHARES_RECOVER_PATH,
    STALL_TIMEOUT_SECONDS,
)

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 128
_ACCEPT_PAUSE_SECONDS: Final = 0.2
_LINGER_SECONDS: Final = 1.0
_PIN_SECONDS: Final = 0.5
_MAX_FIELD_BYTES: Final = 4096
_MAX_FIELDS: Final = 64
_BINARY: Final = {"Content-Type": "application/octet-stream"}
_ENDPOINTS: Final = {("GET", SHARES_BACKUP_PATH): Purpose.BACKUP, ("POST", SHARES_RECOVER_PATH): Purpose.RECOVERY}

OK: Final = 200
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
CONFLICT: Final = 409
BUSY: Final = 503

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""What is served at a path that anyone may read."""


class Exchanges(Protocol):
    """What the endpoints need of the node agent."""

    async def expected_peer(self) -> TlsKey | None:
        """The key of the backup service at the newest final block; None lets nobody in. Raises `ChainFault`."""

    def admit(self, purpose: Purpose, exchange_id: ExchangeId) -> None:
        """Returns when that exchange is under way. Raises `UnknownExchange`, `PurposeDiffers`."""

    async def serve(self, purpose: Purpose, exchange_id: ExchangeId, body: bytes) -> bytes:
        """The sealed answer to a sealed body (empty for a backup). Raises `SharekeeperError`, in words for the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebLimits:
    """Deadlines in seconds, and how many connections and exchanges there may be at a time."""

    head_seconds: float = HANDSHAKE_TIMEOUT_SECONDS
    stall_seconds: float = STALL_TIMEOUT_SECONDS
    session_seconds: float = SESSION_TIMEOUT_SECONDS
    max_connections: int = MAX_WEB_CONNECTIONS
    max_sessions: int = MAX_SESSIONS


DEFAULT_LIMITS: Final = WebLimits()


@dataclass(eq=False, slots=True, kw_only=True)
class _Connection:
    """One connection: whose it is once a request on it is verified, and the timer that ends it."""

    address: str
    transport: asyncio.Transport | None = None
    peer: TlsKey | None = None
    timer: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def ends_in(self, seconds: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(seconds, self.cut)


class WebServer:
    """Serves the two endpoints to the backup service, and `pages` to anyone."""

    def __init__(
        self,
        host: str,
        port: int,
        identity: KeyPair,
        exchanges: Exchanges,
        clock: Clock,
        *,
        pages: Mapping[str, Page],
        limits: WebLimits = DEFAULT_LIMITS,
    ) -> None:
        """`identity`: the node's TLS key, which signs every answer to a verified request."""
        self._address = (host, port)
        self._identity = identity
        self._exchanges = exchanges
        self._clock = clock
        self._pages = pages
        self._limits = limits
        self._nonces = NonceMemory()
        self._pinned: tuple[float, TlsKey | None] | None = None
        self._pin_lock = asyncio.Lock()
        self._http: web.Server | None = None
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[object, _Connection] = {}

    @property
    def port(self) -> int:
        """The TCP port listened on; the one chosen by the kernel when 0 was asked for."""
        if self._listening is None:
            return self._address[1]
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    async def start(self) -> None:
        """The port is open and requests are served. Raises `AddressInUse`."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {host}:{port}: {error.strerror}") from None
        self._listening.setblocking(False)
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_MAX_FIELD_BYTES,
            max_field_size=_MAX_FIELD_BYTES,
            max_headers=_MAX_FIELDS,
        )
        self._accepting = asyncio.create_task(self._accept_for_ever(self._listening, self._http))

    async def stop(self) -> None:
        """The port is closed and every connection is ended."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._listening is not None:
            self._listening.close()
        if self._http is not None:
            await self._http.shutdown(0)
        for connection in tuple(self._connections.values()):
            connection.cut()
        self._listening = self._accepting = self._http = None

    async def enforce_pins(self) -> None:
        """Every exchange under way whose peer is not expected any more was cut."""
        pinned = await self._exchanges.expected_peer()
        for connection in tuple(self._connections.values()):
            if connection.peer is not None and connection.peer != pinned:
                connection.cut()

    # --- connections ----------------------------------------------------------------------------

    async def _accept_for_ever(self, listening: socket.socket, http: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                _LOG.warning("accept failed, trying again: %s", error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            connection = _Connection(address=str(address[0]))
            protocol = http()
            self._admit(protocol, connection)
            try:
                connection.transport, _ = await loop.connect_accepted_socket(
                    lambda made=protocol: _closing(made, self._forget),  # type: ignore[misc]  # bound now
                    sock,
                )
            except OSError:
                sock.close()
                self._forget(protocol)

    def _admit(self, protocol: object, connection: _Connection) -> None:
        if len(self._connections) >= self._limits.max_connections:
            self._make_room()
        self._connections[protocol] = connection
        connection.ends_in(self._limits.head_seconds)

    def _make_room(self) -> None:
        """The oldest unauthenticated connection of the address that has most of them is cut."""
        pending = [(key, held) for key, held in self._connections.items() if held.peer is None]
        busiest = Counter(held.address for _, held in pending).most_common(1)[0][0]
        key, oldest = next((key, held) for key, held in pending if held.address == busiest)
        oldest.cut()
        self._forget(key)

    def _forget(self, protocol: object) -> None:
        connection = self._connections.pop(protocol, None)
        if connection is not None and connection.timer is not None:
            connection.timer.cancel()

    # --- requests -------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(request)
        response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        purpose = _ENDPOINTS.get((request.method, request.raw_path))
        if purpose is None:
            page = self._pages.get(request.raw_path) if request.method == "GET" else None
            return await page(request) if page else web.Response(status=NOT_FOUND, text="there is no such page\n")
        connection = self._connections.get(request.protocol)
        signed = HttpRequest(method=request.method, path=request.raw_path, headers=request.headers)
        try:
            peer = await self._pin()
            head = self._verified(signed, peer)
        except SharekeeperError as error:
            _LOG.info("a request was turned away: %s: %s", error.code, error)
            return web.Response(status=UNAUTHORIZED, text=f"{error.code}: {error}\n")
        if connection is None or sum(held.peer is not None for held in self._connections.values()) >= (
            self._limits.max_sessions
        ):
            return web.Response(status=BUSY, text="too many exchanges are under way\n")
        connection.peer = peer
        connection.ends_in(self._limits.session_seconds)
        status, body = await self._exchange(request, purpose, head)
        answer = sign_response(status, body, signed, identity=self._identity, now_ns=self._clock.wall_ns())
        return web.Response(status=status, body=body, headers={**answer.headers, **_BINARY})

    def _verified(self, request: HttpRequest, peer: TlsKey | None) -> SignedHead:
        if peer is None:
            raise PeerNotAuthenticated("the contract registers no backup service that this machine serves now")
        head = verify_request(request, peer, self._clock.wall_ns())
        self._nonces.use(peer, head.nonce, self._clock.wall_ns())
        return head

    async def _pin(self) -> TlsKey | None:
        """The expected key, asked from the chain at most every half second, however many requests come."""
        async with self._pin_lock:
            if self._pinned is None or self._clock.monotonic() - self._pinned[0] >= _PIN_SECONDS:
                self._pinned = (self._clock.monotonic(), await self._exchanges.expected_peer())
            return self._pinned[1]

    async def _exchange(self, request: web.BaseRequest, purpose: Purpose, head: SignedHead) -> tuple[int, bytes]:
        """Status and body of the signed answer: sealed, or a refusal."""
        try:
            self._exchanges.admit(purpose, head.exchange_id)
            body = await self._read(request)
            check_body(head.digest, body)
            return OK, await self._exchanges.serve(purpose, head.exchange_id, body)
        except SharekeeperError as error:
            _LOG.info("an exchange was refused: %s: %s", error.code, error)
            return _status_of(error), encode_message(Refusal.of(error))

    async def _read(self, request: web.BaseRequest) -> bytes:
        """The body. Raises `ProtocolViolation` when it is too long or broken, `PeerStalled` when it does not move."""
        limit = MAX_SEALED_BODY_BYTES
        if (request.content_length or 0) > limit:
            raise ProtocolViolation(f"the peer announced a body of {request.content_length} bytes; {limit} are allowed")
        data = bytearray()
        while True:
            try:
                async with asyncio.timeout(self._limits.stall_seconds):
                    chunk = await request.content.readany()
            except TimeoutError:
                raise PeerStalled(f"the peer moved no byte for {self._limits.stall_seconds:g} s") from None
            except (web.RequestPayloadError, OSError):
                raise ProtocolViolation("the peer ended its body early or broke it") from None
            if not chunk:
                return bytes(data)
            data += chunk
            if len(data) > limit:
                raise ProtocolViolation(f"the peer sent a body of more than {limit} bytes")


def _closing(protocol: web.RequestHandler[web.BaseRequest], closed: Callable[[object], None]) -> web.RequestHandler[web.BaseRequest]:
    """`protocol`, which calls `closed` when its connection is gone."""
    lost = protocol.connection_lost

    def connection_lost(error: BaseException | None) -> None:
        lost(error)
        closed(protocol)

    protocol.connection_lost = connection_lost  # type: ignore[method-assign]
    return protocol


def _status_of(error: SharekeeperError) -> int:
    match error:
        case UnknownExchange():
            return NOT_FOUND
        case PeerFault():
            return CONFLICT
        case _:
            return BUSY
