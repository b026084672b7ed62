"""Authenticated channels over TCP: mutual TLS 1.3 pinned to the contract's keys, and frames (docs/wire-format.md).

Only `connect` and `accept` make an `AuthenticatedChannel`, and both take the peer's on-chain key: there is no
channel to an unknown peer.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.adapters.tls_stream import TlsStream
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.pinning import check_peer, client_context, server_context
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import (
    AddressInUse,
    ChainUnavailable,
    HostFault,
    PeerClosed,
    PeerFault,
    PeerNotAuthenticated,
    PeerStalled,
    PeerUnreachable,
    PinChanged,
    ProtocolViolation,
    SharekeeperError,
)
from sharekeeper.spec import (
    FRAME_HEADER_BYTES,
    HANDSHAKE_TIMEOUT_SECONDS,
    MAX_PENDING_HANDSHAKES,
    MAX_SESSIONS,
    SESSION_TIMEOUT_SECONDS,
    STALL_TIMEOUT_SECONDS,
)

_LOG: Final = logging.getLogger(__name__)
_RECORD_BYTES: Final = 16 * 1024
_HEADER: Final = struct.Struct(">I")
_BACKLOG: Final = 128
_ACCEPT_PAUSE_SECONDS: Final = 0.2
_SAME_EVENT_SECONDS: Final = 60.0

Pins = TlsKey | tuple[TlsKey, ...] | None
"""Whom a listener expects: one key, any one of several, or nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTimeouts:
    """Deadlines of a channel, in seconds.

    `handshake_seconds`: TCP and TLS together. `stall_seconds`: the longest wait for one more byte, or for the
    peer to take one more record. `session_seconds`: the channel's whole life after the handshake; None for
    channels that live on.
    """

    handshake_seconds: float = HANDSHAKE_TIMEOUT_SECONDS
    stall_seconds: float = STALL_TIMEOUT_SECONDS
    session_seconds: float | None = SESSION_TIMEOUT_SECONDS


DEFAULT_TIMEOUTS: Final = ChannelTimeouts()


# --- the channel ------------------------------------------------------------------------------------


