"""How nodes of the reference network reach each other, and how messages travel on a channel."""

import asyncio
from typing import Final, TypeVar
from urllib.parse import urlsplit

from sharekeeper.adapters.tls_channel import AuthenticatedChannel, ChannelTimeouts, connect
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.errors import PeerClosed, PeerFault, PeerRefused, ProtocolViolation
from sharekeeper.protocol.codec import DecodeError
from sharekeeper_devnet.network.messages import MAX_FRAME_BYTES, Message, Refusal, decode, encode

PEER_TIMEOUTS: Final = ChannelTimeouts(handshake_seconds=2.0, stall_seconds=3.0, session_seconds=20.0)
"""A peer that is down or hangs costs a signature no more than these seconds."""

M = TypeVar("M", bound=Message)

DEFAULT_P2P_PORT: Final = 80
"""Port of a participant's url that names none (near/mpc)."""


def p2p_address(participant: Participant) -> tuple[str, int]:
    """Host and port of a participant's url. Raises `ValueError` when it has none."""
    parts = urlsplit(participant.info.url)
    if not parts.hostname:
        raise ValueError(f"the url of {participant.account_id} names no host")
    return parts.hostname, parts.port or DEFAULT_P2P_PORT


class RequestRefused(Exception):
    """This node will not do what a peer asks for; the text goes to the peer."""


async def send(channel: AuthenticatedChannel, message: Message) -> None:
    """The message is on its way. Raises `PeerFault`."""
    await channel.send_frame(encode(message))


async def receive(channel: AuthenticatedChannel, kind: type[M]) -> M:
    """The peer's next message, which must be of that kind.

    Raises:
        PeerRefused: the peer will not, and why.
        ProtocolViolation: another message, or none.
        PeerFault: the channel ended.
    """
    message = await receive_any(channel)
    if not isinstance(message, kind):
        raise ProtocolViolation(f"expected {kind.__name__}, the peer sent {type(message).__name__}")
    return message


async def receive_any(channel: AuthenticatedChannel) -> Message:
    """The peer's next message. Raises as `receive`."""
    try:
        message = decode(await channel.receive_frame(MAX_FRAME_BYTES))
    except DecodeError as error:
        raise ProtocolViolation(f"the peer sent no message of this protocol: {error}") from None
    if isinstance(message, Refusal):
        raise PeerRefused(f"the peer refused: {message.reason}")
    return message


class PeerLine:
    """Questions to one peer over one channel, which is opened anew after a fault; one question at a time."""

    def __init__(self, identity: KeyPair, peer: Participant) -> None:
        self._identity = identity
        self._peer = peer
        self._channel: AuthenticatedChannel | None = None
        self._turn = asyncio.Lock()

    async def ask(self, question: Message, kind: type[M]) -> M:
        """The peer's answer. Raises as `connect` and `receive`; `ValueError` for a bad url.

        A channel that ended since the last question, as when it was idle too long, is opened anew first.
        """
        async with self._turn:
            if self._channel is not None:
                try:
                    return await _asked(self._channel, question, kind)
                except PeerRefused:
                    raise
                except PeerFault:
                    self.close()
            host, port = p2p_address(self._peer)
            key = self._peer.info.tls_public_key
            self._channel = await connect(host, port, self._identity, key, timeouts=PEER_TIMEOUTS)
            return await _asked(self._channel, question, kind)

    def close(self) -> None:
        """The channel, if there is one, is cut."""
        if self._channel is not None:
            self._channel.abort(PeerClosed("this node is done with the channel"))
            self._channel = None


async def _asked(channel: AuthenticatedChannel, question: Message, kind: type[M]) -> M:
    await send(channel, question)
    return await receive(channel, kind)
