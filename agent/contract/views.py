"""Views of configuration, accounts and backup services; the view `state` is in protocol_state.py."""

import json

from contract import codec, records
from contract.codec import ContractError
from contract.onboarding import evidence_valid_until
from contract.records import Account, Header, Pair
from contract.recovery import stored_recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.records import Store


class Reader:
    """What a view sees: storage, height, time in seconds and header; `in_recovery` is false for an expired Recovery."""

    def __init__(self, store: "Store", height: int, now: int, header: Header, in_recovery: bool) -> None:
        self.store = store
        self.height = height
        self.now = now
        self.header = header
        self.in_recovery = in_recovery


def is_initialised(reader: Reader) -> bool:
    return reader.header.loaded is not None


def config(reader: Reader, arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    if not is_initialised(reader):
        raise ContractError("the contract is not initialised; call init")
    return json.dumps(reader.header.config)


def participant_info(reader: Reader, arguments: "Json") -> str:
    given = codec.fields(arguments, "arguments", ("account_id",))
    account = Account(reader.store, codec.account_id(given["account_id"], "account_id"))
    cooldown_until = account.cooldown_until
    if is_initialised(reader) and reader.store.get("recovery") is not None and not reader.in_recovery:
        recovery = stored_recovery(reader.store)
        if recovery.account_id == account.account_id:
            cooldown_until = recovery.expires_on + reader.header.config["recovery_cooldown_blocks"]
    return json.dumps(
        {
            "account_id": account.account_id,
            "is_participant": account.is_participant(),
            "node": node_pair(reader, account.node),
            "node_candidate": node_pair(reader, account.candidate),
            "backup_services": [machine(reader, pair) for pair in account.backup_services],
            "cooldown_until": cooldown_until if reader.height < cooldown_until else 0,
        }
    )


def node_pair(reader: Reader, pair: Pair | None) -> "dict[str, Any] | None":
    shown = machine(reader, pair)
    if shown is not None and pair is not None:
        shown["url"] = pair.url
    return shown


def machine(reader: Reader, pair: Pair | None) -> "dict[str, Any] | None":
    """Its keys and its evidence; evidence that is too old counts as none."""
    if pair is None:
        return None
    return {
        "tls_public_key": pair.tls,
        "signer_account_pk": pair.signer,
        "evidence": valid_evidence(reader, pair),
    }


def valid_evidence(reader: Reader, pair: Pair) -> "dict[str, Any] | None":
    if pair.evidence is None:
        return None
    digest, attested_at = pair.evidence
    until = evidence_valid_until(attested_at, reader.header.config)
    return {"digest": digest, "attested_at": attested_at, "valid_until": until} if reader.now < until else None


def backup_services(reader: Reader, arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    accounts = [entry[0] for entry in records.participants(reader.store)]
    services = []
    for account_id in accounts + records.prospective_accounts(reader.store):
        pairs = Account(reader.store, account_id).backup_services
        if pairs != [None, None]:
            services.append(f'"{account_id}":[{",".join([service_json(pair) for pair in pairs])}]')
    return "{" + ",".join(services) + "}"


def service_json(pair: Pair | None) -> str:
    return "null" if pair is None else f'{{"public_key":"{pair.tls}","signer_account_pk":"{pair.signer}"}}'
