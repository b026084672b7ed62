"""Views of configuration, accounts and backup services; the view `state` is in protocol_state.py."""

import json

from contract import codec, records
from contract.codec import ContractError
from contract.records import Account, Header, Pair
from contract.recovery import stored_recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Store


class Reader:
    """What a view sees: storage, height and header; `in_recovery` is false for an expired Recovery."""

    def __init__(self, store: "Store", height: int, header: Header, in_recovery: bool) -> None:
        self.store = store
        self.height = height
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
            "node": node_pair(account.node),
            "node_candidate": node_pair(account.candidate),
            "backup_service": backup_service_pair(account.backup_service),
            "cooldown_until": cooldown_until if reader.height < cooldown_until else 0,
        }
    )


def node_pair(pair: Pair | None) -> dict[str, str] | None:
    if pair is None:
        return None
    return {"url": pair.url, "tls_public_key": pair.tls, "signer_account_pk": pair.signer}


def backup_service_pair(pair: Pair | None) -> dict[str, str] | None:
    return None if pair is None else {"tls_public_key": pair.tls, "signer_account_pk": pair.signer}


def backup_services(reader: Reader, arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    accounts = [entry[0] for entry in records.participants(reader.store)]
    services = []
    for account_id in accounts + records.prospective_accounts(reader.store):
        pair = Account(reader.store, account_id).backup_service
        if pair is not None:
            services.append(f'"{account_id}":{{"public_key":"{pair.tls}","signer_account_pk":"{pair.signer}"}}')
    return "{" + ",".join(services) + "}"
