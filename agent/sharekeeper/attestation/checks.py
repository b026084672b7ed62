"""The fourteen checks of evidence, in their order (docs/attestation.md; `verifier` runs them).

Each takes the case, says in one line what it found, and raises `ValueError` with what is wrong. Facts that later
checks need are left in the case; a check that lacks one raises `NotReached`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TypeVar

from sharekeeper.attestation import events as log
from sharekeeper.attestation.app_compose import check_app_compose, compose_hash
from sharekeeper.attestation.collateral import collateral_expires_at_s, collateral_parts
from sharekeeper.attestation.compose_rule import check_compose_file
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.quote import TD_1_0, Judgement, TdReport, judge_quote
from sharekeeper.domain.attestation import AllowedCode, CodeHash, Event, Evidence, Measurements
from sharekeeper.domain.identity import Role
from sharekeeper.protocol.codec import parse_json, text
from sharekeeper.spec import REPORT_DATA_BYTES

UP_TO_DATE: Final = "UpToDate"
REVOKED: Final = "Revoked"
TD_ATTRIBUTES: Final = bytes.fromhex("0000001000000000")
"""SEPT_VE_DISABLE alone: the host cannot make the guest's memory accesses fault into the guest."""
LOCAL_KEY_PROVIDER: Final = "local-sgx"
_ENCLAVE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_T = TypeVar("_T")


class NotReached(Exception):
    """A check before this one did not find what this one needs."""


@dataclass(slots=True, kw_only=True)
class Case:
    """What is given to the checks, and the facts they found so far. Raises `ValueError` for report data of another length."""

    evidence: Evidence
    role: Role
    report_data: bytes
    allowed: AllowedCode
    policy: AttestationPolicy
    now_s: int
    collateral: str
    root_ca: bytes | None = None

    judgement: Judgement | None = None
    claimed: TdReport | None = None
    """What the quote claims where it was not accepted: for explanations only."""
    expires_at_s: int | None = None
    key_provider: Event | None = None
    composed: Event | None = None
    image: Event | None = None
    measurements: Measurements | None = None
    code_hash: CodeHash | None = None
    compose_file: str | None = None

    def __post_init__(self) -> None:
        if len(self.report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(self.report_data)}")

    @property
    def report(self) -> TdReport:
        """The quote's report."""
        return self.judgement.report if self.judgement else found(self.claimed, "the quote cannot be read")


def found(fact: _T | None, missing: str) -> _T:
    """The fact. Raises `NotReached` with the sentence if there is none."""
    if fact is None:
        raise NotReached(missing)
    return fact


def check_quote(case: Case) -> str:
    """1. dcap-qvl accepts the quote: the chain from Intel's root to it holds now, and nothing in it is revoked."""
    try:
        case.judgement = judge_quote(case.evidence.quote, case.collateral, now_s=case.now_s, root_ca=case.root_ca)
    except ValueError:
        case.claimed = _claimed(case.evidence.quote)
        raise
    root = "Intel's root" if case.root_ca is None else "another root than Intel's"
    return f"signed by a quoting enclave that {root} vouches for"


def _claimed(quote: bytes) -> TdReport | None:
    try:
        return TdReport.parse(quote)
    except ValueError:
        return None


def check_collateral(case: Case) -> str:
    """2. Every part of the collateral is issued, not expired, and young enough; only the root's list is yearly."""
    parts = collateral_parts(case.collateral)
    for part in parts:
        if part.issued_at_s > case.now_s:
            raise ValueError(f"{part.name} was issued at {_utc(part.issued_at_s)}, after now ({_utc(case.now_s)})")
        if part.expires_at_s <= case.now_s:
            raise ValueError(f"{part.name} expired at {_utc(part.expires_at_s)}, before now ({_utc(case.now_s)})")
    expires = collateral_expires_at_s(parts, max_age_seconds=case.policy.max_collateral_age_seconds)
    if expires <= case.now_s:
        raise ValueError(
            f"it is older than {case.policy.max_collateral_age_seconds} seconds: it may be used until {_utc(expires)}, "
            f"and now is {_utc(case.now_s)}"
        )
    case.expires_at_s = min(expires, case.now_s + case.policy.evidence_validity_seconds)
    return f"may be used until {_utc(expires)}"


