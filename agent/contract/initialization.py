"""`init`: the state a network starts from, checked as a whole before anything is stored."""

import json

from contract import codec, records
from contract.codec import ContractError
from contract.records import NODE, Account, Pair
from contract.session import UNRECORDED, Session, participant_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json

MOST_PARTICIPANTS = 128
MOST_DOMAINS = 128
LONGEST_WAIT_BLOCKS = 10**9

# name: default, least, most
CONFIG = {
    "recovery_timeout_blocks": (6000, 1, LONGEST_WAIT_BLOCKS),
    "recovery_cooldown_blocks": (60000, 0, LONGEST_WAIT_BLOCKS),
    "request_timeout_blocks": (200, 1, LONGEST_WAIT_BLOCKS),
    "ephemeral_key_max_blocks": (200, 1, LONGEST_WAIT_BLOCKS),
    "code_hash_grace_blocks": (50_000, 0, LONGEST_WAIT_BLOCKS),
    "max_url_bytes": (256, 16, 2048),
    "max_prospective_accounts": (100, 0, 1000),
}

PURPOSES = ("Sign", "ForeignTx", "CKD")
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


def init(session: Session, arguments: "Json") -> None:
    """Starts the protocol in Running. Only the contract's own account can, and only once."""
    if session.chain.signer_id != session.chain.contract_id:
        raise ContractError(f"only {session.chain.contract_id} itself can initialise the contract; sign as it")
    session.require((UNRECORDED,))
    given = codec.fields(arguments, "arguments", ("parameters", "domains", "keyset", "signer_keys", "config"))
    header = session.header
    header.config = checked_config(given["config"])
    parameters = codec.fields(given["parameters"], "parameters", ("participants", "threshold"))
    infos = codec.fields(parameters["participants"], "participants", ("next_id", "participants"))
    entries = codec.items(infos["participants"], "participants", MOST_PARTICIPANTS)
    header.next_participant_id = codec.integer(infos["next_id"], "participants.next_id")
    header.threshold = codec.integer(parameters["threshold"], "threshold", 1, len(entries))
    store_participants(session, entries, given["signer_keys"])
    store_domains(session, given["domains"], given["keyset"], len(entries))


def checked_config(value: "Json") -> dict[str, int]:
    """All configuration values: those given, and defaults for the rest."""
    names = tuple(CONFIG)
    given = codec.fields({} if value is None else value, "config", (), names)
    config = {}
    for name in names:
        default, least, most = CONFIG[name]
        config[name] = codec.integer(given.get(name, default), f"config.{name}", least, most)
    return config


def store_participants(session: Session, entries: "list[Any]", signer_keys: "Json") -> None:
    header = session.header
    order = []
    names: list[str] = []
    seen_ids = []
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 3:  # noqa: PLR2004 - near/mpc's triple
            raise ContractError("each participant must be a list of account id, participant id and info")
        name = codec.account_id(entry[0], "the account of a participant")
        participant_id = codec.integer(entry[1], f"the participant id of {name}")
        url, tls = participant_info(entry[2], header.config, f"the info of {name}")
        if participant_id in seen_ids or participant_id >= header.next_participant_id:
            raise ContractError(f"the participant id of {name} must be unique and below participants.next_id")
        seen_ids.append(participant_id)
        order.append([name, participant_id])
        names.append(name)
        if not isinstance(signer_keys, dict) or name not in signer_keys:
            raise ContractError(f"signer_keys lacks the key of {name}; add it")
        pair = Pair(codec.ed25519_key(signer_keys[name], f"the signer key of {name}"), tls, url)
        store_participant(session, name, participant_id, pair)
    codec.fields(signer_keys, "signer_keys", tuple(names))
    records.save(session.store, "participants", order)


