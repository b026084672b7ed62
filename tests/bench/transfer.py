"""Handshake and transfer of a backup against a bare mutual TLS 1.3 exchange of `openssl` with the same bytes."""

import asyncio
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate

from sharekeeper.adapters.tls_channel import AuthenticatedChannel, ChannelListener, connect
from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.exchange import receive
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt
from sharekeeper.protocol.session import BackupClient, BackupServer
from tests.bench import Row
from tests.ports import free_port
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, facts, keyset, shares_of

ROUNDS = 25
OPENSSL_SECONDS = 3


async def measure(directory: Path) -> list[Row]:
    return [await _one(directory / f"t{domains}", domains) for domains in (1, 100)]


async def _one(directory: Path, domains: int) -> Row:
    directory.mkdir()
    ours, size = await _ours(domains)
    peer = await asyncio.to_thread(_openssl, directory, size)
    detail = f"ours {ours * 1e3:.1f} ms, openssl {peer * 1e3:.1f} ms, {size} bytes"
    return Row(
        what=f"backup exchange / bare openssl exchange, {domains} domains", value=ours / peer, unit="x", detail=detail
    )


async def _ours(domains: int) -> tuple[float, int]:
    """Median seconds from dialling to the closed channel, and the size of the frame of shares."""
    keys = keyset(domains=domains)
    shares = shares_of(keys)
    sent: list[int] = []

    async def serve(channel: AuthenticatedChannel) -> None:
        session = BackupServer(**facts(keyset=keys))
        await receive(channel, session, Hello)
        await channel.send_frame(session.send_hello())
        frame = session.send_shares(shares)
        sent.append(len(frame))
        await channel.send_frame(frame)
        await receive(channel, session, Receipt)
        await channel.close()

    async def expected():
        return BACKUP_SERVICE.tls_key

    listener = ChannelListener("127.0.0.1", 0, NODE, expected, serve)
    await listener.start()
    try:
        times = [await _fetch(listener.port, keys) for _ in range(ROUNDS)]
    finally:
        await listener.stop()
    return statistics.median(times), sent[0]


async def _fetch(port: int, keys) -> float:
    start = time.perf_counter()
    channel = await connect("127.0.0.1", port, BACKUP_SERVICE, NODE.tls_key)
    session = BackupClient(**facts(keyset=keys))
    await channel.send_frame(session.send_hello())
    await receive(channel, session, Hello)
    await receive(channel, session, KeyShares)
    await channel.send_frame(session.send_receipt())
    await channel.close()
    return time.perf_counter() - start


def _openssl(directory: Path, size: int) -> float:
    """Seconds of one new connection of `openssl s_time` that reads `size` bytes, both sides with a certificate."""
    (directory / "bytes").write_bytes(os.urandom(size))
    for name, key in (("server", NODE), ("client", BACKUP_SERVICE)):
        (directory / f"{name}.pem").write_bytes(_pem(key))
    port = free_port()
    server = subprocess.Popen(
        [
            "openssl",
            "s_server",
            "-accept",
            str(port),
            "-cert",
            "server.pem",
            "-tls1_3",
            "-WWW",
            "-verify",
            "0",
            "-quiet",
            "-num_tickets",
            "0",
        ],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.3)
        argv = [
            "openssl",
            "s_time",
            "-connect",
            f"127.0.0.1:{port}",
            "-cert",
            "client.pem",
            "-new",
            "-www",
            "/bytes",
            "-time",
            str(OPENSSL_SECONDS),
        ]
        text = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, check=True).stdout
    finally:
        server.kill()
        server.wait()
    found = re.search(r"(\d+) connections in (\d+) real seconds", text)
    if found is None or int(found[1]) == 0:
        raise SystemExit(f"openssl s_time made no connection: {text}")
    return int(found[2]) / int(found[1])


def _pem(key: KeyPair) -> bytes:
    private = Ed25519PrivateKey.from_private_bytes(key.seed.reveal())
    certificate = load_der_x509_certificate(leaf_certificate(key.tls_key))
    return certificate.public_bytes(Encoding.PEM) + private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
