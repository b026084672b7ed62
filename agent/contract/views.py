"""Views: JSON texts put together from what is stored; near/mpc's shapes where it has them."""

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


def info_json(pair: Pair) -> str:
    """A participant info. Urls and keys need no escaping: the characters allowed in them need none."""
    return f'{{"url":"{pair.url}","tls_public_key":"{pair.tls}"}}'


def participant_entries(reader: Reader) -> list[str]:
    """near/mpc's triple of each participant."""
    entries = []
    for account_id, participant_id in records.participants(reader.store):
        node = Account(reader.store, account_id).node
        if node is not None:
            entries.append(entry_json(account_id, participant_id, node))
    return entries


def entry_json(account_id: str, participant_id: int, pair: Pair) -> str:
    return f'["{account_id}",{participant_id},{info_json(pair)}]'


def participants_json(reader: Reader, entries: list[str]) -> str:
    return f'{{"next_id":{reader.header.next_participant_id},"participants":[{",".join(entries)}]}}'


def running_json(reader: Reader, entries: list[str]) -> str:
    header = reader.header
    domains = []
    keys = []
    for index in range(len(header.domain_ids)):
        domain, key = (reader.store.get(f"domain/{index}") or "\n").split("\n")
        domains.append(domain)
        keys.append(key)
    no_votes = '{"proposal_by_account":{}}'
    parts = (
        f'"domains":{{"domains":[{",".join(domains)}],"next_domain_id":{header.next_domain_id}}}',
        f'"keyset":{{"epoch_id":{header.epoch_id},"domains":[{",".join(keys)}]}}',
        f'"parameters":{{"participants":{participants_json(reader, entries)},"threshold":{header.threshold}}}',
        f'"parameters_votes":{no_votes}',
        f'"add_domains_votes":{no_votes}',
        '"previously_cancelled_resharing_epoch_id":null',
    )
    return "{" + ",".join(parts) + "}"


def state(reader: Reader, arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    if not is_initialised(reader):
        return json.dumps(reader.header.state)
    entries = participant_entries(reader)
    running = running_json(reader, entries)
    if not reader.in_recovery:
        return '{"Running":' + running + "}"
    recovery = stored_recovery(reader.store)
    for index, (account_id, participant_id) in enumerate(records.participants(reader.store)):
        if account_id == recovery.account_id:
            entries[index] = entry_json(account_id, participant_id, recovery.pair)
    recovering = (
        f'{{"account_id":"{recovery.account_id}","participant_info":{info_json(recovery.pair)},'
        f'"signer_account_pk":"{recovery.pair.signer}"}}'
    )
    parts = (
        f'"recovery_id":{recovery.recovery_id}',
        f'"previous_running_state":{running}',
        f'"prospective_participants":{participants_json(reader, entries)}',
        f'"recovering":{recovering}',
        f'"started_in":{recovery.started_in}',
        f'"expires_on":{recovery.expires_on}',
        f'"shares_confirmed":{json.dumps(recovery.shares_confirmed)}',
        f'"cancel_votes":{json.dumps(recovery.cancel_votes)}',
    )
    return '{"Recovery":{' + ",".join(parts) + "}}"


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
            "backup_services": [backup_service_pair(pair) for pair in account.backup_services],
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
        pairs = Account(reader.store, account_id).backup_services
        if pairs != [None, None]:
            services.append(f'"{account_id}":[{",".join([service_json(pair) for pair in pairs])}]')
    return "{" + ",".join(services) + "}"


def service_json(pair: Pair | None) -> str:
    return "null" if pair is None else f'{{"public_key":"{pair.tls}","signer_account_pk":"{pair.signer}"}}'
