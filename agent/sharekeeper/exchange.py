"""One session on one channel: frames in and out, refusals sent, the channel gone afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    PeerClosed,
    PeerFault,
    PeerRefused,
    PeerUnreachable,
    PinChanged,
    ProtocolViolation,
    SharekeeperError,
)
from sharekeeper.ports import Channel, Connect
from sharekeeper.protocol.messages import Refusal, decode_hello, encode_message
from sharekeeper.protocol.session import Event, Session
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES

E = TypeVar("E", bound=Event)


def host_of(url: str) -> str:
    """The host of a participant's url. Raises `PeerUnreachable` if it names none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise PeerUnreachable(f"the participant's url {url[:80]!r} names no host: correct it on the contract")
    return host


@contextlib.asynccontextmanager
async def dialled(connect: Connect, host: str, port: int, peer: TlsKey) -> AsyncIterator[Channel]:
    """A channel for the length of the block. Cancellation cuts it with `PinChanged`, any error cuts it too."""
    channel = await connect(host, port, peer)
    try:
        yield channel
    except asyncio.CancelledError:
        channel.abort(PinChanged("the decision this exchange rests on changed"))
        raise
    except BaseException:
        channel.abort(PeerClosed("the exchange failed on this side"))
        raise
    else:
        await channel.close()


async def receive(channel: Channel, session: Session, kind: type[E]) -> E:
    """The peer's next event, which is a `kind`; the peer is told why if it is not acceptable.

    Raises:
        PeerFault: as channel and session say.
    """
    return await take(channel, session, kind, await channel.receive_frame(session.receive_limit))


async def take(channel: Channel, session: Session, kind: type[E], frame: bytes) -> E:
    """As `receive`, for a frame that has been received already."""
    try:
        event = session.receive(frame)
    except PeerFault:
        await tell(channel, session.refusal)
        raise
    if not isinstance(event, kind):
        raise ProtocolViolation(f"the peer sent a {type(event).__name__} where a {kind.__name__} is due")
    return event


async def serve_exchange(channel: Channel, act: Callable[[Purpose, bytes], Awaitable[None]]) -> Purpose:
    """The exchange that the peer opens is complete; returns which. `act` gets its purpose and the frame of its hello.

    Raises:
        SharekeeperError: what `act` raises; the peer has been told, of this side's own faults no more than their kind.
        PeerFault: the peer, `PeerRefused` among them, which is not answered.
    """
    frame = await channel.receive_frame(MAX_CONTROL_FRAME_BYTES)
    try:
        purpose = decode_hello(frame).exchange.purpose
        await act(purpose, frame)
    except PeerRefused:
        raise
    except SharekeeperError as fault:
        await tell(channel, encode_message(Refusal.of(public(fault))))
        raise
    return purpose


async def refuse(channel: Channel, session: Session, fault: SharekeeperError) -> None:
    """The peer has been told of a fault on this side, in words it may read. Never raises a `PeerFault`."""
    await tell(channel, session.refuse(fault))


@contextlib.asynccontextmanager
async def told(channel: Channel, session: Session) -> AsyncIterator[None]:
    """A fault of the block is told to the peer, who learns of this side's own faults no more than their kind."""
    try:
        yield
    except SharekeeperError as fault:
        await refuse(channel, session, public(fault))
        raise


def public(fault: SharekeeperError) -> SharekeeperError:
    """What the peer may know of a fault: nothing of this host."""
    if isinstance(fault, PeerFault):
        return fault
    return type(fault)("this machine has a fault of its own; its log says which")


async def tell(channel: Channel, frame: bytes | None) -> None:
    """A last frame was tried, and the channel closed in good order so that it can arrive."""
    with contextlib.suppress(PeerFault):
        if frame is not None:
            await channel.send_frame(frame)
        await channel.close()
