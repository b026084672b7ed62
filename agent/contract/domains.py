"""Domains and their public keys: checked when they come in, kept as lines of near/mpc's JSON in one order of fields.

A line needs no parsing to be shown, and the line of a domain is found by how it begins.
"""

import json

from contract import codec
from contract.codec import ContractError

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    if "edwards_point" in key:
        point = json.dumps(list(codec.ed25519_bytes(key[name])))
        if json.dumps(key["edwards_point"]) != point:  # as texts, since 1 equals 1.0 and true
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


def registry_line(text: str, domain_id: int) -> str:
    """The registry entry of a domain, found in the text of all; empty when there is none."""
    return line_at(text, text.find(f'{{"id":{domain_id},'))


def keyset_entry(text: str, domain_id: int) -> str:
    return line_at(text, text.find(f'{{"domain_id":{domain_id},'))


def following_domain(text: str, domain_id: int) -> int | None:
    """The id of the domain after that one in the registry; None after the last."""
    end = text.find("\n", text.find(f'{{"id":{domain_id},'))
    if end < 0:
        return None
    following: int = json.loads(line_at(text, end + 1))["id"]
    return following


def line_at(text: str, place: int) -> str:
    """The line that begins at `place`; empty for no place."""
    if place < 0:
        return ""
    end = text.find("\n", place)
    return text[place:] if end < 0 else text[place:end]


def with_line(text: str | None, line: str) -> str:
    """The text with a line more."""
    return f"{text}\n{line}" if text else line


def as_list(text: str) -> str:
    """The JSON list of lines that are JSON each."""
    return "[" + text.replace("\n", ",") + "]"


def parsed(text: str) -> "list[Any]":
    values: list[Any] = json.loads(as_list(text))
    return values


def canonical_line(domain_id: int, key: "dict[str, Any]", attempt: int) -> str:
    """The line of a domain in the canonical keyset (docs/contract.md)."""
    return f"{domain_id}:{attempt}:{key_text(key)}"


def store(session: "Session", registry: str, keyset: str, canonical: str) -> None:
    """Puts a registry and the keyset of the header's epoch in force, the latter also as its canonical lines."""
    session.store.set("domains", registry)
    session.store.set("keyset", keyset)
    session.store.set("canonical", canonical)
    start = f"sharekeeper-keyset-v1\n{session.header.epoch_id}\n"
    text = f"{start}{canonical}\n" if canonical else start
    session.header.keyset_digest = codec.to_hex(session.chain.sha256(text.encode()))
