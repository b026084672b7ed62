"""Captures every packet of a backup and a recovery by version 2; run it in a network namespace of its own.

Prints one JSON line: what was seen, and which secrets were (none). `python -m tests.integration.web_capture DIR`
"""

import asyncio
import fcntl
import json
import socket
import struct
import sys
import threading
from collections import defaultdict
from pathlib import Path

from sharekeeper.protocol import key_exchange

from .test_recovery import until_in_force
from .world import world

_ARRIVING = 0  # PACKET_HOST: on the loopback each packet leaves and arrives
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


class Capture:
    """The bytes of every TCP stream, by its two ends."""

    def __init__(self) -> None:
        self.streams: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**25)
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                packet, address = self._socket.recvfrom(2**17)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            if address[2] == _ARRIVING and packet[9] == socket.IPPROTO_TCP:
                self._take(packet)

    def _take(self, packet: bytes) -> None:
        header = 4 * (packet[0] & 15)
        tcp = packet[header : struct.unpack(">H", packet[2:4])[0] or None]
        payload = tcp[4 * (tcp[12] >> 4) :]
        if payload:
            self.streams[packet[12:20] + tcp[:4]][struct.unpack(">I", tcp[4:8])[0]] = payload

    def end(self) -> list[bytes]:
        """Every stream in order of its sequence numbers."""
        self._ended.set()
        self._thread.join()
        self._socket.close()
        return [b"".join(part for _, part in sorted(parts.items())) for parts in self.streams.values()]


async def run(directory: Path) -> dict:
    secrets: list[bytes] = []
    real = key_exchange.KeyExchange.__init__

    def remembering(side, exchange, **given):
        secrets.append(given["secret"].reveal())
        real(side, exchange, **given)

    key_exchange.KeyExchange.__init__ = remembering
    capture = Capture()
    try:
        async with world(directory, names=("alice", "bob"), transfer="web", domains=2) as net:
            await net.with_backup("alice")
            await net["alice"].node("old").stop()
            await net.replace("alice")
            await until_in_force(net, "alice", "new")
            shares = [share.private_share.reveal() for share in net.shares("alice")]
    finally:
        streams = capture.end()
    secrets += shares + [share[::-1] for share in shares]
    seen = b"\n".join(streams)
    return {
        "bytes": len(seen),
        "secrets": len(secrets),
        "leaks": [secret.hex()[:8] for secret in secrets if secret in seen or secret.hex().encode() in seen.lower()],
        "seen": {
            "GET /shares_backup": seen.count(b"GET /shares_backup "),
            "POST /shares_recover": seen.count(b"POST /shares_recover "),
            "signature": seen.count(b"\r\nSignature: "),
        },
    }


if __name__ == "__main__":
    raise_loopback()
    print(json.dumps(asyncio.run(run(Path(sys.argv[1])))))  # noqa: T201