def check_tcb_status(case: Case) -> str:
    """3. The platform is exactly UpToDate, or all its advisories are accepted by the policy; never Revoked."""
    judgement = found(case.judgement, "the quote was not accepted")
    status, advisories = judgement.tcb_status, judgement.advisories
    shown = f"{status}, advisories: {', '.join(sorted(advisories)) or 'none'}"
    if status == UP_TO_DATE:
        return shown
    if status == REVOKED or not advisories:
        raise ValueError(f"{shown}; only {UP_TO_DATE} is allowed")
    if not advisories <= case.policy.accepted_advisories:
        missing = ", ".join(sorted(advisories - case.policy.accepted_advisories))
        raise ValueError(f"{shown}; only {UP_TO_DATE} is allowed, and the policy does not accept {missing}")
    return f"{shown}; the policy accepts them"


def check_td_report(case: Case) -> str:
    """4. The report is of TD 1.0, whose fields are all that is compared here."""
    if case.report.kind != TD_1_0:
        raise ValueError(f"the report is of kind {case.report.kind}, not {TD_1_0}")
    return "TD 1.0"


def check_debug(case: Case) -> str:
    """5. The attributes, which the host chooses and no register measures, are those of dstack: no debugging, no others."""
    attributes = case.report.td_attributes
    if attributes[0]:
        raise ValueError(f"the TD can be debugged from outside: its attributes are {attributes.hex()}")
    if attributes != TD_ATTRIBUTES:
        raise ValueError(f"the TD's attributes are {attributes.hex()}, not {TD_ATTRIBUTES.hex()}")
    return f"the TD cannot be debugged, its attributes are {attributes.hex()}"


def check_report_data(case: Case) -> str:
    """6. All 64 bytes of report data are those expected: the keys, or the exchange, that the quote was made for."""
    if case.report.report_data != case.report_data:
        raise ValueError(
            f"the quote was made for {case.report.report_data.hex()}, expected {case.report_data.hex()}: "
            "other keys or another exchange"
        )
    return case.report_data.hex()


def check_event_log(case: Case) -> str:
    """7. The event log gives RTMR3 when it is replayed, each digest computed anew from name and payload."""
    events = log.runtime_events(case.evidence.events)
    for number, event in enumerate(events, 1):
        if ":" in event.name:
            raise ValueError(f"event {number} has a colon in its name, {event.name[:80]!r}: name and payload blur")
        if event.digest != _digest(event):
            raise ValueError(f"event {number} ({event.name[:80]}) has another digest than its name and payload give")
    replayed = log.replay([event.digest for event in events])
    if replayed != case.report.rtmr3:
        names = [event.name for event in events]
        why = log.system_events_astray(names) or "an event of an application is missing, doubled or out of order"
        raise ValueError(f"the log gives RTMR3 {replayed}, the quote has {case.report.rtmr3}; {why}")
    return f"{len(events)} events give RTMR3 {replayed}"


def check_events(case: Case) -> str:
    """8. Each event that decides is there once, in the order of a start, and none of the other role's is."""
    events = log.runtime_events(case.evidence.events)
    image = log.IMAGE_DIGEST[case.role]
    order = (log.COMPOSE_HASH, log.BOOTED, log.KEY_PROVIDER, log.SYSTEM_READY, image)
    places = {name: [number for number, event in enumerate(events) if event.name == name] for name in order}
    alone = {name: events[numbers[0]] for name, numbers in places.items() if len(numbers) == 1}
    case.composed, case.key_provider, case.image = (
        alone.get(name) for name in (log.COMPOSE_HASH, log.KEY_PROVIDER, image)
    )
    wrong = [f"{len(numbers)} of {name!r}" for name, numbers in places.items() if name not in alone]
    wrong += [
        f"{name!r} of another role"
        for role, name in log.IMAGE_DIGEST.items()
        if role is not case.role and log.named(events, name)
    ]
    if wrong:
        raise ValueError(f"there must be exactly one of each event, and there are {', '.join(wrong)}")
    for before, after in pairwise(order):
        if places[before] > places[after]:
            raise ValueError(f"{after!r} comes before {before!r}")
    return f"one each, in this order: {', '.join(order)}"


