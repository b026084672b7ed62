"""Evidence as bytes: one canonical JSON document (docs/attestation.md, "Evidence")."""

from typing import Any

from sharekeeper.domain.attestation import Event, Evidence
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.protocol.codec import DecodeError, array, canonical_json, field, integer, parse_json, text
from sharekeeper.spec import MAX_EVENTS, MAX_EVIDENCE_BYTES


def encode_evidence(evidence: Evidence) -> bytes:
    """The one encoding. Raises `ValueError` if it is larger than anybody would read."""
    encoded = canonical_json(
        {
            "quote": evidence.quote.hex(),
            "event_log": [_encode_event(event) for event in evidence.events],
            "app_compose": evidence.app_compose,
            "collateral": evidence.collateral,
        }
    )
    if len(encoded) > MAX_EVIDENCE_BYTES or len(evidence.events) > MAX_EVENTS:
        raise ValueError(
            f"evidence of {len(encoded)} bytes and {len(evidence.events)} events is too large; "
            f"at most {MAX_EVIDENCE_BYTES} bytes and {MAX_EVENTS} events are read"
        )
    return encoded


def decode_evidence(data: bytes) -> Evidence:
    """The evidence in `data`, which must be exactly what `encode_evidence` writes. Nothing is verified.

    Raises:
        ValueError: for all other bytes.
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise DecodeError(f"evidence has {len(data)} bytes, at most {MAX_EVIDENCE_BYTES} are read")
    value = parse_json(data)
    evidence = Evidence(
        quote=bytes.fromhex(text(value, "quote")),
        events=tuple(decode_event(entry) for entry in array(value, "event_log", maximum=MAX_EVENTS)),
        app_compose=text(value, "app_compose"),
        collateral=None if field(value, "collateral") is None else text(value, "collateral"),
    )
    if encode_evidence(evidence) != data:
        raise DecodeError("evidence is not written in its one form")
    return evidence


def evidence_digest(evidence: Evidence) -> Sha256Hex:
    """What the contract records of the evidence: SHA-256 of its encoding."""
    return Sha256Hex.of(encode_evidence(evidence))


def decode_event(value: object) -> Event:
    """One entry of the event log, with dstack's field names; fields that are not ours are ignored."""
    return Event(
        imr=integer(value, "imr"),
        event_type=integer(value, "event_type"),
        digest=text(value, "digest"),
        name=text(value, "event"),
        payload=text(value, "event_payload"),
    )


def _encode_event(event: Event) -> dict[str, Any]:
    return {
        "imr": event.imr,
        "event_type": event.event_type,
        "digest": event.digest,
        "event": event.name,
        "event_payload": event.payload,
    }
