"""The deterministic leaf certificate and the contexts that pin it (near/mpc interop, section 1)."""

import hashlib
import os
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.crypto import pinning
from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.pinning import check_peer, client_context, server_context
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerNotAuthenticated

CA_PUBLIC_KEY = bytes.fromhex("01b742f0a0e90d93ea65a94a9dd266d8de845e7f9c37121bda045adb53f999cb")
CA_SEED = bytes.fromhex("690c3d011bd065f18055db8288cb79b9879c25294b7418a89ad871fc85a87b56")
KEYS = [KeyPair.generate(bytes([number]) * 32) for number in range(1, 6)]


# --- the leaf, written a second time by hand ------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def leaf_by_hand(raw: bytes) -> bytes:
    ed25519 = der(0x30, bytes.fromhex("06032b6570"))
    name = der(0x30, der(0x31, der(0x30, bytes.fromhex("0603550403"), der(0x0C, b"rcgen self signed cert"))))
    digest = hashlib.sha256(raw).digest()
    serial = (bytes([digest[0] & 0x7F]) + digest[1:20]).lstrip(b"\0")
    serial = b"\0" + serial if serial[0] & 0x80 else serial
    alternative_name = der(0x30, bytes.fromhex("0603551d11"), der(0x04, der(0x30, der(0x82, b"dummy"))))
    to_be_signed = der(
        0x30,
        der(0xA0, bytes.fromhex("020102")),
        der(0x02, serial),
        ed25519,
        name,
        der(0x30, der(0x17, b"750101000000Z"), der(0x18, b"40960101000000Z")),
        name,
        der(0x30, ed25519, der(0x03, b"\0", raw)),
        der(0xA3, der(0x30, alternative_name)),
    )
    signature = Ed25519PrivateKey.from_private_bytes(CA_SEED).sign(to_be_signed)
    return der(0x30, to_be_signed, ed25519, der(0x03, b"\0", signature))


@settings(max_examples=50)
@given(seed=st.binary(min_size=32, max_size=32))
def test_leaf_is_byte_for_byte_what_the_published_fields_give(seed):
    key = KeyPair.generate(seed).tls_key
    assert leaf_certificate(key) == leaf_by_hand(key.raw)


def test_serial_with_a_leading_zero_byte_is_written_in_its_shortest_form():
    key = next(
        key
        for number in range(10_000)
        if hashlib.sha256((key := KeyPair.generate(number.to_bytes(32, "big")).tls_key).raw).digest()[0] & 0x7F == 0
    )
    assert leaf_certificate(key) == leaf_by_hand(key.raw)


def test_leaf_of_a_known_key_never_changes():
    leaf = leaf_certificate(KeyPair.generate(bytes(range(32))).tls_key)
    assert hashlib.sha256(leaf).hexdigest() == "691137ac526c4c3bc2c55fb9234dc421fa89fe6a3fc178e6d57c9e4105332b47"


def test_leaf_is_signed_by_the_public_authority():
    certificate = x509.load_der_x509_certificate(leaf_certificate(KEYS[0].tls_key))
    authority = Ed25519PublicKey.from_public_bytes(CA_PUBLIC_KEY)
    authority.verify(certificate.signature, certificate.tbs_certificate_bytes)


@pytest.mark.needs("openssl")
def test_openssl_reads_the_leaf_and_accepts_its_signature(tmp_path):
    leaf = leaf_certificate(KEYS[0].tls_key)
    certificate = x509.load_der_x509_certificate(leaf)
    authority = der(0x30, der(0x30, bytes.fromhex("06032b6570")), der(0x03, b"\0", CA_PUBLIC_KEY))
    files = {"leaf": leaf, "ca": authority, "tbs": certificate.tbs_certificate_bytes, "sig": certificate.signature}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    shown = openssl("x509 -inform DER -in leaf -noout -subject -issuer -dates -ext subjectAltName", tmp_path)
    assert "subject=CN = rcgen self signed cert" in shown
    assert "issuer=CN = rcgen self signed cert" in shown
    assert "notAfter=Jan  1 00:00:00 4096 GMT" in shown
    assert "DNS:dummy" in shown
    verify = "pkeyutl -verify -pubin -keyform DER -inkey ca -rawin -in tbs -sigfile sig"
    assert "Signature Verified Successfully" in openssl(verify, tmp_path)


