"""TLS 1.3 contexts that trust exactly the keys given, and the comparison after the handshake.

Design decision 2. The peer's leaf certificate is a function of its key (`certificate`), so that leaf is
the only trust anchor: OpenSSL itself refuses every other key inside the handshake. All leaves share one
subject, and a context never forgets an anchor: make **a new context for each connection**. There are no
session tickets, hence no resumption that would skip the certificate.
"""

import os
import ssl
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerNotAuthenticated

_VERIFY_FLAGS: Final = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
"""A trusted leaf needs no issuer. Set whole, so that Python 3.13's default of VERIFY_X509_STRICT changes nothing."""


def client_context(identity: KeyPair, peer: TlsKey) -> ssl.SSLContext:
    """A context for one connection to the server that owns `peer`. Raises `OSError` without a free descriptor."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, (peer,))


def server_context(identity: KeyPair, *peers: TlsKey) -> ssl.SSLContext:
    """A context for one connection from a client that owns one of `peers`. Same errors as `client_context`."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, peers)
    context.num_tickets = 0
    return context


def check_peer(tls: ssl.SSLObject, *peers: TlsKey) -> TlsKey:
    """The one of `peers` whose possession the other side has proven in the finished handshake.

    1. The peer sent exactly one certificate. 2. Its key is Ed25519. 3. Its raw key is one of `peers`.

    Raises:
        PeerNotAuthenticated: at the first step that fails.
    """
    count = _certificates_sent(tls)
    if count != 1:
        raise PeerNotAuthenticated(f"the peer must send exactly one certificate; it sent {count}")
    key = _public_key(tls.getpeercert(binary_form=True) or b"")
    if key not in peers:
        raise PeerNotAuthenticated(f"the peer proved the TLS key {key}; the contract pins another")
    return key


def _context(protocol: int, identity: KeyPair, peers: tuple[TlsKey, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = _VERIFY_FLAGS
    context.options |= ssl.OP_NO_TICKET
    for peer in peers:
        context.load_verify_locations(cadata=leaf_certificate(peer))
    _load_identity(context, identity)
    return context


def _load_identity(context: ssl.SSLContext, identity: KeyPair) -> None:
    """OpenSSL takes a private key from a path only: here that path is anonymous memory, never a disk."""
    key = Ed25519PrivateKey.from_private_bytes(identity.seed.reveal())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += ssl.DER_cert_to_PEM_cert(leaf_certificate(identity.tls_key)).encode("ascii")
    descriptor = os.memfd_create("tls-identity", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _certificates_sent(tls: ssl.SSLObject) -> int:
    """How many certificates the peer sent. Python shows them since 3.13; before, only its inner object does."""
    shown: Any = tls if hasattr(tls, "get_unverified_chain") else tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    return len(shown.get_unverified_chain())


def _public_key(certificate: bytes) -> TlsKey:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        raise PeerNotAuthenticated("the peer's certificate cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise PeerNotAuthenticated(f"the peer's certificate holds no Ed25519 key but {type(key).__name__}")
    return TlsKey(key.public_bytes_raw())
