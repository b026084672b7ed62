"""A node's listener on a real socket, and peers that are free to misbehave."""

import asyncio
import contextlib
import os
import ssl
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sharekeeper.adapters.tls_channel import AuthenticatedChannel, ChannelListener, ChannelTimeouts
from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.pinning import client_context, server_context
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerFault, SharekeeperError
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, STRANGER

LIMIT = 1024
HOST = "127.0.0.1"
SHORT = ChannelTimeouts(handshake_seconds=0.8, stall_seconds=0.4, session_seconds=3)
USUAL = ChannelTimeouts(handshake_seconds=5, stall_seconds=5, session_seconds=20)

__all__ = ["BACKUP_SERVICE", "NODE", "STRANGER"]


@dataclass
class Node:
    """A node that echoes frames; `faults` are those its sessions ended with."""

    listener: ChannelListener = field(init=False)
    pins: TlsKey | tuple[TlsKey, ...] | None = BACKUP_SERVICE.tls_key
    sessions: list[AuthenticatedChannel] = field(default_factory=list)
    faults: list[SharekeeperError] = field(default_factory=list)
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def expected_peer(self):
        return self.pins

    async def echo(self, channel: AuthenticatedChannel) -> None:
        self.sessions.append(channel)
        try:
            while True:
                await channel.send_frame(await channel.receive_frame(LIMIT))
        except PeerFault as fault:
            self.faults.append(fault)
            self.failed.set()
            raise

    @property
    def port(self) -> int:
        return self.listener.port

    async def fault(self) -> SharekeeperError:
        """The first fault a session ended with."""
        await asyncio.wait_for(self.failed.wait(), 5)
        return self.faults[0]


@contextlib.asynccontextmanager
async def node(*, timeouts=USUAL, handler=None, **options):
    started = Node()
    started.listener = ChannelListener(
        HOST, 0, NODE, started.expected_peer, handler or started.echo, timeouts=timeouts, **options
    )
    await started.listener.start()
    try:
        yield started
    finally:
        await started.listener.stop()


@contextlib.asynccontextmanager
async def raw_client(port: int, context: ssl.SSLContext | None = None):
    """Streams of a TLS client that the test drives byte by byte: the backup service's own, unless given."""
    context = context or client_context(BACKUP_SERVICE, NODE.tls_key)
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname="dummy")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def raw_server(behave, context: ssl.SSLContext | None = None):
    """The port of a TLS server, with the node's identity unless given, that does `behave(reader, writer)`."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await behave(reader, writer)
        writer.transport.abort()

    context = context or server_context(NODE, BACKUP_SERVICE.tls_key)
    async with await asyncio.start_server(serve, HOST, 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def identify(context: ssl.SSLContext, key: KeyPair, *more: bytes) -> ssl.SSLContext:
    """The context with the key's leaf and then the `more` certificates (DER) as its chain."""
    return load_identity(context, key, leaf_certificate(key.tls_key), *more)


def load_identity(context: ssl.SSLContext, key: KeyPair, *certificates: bytes) -> ssl.SSLContext:
    """The context with the private key and these certificates (DER) as its chain."""
    pem = Ed25519PrivateKey.from_private_bytes(key.seed.reveal()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    chain = "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in certificates)
    descriptor = os.memfd_create("test-identity")
    try:
        os.write(descriptor, pem + chain.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def trusting_client() -> ssl.SSLContext:
    """A client without identity that trusts every server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
