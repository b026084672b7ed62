"""The Resharing state: the keys of one participant set pass to another, domain by domain, by its members' votes."""

import json

from contract import code_hashes, codec, domains, key_event, records, votes
from contract.codec import ContractError
from contract.key_event import KeyEvent
from contract.records import Account, Pair
from contract.session import CANDIDATE, NODE_IN_FORCE, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.records import Store

RESHARED_VOTE = "vote_reshared, while votes or domains are missing"
CANCEL_RESHARING_VOTE = "vote_cancel_resharing, a vote below the threshold"

PARTICIPANTS = "resharing/participants"
KEYSET = "resharing/keyset"
CANONICAL = "resharing/canonical"


class Parameters:
    """What the network is to become.

    `lines` is the participant set, `thresholds` has [domain id, threshold] of each domain whose threshold is named.
    """

    def __init__(
        self, epoch_id: int, next_participant_id: int, threshold: int, thresholds: list[list[int]], lines: str
    ) -> None:
        self.epoch_id = epoch_id
        self.next_participant_id = next_participant_id
        self.threshold = threshold
        self.thresholds = thresholds
        self.lines = lines
        self.cancellation_requests: list[str] = []

    def save(self, store: "Store") -> None:
        """Keeps all but `lines`, which `begin` keeps."""
        stored = [self.epoch_id, self.next_participant_id, self.threshold, self.thresholds, self.cancellation_requests]
        records.save(store, "resharing", stored)


def load_parameters(store: "Store") -> Parameters:
    stored = records.load(store, "resharing")
    if stored is None:
        raise ContractError("the stored resharing is missing; report this contract as faulty")
    parameters = Parameters(stored[0], stored[1], stored[2], stored[3], store.get(PARTICIPANTS) or "")
    parameters.cancellation_requests = stored[4]
    return parameters


def with_thresholds(registry: str, thresholds: list[list[int]]) -> str:
    """The registry with the reconstruction thresholds named."""
    if not thresholds:
        return registry
    named = {entry[0]: entry[1] for entry in thresholds}
    lines = registry.split("\n")
    for index, domain in enumerate(domains.parsed(registry)):
        if domain["id"] in named:
            domain["reconstruction_threshold"] = named[domain["id"]]
            lines[index] = domains.domain_line(domain)
    return "\n".join(lines)


def begin(session: Session, parameters: Parameters) -> None:
    """Enters Resharing, with the first domain to reshare."""
    store = session.store
    votes.drop_all(store)
    parameters.save(store)
    store.set(PARTICIPANTS, parameters.lines)
    first: int = json.loads(domains.line_at(store.get("domains") or "", 0))["id"]
    KeyEvent(parameters.epoch_id, first).save(store)


def start_reshare_instance(session: Session, arguments: "Json") -> None:
    """The leader of the new set starts the next attempt at the domain being reshared."""
    given = codec.fields(arguments, "arguments", ("key_event_id",))
    lines = session.store.get(PARTICIPANTS) or ""
    require_member(session, lines)
    key_event.start_instance(session, given["key_event_id"], records.place_in(lines, session.account.account_id) == 0)


def require_member(session: Session, lines: str) -> int:
    """The participant id of the caller in the new set: an old participant's node in force, or a new one's candidate."""
    participant_id = records.participant_id_in(lines, session.account.account_id)
    if participant_id is None:
        raise ContractError(f"{session.account.account_id} is not of the new participant set; only its members vote")
    session.require((NODE_IN_FORCE if session.account.is_participant() else CANDIDATE,))
    return participant_id


