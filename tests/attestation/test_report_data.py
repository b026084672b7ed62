"""Report data binds a quote to two keys, or to everything of one exchange."""

import hashlib
from dataclasses import fields, replace

import pytest

from sharekeeper.attestation.report_data import exchange_report_data, registration_report_data
from sharekeeper.domain.identity import AccountId, NetworkId, Role, SignerKey, TlsKey
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.protocol.messages import Exchange
from sharekeeper.spec import SPEC_REVISION

NETWORK = NetworkId(chain_id="devnet", genesis_hash="genesis", contract_id=AccountId("mpc.test.near"))
EXCHANGE = Exchange(
    account_id=AccountId("alice.test.near"),
    network=NETWORK,
    purpose=Purpose.RECOVERY,
    recovery_id=7,
    keyset_digest=KeysetDigest("ab" * 32),
    node_tls_key=TlsKey(b"n" * 32),
    backup_service_tls_key=TlsKey(b"b" * 32),
)
PEER, OWN = b"p" * 32, b"o" * 32


def test_a_registration_binds_both_keys_as_near_mpc_does():
    data = registration_report_data(TlsKey(b"t" * 32), SignerKey(b"s" * 32))
    assert data == b"\x00\x01" + hashlib.sha3_384(b"t" * 32 + b"s" * 32).digest() + bytes(14)


def test_an_exchange_binds_fourteen_lines():
    lines = [
        "sharekeeper-evidence-v1",
        SPEC_REVISION,
        "devnet",
        "genesis",
        "mpc.test.near",
        "alice.test.near",
        "recovery",
        "7",
        "ab" * 32,
        "node",
        str(EXCHANGE.node_tls_key),
        str(EXCHANGE.backup_service_tls_key),
        PEER.hex(),
        OWN.hex(),
    ]
    text = "".join(f"{line}\n" for line in lines)
    data = exchange_report_data(EXCHANGE, Role.NODE, peer_nonce=PEER, own_nonce=OWN)
    assert data == b"\x80\x01" + hashlib.sha3_384(text.encode()).digest() + bytes(14)
    assert len(data) == 64


def test_nothing_of_an_exchange_can_change_without_its_report_data():
    backup = replace(EXCHANGE, purpose=Purpose.BACKUP, recovery_id=None)
    exchanges = [EXCHANGE, backup, replace(EXCHANGE, recovery_id=8)]
    exchanges += [replace(EXCHANGE, account_id=AccountId("bob.test.near"))]
    exchanges += [replace(EXCHANGE, keyset_digest=KeysetDigest("cd" * 32))]
    exchanges += [replace(EXCHANGE, node_tls_key=TlsKey(b"x" * 32))]
    exchanges += [replace(EXCHANGE, backup_service_tls_key=TlsKey(b"x" * 32))]
    exchanges += [
        replace(EXCHANGE, network=replace(NETWORK, **{field.name: AccountId("x.near")})) for field in fields(NetworkId)
    ]
    found = {exchange_report_data(one, Role.NODE, peer_nonce=PEER, own_nonce=OWN) for one in exchanges}
    found.add(exchange_report_data(EXCHANGE, Role.BACKUP_SERVICE, peer_nonce=PEER, own_nonce=OWN))
    found.add(exchange_report_data(EXCHANGE, Role.NODE, peer_nonce=OWN, own_nonce=PEER))
    found.add(registration_report_data(EXCHANGE.node_tls_key, SignerKey(b"b" * 32)))
    assert len(found) == len(exchanges) + 3


@pytest.mark.parametrize(("peer", "own"), [(b"", OWN), (PEER, b"o" * 31), (PEER, b"o" * 33), (OWN, OWN)])
def test_nonces_are_32_bytes_and_each_side_makes_its_own(peer, own):
    with pytest.raises(ValueError, match="nonce"):
        exchange_report_data(EXCHANGE, Role.NODE, peer_nonce=peer, own_nonce=own)
