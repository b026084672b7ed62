"""Version 2's test vector of docs/wire-format.md, recomputed: by hand and a second implementation, and by the product."""

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sharekeeper.adapters.http_signatures import sign_request, sign_response, verify_request, verify_response
from sharekeeper.domain.ephemeral import EphemeralKeys
from sharekeeper.protocol.messages import KeyShares
from sharekeeper.protocol.session import WebBackupClient, WebBackupServer

from . import second_implementation
from .exchange_values import BACKUP_SERVICE, NODE, facts
from .test_wire_format import BACKUP_SERVICE_KEY, KEYSET, NODE_KEY, SHARES, exchange, vector
from .web_values import CLIENT_SECRET, EXCHANGE_ID, HEIGHT, SERVER_SECRET, client, published, server

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire-format.md"
NOW = 1_800_000_000
REQUEST_NONCE, BODY_NONCE = bytes(range(16)), bytes(range(24))
SEEDS = {"node": bytes([1]) * 32, "backup-service": bytes([2]) * 32}
SECRETS = {"node": SERVER_SECRET, "backup-service": CLIENT_SECRET}
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def x25519(role: str) -> str:
    return "x25519:" + base58(second_implementation.public_key(SECRETS[role]))


def lines(*values: object) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()


def record(role: str, answers: str) -> bytes:
    found = exchange(role)
    network = (found["chain_id"], found["genesis_hash"], found["contract_id"], found["account_id"])
    return lines(
        "sharekeeper-ephemeral-v1", *network, role, "backup", "-", EXCHANGE_ID, x25519(role), 1100, answers
    )  # fmt: skip