def openssl(arguments: str, directory) -> str:
    done = subprocess.run(
        ["openssl", *arguments.split()], cwd=directory, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


# --- pinned contexts, without sockets -------------------------------------------------------------


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a finished handshake, client first; raises what the refusing end raises."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="dummy"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def test_both_ends_learn_the_key_they_pinned():
    client, server = shake(client_context(KEYS[0], KEYS[1].tls_key), server_context(KEYS[1], KEYS[0].tls_key))
    assert check_peer(client, KEYS[1].tls_key) == KEYS[1].tls_key
    assert check_peer(server, KEYS[0].tls_key) == KEYS[0].tls_key
    assert client.version() == server.version() == "TLSv1.3"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_server_that_pins_several_keys_learns_which_one_was_proven(number):
    pins = [key.tls_key for key in KEYS[1:4]]
    _, server = shake(client_context(KEYS[number], KEYS[0].tls_key), server_context(KEYS[0], *pins))
    assert check_peer(server, *pins) == KEYS[number].tls_key


@pytest.mark.parametrize(("client_pin", "server_pin"), [(2, 0), (1, 2)], ids=["server's key", "client's key"])
def test_other_key_than_the_pinned_one_fails_the_handshake(client_pin, server_pin):
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(KEYS[0], KEYS[client_pin].tls_key), server_context(KEYS[1], KEYS[server_pin].tls_key))


def test_server_that_pins_nobody_accepts_nobody():
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(KEYS[0], KEYS[1].tls_key), server_context(KEYS[1]))


def test_key_is_compared_again_after_the_handshake():
    client, server = shake(client_context(KEYS[0], KEYS[1].tls_key), server_context(KEYS[1], KEYS[0].tls_key))
    with pytest.raises(PeerNotAuthenticated, match="pins another"):
        check_peer(client, KEYS[2].tls_key)
    with pytest.raises(PeerNotAuthenticated, match="pins another"):
        check_peer(server)


def test_context_leaves_no_descriptor_open_and_no_file_behind():
    before = sorted(Path("/proc/self/fd").iterdir())
    client_context(KEYS[0], KEYS[1].tls_key)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_context_is_tls_1_3_with_client_certificates_and_without_tickets():
    context = server_context(KEYS[0], KEYS[1].tls_key)
    assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET


def test_bytes_that_are_no_point_of_the_curve_make_a_pin_that_nobody_meets():
    nobody = TlsKey(b"\x02" + bytes(31))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(KEYS[0], nobody), server_context(KEYS[1], KEYS[0].tls_key))


def test_server_whose_key_is_not_ed25519_is_refused_after_the_handshake():
    """Only a context that does not pin gets this far; the comparison does not rely on the pin."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_p256_identity(server)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    client, _ = shake(trusting, server)
    with pytest.raises(PeerNotAuthenticated, match="no Ed25519 key but"):
        check_peer(client, KEYS[0].tls_key)


def load_p256_identity(context: ssl.SSLContext) -> None:
    key = ec.derive_private_key(12345, ec.SECP256R1())
    usual = x509.load_der_x509_certificate(leaf_certificate(KEYS[0].tls_key))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(usual.subject)
        .issuer_name(usual.issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.memfd_create("test-identity")
    try:
        os.write(descriptor, pem + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def test_certificate_that_cannot_be_read_is_refused():
    with pytest.raises(PeerNotAuthenticated, match="cannot be read"):
        pinning._public_key(b"no certificate")
