"""Channels without sockets: two ends of a wire, for tests that must act between two frames."""

import asyncio

from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerClosed, PeerFault
from sharekeeper.ports import Channel


class WireEnd(Channel):
    """One end. Frames sent here are in `sent`, and arrive at `other`."""

    def __init__(self, peer: TlsKey) -> None:
        self._peer = peer
        self.sent: list[bytes] = []
        self.fault: PeerFault | None = None
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: WireEnd

    @property
    def peer(self):
        return self._peer

    async def send_frame(self, payload):
        if self.fault is not None:
            raise self.fault
        self.sent.append(payload)
        self.other.incoming.put_nowait(payload)

    async def receive_frame(self, limit):
        if self.fault is not None:
            raise self.fault
        frame = await self.incoming.get()
        if frame is None:
            raise self.fault or PeerClosed("the other end closed")
        assert len(frame) <= limit
        return frame

    async def close(self):
        if self.fault is None:
            self.abort(PeerClosed("closed on this side"))

    def abort(self, reason):
        self.fault = self.fault or reason
        self.incoming.put_nowait(None)
        self.other.incoming.put_nowait(None)


def wire(left_key: TlsKey, right_key: TlsKey) -> tuple[WireEnd, WireEnd]:
    """The ends of `left` and of `right`; each has the other's key as peer."""
    left, right = WireEnd(right_key), WireEnd(left_key)
    left.other, right.other = right, left
    return left, right