class AuthenticatedChannel:
    """Frames to and from the owner of `peer`, who has proven that key; made by `connect` and `accept` alone.

    Any error, and cancellation, ends the channel for good: every later call raises the first fault again.
    One task at a time may receive; several may send.
    """

    def __init__(self, stream: TlsStream, peer: TlsKey, timeouts: ChannelTimeouts, *, silent_refusal: bool) -> None:
        self.peer: Final = peer
        self._stream = stream
        self._timeouts = timeouts
        self._fault: PeerFault | None = None
        self._users = 0
        self._closed = False
        self._reset = False
        self._heard = not silent_refusal
        self._send_lock = asyncio.Lock()
        self._timer = self._start_timer(timeouts.session_seconds)

    async def send_frame(self, payload: bytes) -> None:
        """`payload` (1 byte or more) is in the kernel's hands; whether it arrived only an answer can tell.

        Raises:
            PeerStalled: the peer takes nothing, or the session is too old.
            PeerClosed, PeerNotAuthenticated: the connection is gone; the latter when a server did so unheard.
            PeerFault: the fault the channel was aborted with.
        """
        data = memoryview(_HEADER.pack(len(payload)) + payload)
        async with self._send_lock, self._use():
            for start in range(0, len(data), _RECORD_BYTES):
                async with asyncio.timeout(self._timeouts.stall_seconds):
                    await self._stream.write(data[start : start + _RECORD_BYTES])

    async def receive_frame(self, limit: int) -> bytes:
        """The next frame's payload, 1 to `limit` bytes; its length is checked before memory is taken.

        Raises:
            ProtocolViolation: an empty or oversized frame, a frame that the peer ended early, broken TLS.
            PeerClosed: the peer ended the channel between frames, or the connection broke.
            PeerNotAuthenticated: the server ended it before its first byte: it did not accept our key.
            PeerStalled: not a byte before the deadline, or the session is too old.
            PeerFault: the fault the channel was aborted with.
        """
        async with self._use():
            (length,) = _HEADER.unpack(await self._exactly(FRAME_HEADER_BYTES, inside_frame=False))
            if not 1 <= length <= limit:
                raise ProtocolViolation(f"the peer announced a frame of {length} bytes; 1 to {limit} are allowed here")
            return await self._exactly(length, inside_frame=True)

    async def close(self) -> None:
        """The channel is closed in good order; what was sent before still travels. Never raises a PeerFault."""
        if self._fault is None:
            with contextlib.suppress(PeerFault):
                async with self._use(), asyncio.timeout(self._timeouts.stall_seconds):
                    await self._stream.finish()
            self._stream.shut()
            self._end(PeerClosed("the channel is closed on this side"))

    def abort(self, reason: PeerFault) -> None:
        """The connection is cut now, unsent bytes are dropped, and whoever uses the channel gets `reason`."""
        if self._fault is None:
            self._reset = True
            self._end(reason)
            self._stream.shut()

    async def _exactly(self, length: int, *, inside_frame: bool) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                async with asyncio.timeout(self._timeouts.stall_seconds):
                    data += await self._stream.read(min(length - len(data), _RECORD_BYTES))
            except ssl.SSLZeroReturnError:
                if inside_frame or data:
                    raise ProtocolViolation("the peer ended the channel in the middle of a frame") from None
                raise EOFError from None
            self._heard = True
        return bytes(data)

    @contextlib.asynccontextmanager
    async def _use(self) -> AsyncIterator[None]:
        """Errors inside become the channel's fault; the socket is closed by whoever is the last to leave."""
        if self._fault is not None:
            raise self._fault
        self._users += 1
        try:
            yield
        except (PeerFault, EOFError, OSError) as error:
            self.abort(self._translated(error))
            raise (self._fault or error) from None
        except BaseException:
            self.abort(PeerClosed("the exchange was cancelled on this side"))
            raise
        finally:
            self._users -= 1
            self._close_when_unused()

    def _translated(self, error: PeerFault | EOFError | OSError) -> PeerFault:
        match error:
            case PeerFault():
                return error
            case TimeoutError():
                return PeerStalled(f"the peer moved no byte for {self._timeouts.stall_seconds:g} s")
            case _ if not self._heard:
                return PeerNotAuthenticated(
                    f"the peer ended the channel before its first message ({_reason(error)}): "
                    "as it sees the contract this machine's TLS key is not the one to expect, or it is overloaded"
                )
            case ssl.SSLError():
                return ProtocolViolation(f"the peer broke the TLS protocol: {_reason(error)}")
            case _:
                return PeerClosed(f"the peer closed the channel before the exchange was complete ({_reason(error)})")

    def _start_timer(self, seconds: float | None) -> asyncio.TimerHandle | None:
        if seconds is None:
            return None
        fault = PeerStalled(f"the exchange was not complete after {seconds:g} s")
        return asyncio.get_running_loop().call_later(seconds, self.abort, fault)

    def _end(self, fault: PeerFault) -> None:
        self._fault = fault
        if self._timer is not None:
            self._timer.cancel()
        self._close_when_unused()

    def _close_when_unused(self) -> None:
        if self._fault is not None and self._users == 0 and not self._closed:
            self._closed = True
            self._stream.close(reset=self._reset)


async def connect(
    host: str, port: int, identity: KeyPair, peer: TlsKey, *, timeouts: ChannelTimeouts = DEFAULT_TIMEOUTS
) -> AuthenticatedChannel:
    """A channel to the server at `host`:`port`, which has proven that it owns `peer`.

    The server may still refuse `identity`: TLS 1.3 shows that on the first receive only.

    Raises:
        PeerUnreachable: no TCP connection.
        PeerNotAuthenticated: the server did not prove `peer`.
        PeerStalled, PeerClosed: the handshake was not finished in time, or the connection ended in it.
        HostFault: this machine has no descriptor left.
    """
    deadline = asyncio.get_running_loop().time() + timeouts.handshake_seconds
    context = _made(client_context, identity, peer)
    sock = await _dial(host, port, deadline)
    return await _authenticated(TlsStream(sock, context, server_side=False), (peer,), deadline, timeouts)


