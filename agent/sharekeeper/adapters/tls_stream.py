"""TLS in memory over a plain socket: the same alerts, errors and cancellation on every Python version."""

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Final

from sharekeeper.spec import TLS_SERVER_NAME

_READ_BYTES: Final = 64 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class TlsStream:
    """TLS over one connected, non-blocking socket, which it owns.

    Its coroutines raise `OSError` (`ssl.SSLError` among them), and `EOFError` when the peer sends no more.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # small frames answer each other: never wait for more
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else TLS_SERVER_NAME,
        )

    async def handshake(self) -> None:
        """The handshake is done. On failure the alert that tells the peer why has been sent."""
        try:
            while not self._handshake_done():
                await self._flush()
                await self._fill()
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                await self._flush()
            raise
        await self._flush()

    def _handshake_done(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    async def read(self, most: int) -> bytes:
        """One to `most` bytes. Raises `ssl.SSLZeroReturnError` when the peer said that nothing follows."""
        while True:
            try:
                data = self.tls.read(most)
            except ssl.SSLWantReadError:
                await self._fill()
                continue
            if not data:
                raise ssl.SSLZeroReturnError
            return data

    async def write(self, record: memoryview) -> None:
        """`record` is in the kernel's hands."""
        self.tls.write(record)
        await self._flush()

    async def finish(self) -> None:
        """The peer has been told that nothing follows."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        await self._flush()

    def shut(self) -> None:
        """Both directions are over; whoever waits in `read` or `write` wakes up."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self, *, reset: bool) -> None:
        """The descriptor is free. With `reset` the kernel drops what it has not sent yet."""
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._sock.close()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _READ_BYTES)
        if not data:
            raise EOFError
        self._incoming.write(data)
