"""The test vector of docs/wire-format.md, recomputed: by hand from the document's rules, and by sessions."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from sharekeeper.crypto.certificate import leaf_certificate
from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, Keyset
from sharekeeper.errors import PolicyRefused
from sharekeeper.protocol.messages import Refusal, encode_message
from sharekeeper.protocol.session import BackupClient, BackupServer, RecoveryClient
from sharekeeper.secret import Secret

from .exchange_values import BACKUP_SERVICE, NODE, facts, shares_of, with_share

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire-format.md"
NODE_KEY = "ed25519:AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9"
BACKUP_SERVICE_KEY = "ed25519:9hSR6S7WPtxmTojgo6GG3k4yDPecgJY292j7xrsUGWBu"
KEYSET = Keyset(
    epoch_id=5,
    domains=(DomainKey(domain_id=0, attempt=0, public_key=DomainPublicKey(Curve.ED25519, bytes([2]) * 32)),),
)
SHARES = with_share(shares_of(KEYSET), 0, private_share=Secret(b"\2" + bytes(31)))


def frame(kind: int, value: dict) -> bytes:
    payload = bytes([kind]) + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return len(payload).to_bytes(4, "big") + payload


def exchange(role: str, **changes) -> dict:
    sender, receiver = (NODE_KEY, BACKUP_SERVICE_KEY) if role == "node" else (BACKUP_SERVICE_KEY, NODE_KEY)
    return {
        "role": role,
        "account_id": "alice.test.near",
        "chain_id": "devnet",
        "genesis_hash": "GFMiN4mpCsmWGjJGXG4MRnrtQBj5i3RXZZYpvUvBUSvR",
        "contract_id": "mpc.test.near",
        "purpose": "backup",
        "recovery_id": None,
        "keyset_digest": hashlib.sha256(
            b"sharekeeper-keyset-v1\n5\n0:0:ed25519:8qbHbw2BbbTHBW1sbeqakYXVKRQM8Ne7pLK7m6CVfeR\n"
        ).hexdigest(),
        "sender_tls_key": sender,
        "receiver_tls_key": receiver,
    } | changes


def vector() -> dict[str, tuple[str, bytes]]:
    """Name, caption and bytes of each line, made by hand."""
    versions = {"wire_version": 1, "spec_revision": "2025-08", "nonce": None}
    share = {
        "key_id": {"epoch_id": 5, "domain_id": 0, "attempt_id": 0},
        "data": {"Ed25519": {"private_share": "02" + "00" * 31, "public_key": "02" * 32}},
    }
    shares = frame(2, {"shares": [share]})
    receipt = {"status": "durable", "payload_digest": hashlib.sha256(shares[4:]).hexdigest()}
    recovery = exchange("backup-service", purpose="recovery", recovery_id=7)
    return {
        "hello-backup-service": (
            "Backup, the backup service's hello:",
            frame(1, versions | exchange("backup-service")),
        ),
        "hello-node": ("The node's hello:", frame(1, versions | exchange("node"))),
        "key-shares": ("The key shares, from the node:", shares),
        "receipt": ("The backup service's receipt:", frame(3, receipt | exchange("backup-service"))),
        "hello-recovery": ("Recovery 7, the backup service's hello:", frame(1, versions | recovery)),
        "refusal": ("A refusal:", frame(4, {"code": "policy_refused", "message": "no approval for this key"})),
        "leaf-node": ("The node's leaf certificate (DER):", leaf_certificate(NODE.tls_key)),
    }


def frames_of_sessions() -> dict[str, bytes]:
    """The same frames, made by the product."""
    node, backup_service = BackupServer(**facts(keyset=KEYSET)), BackupClient(**facts(keyset=KEYSET))
    frames = {"hello-backup-service": backup_service.send_hello()}
    node.receive(frames["hello-backup-service"])
    frames["hello-node"] = node.send_hello()
    backup_service.receive(frames["hello-node"])
    frames["key-shares"] = node.send_shares(SHARES)
    backup_service.receive(frames["key-shares"])
    frames["receipt"] = backup_service.send_receipt()
    node.receive(frames["receipt"])
    frames["hello-recovery"] = RecoveryClient(**facts(keyset=KEYSET, recovery_id=7)).send_hello()
    frames["refusal"] = encode_message(Refusal.of(PolicyRefused("no approval for this key")))
    return {name: len(payload).to_bytes(4, "big") + payload for name, payload in frames.items()}


@pytest.mark.parametrize("name", list(vector()))
def test_document_shows_the_bytes_that_its_rules_give(name):
    block = re.search(rf"```hex {name}\n([0-9a-f\n]+)```", DOCUMENT.read_text())
    assert block is not None
    assert bytes.fromhex(block[1]) == vector()[name][1]


@pytest.mark.parametrize("name", list(frames_of_sessions()))
def test_sessions_send_the_bytes_of_the_document(name):
    assert frames_of_sessions()[name] == vector()[name][1]


def test_keys_of_the_vector_are_those_of_its_seeds():
    assert (str(NODE.tls_key), str(BACKUP_SERVICE.tls_key)) == (NODE_KEY, BACKUP_SERVICE_KEY)
