"""Domains and their public keys: checked when they come in, kept as lines of near/mpc's JSON in one order of fields.

A line needs no parsing to be shown, and the line of a domain is found by how it begins.
"""

import json

from contract import codec
from contract.codec import ContractError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from contract.codec import Json
    from contract.session import Session

MOST_DOMAINS = 1000

PURPOSES = ("Sign", "ForeignTx", "CKD")
CURVES = ("Secp256k1", "Edwards25519", "Bls12381")
# protocol: the variant of its public key in the keyset
PROTOCOLS = {
    "CaitSith": "Secp256k1",
    "DamgardEtAl": "Secp256k1",
    "Frost": "Ed25519",
    "ConfidentialKeyDerivation": "Bls12381",
}
# variant: field of the public key string, prefix, bytes, optional fields
KEY_VARIANTS = {
    "Secp256k1": ("near_public_key", "secp256k1:", 64, ()),
    "Ed25519": ("near_public_key_compressed", "ed25519:", 32, ("edwards_point",)),
    "Bls12381": ("public_key", "bls12381g2:", 96, ()),
}


def checked_domain(value: "Json", participants: int) -> "dict[str, Any]":
    """A registry entry whose key `participants` nodes can share."""
    names = ("id", "protocol", "reconstruction_threshold", "purpose")
    domain = codec.fields(value, "a domain", names, ("curve",))
    codec.integer(domain["id"], "a domain's id")
    codec.one_of(domain["protocol"], "a domain's protocol", tuple(PROTOCOLS))
    codec.integer(domain["reconstruction_threshold"], "a domain's reconstruction_threshold", 1, participants)
    codec.one_of(domain["purpose"], "a domain's purpose", PURPOSES)
    if "curve" in domain:
        codec.one_of(domain["curve"], "a domain's curve", CURVES)
    return domain


def domain_line(domain: "dict[str, Any]") -> str:
    curve = f',"curve":"{domain["curve"]}"' if "curve" in domain else ""
    threshold = domain["reconstruction_threshold"]
    start = f'{{"id":{domain["id"]},"protocol":"{domain["protocol"]}"'
    return f'{start},"reconstruction_threshold":{threshold},"purpose":"{domain["purpose"]}"{curve}}}'


def checked_key(value: "Json", domain: "dict[str, Any]") -> "dict[str, Any]":
    """A public key of the kind the domain's protocol makes, as in a keyset entry: {variant: {...}}."""
    variant = PROTOCOLS[domain["protocol"]]
    name, prefix, size, optional = KEY_VARIANTS[variant]
    where = f"the key of domain {domain['id']}"
    given = codec.fields(value, where, (variant,))
    key = codec.fields(given[variant], where, (name,), optional)
    codec.public_key(key[name], where, prefix, size)
    if "edwards_point" in key and key["edwards_point"] != list(codec.ed25519_bytes(key[name])):
        raise ContractError(f"{where} names another edwards_point than its public key; give the same 32 bytes")
    return given


def key_json(key: "dict[str, Any]") -> str:
    """A checked public key in near/mpc's JSON."""
    for variant in KEY_VARIANTS:
        if variant in key:
            name = KEY_VARIANTS[variant][0]
            point = f',"edwards_point":{json.dumps(key[variant]["edwards_point"])}' if len(key[variant]) > 1 else ""
            return f'{{"{variant}":{{"{name}":"{key[variant][name]}"{point}}}}}'
    raise ContractError("a stored public key is damaged; report this contract as faulty")


def key_text(key: "dict[str, Any]") -> str:
    """The public key string of a checked public key."""
    for variant in KEY_VARIANTS:
        if variant in key:
            text: str = key[variant][KEY_VARIANTS[variant][0]]
            return text
    raise ContractError("a stored public key is damaged; report this contract as faulty")


def keyset_line(domain_id: int, key: str, attempt: int) -> str:
    """A keyset entry; `key` is JSON."""
    return f'{{"domain_id":{domain_id},"key":{key},"attempt":{attempt}}}'


def with_attempt(line: str, attempt: int) -> str:
    """A keyset entry with the attempt of another key event."""
    kept = line[: line.rfind(",")]
    return f'{kept},"attempt":{attempt}}}'


def read_lines(text: str | None) -> list[str]:
    """The lines kept under one storage key; none when nothing is kept."""
    return text.split("\n") if text else []


def as_list(lines: list[str]) -> str:
    """The JSON list of lines that are JSON each."""
    return "[" + ",".join(lines) + "]"


def parsed(lines: list[str]) -> "list[Any]":
    values: list[Any] = json.loads(as_list(lines))
    return values


def keyset_digest(epoch_id: int, keyset: list[str], sha256: "Callable[[bytes], bytes]") -> str:
    """The digest of docs/contract.md, "Canonical keyset and its digest"."""
    lines = ["sharekeeper-keyset-v1", str(epoch_id)]
    lines.extend([f"{entry['domain_id']}:{entry['attempt']}:{key_text(entry['key'])}" for entry in parsed(keyset)])
    lines.append("")
    return codec.to_hex(sha256("\n".join(lines).encode()))


def store(session: "Session", registry: list[str], keyset: list[str]) -> None:
    """Puts a registry and the keyset of the header's epoch in force."""
    session.store.set("domains", "\n".join(registry))
    session.store.set("keyset", "\n".join(keyset))
    session.header.keyset_digest = keyset_digest(session.header.epoch_id, keyset, session.chain.sha256)