def vote_reshared(session: Session, arguments: "Json") -> None:
    """A member of the new set holds its share of the domain; when all do, the domain is done."""
    given = codec.fields(arguments, "arguments", ("key_event_id",))
    store = session.store
    lines = store.get(PARTICIPANTS) or ""
    participant_id = require_member(session, lines)
    event = key_event.load_key_event(store)
    instance = key_event.instance_in_progress(session, event, given["key_event_id"])
    session.outcome = RESHARED_VOTE
    if not key_event.complete(instance, participant_id, records.number_of_participants(lines)):
        event.save(store)
        return
    before = domains.keyset_entry(store.get("keyset") or "", event.domain_id)
    key = json.loads(before)["key"]
    reshared = domains.with_line(store.get(KEYSET), domains.with_attempt(before, instance.attempt_id))
    canonical_line = domains.canonical_line(event.domain_id, key, instance.attempt_id)
    canonical = domains.with_line(store.get(CANONICAL), canonical_line)
    following = domains.following_domain(store.get("domains") or "", event.domain_id)
    if following is not None:
        store.set(KEYSET, reshared)
        store.set(CANONICAL, canonical)
        KeyEvent(event.epoch_id, following).save(store)
        return
    session.outcome = "vote_reshared"
    parameters = load_parameters(store)
    leave(store)
    install(session, parameters, reshared, canonical)


def vote_cancel_resharing(session: Session, arguments: "Json") -> None:
    """A vote of the old set to stay what it was; at the threshold it does, and the epoch is spent."""
    codec.fields(arguments, "arguments", ())
    session.require_governing()
    parameters = load_parameters(session.store)
    if session.account.account_id not in parameters.cancellation_requests:
        parameters.cancellation_requests.append(session.account.account_id)
    if len(parameters.cancellation_requests) < session.header.threshold:
        parameters.save(session.store)
        session.outcome = CANCEL_RESHARING_VOTE
        return
    session.header.previously_cancelled_epoch_id = parameters.epoch_id
    leave(session.store)


def leave(store: "Store") -> None:
    for key in ("resharing", PARTICIPANTS, KEYSET, CANONICAL, key_event.STORAGE_KEY):
        records.remove(store, key)


def install(session: Session, parameters: Parameters, keyset: str, canonical: str) -> None:
    """The parameters take effect: new participants' candidates are in force, removed participants' nodes retired."""
    store = session.store
    header = session.header
    header.epoch_id = parameters.epoch_id
    header.next_participant_id = parameters.next_participant_id
    header.threshold = parameters.threshold
    header.previously_cancelled_epoch_id = None
    before = records.participants(store)
    store.set("participants", parameters.lines)
    code_hashes.drop_votes(store)
    replace_participants(store, before, records.participants(store))
    domains.store(session, with_thresholds(store.get("domains") or "", parameters.thresholds), keyset, canonical)


def replace_participants(store: "Store", before: "list[list[Any]]", after: "list[list[Any]]") -> None:
    kept = {entry[0]: entry[1] for entry in after}
    known = {entry[0]: entry[1] for entry in before}
    for name in known:
        if name not in kept:
            dismiss(store, name)
    admitted = [entry for entry in after if entry[0] not in known]
    for entry in admitted:
        admit(store, entry[0], entry[1])
    if admitted:
        prospective = [name for name in records.prospective_accounts(store) if name not in kept]
        records.save(store, "prospective", prospective)


def admit(store: "Store", name: str, participant_id: int) -> None:
    account = Account(store, name)
    account.participant_id = participant_id
    account.node = account.candidate
    account.candidate = None
    account.save(store)


def dismiss(store: "Store", name: str) -> None:
    account = Account(store, name)
    account.participant_id = None
    account.node = None
    account.candidate = None
    account.save(store)


def require_unchanged(session: Session, pair: Pair) -> None:
    """Refuses another candidate, or url, of an account that a resharing under way makes a participant."""
    lines = session.store.get(PARTICIPANTS)
    if lines is None or records.participant_id_in(lines, session.account.account_id) is None:
        return
    candidate = session.account.candidate
    if candidate is None or candidate.tls != pair.tls or candidate.url != pair.url:
        raise ContractError("the account is of the set being reshared to; its node stays as proposed until that ends")
