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
        shown = initializing(reader)
    elif stored == RESHARING:
        shown = resharing_state(reader)
    elif reader.in_recovery:
        shown = recovery_state(reader)
    else:
        return "".join(object_of((("Running", running(reader)),)))
    return "".join(object_of(((stored, shown),)))


# JSON texts are lists of pieces until the very end: every copy of a long text costs gas.


def object_of(members: "tuple[tuple[str, list[str]], ...]") -> list[str]:
    """The pieces of a JSON object."""
    pieces = []
    before = "{"
    for name, value in members:
        pieces.append(f'{before}"{name}":')
        pieces.extend(value)
        before = ","
    pieces.append("}")
    return pieces


def list_of(text: str | None) -> list[str]:
    """The JSON list of lines that are JSON each."""
    return ["[", json_lines(text or ""), "]"]


def number(value: int) -> list[str]:
    return [str(value)]


def participants(next_id: int, lines: str) -> list[str]:
    return object_of((("next_id", number(next_id)), ("participants", list_of(lines))))


def parameters(next_id: int, lines: str, threshold: int) -> list[str]:
    return object_of((("participants", participants(next_id, lines)), ("threshold", number(threshold))))


def parameters_in_force(reader: "Reader") -> list[str]:
    header = reader.header
    return parameters(header.next_participant_id, records.participant_lines(reader.store), header.threshold)


def registry(reader: "Reader") -> list[str]:
    entries = list_of(reader.store.get("domains"))
    return object_of((("domains", entries), ("next_domain_id", number(reader.header.next_domain_id))))


def running(reader: "Reader") -> list[str]:
    header = reader.header
    keyset = (("epoch_id", number(header.epoch_id)), ("domains", list_of(reader.store.get("keyset"))))
    return object_of(
        (
            ("domains", registry(reader)),
            ("keyset", object_of(keyset)),
            ("parameters", parameters_in_force(reader)),
            ("parameters_votes", object_of((("proposal_by_account", parameters_votes(reader)),))),
            ("add_domains_votes", object_of((("proposal_by_account", add_domains_votes(reader)),))),
            ("previously_cancelled_resharing_epoch_id", [json.dumps(header.previously_cancelled_epoch_id)]),
        )
    )


def parameters_votes(reader: "Reader") -> list[str]:
    """The digest each account votes for."""
    cast: list[str] = []
    for entry in OpenVotes(reader.store, votes.PARAMETERS).entries:
        cast.extend([f'"{account_id}":"{entry[0]}"' for account_id in entry[1]])
    return ["{", ",".join(cast), "}"]


def add_domains_votes(reader: "Reader") -> list[str]:
    """The domains each participant id votes for."""
    cast: list[str] = []
    for entry in OpenVotes(reader.store, votes.ADD_DOMAINS).entries:
        cast.extend([f'"{participant_id}":{entry[0]}' for participant_id in entry[1]])
    return ["{", ",".join(cast), "}"]


def recovery_state(reader: "Reader") -> list[str]:
    recovery = stored_recovery(reader.store)
    pair = recovery.pair
    prospective = participants(reader.header.next_participant_id, with_new_info(reader, recovery.account_id, pair))
    recovering = (
        ("account_id", [f'"{recovery.account_id}"']),
        ("participant_info", [f'{{"url":"{pair.url}","tls_public_key":"{pair.tls}"}}']),
        ("signer_account_pk", [f'"{pair.signer}"']),
    )
    return object_of(
        (
            ("recovery_id", number(recovery.recovery_id)),
            ("previous_running_state", running(reader)),
            ("prospective_participants", prospective),
            ("recovering", object_of(recovering)),
            ("started_in", number(recovery.started_in)),
            ("expires_on", number(recovery.expires_on)),
            ("shares_confirmed", [json.dumps(recovery.shares_confirmed)]),
            ("cancel_votes", [json.dumps(recovery.cancel_votes)]),
        )
    )


def with_new_info(reader: "Reader", account_id: str, pair: "Pair") -> str:
    """The participant set as it will be when the account's recovery is concluded."""
    text = records.participant_lines(reader.store)
    lines = text.split("\n")
    index = records.place_in(text, account_id)
    participant_id = records.participant_id_in(lines[index], account_id) or 0
    lines[index] = records.node_line(account_id, participant_id, pair)
    return "\n".join(lines)


def initializing(reader: "Reader") -> list[str]:
    domain_lines = reader.store.get("domains") or ""
    return object_of(
        (
            ("domains", registry(reader)),
            ("epoch_id", number(reader.header.epoch_id)),
            ("generated_keys", list_of(reader.store.get("keyset"))),
            ("generating_key", key_event_state(reader, domain_lines, parameters_in_force(reader))),
            ("cancel_votes", [reader.store.get(keygen.CANCEL_VOTES) or "[]"]),
        )
    )


def resharing_state(reader: "Reader") -> list[str]:
    proposed = resharing.load_parameters(reader.store)
    domain_lines = resharing.with_thresholds(reader.store.get("domains") or "", proposed.thresholds)
    new_parameters = parameters(proposed.next_participant_id, proposed.lines, proposed.threshold)
    return object_of(
        (
            ("previous_running_state", running(reader)),
            ("reshared_keys", list_of(reader.store.get(resharing.KEYSET))),
            ("resharing_key", key_event_state(reader, domain_lines, new_parameters)),
            ("cancellation_requests", [json.dumps(proposed.cancellation_requests)]),
            ("per_domain_thresholds", [thresholds_json(proposed.thresholds)]),
        )
    )


def key_event_state(reader: "Reader", domain_lines: str, shown_parameters: list[str]) -> list[str]:
    event = key_event.load_key_event(reader.store)
    return object_of(
        (
            ("epoch_id", number(event.epoch_id)),
            ("domain", [domains.registry_line(domain_lines, event.domain_id)]),
            ("parameters", shown_parameters),
            ("instance", instance_state(event.instance)),
            ("next_attempt_id", number(event.next_attempt_id)),
        )
    )


def instance_state(instance: "key_event.Instance | None") -> list[str]:
    """The instance last started, timed out or not; null before the first and when its votes differed."""
    if instance is None:
        return ["null"]
    public_key = "null" if instance.public_key is None else domains.key_json(instance.public_key)
    return object_of(
        (
            ("attempt_id", number(instance.attempt_id)),
            ("started_in", number(instance.started_in)),
            ("expires_on", number(instance.expires_on)),
            ("completed", [json.dumps(instance.completed)]),
            ("public_key", [public_key]),
        )
    )
