"""`init`: the state a network starts from, checked as a whole before anything is stored."""

from contract import codec, domains, records
from contract.codec import ContractError
from contract.domains import MOST_DOMAINS
from contract.records import Account, Pair
from contract.session import MOST_PARTICIPANTS, UNRECORDED, Session, participant_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json

LONGEST_WAIT_BLOCKS = 10**9
LONGEST_WAIT_SECONDS = 10**9

# name: default, least, most
CONFIG = {
    "recovery_timeout_blocks": (6000, 1, LONGEST_WAIT_BLOCKS),
    "recovery_cooldown_blocks": (60000, 0, LONGEST_WAIT_BLOCKS),
    "request_timeout_blocks": (200, 1, LONGEST_WAIT_BLOCKS),
    "ephemeral_key_max_blocks": (200, 1, LONGEST_WAIT_BLOCKS),
    "key_event_timeout_blocks": (30, 1, LONGEST_WAIT_BLOCKS),
    "code_hash_grace_blocks": (50000, 0, LONGEST_WAIT_BLOCKS),
    "evidence_validity_seconds": (604_800, 1, LONGEST_WAIT_SECONDS),
    "max_url_bytes": (256, 16, 2048),
    "max_prospective_accounts": (100, 0, 1000),
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
    lines = {}
    names = {}
    used = {}
    founding_keys = []
    for entry in entries:
        name, participant_id, pair = checked_participant(session, entry, signer_keys)
        if name in names:
            raise ContractError(f"{name} is listed twice among the participants; list it once")
        if participant_id in lines or participant_id >= header.next_participant_id:
            raise ContractError(f"the participant id of {name} must be unique and below participants.next_id")
        if pair.signer in used or pair.tls in used or pair.signer == pair.tls:
            raise ContractError(f"a key of {name} is used twice; every signer key and TLS key must be its own")
        names[name] = used[pair.signer] = used[pair.tls] = True
        lines[participant_id] = records.node_line(name, participant_id, pair)
        founding_keys.append(f"{pair.signer} {pair.tls} {name}\n")
        account = Account(None, name)
        account.participant_id = participant_id
        account.node = pair
        account.pairs_recorded = 1
        account.save(session.store)
    if isinstance(signer_keys, dict) and len(signer_keys) > len(names):
        codec.fields(signer_keys, "signer_keys", tuple(names))
    session.store.set("participants", "\n".join([lines[participant_id] for participant_id in sorted(lines)]))
    session.store.set("founding_keys", "".join(founding_keys))


def checked_participant(session: Session, entry: "Json", signer_keys: "Json") -> "tuple[str, int, Pair]":
    """Account, participant id and node of one of the participants."""
    if not isinstance(entry, list) or len(entry) != 3:  # noqa: PLR2004 - near/mpc's triple
        raise ContractError("each participant must be a list of account id, participant id and info")
    name = codec.account_id(entry[0], "the account of a participant")
    participant_id = codec.integer(entry[1], f"the participant id of {name}")
    url, tls = participant_info(entry[2], session.header.config, f"the info of {name}")
    if not isinstance(signer_keys, dict) or name not in signer_keys:
        raise ContractError(f"signer_keys lacks the key of {name}; add it")
    return name, participant_id, Pair(codec.ed25519_key(signer_keys[name], f"the signer key of {name}"), tls, url)


def store_domains(session: Session, given_domains: "Json", keyset: "Json", participants: int) -> None:
    header = session.header
    registry = codec.fields(given_domains, "domains", ("domains", "next_domain_id"))
    entries = codec.items(registry["domains"], "domains.domains", MOST_DOMAINS)
    header.next_domain_id = codec.integer(registry["next_domain_id"], "domains.next_domain_id")
    given = codec.fields(keyset, "keyset", ("epoch_id", "domains"))
    keys = codec.items(given["domains"], "keyset.domains", MOST_DOMAINS)
    header.epoch_id = codec.integer(given["epoch_id"], "keyset.epoch_id")
    if len(keys) != len(entries):
        raise ContractError("keyset.domains and domains.domains must list the same domains in the same order")
    seen = {}
    lines = []
    key_lines = []
    canonical = []
    for index in range(len(entries)):
        domain = domains.checked_domain(entries[index], participants)
        if domain["id"] in seen or domain["id"] >= header.next_domain_id:
            raise ContractError(f"the domain id {domain['id']} must be unique and below domains.next_domain_id")
        seen[domain["id"]] = True
        lines.append(domains.domain_line(domain))
        key, attempt = checked_keyset_entry(keys[index], domain)
        key_lines.append(domains.keyset_line(domain["id"], domains.key_json(key), attempt))
        canonical.append(domains.canonical_line(domain["id"], key, attempt))
    domains.store(session, "\n".join(lines), "\n".join(key_lines), "\n".join(canonical))


def checked_keyset_entry(value: "Json", domain: "dict[str, Any]") -> "tuple[dict[str, Any], int]":
    """The public key of a keyset entry and its attempt."""
    entry = codec.fields(value, "a keyset entry", ("domain_id", "key", "attempt"))
    attempt = codec.integer(entry["attempt"], "a keyset entry's attempt")
    if codec.integer(entry["domain_id"], "a keyset entry's domain_id") != domain["id"]:
        raise ContractError("keyset.domains and domains.domains must list the same domains in the same order")
    return domains.checked_key(entry["key"], domain), attempt
