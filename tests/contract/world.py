"""The network the contract tests play in: accounts, keys by name, and the arguments of the calls.

Keys are named and derived from their names, so a layer that must really sign finds the private key by the same name.
"""

import hashlib

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONTRACT = "mpc.test.near"
ALICE = "alice.test.near"
BOB = "bob.test.near"
CAROL = "carol.test.near"
ERIN = "erin.test.near"  # no participant
MALLORY = "mallory.test.near"  # no participant

PARTICIPANTS = (ALICE, BOB, CAROL)
THRESHOLD = 2
CONFIG = {
    "recovery_timeout_blocks": 100,
    "recovery_cooldown_blocks": 1000,
    "request_timeout_blocks": 20,
    "ephemeral_key_max_blocks": 50,
    "code_hash_grace_blocks": 40,
    "evidence_validity_seconds": 5000,
    "max_prospective_accounts": 2,
}
NOW = 4_000_000_000  # the time of every block, in seconds: later than any clock, so that a chain keeps it
EPOCH = 5
CAITSITH_DOMAIN = 0
FROST_DOMAIN = 3
PAYLOAD = b"a message to sign"


def private_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def raw_key(name: str) -> bytes:
    return private_key(name).public_key().public_bytes_raw()


def key(name: str) -> str:
    """The public key string of the key of this name."""
    return "ed25519:" + base58.b58encode(raw_key(name)).decode()


def url(name: str) -> str:
    return f"http://{name.split('.', maxsplit=1)[0]}.example:8090"


def info(tls: str, address: str = "http://new.example:8090") -> dict[str, str]:
    """A participant info with the TLS key of the name `tls`."""
    return {"url": address, "tls_public_key": key(tls)}


def node_signer(account: str) -> str:
    """The name of the access key of the node in force at the start."""
    return f"{account} node access key"


def node_tls(account: str) -> str:
    return f"{account} node TLS key"


def network_secret() -> Ed25519PrivateKey:
    return private_key("the network's Frost key")


def domains() -> dict:
    return {
        "domains": [
            {"id": CAITSITH_DOMAIN, "protocol": "CaitSith", "reconstruction_threshold": 2, "purpose": "Sign"},
            {"id": FROST_DOMAIN, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"},
        ],
        "next_domain_id": 4,
    }


def keyset() -> dict:
    point = raw_key("the network's Frost key")
    secp256k1 = "secp256k1:" + base58.b58encode(hashlib.sha512(b"a secp256k1 key").digest()).decode()
    ed25519 = {"near_public_key_compressed": key("the network's Frost key"), "edwards_point": list(point)}
    return {
        "epoch_id": EPOCH,
        "domains": [
            {"domain_id": CAITSITH_DOMAIN, "key": {"Secp256k1": {"near_public_key": secp256k1}}, "attempt": 240},
            {"domain_id": FROST_DOMAIN, "key": {"Ed25519": ed25519}, "attempt": 0},
        ],
    }


def keyset_digest() -> str:
    """The digest of docs/contract.md, computed here by a second implementation."""
    caitsith, frost = keyset()["domains"]
    lines = [
        "sharekeeper-keyset-v1",
        str(EPOCH),
        f"{CAITSITH_DOMAIN}:240:{caitsith['key']['Secp256k1']['near_public_key']}",
        f"{FROST_DOMAIN}:0:{frost['key']['Ed25519']['near_public_key_compressed']}",
    ]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def participants() -> dict:
    entries = [[name, 3 * index, info(node_tls(name), url(name))] for index, name in enumerate(PARTICIPANTS)]
    return {"next_id": 7, "participants": entries}


def init_arguments() -> dict:
    return {
        "parameters": {"participants": participants(), "threshold": THRESHOLD},
        "domains": domains(),
        "keyset": keyset(),
        "signer_keys": {name: key(node_signer(name)) for name in PARTICIPANTS},
        "config": dict(CONFIG),
    }


def recovery_arguments(account: str, tls: str, *, valid_until: int = 10**6, in_force: str | None = None) -> dict:
    """Arguments of submit_participant_recovery_info for a machine with the TLS key of the name `tls`."""
    return {
        "participant_info": info(tls),
        "expected_tls_key": key(in_force or node_tls(account)),
        "expected_keyset": keyset_digest(),
        "valid_until_block": valid_until,
    }


def sign_arguments(domain_id: int = FROST_DOMAIN, payload: bytes = PAYLOAD) -> dict:
    return {"request": {"domain_id": domain_id, "payload": payload.hex()}}


def signature(payload: bytes = PAYLOAD) -> str:
    return network_secret().sign(payload).hex()


def code_hash(name: str) -> str:
    """The hash of the code of this name."""
    return hashlib.sha256(name.encode()).hexdigest()


def measurements(name: str) -> dict[str, str]:
    """What a TEE with the code of this name measures."""
    registers = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")
    return {register: hashlib.sha384(f"{name} {register}".encode()).hexdigest() for register in registers}


def evidence(name: str, age: int = 0) -> dict[str, str | int]:
    """The stamp of the evidence of this name, made `age` seconds before NOW."""
    return {"digest": hashlib.sha256(name.encode()).hexdigest(), "attested_at": NOW - age}


def shown_evidence(name: str, age: int = 0) -> dict[str, str | int]:
    """The same as a view shows it."""
    return evidence(name, age) | {"valid_until": NOW - age + CONFIG["evidence_validity_seconds"]}


def x25519_key(name: str) -> str:
    """A text in the form of an X25519 public key; the contract does no arithmetic with it."""
    return "x25519:" + base58.b58encode(hashlib.sha256(name.encode()).digest()).decode()


def exchange_id(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def ephemeral_record(
    *,
    exchange: str = "exchange",
    expires_on: int,
    recovery_id: int | None = None,
    answers: dict | None = None,
    public_key: str = "",
    tls: str = "alice backup TLS key",
) -> dict:
    """Alice's record under the network ("dev", "GENESIS", CONTRACT): an opening one, or the node's that answers one.

    Hash and signature are those of docs/contract.md, computed here by a second implementation.
    """
    role = "node" if answers else "backup-service"
    purpose = "backup" if recovery_id is None else "recovery"
    record = {
        "exchange_id": exchange_id(exchange),
        "purpose": purpose,
        "role": role,
        "recovery_id": recovery_id,
        "public_key": x25519_key(public_key or f"{role}, {exchange}"),
        "expires_on": expires_on,
        "answers": answers["hash"] if answers else None,
    }
    named = ("role", "purpose", "recovery_id", "exchange_id", "public_key", "expires_on", "answers")
    values = ["-" if record[name] is None else str(record[name]) for name in named]
    lines = ["sharekeeper-ephemeral-v1", "dev", "GENESIS", CONTRACT, ALICE, *values]
    text = "".join(f"{line}\n" for line in lines).encode()
    return record | {"hash": hashlib.sha256(text).hexdigest(), "signature": private_key(tls).sign(text).hex()}