async def accept(
    sock: socket.socket, identity: KeyPair, *peers: TlsKey, timeouts: ChannelTimeouts = DEFAULT_TIMEOUTS
) -> AuthenticatedChannel:
    """A channel from the client on `sock`, which has proven that it owns one of `peers`.

    `sock` is connected and non-blocking, and belongs to the channel from now on: it is closed on any error.

    Raises:
        PeerNotAuthenticated: the client did not prove one of `peers`.
        PeerStalled, PeerClosed: as for `connect`.
        HostFault: this machine has no descriptor left.
    """
    deadline = asyncio.get_running_loop().time() + timeouts.handshake_seconds
    try:
        context = _made(server_context, identity, *peers)
    except HostFault:
        sock.close()
        raise
    return await _authenticated(TlsStream(sock, context, server_side=True), peers, deadline, timeouts)


def _made(make: Callable[..., ssl.SSLContext], identity: KeyPair, *peers: TlsKey) -> ssl.SSLContext:
    try:
        return make(identity, *peers)
    except OSError as error:
        raise HostFault(
            f"cannot prepare TLS on this machine: {_reason(error)}; raise its limit of open files"
        ) from None


async def _dial(host: str, port: int, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline):
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return await _first_connected(infos)
    except TimeoutError:
        raise PeerUnreachable(f"no TCP connection to {host}:{port} before the deadline") from None
    except (OSError, UnicodeError) as error:
        raise PeerUnreachable(f"no TCP connection to {host}:{port}: {_reason(error)}") from None


async def _first_connected(infos: Sequence[tuple[int, int, int, str, Any]]) -> socket.socket:
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in infos:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


async def _authenticated(
    stream: TlsStream, peers: tuple[TlsKey, ...], deadline: float, timeouts: ChannelTimeouts
) -> AuthenticatedChannel:
    try:
        async with asyncio.timeout_at(deadline):
            await stream.handshake()
        peer = check_peer(stream.tls, *peers)
    except BaseException as error:
        stream.close(reset=False)
        if isinstance(error, EOFError | OSError):
            raise _handshake_fault(error, timeouts) from None
        raise
    return AuthenticatedChannel(stream, peer, timeouts, silent_refusal=not stream.tls.server_side)


def _handshake_fault(error: EOFError | OSError, timeouts: ChannelTimeouts) -> PeerFault:
    match error:
        case TimeoutError():
            return PeerStalled(f"the peer did not finish the TLS handshake within {timeouts.handshake_seconds:g} s")
        case ssl.SSLError():
            return PeerNotAuthenticated(f"the TLS handshake failed: {_reason(error)}")
        case _:
            return PeerClosed(
                f"the peer closed the connection during the TLS handshake ({_reason(error)}): "
                "it is overloaded, or the contract has no key for this machine"
            )


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return "it did not prove the pinned key"
        case ssl.SSLError():
            return (error.reason or "broken TLS").replace("_", " ").lower()
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return "end of stream"


# --- the listener -----------------------------------------------------------------------------------


