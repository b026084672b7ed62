"""Version 2 behind a reverse proxy that ends HTTPS: security does not rest on it, yet its certificate is checked."""

import asyncio
import contextlib
import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sharekeeper.adapters.web_client import WebClient
from sharekeeper.errors import PeerUnreachable
from tests.attacks.web_rig import FETCH, HOST, rig
from tests.protocol.exchange_values import BACKUP_SERVICE, KEYSET


def certificate(directory):
    """A certificate for localhost that signs itself, with its key, in one file."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "proxy.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@contextlib.asynccontextmanager
async def proxy(path, target):
    """Ends HTTPS and passes the bytes on."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    tasks = set()

    async def copy(reader, writer):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        inner_reader, inner_writer = await asyncio.open_connection(HOST, target)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fetch_over(net, url):
    exchanges = net.exchanges()
    object.__setattr__(exchanges.ports, "node_url", url)
    object.__setattr__(exchanges.ports, "web", WebClient(BACKUP_SERVICE, net.clock))
    return await exchanges.fetch(FETCH)


async def test_https_behind_a_reverse_proxy_works_where_the_system_trusts_its_certificate(tmp_path, monkeypatch):
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with rig(tmp_path) as net, proxy(path, net.relay.port) as url:
        assert (await fetch_over(net, url)).keyset == KEYSET
        assert net.relay.requests[0].startswith(b"GET /shares_backup HTTP/1.1")


async def test_a_proxy_whose_certificate_is_not_trusted_gets_no_request_and_costs_no_transaction(tmp_path):
    async with rig(tmp_path) as net, proxy(certificate(tmp_path), net.relay.port) as url:
        with pytest.raises(PeerUnreachable, match="certificate"):
            await fetch_over(net, url)
        assert net.relay.requests == []
        assert net.chain.taken == []
