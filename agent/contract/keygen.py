"""The Initializing state: keys for new domains, one after the other, by the votes of every participant."""

import json

from contract import codec, domains, key_event, records, votes
from contract.codec import ContractError
from contract.key_event import KeyEvent
from contract.session import NODE_IN_FORCE, Session
from contract.votes import OpenVotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json

ADD_DOMAINS_VOTE = "vote_add_domains, a vote below the threshold"
PK_VOTE = "vote_pk, while votes or domains are missing"
CANCEL_KEYGEN_VOTE = "vote_cancel_keygen, a vote below the threshold"

MOST_DOMAINS_OF_A_VOTE = 8  # `state` shows each vote in full
CANCEL_VOTES = "cancel_keygen"


def vote_add_domains(session: Session, arguments: "Json") -> None:
    """A vote for further domains; at the threshold the generation of their keys begins."""
    given = codec.fields(arguments, "arguments", ("domains",))
    session.require_governing()
    lines = checked_new_domains(session, given["domains"])
    opened = OpenVotes(session.store, votes.ADD_DOMAINS)
    entry = opened.cast(domains.as_list("\n".join(lines)), session.account.participant_id or 0)
    if len(entry[1]) < session.header.threshold:
        opened.save()
        session.outcome = ADD_DOMAINS_VOTE
        return
    votes.drop_all(session.store)
    session.store.set("domains", domains.with_line(session.store.get("domains"), "\n".join(lines)))
    KeyEvent(session.header.epoch_id, session.header.next_domain_id).save(session.store)
    session.header.next_domain_id += len(lines)


def checked_new_domains(session: Session, value: "Json") -> list[str]:
    """The registry entries of the domains a vote adds; their ids follow those ever given."""
    entries = codec.items(value, "domains", MOST_DOMAINS_OF_A_VOTE)
    held = len(domains.read_lines(session.store.get("domains")))
    if not entries or held + len(entries) > domains.MOST_DOMAINS:
        raise ContractError(
            f"domains must add at least one domain to {held} and come to {domains.MOST_DOMAINS} at most"
        )
    participants = records.number_of_participants(records.participant_lines(session.store))
    lines = []
    for index in range(len(entries)):
        domain = domains.checked_domain(entries[index], participants)
        expected = session.header.next_domain_id + index
        if domain["id"] != expected:
            raise ContractError(f"the domain id {domain['id']} must be {expected}, the next one; read the view state")
        lines.append(domains.domain_line(domain))
    return lines


def start_keygen_instance(session: Session, arguments: "Json") -> None:
    """The leader starts the next attempt at the domain whose key is being generated."""
    given = codec.fields(arguments, "arguments", ("key_event_id",))
    session.require_participant()
    session.require((NODE_IN_FORCE,))
    place = records.place_in(records.participant_lines(session.store), session.account.account_id)
    key_event.start_instance(session, given["key_event_id"], place == 0)


def vote_pk(session: Session, arguments: "Json") -> None:
    """A participant holds its share of this public key; when all do, the domain is done."""
    given = codec.fields(arguments, "arguments", ("key_event_id", "public_key"))
    session.require_participant()
    session.require((NODE_IN_FORCE,))
    store = session.store
    event = key_event.load_key_event(store)
    instance = key_event.instance_in_progress(session, event, given["key_event_id"])
    registry = store.get("domains") or ""
    domain = json.loads(domains.registry_line(registry, event.domain_id))
    public_key = domains.checked_key(given["public_key"], domain)
    session.outcome = PK_VOTE
    if instance.public_key is None:
        instance.public_key = public_key
    elif domains.key_text(instance.public_key) != domains.key_text(public_key):
        event.instance = None
        event.save(store)
        return
    participants = records.number_of_participants(records.participant_lines(store))
    if not key_event.complete(instance, session.account.participant_id or 0, participants):
        event.save(store)
        return
    line = domains.keyset_line(event.domain_id, domains.key_json(instance.public_key), instance.attempt_id)
    keyset = domains.with_line(store.get("keyset"), line)
    canonical_line = domains.canonical_line(event.domain_id, instance.public_key, instance.attempt_id)
    canonical = domains.with_line(store.get("canonical"), canonical_line)
    following = domains.following_domain(registry, event.domain_id)
    if following is not None:
        store.set("keyset", keyset)
        store.set("canonical", canonical)
        KeyEvent(event.epoch_id, following).save(store)
        return
    session.outcome = "vote_pk"
    end(session, registry, keyset, canonical)


def vote_cancel_keygen(session: Session, arguments: "Json") -> None:
    """A vote to stop; at the threshold the network runs on with the keys generated so far. Ids not used are spent."""
    given = codec.fields(arguments, "arguments", ("next_domain_id",))
    session.require_governing()
    next_domain_id = session.header.next_domain_id
    if codec.integer(given["next_domain_id"], "next_domain_id") != next_domain_id:
        raise ContractError(f"next_domain_id is not {next_domain_id}; read the view state")
    cancel_votes: list[int | None] = records.load(session.store, CANCEL_VOTES) or []
    if session.account.participant_id not in cancel_votes:
        cancel_votes.append(session.account.participant_id)
    if len(cancel_votes) < session.header.threshold:
        records.save(session.store, CANCEL_VOTES, cancel_votes)
        session.outcome = CANCEL_KEYGEN_VOTE
        return
    keyset = session.store.get("keyset") or ""
    generated = len(domains.read_lines(keyset))
    registry = "\n".join(domains.read_lines(session.store.get("domains"))[:generated])
    end(session, registry, keyset, session.store.get("canonical") or "")


def end(session: Session, registry: str, keyset: str, canonical: str) -> None:
    """What every way out of Initializing does."""
    domains.store(session, registry, keyset, canonical)
    for key in (CANCEL_VOTES, key_event.STORAGE_KEY):
        records.remove(session.store, key)