def check_compose_hash(case: Case) -> str:
    """9. The measured compose hash is the SHA-256 of the app-compose that is shown."""
    event = found(case.composed, "there is not one compose-hash event")
    shown = compose_hash(case.evidence.app_compose)
    if event.payload != shown:
        raise ValueError(f"the app-compose shown has SHA-256 {shown}, the machine measured {event.payload[:64]}")
    return shown


def check_key_provider(case: Case) -> str:
    """10. The sealing key came from the local SGX enclave, and from no key server."""
    event = found(case.key_provider, "there is not one key-provider event")
    value = parse_json(bytes.fromhex(event.payload))
    name, enclave = text(value, "name"), text(value, "id")
    if name != LOCAL_KEY_PROVIDER or not _ENCLAVE.fullmatch(enclave) or len(value) != len(("name", "id")):
        raise ValueError(
            f"the key provider is {json.dumps(value)[:200]}, not {LOCAL_KEY_PROVIDER} with its enclave alone"
        )
    return f"{name}, enclave {enclave}"


def check_measurements(case: Case) -> str:
    """11. MRTD, RTMR0 to 2 and the digest of the key provider's event together are one entry that is allowed."""
    event = found(case.key_provider, "there is not one key-provider event")
    report = case.report
    case.measurements = Measurements(
        mrtd=report.mrtd,
        rtmr0=report.rtmr0,
        rtmr1=report.rtmr1,
        rtmr2=report.rtmr2,
        key_provider_event_digest=_digest(event),
    )
    if case.measurements not in case.allowed.measurements:
        raise ValueError(f"{_differences(case.measurements, case.allowed.measurements)}; the network votes for them")
    return "one allowed entry: " + ", ".join(f"{name} {value}" for name, value in _values(case.measurements).items())


def _differences(measured: Measurements, allowed: frozenset[Measurements]) -> str:
    if not allowed:
        return "the contract allows no measurements"
    values = _values(measured)
    others = [{name for name, value in _values(entry).items() if values[name] != value} for entry in allowed]
    nearest = min(others, key=lambda names: (len(names), sorted(names)))
    differing = ", ".join(f"{name} {values[name]}" for name in values if name in nearest)
    return f"no allowed entry has these measurements together; the nearest has another {differing}"


def _values(measurements: Measurements) -> dict[str, str]:
    return {field.name: getattr(measurements, field.name) for field in fields(measurements)}


def check_image_digest(case: Case) -> str:
    """12. The image that says it runs is allowed for the role."""
    event = found(case.image, f"there is not one {log.IMAGE_DIGEST[case.role]} event")
    case.code_hash = CodeHash(event.payload)
    if case.code_hash not in case.allowed.of(case.role):
        raise ValueError(f"image {case.code_hash} is not allowed for the {case.role}; the network votes for it")
    return case.code_hash


def check_app_compose_policy(case: Case) -> str:
    """13. The app-compose says exactly what it may: every key is known and has its value."""
    own = isinstance(case.policy.compose, Rendered)
    case.compose_file = check_app_compose(case.evidence.app_compose, secure_time=own)
    return "every key is known and has its value"


def check_compose(case: Case) -> str:
    """14. The compose file is the one that the policy's rule demands, and every image in it is allowed."""
    compose_file = found(case.compose_file, "the app-compose is not accepted")
    agent = found(case.code_hash, "there is no image digest")
    return check_compose_file(
        compose_file, case.policy.compose, role=case.role, agent=agent, allowed=case.allowed.of(case.role)
    )


CHECKS: Final[tuple[tuple[str, Callable[[Case], str]], ...]] = (
    ("quote", check_quote),
    ("collateral", check_collateral),
    ("tcb status", check_tcb_status),
    ("td report", check_td_report),
    ("debug", check_debug),
    ("report data", check_report_data),
    ("event log", check_event_log),
    ("events", check_events),
    ("compose hash", check_compose_hash),
    ("key provider", check_key_provider),
    ("measurements", check_measurements),
    ("image digest", check_image_digest),
    ("app-compose", check_app_compose_policy),
    ("compose file", check_compose),
)
"""Names and functions, numbered from 1."""


def _digest(event: Event) -> str:
    return log.event_digest(event.name, bytes.fromhex(event.payload))


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
