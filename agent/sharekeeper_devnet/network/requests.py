"""Signature requests as the contract shows them, and whose turn it is to answer (docs/contract.md: `sign`, `respond`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sharekeeper.domain.protocol_state import Participant, Participants
from sharekeeper.protocol.codec import DecodeError, field, integer, text

MAX_OPEN_REQUESTS: Final = 32
"""The contract keeps at most so many open."""

MAX_PAYLOAD_BYTES: Final = 1024
"""The contract takes payloads of 1 to so many bytes."""

SIGNATURE_BYTES: Final = 64

LEADER_TURN_BLOCKS: Final = 6
"""A leader has so many blocks to answer before the next one tries: a little more than an answer takes to be final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRequest:
    """One request. Heights are block heights; `signature` is None while nobody has answered."""

    request_id: int
    domain_id: int
    payload: bytes
    signature: bytes | None
    requested_in: int
    expires_on: int

    def is_open(self, height: int) -> bool:
        """True when an answer is still wanted at that block."""
        return self.signature is None and height < self.expires_on


def decode_request(value: object) -> SignatureRequest:
    """A request from view `signature_request`. Raises `DecodeError`."""
    return SignatureRequest(
        request_id=integer(value, "request_id"),
        domain_id=integer(value, "domain_id"),
        payload=_hex(text(value, "payload"), 1, MAX_PAYLOAD_BYTES),
        signature=_signature(field(value, "signature")),
        requested_in=integer(value, "requested_in"),
        expires_on=integer(value, "expires_on"),
    )


def decode_requests(value: object) -> tuple[SignatureRequest, ...]:
    """The requests from view `open_signature_requests`, oldest first. Raises `DecodeError`."""
    if not isinstance(value, list) or len(value) > MAX_OPEN_REQUESTS:
        raise DecodeError(f"open signature requests are an array of at most {MAX_OPEN_REQUESTS} items")
    return tuple(decode_request(item) for item in value)


def leader(request: SignatureRequest, participants: Participants, height: int) -> Participant:
    """Who answers the request at that final block.

    Every node computes the same order: it starts at a place given by the request id and goes on by one
    participant each `LEADER_TURN_BLOCKS` without an answer.
    """
    members: Sequence[Participant] = participants.members
    turns = max(0, height - request.requested_in) // LEADER_TURN_BLOCKS
    return members[(request.request_id + turns) % len(members)]


def _signature(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DecodeError("field 'signature' is neither a string nor null")
    return _hex(value, SIGNATURE_BYTES, SIGNATURE_BYTES)


def _hex(value: str, minimum: int, maximum: int) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise DecodeError("not hexadecimal") from None
    if not minimum <= len(data) <= maximum:
        raise DecodeError(f"{len(data)} bytes, expected {minimum} to {maximum}")
    return data
