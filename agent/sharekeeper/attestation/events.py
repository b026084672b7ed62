"""The event log behind RTMR3: replayed, and read for the few events that decide (docs/attestation.md, "Event log").

Only entries of register 3 with dstack's event type count; a TEE's firmware and kernel fill the other registers,
whose values are compared whole.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from sharekeeper.domain.attestation import Event
from sharekeeper.domain.identity import Role

RUNTIME_REGISTER: Final = 3
RUNTIME_EVENT_TYPE: Final = 0x08000001
REGISTER_BYTES: Final = 48

COMPOSE_HASH: Final = "compose-hash"
BOOTED: Final = "boot-mr-done"
KEY_PROVIDER: Final = "key-provider"
SYSTEM_READY: Final = "system-ready"
IMAGE_DIGEST: Final = {Role.NODE: "mpc-image-digest", Role.BACKUP_SERVICE: "backup-service-image-digest"}
"""The event by which the agent (on a node of near/mpc its launcher) says which image runs."""

SYSTEM_EVENTS: Final = (
    "system-preparing",
    "app-id",
    COMPOSE_HASH,
    "instance-id",
    BOOTED,
    KEY_PROVIDER,
    "storage-fs",
    SYSTEM_READY,
)
"""What the guest system extends RTMR3 with at every start, in this order; applications come after it."""


def runtime_events(events: Sequence[Event]) -> tuple[Event, ...]:
    """Those that extend RTMR3, in order."""
    return tuple(event for event in events if event.imr == RUNTIME_REGISTER and event.event_type == RUNTIME_EVENT_TYPE)


def event_digest(name: str, payload: bytes) -> str:
    """What an event extends RTMR3 with: SHA-384 over type (4 bytes, little-endian), ":", name, ":", payload."""
    head = RUNTIME_EVENT_TYPE.to_bytes(4, "little") + b":" + name.encode() + b":"
    return hashlib.sha384(head + payload).hexdigest()


def replay(digests: Sequence[str]) -> str:
    """The register's value after it was extended with these digests, from zero; lower-case hex."""
    register = bytes(REGISTER_BYTES)
    for digest in digests:
        register = hashlib.sha384(register + bytes.fromhex(digest)).digest()
    return register.hex()


def named(events: Sequence[Event], name: str) -> tuple[Event, ...]:
    """All events of that name."""
    return tuple(event for event in events if event.name == name)


def system_events_astray(names: Sequence[str]) -> str | None:
    """Which of the guest system's events are missing, doubled or out of their order; None if they are as they should."""
    missing = [name for name in SYSTEM_EVENTS if name not in names]
    doubled = [name for name in SYSTEM_EVENTS if names.count(name) > 1]
    if missing or doubled:
        words = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"doubled: {', '.join(doubled)}"] * bool(doubled)
        return "; ".join(words)
    found = tuple(names[: len(SYSTEM_EVENTS)])
    if found == SYSTEM_EVENTS:
        return None
    place = next(index for index, name in enumerate(SYSTEM_EVENTS) if found[index] != name)
    return f"out of order: {found[place]!r} stands where {SYSTEM_EVENTS[place]!r} belongs"
