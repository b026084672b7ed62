"""The chain's own account of a drill: every change of the protocol state, read as recoveries and key events."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sharekeeper_devnet.drill_facts import HeldBackup, KeyEventRun, Moment, OperatorRecovery, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEventSeen:
    """The key event under way; `attempts` were started so far, `done` are the domains that are finished."""

    epoch_id: int
    domain_id: int
    protocol: str
    participants: int
    threshold: int
    attempts: int
    done: frozenset[int]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """From `ops.state_words.key_event_facts`. Raises `KeyError`, `TypeError`, `ValueError`."""
        return cls(
            epoch_id=int(value["epoch_id"]),
            domain_id=int(value["domain_id"]),
            protocol=str(value["protocol"]),
            participants=len(value["participants"]),
            threshold=int(value["threshold"]),
            attempts=int(value["next_attempt_id"]),
            done=frozenset(map(int, value["done"])),
        )

    def is_same(self, other: "KeyEventSeen | None") -> bool:
        """Whether both are about the same key."""
        return other is not None and (self.epoch_id, self.domain_id) == (other.epoch_id, other.domain_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of the protocol state (`rehearsal history`); what belongs to a recovery is None outside one.

    `tls_keys` by account and `public_keys` by domain id are those in force.
    """

    height: int
    time: float
    state: str
    epoch_id: int
    threshold: int
    tls_keys: Mapping[str, str]
    public_keys: Mapping[str, str]
    key_event: KeyEventSeen | None
    recovery_id: int | None
    account_id: str | None
    tls_public_key: str | None
    shares_confirmed: bool | None
    transfer: str | None

    def moment(self, title: str) -> Moment:
        """The change as a moment with that title."""
        return Moment(title=title, at=self.time, height=self.height)

    @property
    def domain_ids(self) -> frozenset[int]:
        """The domains of the keyset in force."""
        return frozenset(map(int, self.public_keys))

    def has_made(self, event: KeyEventSeen) -> bool:
        """Whether the key of that event is made here."""
        if self.key_event is not None:
            return event.domain_id in self.key_event.done
        return self.epoch_id == event.epoch_id and event.domain_id in self.domain_ids


def read_transitions(values: Sequence[Mapping[str, Any]]) -> tuple[Transition, ...]:
    """What `rehearsal history` printed, oldest first. Raises `KeyError`, `TypeError`, `ValueError`."""
    return tuple(
        Transition(
            height=int(value["height"]),
            time=float(value["time"]),
            state=str(value["state"]),
            epoch_id=int(value["epoch_id"]),
            threshold=int(value["threshold"]),
            tls_keys=dict(value["tls_keys"]),
            public_keys=dict(value["public_keys"]),
            key_event=None if value.get("key_event") is None else KeyEventSeen.of(value["key_event"]),
            recovery_id=value.get("recovery_id"),
            account_id=value.get("account_id"),
            tls_public_key=value.get("tls_public_key"),
            shares_confirmed=value.get("shares_confirmed"),
            transfer=value.get("transfer"),
        )
        for value in values
    )


def key_events(transitions: Sequence[Transition]) -> Iterator[KeyEventRun]:
    """Each key that was made, in order; one that was given up or is unfinished is none."""
    for index, begun in enumerate(transitions):
        event = begun.key_event
        if event is None or (index and event.is_same(transitions[index - 1].key_event)):
            continue
        during = [begun]
        for one in transitions[index + 1 :]:
            if not event.is_same(one.key_event):
                if one.has_made(event):
                    yield _run(event, during, one)
                break
            during.append(one)


def _run(event: KeyEventSeen, during: Sequence[Transition], done: Transition) -> KeyEventRun:
    begun = during[0]
    what = "generated" if begun.state == "Initializing" else "reshared"
    attempts = max(one.key_event.attempts for one in during if one.key_event is not None)
    key = f"the key of domain {event.domain_id}, {event.protocol}"
    return KeyEventRun(
        domain_id=event.domain_id,
        protocol=event.protocol,
        epoch_id=event.epoch_id,
        attempts=attempts,
        participants=event.participants,
        threshold=event.threshold,
        begun=begun.moment(f"{begun.state}: {key}, is to be {what}"),
        done=done.moment(f"The key of domain {event.domain_id}, {event.protocol}, is {what}: attempt {attempts}"),
        blocks=done.height - begun.height,
        seconds=done.time - begun.time,
    )


def recoveries(
    transitions: Sequence[Transition], lost_at: float, backups: Mapping[str, HeldBackup]
) -> Iterator[OperatorRecovery]:
    """Each concluded recovery of an account of `backups`: entering, confirmation, Running with the new TLS key."""
    for index, entered in enumerate(transitions):
        account_id, key, recovery_id = entered.account_id, entered.tls_public_key, entered.recovery_id
        if account_id is None or key is None or recovery_id is None or account_id not in backups:
            continue
        before, rest = transitions[:index], transitions[index:]
        delivered = next((one for one in rest if one.recovery_id == recovery_id and one.shares_confirmed), None)
        ended = next((one for one in rest if one.recovery_id != recovery_id), None)
        if any(one.recovery_id == recovery_id for one in before) or delivered is None or ended is None:
            continue
        if ended.tls_keys.get(account_id) != key:
            continue
        backup = backups[account_id]
        yield OperatorRecovery(
            account_id=account_id,
            recovery_id=recovery_id,
            entered=entered.moment(f"{account_id} enters Recovery"),
            delivered=delivered.moment(f"{account_id}'s backup service confirms the delivery"),
            running=ended.moment(f"{account_id} is Running on its new machine"),
            new_tls_key=key,
            transfer=delivered.transfer or "unknown",
            rto_seconds=ended.time - lost_at,
            backup_epoch_lag=entered.epoch_id - backup.epoch_id,
            backup_age_seconds=lost_at - backup.verified_at,
        )


def states(transitions: Sequence[Transition], finished: float) -> Iterator[Phase]:
    """The protocol state over time: how long it was which."""
    begins = [one for index, one in enumerate(transitions) if not index or transitions[index - 1].state != one.state]
    ends = [one.time for one in begins[1:]] + [finished]
    for one, end in zip(begins, ends, strict=False):
        yield Phase(title=one.state, start=one.time, end=end)