def sign(role: str, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(SEEDS[role]).sign(message)


def digest_field(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def made() -> dict[str, bytes]:
    """Every block of the document by its name, made by hand."""
    opening = record("backup-service", "-")
    answer = record("node", hashlib.sha256(opening).hexdigest())
    found = exchange("node")
    transcript = lines(
        "sharekeeper-sealed-v2",
        "2025-08",
        found["chain_id"],
        found["genesis_hash"],
        found["contract_id"],
        found["account_id"],
        "backup",
        "-",
        EXCHANGE_ID,
        NODE_KEY,
        BACKUP_SERVICE_KEY,
        x25519("node"),
        x25519("backup-service"),
        found["keyset_digest"],
        "from node",
    )
    shared = X25519PrivateKey.from_private_bytes(CLIENT_SECRET).exchange(
        X25519PublicKey.from_public_bytes(second_implementation.public_key(SERVER_SECRET))
    )
    receive, send = second_implementation.session_keys(
        CLIENT_SECRET, second_implementation.public_key(SERVER_SECRET), is_client=True
    )
    message = vector()["key-shares"][1][4:]
    sealed = second_implementation.seal(receive, BODY_NONCE, message, transcript)
    request_parameters = (
        '("@method" "@path" "content-digest" "sharekeeper-exchange")'
        f';created={NOW};keyid="{BACKUP_SERVICE_KEY}";alg="ed25519";nonce="{REQUEST_NONCE.hex()}";tag="sharekeeper-v2"'
    )
    request_base = (
        f'"@method": GET\n"@path": /shares_backup\n"content-digest": {digest_field(b"")}\n'
        f'"sharekeeper-exchange": {EXCHANGE_ID}\n"@signature-params": {request_parameters}'
    ).encode()
    request_signature = base64.b64encode(sign("backup-service", request_base)).decode()
    response_parameters = (
        f'("@status" "content-digest" "signature";req);created={NOW};keyid="{NODE_KEY}"'
        ';alg="ed25519";tag="sharekeeper-v2"'
    )
    response_base = (
        f'"@status": 200\n"content-digest": {digest_field(sealed)}\n"signature";req: sig=:{request_signature}:\n'
        f'"@signature-params": {response_parameters}'
    ).encode()
    return {
        "opening-record": opening,
        "opening-signature": sign("backup-service", opening),
        "answer-record": answer,
        "answer-signature": sign("node", answer),
        "shared-secret": shared,
        "key-node-to-backup-service": receive,
        "key-backup-service-to-node": send,
        "transcript": transcript,
        "sealed-body": sealed,
        "request-base": request_base,
        "request": lines(
            "GET /shares_backup HTTP/1.1",
            f"sharekeeper-exchange: {EXCHANGE_ID}",
            f"Content-Digest: {digest_field(b'')}",
            f"Signature-Input: sig={request_parameters}",
            f"Signature: sig=:{request_signature}:",
        ),
        "response-base": response_base,
        "response": lines(
            "HTTP/1.1 200 OK",
            f"Content-Digest: {digest_field(sealed)}",
            f"Signature-Input: sig={response_parameters}",
            f"Signature: sig=:{base64.b64encode(sign('node', response_base)).decode()}:",
        ),
    }


TEXTS = ("opening-record", "answer-record", "transcript", "request-base", "request", "response-base", "response")


def block(name: str, content: bytes) -> str:
    """How the document shows that block."""
    if name in TEXTS:
        return f"```text {name}\n{content.decode().removesuffix(chr(10))}\n```"
    rows = re.findall(r".{1,96}", content.hex())
    return f"```hex {name}\n" + "\n".join(rows) + "\n```"


@pytest.mark.parametrize("name", made())
def test_the_document_holds_exactly_what_the_second_implementation_makes(name):
    assert block(name, made()[name]) in DOCUMENT.read_text()


# --- the product makes the same ------------------------------------------------------------------------


def sides():
    opener = client(WebBackupClient(**facts(keyset=KEYSET)).exchange)
    answerer = server(published(opener), opener.exchange)
    return opener, answerer, EphemeralKeys(backup_service=published(opener), node=published(answerer))


def test_the_product_signs_the_same_records():
    opener, answerer, _ = sides()
    found = made()
    assert opener.record.canonical(opener.exchange.network) == found["opening-record"]
    assert opener.signature == found["opening-signature"]
    assert answerer.record.canonical(opener.exchange.network) == found["answer-record"]
    assert answerer.signature == found["answer-signature"]


def test_the_product_seals_and_opens_the_same_body():
    opener, answerer, keys = sides()
    frame = WebBackupServer(**facts(keyset=KEYSET)).send_shares(SHARES)
    sealed = answerer.derive(keys, HEIGHT).seal(frame, BODY_NONCE)
    assert sealed == made()["sealed-body"]
    event = WebBackupClient(**facts(keyset=KEYSET)).receive(opener.derive(keys, HEIGHT).open(sealed))
    assert isinstance(event, KeyShares)
    assert event.shares == SHARES


def test_the_product_signs_and_accepts_the_same_request_and_response():
    found, now_ns = made(), NOW * 10**9
    request = sign_request(
        "GET", "/shares_backup", EXCHANGE_ID, b"", identity=BACKUP_SERVICE, nonce=REQUEST_NONCE, now_ns=now_ns
    )
    response = sign_response(200, found["sealed-body"], request, identity=NODE, now_ns=now_ns)
    for name, message in (("request", request), ("response", response)):
        shown = found[name].decode().splitlines()[1:]
        assert [f"{field}: {value}" for field, value in message.headers.items()] == shown
    assert verify_request(request, (BACKUP_SERVICE.tls_key,), now_ns).exchange_id == EXCHANGE_ID
    verify_response(response, found["sealed-body"], NODE.tls_key, now_ns)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("role", "base", "message"),
    [
        ("backup-service", "opening-record", "opening-signature"),
        ("node", "answer-record", "answer-signature"),
        ("backup-service", "request-base", "request"),
        ("node", "response-base", "response"),
    ],
)
def test_openssl_verifies_every_signature(tmp_path, role, base, message):
    found = made()
    signature = found[message]
    if message in TEXTS:
        signature = base64.b64decode(re.search(rb"\nSignature: sig=:(.+):", signature)[1])
    public = Ed25519PrivateKey.from_private_bytes(SEEDS[role]).public_key()
    (tmp_path / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "base").write_bytes(found[base])
    argv = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key.pem",
        "-rawin",
        "-in",
        "base",
        "-sigfile",
        "signature",
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert "Signature Verified Successfully" in done.stdout, done.stderr
