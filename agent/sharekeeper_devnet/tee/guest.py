"""One CVM of the stand-in: what its start measured, what was added to RTMR3 since, and the keys only it derives."""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.domain.attestation import Event, Measurements
from sharekeeper_devnet.tee.pki import MockIntel
from sharekeeper_devnet.tee.quotes import REGISTER_BYTES
from sharekeeper_devnet.tee.tcb import UP_TO_DATE

KEY_PROVIDER_ID: Final = "6b5ed02e549a1c30aaa8e3171a045f1f449b0017353ef595e78e39c348c98d01"
RTMR3: Final = 3
RUNTIME_EVENT: Final = 0x08000001
GUEST_IMAGE: Final = "dstack-0.5.8"
_APP_ID_BYTES: Final = 20
_COMPOSE_HASH_VERSION: Final = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestShape:
    """What the host starts: guest image, virtual machine, and who keeps its sealing key. All of it is measured."""

    image: str = GUEST_IMAGE
    vcpus: int = 8
    memory_gb: int = 64
    key_provider_id: str = KEY_PROVIDER_ID

    @property
    def measurements(self) -> Measurements:
        """The one entry that operators vote for to allow this shape."""
        machine = f"{self.image} {self.vcpus} {self.memory_gb}"
        return Measurements(
            mrtd=_measured("mrtd", self.image),
            rtmr0=_measured("rtmr0", machine),
            rtmr1=_measured("rtmr1", self.image),
            rtmr2=_measured("rtmr2", self.image),
            key_provider_event_digest=event_of("key-provider", self.key_provider).digest,
        )

    @property
    def key_provider(self) -> bytes:
        """Payload of the key-provider event."""
        return json.dumps({"name": "local-sgx", "id": self.key_provider_id}, separators=(",", ":")).encode()


class Guest:
    """A CVM that was started from an app-compose on a host of this Intel.

    `debug` and `tcb` are faults of the machine: a TD that can be looked into, a platform that is not up to date.
    """

    def __init__(
        self,
        *,
        intel: MockIntel,
        host: str,
        shape: GuestShape,
        app_compose: str,
        debug: bool = False,
        tcb: str = UP_TO_DATE,
    ) -> None:
        self.host = host
        self.shape = shape
        self.app_compose = app_compose
        self._intel = intel
        self._debug = debug
        self._tcb = tcb
        self._events: list[Event] = []
        self.reboot()

    def reboot(self) -> None:
        """Everything since the start is gone from RTMR3; the boot's own events are there again."""
        self._events = list(boot_events(self.shape, self.compose_hash))

    @property
    def compose_hash(self) -> bytes:
        """SHA-256 of the app-compose text."""
        return hashlib.sha256(self.app_compose.encode()).digest()

    @property
    def app_id(self) -> bytes:
        """The first 20 bytes of the compose hash, as where no key management service names the application."""
        return self.compose_hash[:_APP_ID_BYTES]

    @property
    def measurements(self) -> Measurements:
        """The entry that must be allowed."""
        return self.shape.measurements

    @property
    def events(self) -> tuple[Event, ...]:
        """What extended RTMR3 since the start, in order."""
        return tuple(self._events)

    @property
    def rtmr3(self) -> bytes:
        """The register, 48 bytes."""
        return replayed(self._events)

    def emit(self, name: str, payload: bytes) -> None:
        """RTMR3 is extended with the event."""
        self._events.append(event_of(name, payload))

    def replace_events(self, *events: Event) -> None:
        """The start went otherwise: RTMR3 was extended with these events and no others."""
        self._events = list(events)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over the registers as they are now and 64 bytes of report data."""
        return self._intel.quote(
            report_data,
            self.measurements,
            self.rtmr3,
            debug=self._debug,
            tcb=self._tcb,
            host=self.host,
            mr_config_id=(_COMPOSE_HASH_VERSION + self.compose_hash).ljust(REGISTER_BYTES, b"\0"),
        )

    def key(self, path: str) -> bytes:
        """32 bytes for `path`: others on another host, from another image, virtual machine or app-compose."""
        measured = self.measurements
        registers = f"{measured.mrtd}{measured.rtmr0}{measured.rtmr1}{measured.rtmr2}"
        sealing = self._intel.secret(f"sealing {self.host} {registers} {self.compose_hash.hex()}")
        return hashlib.sha256(sealing + path.encode()).digest()

    def tcb_info(self) -> dict[str, Any]:
        """As the guest agent's Info prints it."""
        measured = self.measurements
        return {
            "mrtd": measured.mrtd,
            "rtmr0": measured.rtmr0,
            "rtmr1": measured.rtmr1,
            "rtmr2": measured.rtmr2,
            "rtmr3": self.rtmr3.hex(),
            "mr_aggregated": "",
            "os_image_hash": hashlib.sha256(self.shape.image.encode()).hexdigest(),
            "compose_hash": self.compose_hash.hex(),
            "device_id": self._intel.secret(f"ppid {self.host}").hex(),
            "event_log": self.event_log(),
            "app_compose": self.app_compose,
        }

    def event_log(self) -> list[dict[str, Any]]:
        """As dstack prints it: an event of each boot register, then RTMR3's in order."""
        boot = [_printed(_boot_event(register)) for register in range(RTMR3)]
        return [*boot, *(_printed(event) for event in self._events)]


def boot_events(shape: GuestShape, compose_hash: bytes) -> Iterable[Event]:
    """What dstack extends RTMR3 with before the first container starts."""
    yield event_of("system-preparing", b"")
    yield event_of("app-id", compose_hash[:_APP_ID_BYTES])
    yield event_of("compose-hash", compose_hash)
    yield event_of("instance-id", b"")
    yield event_of("boot-mr-done", b"")
    yield event_of("key-provider", shape.key_provider)
    yield event_of("storage-fs", b"zfs")
    yield event_of("system-ready", b"")


def event_of(name: str, payload: bytes) -> Event:
    """The event with the digest that extends the register."""
    digest = hashlib.sha384(struct.pack("<I", RUNTIME_EVENT) + b":" + name.encode() + b":" + payload)
    return Event(imr=RTMR3, event_type=RUNTIME_EVENT, digest=digest.hexdigest(), name=name, payload=payload.hex())


def replayed(events: Iterable[Event]) -> bytes:
    """RTMR3 after these events, by the digests they claim."""
    register = bytes(REGISTER_BYTES)
    for event in events:
        register = hashlib.sha384(register + bytes.fromhex(event.digest)).digest()
    return register


def _measured(register: str, what: str) -> str:
    return hashlib.sha384(f"TEE host stand-in, {register}: {what}".encode()).hexdigest()


def _boot_event(register: int) -> Event:
    return Event(imr=register, event_type=4, digest=_measured("separator", str(register)), name="", payload="00000000")


def _printed(event: Event) -> dict[str, Any]:
    return {
        "imr": event.imr,
        "event_type": event.event_type,
        "digest": event.digest,
        "event": event.name,
        "event_payload": event.payload,
    }