def store_participant(session: Session, name: str, participant_id: int, pair: Pair) -> None:
    account = Account(session.store, name)
    if account.is_participant():
        raise ContractError(f"{name} is listed twice among the participants; list it once")
    for key in (pair.signer, pair.tls):
        if pair.signer == pair.tls or records.key_record(session.store, key) is not None:
            raise ContractError(f"a key of {name} is used twice; every signer key and TLS key must be its own")
    records.record_pair(session.store, name, NODE, pair)
    account.participant_id = participant_id
    account.node = pair
    account.pairs_recorded = 1
    account.save(session.store)


def store_domains(session: Session, domains: "Json", keyset: "Json", participants: int) -> None:
    header = session.header
    registry = codec.fields(domains, "domains", ("domains", "next_domain_id"))
    entries = codec.items(registry["domains"], "domains.domains", MOST_DOMAINS)
    header.next_domain_id = codec.integer(registry["next_domain_id"], "domains.next_domain_id")
    given = codec.fields(keyset, "keyset", ("epoch_id", "domains"))
    keys = codec.items(given["domains"], "keyset.domains", MOST_DOMAINS)
    header.epoch_id = codec.integer(given["epoch_id"], "keyset.epoch_id")
    if len(keys) != len(entries):
        raise ContractError("keyset.domains and domains.domains must list the same domains in the same order")
    lines = ["sharekeeper-keyset-v1", str(header.epoch_id)]
    for index in range(len(entries)):
        domain = checked_domain(entries[index], participants)
        key = checked_domain_key(keys[index], domain)
        if domain["id"] in header.domain_ids or domain["id"] >= header.next_domain_id:
            raise ContractError(f"the domain id {domain['id']} must be unique and below domains.next_domain_id")
        header.domain_ids.append(domain["id"])
        session.store.set(f"domain/{index}", json.dumps(domain) + "\n" + json.dumps(key))
        lines.append(f"{domain['id']}:{key['attempt']}:{public_key_text(key)}")
    canonical = "\n".join(lines) + "\n"
    header.keyset_digest = codec.to_hex(session.chain.sha256(canonical.encode()))


def checked_domain(value: "Json", participants: int) -> "dict[str, Any]":
    names = ("id", "protocol", "reconstruction_threshold", "purpose")
    domain = codec.fields(value, "a domain", names, ("curve",))
    codec.integer(domain["id"], "a domain's id")
    codec.one_of(domain["protocol"], "a domain's protocol", tuple(PROTOCOLS))
    codec.integer(domain["reconstruction_threshold"], "a domain's reconstruction_threshold", 1, participants)
    codec.one_of(domain["purpose"], "a domain's purpose", PURPOSES)
    if "curve" in domain:
        codec.one_of(domain["curve"], "a domain's curve", ("Secp256k1", "Edwards25519", "Bls12381"))
    return domain


def checked_domain_key(value: "Json", domain: "dict[str, Any]") -> "dict[str, Any]":
    entry = codec.fields(value, "a keyset entry", ("domain_id", "key", "attempt"))
    codec.integer(entry["attempt"], "a keyset entry's attempt")
    if codec.integer(entry["domain_id"], "a keyset entry's domain_id") != domain["id"]:
        raise ContractError("keyset.domains and domains.domains must list the same domains in the same order")
    variant = PROTOCOLS[domain["protocol"]]
    name, prefix, size, optional = KEY_VARIANTS[variant]
    where = f"the key of domain {domain['id']}"
    key = codec.fields(codec.fields(entry["key"], where, (variant,))[variant], where, (name,), optional)
    codec.public_key(key[name], where, prefix, size)
    if "edwards_point" in key and key["edwards_point"] != list(codec.ed25519_bytes(key[name])):
        raise ContractError(f"{where} names another edwards_point than its public key; give the same 32 bytes")
    return entry


def public_key_text(entry: "dict[str, Any]") -> str:
    """The public key string of a checked keyset entry."""
    for variant in KEY_VARIANTS:
        if variant in entry["key"]:
            text: str = entry["key"][variant][KEY_VARIANTS[variant][0]]
            return text
    raise ContractError("a stored keyset entry is damaged; report this contract as faulty")