class ChannelListener:
    """Accepts channels from the peers the contract pins at that moment, and hands each to `handler`.

    A hostile connection costs itself: before authentication at most `max_pending` connections are held (the
    oldest goes first), after it at most `max_sessions`; neither errors of `accept()` nor of a handler end the
    listener. `expected_peer` is asked when a connection arrives and again after its handshake.
    """

    def __init__(
        self,
        host: str,
        port: int,
        identity: KeyPair,
        expected_peer: Callable[[], Awaitable[Pins]],
        handler: Callable[[AuthenticatedChannel], Awaitable[None]],
        *,
        timeouts: ChannelTimeouts = DEFAULT_TIMEOUTS,
        max_sessions: int = MAX_SESSIONS,
        max_pending: int = MAX_PENDING_HANDSHAKES,
    ) -> None:
        self._address = (host, port)
        self._identity = identity
        self._expected_peer = expected_peer
        self._handler = handler
        self._timeouts = timeouts
        self._max_sessions = max_sessions
        self._max_pending = max_pending
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: list[asyncio.Task[None]] = []
        self._sessions: set[AuthenticatedChannel] = set()
        self._quiet_until: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    @property
    def port(self) -> int:
        """The TCP port listened on; the one chosen by the kernel when 0 was asked for."""
        if self._listening is None:
            return self._address[1]
        port: int = self._listening.getsockname()[1]
        return port

    async def start(self) -> None:
        """The port is open and connections are served. Raises `AddressInUse`."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {host}:{port}: {_reason(error)}") from None
        self._listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept_for_ever(self._listening))

    async def stop(self) -> None:
        """The port is closed, every session is ended, no task is left."""
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        self._listening = self._accepting = None

    async def enforce_pins(self) -> None:
        """Every open session whose peer is not expected any more was cut: its handler gets `PinChanged`."""
        pins = await self._pins()
        for channel in tuple(self._sessions):
            if channel.peer not in pins:
                channel.abort(PinChanged(f"the contract no longer pins {channel.peer}; the channel was cut"))

    async def _accept_for_ever(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:
                self._tell(logging.WARNING, "accept", f"accept failed, trying again: {_reason(error)}")
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
            else:
                self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        if len(self._pending) >= self._max_pending:
            self._pending.pop(0).cancel()
        task = asyncio.create_task(self._serve(sock))
        self._pending.append(task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._forget(done, sock))

    def _forget(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._leave_pending(task)
        self._tasks.discard(task)
        sock.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a session ended with an unexpected error", exc_info=error)

    def _leave_pending(self, task: asyncio.Task[None] | None) -> None:
        if task in self._pending:
            self._pending.remove(task)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            channel = await self._authenticate(sock)
            self._leave_pending(asyncio.current_task())
            await self._hold_session(channel)
        except SharekeeperError as error:
            self._tell(logging.INFO, error.code, f"a connection ended: {error.code}: {error}")

    def _tell(self, level: int, kind: str, sentence: str) -> None:
        """Logs what strangers can cause at will: each kind once, then at most once a minute with how often it came."""
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until.get(kind, now):
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._quiet_until[kind] = now + _SAME_EVENT_SECONDS
        more = self._untold.pop(kind, 0)
        _LOG.log(level, "%s%s", sentence, f"; {more} more like it since the last line" if more else "")

    async def _authenticate(self, sock: socket.socket) -> AuthenticatedChannel:
        pins = await self._pins()
        if not pins:
            raise PeerNotAuthenticated("a client was turned away: the contract pins no key it could have")
        channel = await accept(sock, self._identity, *pins, timeouts=self._timeouts)
        try:
            self._check_admission(channel, await self._pins())
        except BaseException:
            channel.abort(PeerClosed("the connection was not admitted"))
            raise
        return channel

    def _check_admission(self, channel: AuthenticatedChannel, pins: tuple[TlsKey, ...]) -> None:
        if channel.peer not in pins:
            raise PinChanged(f"the contract stopped pinning {channel.peer} during the handshake")
        if len(self._sessions) >= self._max_sessions:
            raise PeerFault(f"{self._max_sessions} sessions are open already; one more was turned away")

    async def _pins(self) -> tuple[TlsKey, ...]:
        try:
            async with asyncio.timeout(self._timeouts.handshake_seconds):
                return _as_tuple(await self._expected_peer())
        except TimeoutError:
            raise ChainUnavailable("which key the contract pins was not known in time") from None

    async def _hold_session(self, channel: AuthenticatedChannel) -> None:
        self._sessions.add(channel)
        try:
            await self._handler(channel)
        except asyncio.CancelledError:
            channel.abort(PeerClosed("this side is stopping"))
            raise
        finally:
            self._sessions.discard(channel)
            await channel.close()


def _as_tuple(pins: Pins) -> tuple[TlsKey, ...]:
    match pins:
        case None:
            return ()
        case TlsKey():
            return (pins,)
        case _:
            return pins
