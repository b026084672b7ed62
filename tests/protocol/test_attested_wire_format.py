"""The hard-launch blocks of docs/wire-format.md, made by hand from the document's rules, and by sessions."""

import base64
import hashlib

import pytest

from sharekeeper.adapters.http_signatures import sign_request, verify_request
from sharekeeper.domain.attestation import Event, Evidence
from sharekeeper.domain.ephemeral import EphemeralKeys
from sharekeeper.domain.identity import Role
from sharekeeper.errors import PeerNotAttested
from sharekeeper.protocol.messages import Refusal, ShownEvidence, decode_message, encode_message
from sharekeeper.protocol.session import BackupClient, BackupServer, Nonces, WebBackupClient, WebBackupServer
from sharekeeper.spec import ATTESTATION_PATH

from . import second_implementation
from .attestation_values import verdict
from .exchange_values import BACKUP_SERVICE, facts
from .test_web_wire_format import EXCHANGE_ID, NOW, block, digest_field, lines, sign
from .test_wire_format import BACKUP_SERVICE_KEY, DOCUMENT, KEYSET, NODE_KEY, exchange, frame
from .web_values import CLIENT_SECRET, HEIGHT, SERVER_SECRET, client, published, server

NONCES = {"node": b"\x0d" * 32, "backup-service": b"\x0e" * 32}
PUBLIC = {
    "node": second_implementation.public_key(SERVER_SECRET),
    "backup-service": second_implementation.public_key(CLIENT_SECRET),
}
WEB_NONCE = bytes(range(16, 32))
NAME, PAYLOAD = b"compose-hash", bytes(32)
DIGEST = hashlib.sha384((0x08000001).to_bytes(4, "little") + b":" + NAME + b":" + PAYLOAD).hexdigest()
REASON = f"the evidence of backup-service {BACKUP_SERVICE_KEY} is refused: check 6 (report data): another exchange"
EVIDENCE = Evidence(
    quote=b"\x0f" * 4,
    events=(Event(imr=3, event_type=0x08000001, digest=DIGEST, name="compose-hash", payload=PAYLOAD.hex()),),
    app_compose="{}",
    collateral=None,
)


def report_data(side: str, nonces: dict[str, bytes]) -> bytes:
    """Of the evidence of the machine on that side, line by line."""
    found = exchange(side)
    verifier = "node" if side == "backup-service" else "backup-service"
    bound = lines(
        "sharekeeper-evidence-v1",
        "2025-08",
        found["chain_id"],
        found["genesis_hash"],
        found["contract_id"],
        found["account_id"],
        "backup",
        "-",
        found["keyset_digest"],
        side,
        NODE_KEY,
        BACKUP_SERVICE_KEY,
        nonces[verifier].hex(),
        nonces[side].hex(),
    )
    return b"\x80\x01" + hashlib.sha3_384(bound).digest() + bytes(14)


def hello(role: str) -> bytes:
    head = {"wire_version": 1, "spec_revision": "2025-08", "nonce": NONCES[role].hex()}
    return frame(1, head | exchange(role))


def evidence() -> bytes:
    event = {
        "imr": 3,
        "event_type": 0x08000001,
        "digest": DIGEST,
        "event": NAME.decode(),
        "event_payload": PAYLOAD.hex(),
    }
    return frame(5, {"quote": "0f0f0f0f", "event_log": [event], "app_compose": "{}", "collateral": None})


