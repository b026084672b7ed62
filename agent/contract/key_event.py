"""Key events: the attempts at making or resharing the key of one domain, as near/mpc has them.

An attempt is an instance. The leader starts it, every participant of the key event votes for it, and it is over at
`expires_on`; the next attempt has the next id. So no two attempts ever share {epoch, domain, attempt}.
"""

from contract import codec, records
from contract.codec import ContractError
from contract.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.records import Store

STORAGE_KEY = "key_event"


class KeyEvent:
    """The key event under way: epoch and domain, the instance in progress or None, and the next attempt's id."""

    def __init__(self, epoch_id: int, domain_id: int) -> None:
        self.epoch_id = epoch_id
        self.domain_id = domain_id
        self.next_attempt_id = 0
        self.instance: Instance | None = None

    def save(self, store: "Store") -> None:
        running = self.instance
        instance = None
        if running is not None:
            instance = [
                running.attempt_id,
                running.started_in,
                running.expires_on,
                running.completed,
                running.public_key,
            ]
        records.save(store, STORAGE_KEY, [self.epoch_id, self.domain_id, self.next_attempt_id, instance])


class Instance:
    """One attempt; heights in blocks, `completed` the participant ids that voted, `public_key` the JSON they voted."""

    def __init__(self, attempt_id: int, started_in: int, expires_on: int) -> None:
        self.attempt_id = attempt_id
        self.started_in = started_in
        self.expires_on = expires_on
        self.completed: list[int] = []
        self.public_key: dict[str, Any] | None = None


def load_key_event(store: "Store") -> KeyEvent:
    stored = records.load(store, STORAGE_KEY)
    if stored is None:
        raise ContractError("the stored key event is missing; report this contract as faulty")
    event = KeyEvent(stored[0], stored[1])
    event.next_attempt_id = stored[2]
    if stored[3] is not None:
        attempt_id, started_in, expires_on, completed, public_key = stored[3]
        event.instance = Instance(attempt_id, started_in, expires_on)
        event.instance.completed = completed
        event.instance.public_key = public_key
    return event


def require_named(value: "Json", event: KeyEvent, attempt_id: int) -> None:
    """The caller means this attempt: a late transaction means another."""
    named = codec.fields(value, "key_event_id", ("epoch_id", "domain_id", "attempt_id"))
    expected = {"epoch_id": event.epoch_id, "domain_id": event.domain_id, "attempt_id": attempt_id}
    for name, value_expected in expected.items():
        if codec.integer(named[name], f"key_event_id.{name}") != value_expected:
            raise ContractError(f"key_event_id.{name} is not {value_expected}; read the view state")


def start_instance(session: Session, key_event_id: "Json", leads: bool) -> None:
    """Starts the next attempt. Only the leader does, and only when no other attempt is in progress."""
    event = load_key_event(session.store)
    if not leads:
        raise ContractError("only the leader, the participant with the lowest participant id, starts an instance")
    require_named(key_event_id, event, event.next_attempt_id)
    if event.instance is not None and session.height < event.instance.expires_on:
        raise ContractError(f"an instance is in progress until block {event.instance.expires_on}; wait for its end")
    expires_on = session.height + session.config["key_event_timeout_blocks"]
    event.instance = Instance(event.next_attempt_id, session.height, expires_on)
    event.next_attempt_id += 1
    event.save(session.store)


def instance_in_progress(session: Session, event: KeyEvent, key_event_id: "Json") -> Instance:
    """The instance the caller votes for, which has not timed out."""
    instance = event.instance
    if instance is None or session.height >= instance.expires_on:
        raise ContractError("no instance is in progress; wait until the leader starts one")
    require_named(key_event_id, event, instance.attempt_id)
    return instance


def complete(instance: Instance, participant_id: int, participants: int) -> bool:
    """Counts the participant's vote, once; whether all `participants` have voted."""
    if participant_id not in instance.completed:
        instance.completed.append(participant_id)
    return len(instance.completed) == participants
