"""The node agent's web endpoints (spec: "Version 2", "Node"; docs/wire-format.md): HTTP in, decisions elsewhere.

A hostile connection costs itself. Nothing of a request's body is read before its head is verified; every
connection has one request, a deadline before that and another after it, and a place among few. The place of
one more is that of the oldest connection without a whole head, of the address that has most of these; where
every connection is being answered, the newcomer is cut.
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
from sharekeeper.protocol.messages import MAX_EVIDENCE_FRAME_BYTES, Refusal, encode_message
from sharekeeper.spec import (
    ATTESTATION_PATH,
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
_ACCEPTED_IN_A_ROW: Final = 8
_LINGER_SECONDS: Final = 1.0
_PIN_SECONDS: Final = 0.5
_MAX_FIELD_BYTES: Final = 4096
_MAX_FIELDS: Final = 64
_BINARY: Final = {"Content-Type": "application/octet-stream"}
_ENDPOINTS: Final[dict[tuple[str, str], Purpose | None]] = {
    ("GET", SHARES_BACKUP_PATH): Purpose.BACKUP,
    ("POST", SHARES_RECOVER_PATH): Purpose.RECOVERY,
    ("POST", ATTESTATION_PATH): None,
}
"""What each endpoint is for; None: evidence, of an exchange of either purpose."""

OK: Final = 200
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
CONFLICT: Final = 409
BUSY: Final = 503

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""What is served at a path that anyone may read."""


class Exchanges(Protocol):
    """What the endpoints need of the node agent."""

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """The keys of the backup services at the newest final block; none lets nobody in. Raises `ChainFault`."""

    def admit(self, peer: TlsKey, purpose: Purpose | None, exchange_id: ExchangeId) -> None:
        """Returns when that exchange with `peer` is under way, and may begin with this request. `purpose` None: evidence.

        Raises `UnknownExchange`, `PurposeDiffers`; `PeerNotAttested` if evidence must be shown before.
        """

    async def attest(self, peer: TlsKey, exchange_id: ExchangeId, body: bytes) -> bytes:
        """The own evidence message in answer to the peer's, which was accepted. Raises as `serve`."""

    async def serve(self, peer: TlsKey, purpose: Purpose, exchange_id: ExchangeId, body: bytes) -> bytes:
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
    """One connection: if its request is being answered, whose it is once that is verified, the timer that ends it."""

    transport: asyncio.Transport
    address: str
    asked: bool = False
    peer: TlsKey | None = None
    timer: asyncio.TimerHandle | None = None

    def ends_in(self, seconds: float) -> None:
        """It is cut after `seconds`, and at no other time."""
        self.stop_timer()
        self.timer = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class _Connections(web.Server):
    """aiohttp's server, which knows its connections and never has more than `limits` allow."""

    def __init__(self, handler: Page, limits: WebLimits) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_MAX_FIELD_BYTES,
            max_field_size=_MAX_FIELD_BYTES,
            max_headers=_MAX_FIELDS,
        )
        self._limits = limits
        self.held: dict[object, _Connection] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """A place is taken, from another connection if there is none left."""
        super().connection_made(handler, transport)
        if len(self.held) >= self._limits.max_connections and not self._make_room():
            transport.abort()
            return
        address = transport.get_extra_info("peername") or ("unknown",)
        self.held[handler] = _Connection(transport=transport, address=str(address[0]))
        self.held[handler].ends_in(self._limits.head_seconds)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """The place is free."""
        super().connection_lost(handler, exc)
        self._forget(handler)

    def authenticated(self) -> int:
        """How many connections have a verified request."""
        return sum(held.peer is not None for held in self.held.values())

    def _make_room(self) -> bool:
        """A connection was cut for another; False if each is being answered."""
        waiting = [(handler, held) for handler, held in self.held.items() if not held.asked]
        if not waiting:
            return False
        busiest = Counter(held.address for _, held in waiting).most_common(1)[0][0]
        handler, oldest = next(one for one in waiting if one[1].address == busiest)
        self._forget(handler)
        oldest.transport.abort()
        return True

    def _forget(self, handler: object) -> None:
        connection = self.held.pop(handler, None)
        if connection is not None:
            connection.stop_timer()