def made() -> dict[str, bytes]:
    """Every block by its name, by hand."""
    parameters = (
        '("@method" "@path" "content-digest" "sharekeeper-exchange")'
        f';created={NOW};keyid="{BACKUP_SERVICE_KEY}";alg="ed25519";nonce="{WEB_NONCE.hex()}";tag="sharekeeper-v2"'
    )
    digest = digest_field(evidence()[4:])
    base = (
        f'"@method": POST\n"@path": /attestation\n"content-digest": {digest}\n'
        f'"sharekeeper-exchange": {EXCHANGE_ID}\n"@signature-params": {parameters}'
    ).encode()
    return {
        "attested-hello-backup-service": hello("backup-service"),
        "attested-hello-node": hello("node"),
        "report-data-backup-service": report_data("backup-service", NONCES),
        "report-data-node": report_data("node", NONCES),
        "evidence": evidence(),
        "refusal-evidence": frame(4, {"code": "not_attested_report_data", "message": REASON}),
        "web-report-data-backup-service": report_data("backup-service", PUBLIC),
        "web-report-data-node": report_data("node", PUBLIC),
        "attestation-request-base": base,
        "attestation-request": lines(
            "POST /attestation HTTP/1.1",
            f"sharekeeper-exchange: {EXCHANGE_ID}",
            f"Content-Digest: {digest}",
            f"Signature-Input: sig={parameters}",
            f"Signature: sig=:{base64.b64encode(sign('backup-service', base)).decode()}:",
        ),
    }


def shown(name: str, content: bytes) -> str:
    """How the document shows that block."""
    return (
        block("request", content).replace("text request", f"text {name}") if "request" in name else block(name, content)
    )


@pytest.mark.parametrize("name", list(made()))
def test_the_document_holds_exactly_what_its_rules_give(name):
    assert shown(name, made()[name]) in DOCUMENT.read_text()


def payload(name: str) -> bytes:
    whole = made()[name]
    assert int.from_bytes(whole[:4], "big") == len(whole) - 4
    return whole[4:]


def test_sessions_of_the_hard_launch_send_the_bytes_of_the_document():
    node = BackupServer(**facts(keyset=KEYSET), nonces=Nonces(own=NONCES["node"]))
    service = BackupClient(**facts(keyset=KEYSET), nonces=Nonces(own=NONCES["backup-service"]))
    assert service.send_hello() == payload("attested-hello-backup-service")
    node.receive(payload("attested-hello-backup-service"))
    assert node.send_hello() == payload("attested-hello-node")
    service.receive(payload("attested-hello-node"))
    for session in (node, service):
        for side in Role:
            assert session.report_data(side) == made()[f"report-data-{side}"]
    assert service.send_evidence(EVIDENCE, verdict(Role.BACKUP_SERVICE)) == payload("evidence")
    assert node.receive(payload("evidence")) == ShownEvidence(evidence=EVIDENCE)
    assert node.refuse(PeerNotAttested(REASON, check="report data")) == payload("refusal-evidence")


def test_sessions_of_version_2_mean_the_report_data_of_the_document():
    opener = client(WebBackupClient(**facts(keyset=KEYSET)).exchange)
    answerer = server(published(opener), opener.exchange)
    keys = EphemeralKeys(backup_service=published(opener), node=published(answerer))
    agreed = opener.derive(keys, HEIGHT).transcript
    service = WebBackupClient(
        **facts(keyset=KEYSET), nonces=Nonces(own=agreed.backup_service_key.raw, peer=agreed.node_key.raw)
    )
    node = WebBackupServer(
        **facts(keyset=KEYSET),
        nonces=Nonces(own=answerer.record.public_key.raw, peer=answerer.opening.public_key.raw),
    )
    for session in (node, service):
        for side in Role:
            assert session.report_data(side) == made()[f"web-report-data-{side}"]


def test_the_product_signs_and_accepts_the_same_request_with_evidence():
    body, now_ns = payload("evidence"), NOW * 10**9
    request = sign_request(
        "POST", ATTESTATION_PATH, EXCHANGE_ID, body, identity=BACKUP_SERVICE, nonce=WEB_NONCE, now_ns=now_ns
    )
    assert [f"{field}: {value}" for field, value in request.headers.items()] == made()[
        "attestation-request"
    ].decode().splitlines()[1:]
    assert verify_request(request, (BACKUP_SERVICE.tls_key,), now_ns).exchange_id == EXCHANGE_ID


def test_the_refusal_of_the_document_is_one():
    assert decode_message(payload("refusal-evidence")) == Refusal(code="not_attested_report_data", message=REASON)
    assert encode_message(Refusal.of(PeerNotAttested(REASON, check="report data"))) == payload("refusal-evidence")
