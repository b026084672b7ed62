"""The contract's views as domain values, and the record it takes (docs/contract.md; near/mpc interop, section 4.2).

Lenient where near/mpc changes its format: unknown fields are ignored, fields we do not use need not be
there, a TLS key may be called `tls_public_key` or `sign_pk` (near/mpc before 3.10). Total: each decoder
returns a value or raises `DecodeError`, whatever the JSON.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from sharekeeper.domain.attestation import AllowedCode, CodeHash, EvidenceStamp, Measurements
from sharekeeper.domain.ephemeral import (
    ED25519_SIGNATURE_BYTES,
    EphemeralKeys,
    EphemeralRecord,
    EphemeralSlots,
    ExchangeId,
    PublishedRecord,
    X25519Key,
)
from sharekeeper.domain.identity import AccountId, Ed25519Key, NetworkId, Role, SignerKey, TlsKey
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BackupServiceKeys,
    DomainConfig,
    Initializing,
    KeyEvent,
    KeyEventInstance,
    NodeKeys,
    NotInitialized,
    Participant,
    ParticipantInfo,
    Participants,
    ProtocolState,
    RecordedEvidence,
    Recovering,
    Recovery,
    Resharing,
    Running,
)
from sharekeeper.protocol.codec import (
    DecodeError,
    array,
    boolean,
    decode_domain_key,
    decode_keyset,
    decode_public_key,
    field,
    hexadecimal,
    integer,
    keyset_of,
    parse_json,
    text,
)
from sharekeeper.spec import SLOTS

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Ed25519Key)
_E = TypeVar("_E", bound=StrEnum)
_PARTICIPANT_FIELDS: Final = 3
_CACHED_STATES: Final = 2
_REGISTERS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")


@lru_cache(maxsize=_CACHED_STATES)
def read_state(data: bytes) -> ProtocolState:
    """View `state` from its bytes; equal bytes are one object, so that a large state is decoded once.

    Raises:
        DecodeError: not JSON, or as `decode_state`.
    """
    return decode_state(parse_json(data))


def decode_state(value: object) -> ProtocolState:
    """View `state`.

    Raises:
        DecodeError: a state, or a field of it that we need, is not one we know.
    """
    if value == "NotInitialized":
        return NotInitialized()
    if not isinstance(value, Mapping) or len(value) != 1:
        raise DecodeError("the contract's state is not an object with exactly one protocol state")
    name, content = next(iter(value.items()))
    match name:
        case "Running":
            return _decode_running(content)
        case "Recovery":
            return _decode_recovery(content)
        case "Resharing":
            return _decode_resharing(content)
        case "Initializing":
            return _decode_initializing(content)
        case _:
            raise DecodeError(f"unknown protocol state {str(name)[:40]!r}")


def decode_account(value: object) -> AccountRecord:
    """View `participant_info`: what the contract records about one account. Raises `DecodeError`."""
    return AccountRecord(
        account_id=_account_id(value, "account_id"),
        is_participant=boolean(value, "is_participant"),
        node=_optional(value, "node", _decode_node_keys),
        node_candidate=_optional(value, "node_candidate", _decode_node_keys),
        backup_services=_slots(value, "backup_services", _decode_backup_service_keys),
        cooldown_until=integer(value, "cooldown_until"),
        evidence=_decode_account_evidence(value),
    )


def decode_allowed_code(node: object, backup_service: object, measurements: object) -> AllowedCode:
    """Views `allowed_node_code_hashes`, `allowed_backup_service_code_hashes`, `allowed_measurements` of one block.

    Raises `DecodeError`.
    """
    return AllowedCode(
        node=frozenset(_decode_code_hash(item) for item in array({"entries": node}, "entries")),
        backup_service=frozenset(_decode_code_hash(item) for item in array({"entries": backup_service}, "entries")),
        measurements=frozenset(_decode_measurements(item) for item in array({"entries": measurements}, "entries")),
    )


def encode_evidence_stamp(stamp: EvidenceStamp | None) -> dict[str, Any]:
    """The argument `evidence` of the calls that register a machine; none when there is none."""
    return {} if stamp is None else {"evidence": {"digest": stamp.digest, "attested_at": stamp.attested_at}}


def decode_ephemeral_keys(value: object) -> EphemeralSlots:
    """View `ephemeral_keys`: the records of one account by slot. Raises `DecodeError`.

    Not checked here: hash, signature, and whether the records are those of the exchange we mean.
    """
    services = _slots(value, "backup_services", _decode_published)
    nodes = _slots(value, "nodes", _decode_published)
    for records, role in ((services, Role.BACKUP_SERVICE), (nodes, Role.NODE)):
        for published in records:
            if published is not None and published.record.role is not role:
                raise DecodeError(f"the record shown as that of the {role} says it is of the {published.record.role}")
    return (
        EphemeralKeys(backup_service=services[0], node=nodes[0]),
        EphemeralKeys(backup_service=services[1], node=nodes[1]),
    )


def encode_ephemeral_record(record: EphemeralRecord, network: NetworkId, signature: bytes) -> dict[str, Any]:
    """Arguments of `submit_ephemeral_key`. `signature` is 64 bytes over `record.canonical(network)`."""
    encoded = {
        "exchange_id": record.exchange_id,
        "purpose": record.purpose.value,
        "role": record.role.value,
        "recovery_id": record.recovery_id,
        "public_key": str(record.public_key),
        "expires_on": record.expires_on,
        "answers": record.answers,
        "hash": record.hash(network),
        "signature": signature.hex(),
    }
    return {"record": encoded}


def _decode_published(value: object) -> PublishedRecord:
    signature = hexadecimal(value, "signature", ED25519_SIGNATURE_BYTES)
    try:
        record = EphemeralRecord(
            account_id=_account_id(value, "account_id"),
            role=_choice(Role, value, "role"),
            purpose=_choice(Purpose, value, "purpose"),
            recovery_id=_optional(value, "recovery_id", lambda _: integer(value, "recovery_id")),
            exchange_id=ExchangeId(text(value, "exchange_id")),
            public_key=X25519Key.parse(text(value, "public_key")),
            expires_on=integer(value, "expires_on"),
            answers=_optional(value, "answers", lambda _: Sha256Hex(text(value, "answers"))),
        )
        claimed_hash = Sha256Hex(text(value, "hash"))
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"an ephemeral key's record: {error}") from None
    submitted_in = integer(value, "submitted_in")
    return PublishedRecord(record=record, claimed_hash=claimed_hash, signature=signature, submitted_in=submitted_in)


def _decode_running(value: object) -> Running:
    parameters = field(value, "parameters")
    return Running(
        keyset=decode_keyset(field(value, "keyset")),
        participants=_decode_participants(field(parameters, "participants")),
        threshold=integer(parameters, "threshold"),
        domains=_decode_domains(value),
    )


def _decode_initializing(value: object) -> Initializing:
    generating = _decode_key_event(field(value, "generating_key"))
    keyset = keyset_of(integer(value, "epoch_id"), array(value, "generated_keys"))
    generated = {domain.domain_id for domain in keyset.domains}
    previous = Running(
        keyset=keyset,
        participants=generating.participants,
        threshold=generating.threshold,
        domains=tuple(domain for domain in _decode_domains(value) if domain.domain_id in generated),
    )
    return Initializing(previous=previous, generating=generating)


def _decode_resharing(value: object) -> Resharing:
    return Resharing(
        previous=_decode_running(field(value, "previous_running_state")),
        reshared=tuple(decode_domain_key(item) for item in array(value, "reshared_keys")),
        resharing=_decode_key_event(field(value, "resharing_key")),
    )


def _decode_key_event(value: object) -> KeyEvent:
    parameters = field(value, "parameters")
    return KeyEvent(
        epoch_id=integer(value, "epoch_id"),
        domain=_decode_domain(field(value, "domain")),
        participants=_decode_participants(field(parameters, "participants")),
        threshold=integer(parameters, "threshold"),
        instance=_optional(value, "instance", _decode_instance),
        next_attempt_id=integer(value, "next_attempt_id"),
    )


def _decode_instance(value: object) -> KeyEventInstance:
    return KeyEventInstance(
        attempt_id=integer(value, "attempt_id"),
        started_in=integer(value, "started_in"),
        expires_on=integer(value, "expires_on"),
        completed=tuple(integer({"completed": item}, "completed") for item in array(value, "completed")),
        public_key=_optional(value, "public_key", decode_public_key),
    )


def _decode_domains(value: object) -> tuple[DomainConfig, ...]:
    """The registry of domains; empty when it is absent or names no protocols (near/mpc before 3.10)."""
    if not isinstance(value, Mapping) or "domains" not in value:
        return ()
    entries = array(value["domains"], "domains")
    if any(isinstance(entry, Mapping) and "protocol" not in entry for entry in entries):
        return ()
    return tuple(_decode_domain(entry) for entry in entries)


def _decode_domain(value: object) -> DomainConfig:
    return DomainConfig(
        domain_id=integer(value, "id"),
        protocol=text(value, "protocol"),
        reconstruction_threshold=integer(value, "reconstruction_threshold"),
        purpose=text(value, "purpose"),
    )


def _decode_recovery(value: object) -> Recovery:
    return Recovery(
        recovery_id=integer(value, "recovery_id"),
        previous=_decode_running(field(value, "previous_running_state")),
        prospective=_decode_participants(field(value, "prospective_participants")),
        recovering=_decode_recovering(field(value, "recovering")),
        started_in=integer(value, "started_in"),
        expires_on=integer(value, "expires_on"),
        shares_confirmed=boolean(value, "shares_confirmed"),
    )


def _decode_recovering(value: object) -> Recovering:
    return Recovering(
        account_id=_account_id(value, "account_id"),
        info=_decode_info(field(value, "participant_info")),
        signer_key=_key(SignerKey, value, "signer_account_pk"),
    )


def _decode_participants(value: object) -> Participants:
    members = tuple(_decode_participant(item) for item in array(value, "participants"))
    if len({member.account_id for member in members}) != len(members):
        raise DecodeError("the participant set names an account twice")
    return Participants(members=members)


def _decode_participant(value: object) -> Participant:
    if not isinstance(value, list) or len(value) < _PARTICIPANT_FIELDS:
        raise DecodeError("a participant is an array of account id, participant id and info")
    entry = {"account_id": value[0], "participant_id": value[1]}
    return Participant(
        account_id=_account_id(entry, "account_id"),
        participant_id=integer(entry, "participant_id"),
        info=_decode_info(value[2]),
    )


def _decode_info(value: object) -> ParticipantInfo:
    old = isinstance(value, Mapping) and "tls_public_key" not in value and "sign_pk" in value
    name = "sign_pk" if old else "tls_public_key"
    return ParticipantInfo(url=text(value, "url"), tls_public_key=_key(TlsKey, value, name))


def _decode_node_keys(value: object) -> NodeKeys:
    return NodeKeys(info=_decode_info(value), signer_key=_key(SignerKey, value, "signer_account_pk"))


def _decode_backup_service_keys(value: object) -> BackupServiceKeys:
    return BackupServiceKeys(
        tls_public_key=_key(TlsKey, value, "tls_public_key"),
        signer_key=_key(SignerKey, value, "signer_account_pk"),
    )


def _decode_account_evidence(value: object) -> tuple[RecordedEvidence, ...]:
    """That of every machine shown. A contract that knows of none shows no such field."""
    machines = [field(value, "node"), field(value, "node_candidate"), *array(value, "backup_services")]
    return tuple(
        _decode_evidence(machine)
        for machine in machines
        if isinstance(machine, Mapping) and machine.get("evidence") is not None
    )


def _decode_evidence(machine: object) -> RecordedEvidence:
    shown = field(machine, "evidence")
    try:
        stamp = EvidenceStamp(digest=Sha256Hex(text(shown, "digest")), attested_at=integer(shown, "attested_at"))
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"a machine's evidence: {error}") from None
    return RecordedEvidence(
        tls_public_key=_key(TlsKey, machine, "tls_public_key"), stamp=stamp, valid_until=integer(shown, "valid_until")
    )


def _decode_code_hash(value: object) -> CodeHash:
    found = text(value, "code_hash")
    try:
        return CodeHash(found)
    except ValueError as error:
        raise DecodeError(f"field 'code_hash': {error}") from None


def _decode_measurements(value: object) -> Measurements:
    shown = field(value, "measurements")
    try:
        return Measurements(**{name: text(shown, name) for name in _REGISTERS})
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"field 'measurements': {error}") from None


def _optional(value: object, name: str, decode: Callable[[object], _T]) -> _T | None:
    found = field(value, name)
    return None if found is None else decode(found)


def _slots(value: object, name: str, decode: Callable[[object], _T]) -> tuple[_T | None, _T | None]:
    """What each of an account's slots has."""
    found = array(value, name)
    if len(found) != SLOTS:
        raise DecodeError(f"field {name!r} has {len(found)} entries, and an account has {SLOTS} slots")
    first, second = (None if entry is None else decode(entry) for entry in found)
    return first, second


def _choice(kind: type[_E], value: object, name: str) -> _E:
    found = text(value, name)
    if found not in set(kind):
        raise DecodeError(f"field {name!r} is not one of {', '.join(kind)}: {found[:40]!r}")
    return kind(found)


def _account_id(value: object, name: str) -> AccountId:
    found = text(value, name)
    try:
        return AccountId(found)
    except ValueError as error:
        raise DecodeError(f"field {name!r}: {error}") from None


def _key(kind: type[_K], value: object, name: str) -> _K:
    found = text(value, name)
    try:
        return kind.parse(found)
    except ValueError as error:
        raise DecodeError(f"field {name!r}: {error}") from None
