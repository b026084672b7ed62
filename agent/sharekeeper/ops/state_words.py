"""The protocol state in words and as JSON facts, for status pages and the command line. Public facts only."""

from typing import Any

from sharekeeper.domain.protocol_state import (
    Initializing,
    KeyEvent,
    ProtocolState,
    Recovery,
    Resharing,
    running_part,
)


def describe_state(state: ProtocolState) -> str:
    """The state in one line."""
    running = running_part(state)
    if running is None:
        return "NotInitialized"
    epoch = f"epoch {running.keyset.epoch_id}"
    head = f"{type(state).__name__}, {epoch}"
    match state:
        case Recovery():
            confirmed = "confirmed" if state.shares_confirmed else "not confirmed"
            return f"Recovery {state.recovery_id} of {state.recovering.account_id}, {epoch}, shares {confirmed}"
        case Initializing(generating=event):
            return f"{head}: the key of domain {event.domain.domain_id} is generated; {_progress(event)}"
        case Resharing(resharing=event):
            members = f"{len(event.participants.members)} participants, threshold {event.threshold}"
            domain = f"domain {event.domain.domain_id} is reshared for epoch {event.epoch_id}"
            return f"{head}: {domain} to {members}; {_progress(event)}"
        case _:
            return head if running.keyset.domains else f"{head}, no domain yet"


def _progress(event: KeyEvent) -> str:
    instance = event.instance
    if instance is None:
        return f"attempt {event.next_attempt_id} is to be started"
    voted = f"{len(instance.completed)} of {len(event.participants.members)} voted"
    return f"attempt {instance.attempt_id} until block {instance.expires_on}, {voted}"


def key_event_facts(state: ProtocolState) -> dict[str, Any] | None:
    """The key event under way as JSON; None in a state without one.

    `done` are the ids of the domains that are finished, `voted` the accounts that completed the attempt in progress.
    """
    match state:
        case Initializing(previous=previous, generating=event):
            done = [domain.domain_id for domain in previous.keyset.domains]
        case Resharing(reshared=reshared, resharing=event):
            done = [domain.domain_id for domain in reshared]
        case _:
            return None
    instance = event.instance
    completed = () if instance is None else instance.completed
    return {
        "epoch_id": event.epoch_id,
        "domain_id": event.domain.domain_id,
        "protocol": event.domain.protocol,
        "done": done,
        "threshold": event.threshold,
        "participants": [member.account_id for member in event.participants.members],
        "attempt_id": None if instance is None else instance.attempt_id,
        "expires_on": None if instance is None else instance.expires_on,
        "voted": [member.account_id for member in event.participants.members if member.participant_id in completed],
        "next_attempt_id": event.next_attempt_id,
    }
