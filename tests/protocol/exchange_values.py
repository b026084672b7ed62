"""Values of one exchange between Alice's node and her backup service: keys, keyset, shares, sessions."""

from dataclasses import replace
from typing import Any

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, Keyset
from sharekeeper.domain.keyshare import BYTE_ORDER, KeyShare
from sharekeeper.protocol.session import BackupClient, BackupServer, RecoveryClient, RecoveryServer, Session
from sharekeeper.secret import Secret

ALICE = AccountId("alice.test.near")
NETWORK = NetworkId(
    chain_id="devnet",
    genesis_hash="GFMiN4mpCsmWGjJGXG4MRnrtQBj5i3RXZZYpvUvBUSvR",
    contract_id=AccountId("mpc.test.near"),
)
NODE = KeyPair.generate(bytes([1]) * 32)
BACKUP_SERVICE = KeyPair.generate(bytes([2]) * 32)
STRANGER = KeyPair.generate(bytes([3]) * 32)
RECOVERY_ID = 7

CURVES = (Curve.SECP256K1, Curve.ED25519, Curve.BLS12381)
KEY_BYTES = {Curve.SECP256K1: 64, Curve.ED25519: 32, Curve.BLS12381: 96}


def keyset(*, epoch: int = 5, domains: int = 3, attempt: int = 0) -> Keyset:
    keys = (
        DomainKey(
            domain_id=number,
            attempt=attempt,
            public_key=DomainPublicKey(curve := CURVES[number % 3], bytes([number % 250 + 1]) * KEY_BYTES[curve]),
        )
        for number in range(domains)
    )
    return Keyset(epoch_id=epoch, domains=tuple(keys))


KEYSET = keyset()


def shares_of(keys: Keyset) -> tuple[KeyShare, ...]:
    return tuple(
        KeyShare(
            key_id=keys.key_event(domain),
            curve=domain.public_key.curve,
            private_share=scalar(domain.domain_id + 1, domain.public_key.curve),
            public_key=domain.public_key.share_form(),
        )
        for domain in keys.domains
    )


def scalar(value: int, curve: Curve) -> Secret:
    return Secret(value.to_bytes(32, BYTE_ORDER[curve]))


def with_share(shares: tuple[KeyShare, ...], index: int, **changes: Any) -> tuple[KeyShare, ...]:
    return (*shares[:index], replace(shares[index], **changes), *shares[index + 1 :])


SHARES = shares_of(KEYSET)


def facts(**changes: Any) -> dict[str, Any]:
    """What a side knows of a backup exchange."""
    return {
        "account_id": ALICE,
        "network": NETWORK,
        "keyset": KEYSET,
        "node_tls_key": NODE.tls_key,
        "backup_service_tls_key": BACKUP_SERVICE.tls_key,
    } | changes


def pair(kind: str) -> tuple[Session, Session]:
    """Client and server of a "backup" or "recovery"."""
    if kind == "backup":
        return BackupClient(**facts()), BackupServer(**facts())
    recovery = facts(recovery_id=RECOVERY_ID)
    return RecoveryClient(**recovery), RecoveryServer(**recovery)


def greeted(kind: str) -> tuple[Session, Session]:
    """Giver and taker after both hellos."""
    client, server = pair(kind)
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    return (server, client) if kind == "backup" else (client, server)