class WebServer:
    """Serves the endpoints to the backup service, and `pages` to anyone."""

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
        self._pinned: tuple[float, tuple[TlsKey, ...]] | None = None
        self._pin_lock = asyncio.Lock()
        self._http: _Connections | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port listened on; the one chosen by the kernel when 0 was asked for."""
        if self._server is None:
            return self._address[1]
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return 0 if self._http is None else len(self._http.held)

    async def start(self) -> None:
        """The port is open and requests are served. Raises `AddressInUse`."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {host}:{port}: {error.strerror}") from None
        self._http = _Connections(self._handle, self._limits)
        loop = asyncio.get_running_loop()
        # asyncio accepts as many at once as the backlog says, before it reads from any: few, so that none waits long
        self._server = await loop.create_server(self._http, sock=listening, backlog=_ACCEPTED_IN_A_ROW)
        listening.listen(_BACKLOG)

    async def stop(self) -> None:
        """The port is closed and every connection is ended."""
        if self._server is not None and self._http is not None:
            self._server.close()
            for connection in tuple(self._http.held.values()):
                connection.transport.abort()
            await self._http.shutdown(0)
        self._server = None

    async def enforce_pins(self) -> None:
        """Every exchange under way whose peer is not expected any more was cut."""
        if self._http is None or self._http.authenticated() == 0:
            return
        pinned = await self._exchanges.expected_peers()
        for connection in tuple(self._http.held.values()):
            if connection.peer is not None and connection.peer not in pinned:
                connection.transport.abort()

    # --- requests -------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self._http.held.get(request.protocol) if self._http else None
        if connection is not None:
            connection.asked = True
        response = await self._respond(request)
        response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        endpoint = (request.method, request.raw_path)
        if endpoint not in _ENDPOINTS:
            page = self._pages.get(request.raw_path) if request.method == "GET" else None
            return await page(request) if page else web.Response(status=NOT_FOUND, text="there is no such page\n")
        signed = HttpRequest(method=request.method, path=request.raw_path, headers=request.headers)
        try:
            head = self._verified(signed, await self._pins())
        except SharekeeperError as error:
            _LOG.info("a request was turned away: %s: %s", error.code, error)
            return web.Response(status=UNAUTHORIZED, text=f"{error.code}: {error}\n")
        if not self._hold(request, head.peer):
            return web.Response(status=BUSY, text="too many exchanges are under way\n")
        status, body = await self._exchange(request, _ENDPOINTS[endpoint], head)
        answer = sign_response(status, body, signed, identity=self._identity, now_ns=self._clock.wall_ns())
        return web.Response(status=status, body=body, headers={**answer.headers, **_BINARY})

    def _hold(self, request: web.BaseRequest, peer: TlsKey) -> bool:
        """The connection is one of an exchange from now on; False if there are too many, or it is gone."""
        connection = self._http.held.get(request.protocol) if self._http else None
        if self._http is None or connection is None or self._http.authenticated() >= self._limits.max_sessions:
            return False
        connection.peer = peer
        connection.ends_in(self._limits.session_seconds)
        return True

    def _verified(self, request: HttpRequest, peers: tuple[TlsKey, ...]) -> SignedHead:
        if not peers:
            raise PeerNotAuthenticated("the contract registers no backup service that this machine serves now")
        head = verify_request(request, peers, self._clock.wall_ns())
        self._nonces.use(head.peer, head.nonce, self._clock.wall_ns())
        return head

    async def _pins(self) -> tuple[TlsKey, ...]:
        """The expected keys, asked from the chain at most every half second, however many requests come."""
        async with self._pin_lock:
            if self._pinned is None or self._clock.monotonic() - self._pinned[0] >= _PIN_SECONDS:
                self._pinned = (self._clock.monotonic(), await self._exchanges.expected_peers())
            return self._pinned[1]

    async def _exchange(self, request: web.BaseRequest, purpose: Purpose | None, head: SignedHead) -> tuple[int, bytes]:
        """Status and body of the signed answer: sealed shares or receipt, evidence, or a refusal."""
        try:
            self._exchanges.admit(head.peer, purpose, head.exchange_id)
            body = await self._read(request, MAX_EVIDENCE_FRAME_BYTES if purpose is None else MAX_SEALED_BODY_BYTES)
            check_body(head.digest, body)
            if purpose is None:
                return OK, await self._exchanges.attest(head.peer, head.exchange_id, body)
            return OK, await self._exchanges.serve(head.peer, purpose, head.exchange_id, body)
        except SharekeeperError as error:
            _LOG.info("an exchange was refused: %s: %s", error.code, error)
            return _status_of(error), encode_message(Refusal.of(error))

    async def _read(self, request: web.BaseRequest, limit: int) -> bytes:
        """The body. Raises `ProtocolViolation` when it is too long or broken, `PeerStalled` when it does not move."""
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


def _status_of(error: SharekeeperError) -> int:
    match error:
        case UnknownExchange():
            return NOT_FOUND
        case PeerFault():
            return CONFLICT
        case _:
            return BUSY
