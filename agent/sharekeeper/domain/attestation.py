"""Evidence that a machine runs in a TEE, and what the network allows (docs/attestation.md)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex

EVENT_REGISTERS: Final = 4
_U32_MAX: Final = 2**32 - 1
_SHA384: Final = re.compile(r"[0-9a-f]{96}", re.ASCII)
_CODE_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PAYLOAD: Final = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)


class CodeHash(str):
    """An image digest without its "sha256:": 64 lower-case hex digits. Raises `ValueError` on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _CODE_HASH.fullmatch(text):
            raise ValueError(f"an image digest is 64 lower-case hex digits without 'sha256:', not {text[:80]!r}")
        return super().__new__(cls, text)


class VaultKind(StrEnum):
    """Where a backup service in a TEE keeps shares: in memory alone, or on its disk, sealed to the TEE."""

    MEMORY = "memory"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What machine and guest system a TEE started: five SHA-384 values, 96 lower-case hex digits each.

    They are voted for and compared as one entry: a mixture of two allowed entries is not allowed.
    """

    mrtd: str
    rtmr0: str
    rtmr1: str
    rtmr2: str
    key_provider_event_digest: str

    def __post_init__(self) -> None:
        for value in (self.mrtd, self.rtmr0, self.rtmr1, self.rtmr2, self.key_provider_event_digest):
            _check_sha384(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the event log: which register it extended, and with what.

    `digest`: SHA-384 in lower-case hex, as the log claims it; `payload`: lower-case hex, as dstack prints it.
    """

    imr: int
    event_type: int
    digest: str
    name: str
    payload: str

    def __post_init__(self) -> None:
        if not 0 <= self.imr < EVENT_REGISTERS:
            raise ValueError(f"an event's register is 0 to {EVENT_REGISTERS - 1}, not {self.imr}")
        if not 0 <= self.event_type <= _U32_MAX:
            raise ValueError(f"an event type is a u32, not {self.event_type}")
        _check_sha384(self.digest)
        _check_utf8("an event's name", self.name)
        if not _PAYLOAD.fullmatch(self.payload):
            raise ValueError(f"an event's payload is whole bytes in lower-case hex, not {self.payload[:80]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a machine shows of itself: the TDX quote, the event log, the app-compose text, and collateral if it has any.

    `collateral` is dcap-qvl's JSON text, which Intel signed: it may come from the prover. Nothing is verified here.
    """

    quote: bytes
    events: tuple[Event, ...]
    app_compose: str
    collateral: str | None

    def __post_init__(self) -> None:
        _check_utf8("the app-compose", self.app_compose)
        _check_utf8("the collateral", self.collateral or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceStamp:
    """What the contract records of a machine's evidence: its digest, and when it was made (seconds since 1970, UTC)."""

    digest: Sha256Hex
    attested_at: int

    def __post_init__(self) -> None:
        if self.attested_at < 0:
            raise ValueError(f"evidence is dated in seconds since 1970, not {self.attested_at}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCode:
    """Image digests of each role and measurements that the contract allows at one block, grace times included."""

    node: frozenset[CodeHash]
    backup_service: frozenset[CodeHash]
    measurements: frozenset[Measurements]

    def of(self, role: Role) -> frozenset[CodeHash]:
        """The image digests allowed for `role`."""
        return self.node if role is Role.NODE else self.backup_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One numbered check of the verification. `ok` is None if it could not be reached; `detail` says what was found."""

    number: int
    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Evidence that satisfied every check, and what it proved.

    `tcb_status` and `advisories` are Intel's words on the platform. The verdict holds until `expires_at_s`
    (seconds since 1970, UTC).
    """

    checks: tuple[Check, ...]
    measurements: Measurements
    code_hash: CodeHash
    tcb_status: str
    advisories: frozenset[str]
    expires_at_s: int


def _check_sha384(text: str) -> None:
    if not _SHA384.fullmatch(text):
        raise ValueError(f"a measurement is 96 lower-case hex digits, not {text[:100]!r}")


def _check_utf8(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not text that UTF-8 can write") from None
