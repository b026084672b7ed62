"""The view `state`: near/mpc's JSON of each protocol state, put together from the texts that are stored."""

import json

from contract import codec, domains, key_event, keygen, records, resharing, votes
from contract.proposals import json_lines, thresholds_json
from contract.records import INITIALIZING, NOT_INITIALIZED, RESHARING
from contract.recovery import stored_recovery
from contract.votes import OpenVotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Pair
    from contract.views import Reader


def state(reader: "Reader", arguments: "Json") -> str:
    codec.fields(arguments, "arguments", ())
    stored = reader.header.state
    if stored == NOT_INITIALIZED:
        return json.dumps(stored)
    if stored == INITIALIZING:
        return f'{{"Initializing":{initializing_json(reader)}}}'
    if stored == RESHARING:
        return f'{{"Resharing":{resharing_json(reader)}}}'
    if reader.in_recovery:
        return f'{{"Recovery":{recovery_json(reader)}}}'
    return f'{{"Running":{running_json(reader)}}}'


def object_json(parts: tuple[str, ...]) -> str:
    return "{" + ",".join(parts) + "}"


def lines_of(reader: "Reader", key: str) -> list[str]:
    return domains.read_lines(reader.store.get(key))


def participants_json(next_id: int, lines: str) -> str:
    return f'{{"next_id":{next_id},"participants":[{json_lines(lines)}]}}'


def parameters_json(next_id: int, lines: str, threshold: int) -> str:
    return f'{{"participants":{participants_json(next_id, lines)},"threshold":{threshold}}}'


def parameters_in_force(reader: "Reader") -> str:
    header = reader.header
    return parameters_json(header.next_participant_id, records.participant_lines(reader.store), header.threshold)


def registry_json(reader: "Reader") -> str:
    entries = domains.as_list(lines_of(reader, "domains"))
    return f'{{"domains":{entries},"next_domain_id":{reader.header.next_domain_id}}}'


def running_json(reader: "Reader") -> str:
    header = reader.header
    return object_json(
        (
            f'"domains":{registry_json(reader)}',
            f'"keyset":{{"epoch_id":{header.epoch_id},"domains":{domains.as_list(lines_of(reader, "keyset"))}}}',
            f'"parameters":{parameters_in_force(reader)}',
            f'"parameters_votes":{{"proposal_by_account":{parameters_votes_json(reader)}}}',
            f'"add_domains_votes":{{"proposal_by_account":{add_domains_votes_json(reader)}}}',
            f'"previously_cancelled_resharing_epoch_id":{json.dumps(header.previously_cancelled_epoch_id)}',
        )
    )


def parameters_votes_json(reader: "Reader") -> str:
    """The digest each account votes for."""
    cast: list[str] = []
    for entry in OpenVotes(reader.store, votes.PARAMETERS).entries:
        cast.extend([f'"{account_id}":"{entry[0]}"' for account_id in entry[1]])
    return object_json(tuple(cast))


def add_domains_votes_json(reader: "Reader") -> str:
    """The domains each participant id votes for."""
    cast: list[str] = []
    for entry in OpenVotes(reader.store, votes.ADD_DOMAINS).entries:
        cast.extend([f'"{participant_id}":{entry[0]}' for participant_id in entry[1]])
    return object_json(tuple(cast))


def recovery_json(reader: "Reader") -> str:
    recovery = stored_recovery(reader.store)
    pair = recovery.pair
    prospective = participants_json(reader.header.next_participant_id, with_new_info(reader, recovery.account_id, pair))
    info = f'{{"url":"{pair.url}","tls_public_key":"{pair.tls}"}}'
    recovering = f'"account_id":"{recovery.account_id}","participant_info":{info},"signer_account_pk":"{pair.signer}"'
    return object_json(
        (
            f'"recovery_id":{recovery.recovery_id}',
            f'"previous_running_state":{running_json(reader)}',
            f'"prospective_participants":{prospective}',
            f'"recovering":{{{recovering}}}',
            f'"started_in":{recovery.started_in}',
            f'"expires_on":{recovery.expires_on}',
            f'"shares_confirmed":{json.dumps(recovery.shares_confirmed)}',
            f'"cancel_votes":{json.dumps(recovery.cancel_votes)}',
        )
    )


def with_new_info(reader: "Reader", account_id: str, pair: "Pair") -> str:
    """The participant set as it will be when the account's recovery is concluded."""
    lines = lines_of(reader, "participants")
    index = records.place_in("\n".join(lines), account_id)
    participant_id = records.participant_id_in(lines[index], account_id) or 0
    lines[index] = records.node_line(account_id, participant_id, pair)
    return "\n".join(lines)


def initializing_json(reader: "Reader") -> str:
    generated = lines_of(reader, "keyset")
    domain = lines_of(reader, "domains")[len(generated)]
    cancel_votes = reader.store.get(keygen.CANCEL_VOTES) or "[]"
    return object_json(
        (
            f'"domains":{registry_json(reader)}',
            f'"epoch_id":{reader.header.epoch_id}',
            f'"generated_keys":{domains.as_list(generated)}',
            f'"generating_key":{key_event_json(reader, domain, parameters_in_force(reader))}',
            f'"cancel_votes":{cancel_votes}',
        )
    )


def resharing_json(reader: "Reader") -> str:
    parameters = resharing.load_parameters(reader.store)
    reshared = lines_of(reader, resharing.KEYSET)
    registry = resharing.with_thresholds(lines_of(reader, "domains"), parameters.thresholds)
    proposed = parameters_json(parameters.next_participant_id, parameters.lines, parameters.threshold)
    return object_json(
        (
            f'"previous_running_state":{running_json(reader)}',
            f'"reshared_keys":{domains.as_list(reshared)}',
            f'"resharing_key":{key_event_json(reader, registry[len(reshared)], proposed)}',
            f'"cancellation_requests":{json.dumps(parameters.cancellation_requests)}',
            f'"per_domain_thresholds":{thresholds_json(parameters.thresholds)}',
        )
    )


def key_event_json(reader: "Reader", domain: str, parameters: str) -> str:
    event = key_event.load_key_event(reader.store)
    return object_json(
        (
            f'"epoch_id":{event.epoch_id}',
            f'"domain":{domain}',
            f'"parameters":{parameters}',
            f'"instance":{instance_json(event.instance)}',
            f'"next_attempt_id":{event.next_attempt_id}',
        )
    )


def instance_json(instance: "key_event.Instance | None") -> str:
    """The instance last started, timed out or not; null before the first and when its votes differed."""
    if instance is None:
        return "null"
    public_key = "null" if instance.public_key is None else domains.key_json(instance.public_key)
    return object_json(
        (
            f'"attempt_id":{instance.attempt_id}',
            f'"started_in":{instance.started_in}',
            f'"expires_on":{instance.expires_on}',
            f'"completed":{json.dumps(instance.completed)}',
            f'"public_key":{public_key}',
        )
    )
