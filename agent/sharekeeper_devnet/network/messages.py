"""What two nodes of the reference network say to each other over an authenticated channel.

One channel carries one signature: the leader sends `CommitRequest`, the signer answers `CommitReply`; the leader
sends `SignRequest`, the signer answers `SignReply`; either answer may be `Refusal` instead. Each message is one
frame of canonical JSON with a `type`. `decode` is total: a message, or `DecodeError`.
"""

from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.domain.keyset import Curve, KeysetDigest
from sharekeeper.protocol.codec import DecodeError, array, canonical_json, integer, parse_json, text
from sharekeeper_devnet.network.curves import GROUPS
from sharekeeper_devnet.network.frost import Commitment

MAX_FRAME_BYTES: Final = 64 * 1024
"""Largest message: commitments of about 200 signers."""

_POINT_BYTES: Final = 32
_SHARE_BYTES: Final = 32
_MAX_SIGNERS: Final = 200
_MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """The leader asks for a commitment to sign that request; payload and domain must be the contract's."""

    request_id: int
    domain_id: int
    payload: bytes
    keyset: KeysetDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReply:
    """The signer's commitment, and the public point of its private share (its verifying share, 32 bytes)."""

    commitment: Commitment
    verifying_share: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """The commitments of all signers of this signature."""

    commitments: tuple[Commitment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignReply:
    """The signature share, 32 bytes; whether it is right is for the leader to check."""

    share: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The signer will not, and says why."""

    reason: str


Message = CommitRequest | CommitReply | SignRequest | SignReply | Refusal


def encode(message: Message) -> bytes:
    """The frame of a message."""
    match message:
        case CommitRequest():
            body: dict[str, Any] = {
                "type": "commit_request",
                "request_id": message.request_id,
                "domain_id": message.domain_id,
                "payload": message.payload.hex(),
                "keyset": str(message.keyset),
            }
        case CommitReply():
            body = {
                "type": "commit_reply",
                "verifying_share": message.verifying_share.hex(),
                **_commitment_json(message.commitment),
            }
        case SignRequest():
            body = {"type": "sign_request", "commitments": [_commitment_json(item) for item in message.commitments]}
        case SignReply():
            body = {"type": "sign_reply", "share": message.share.hex()}
        case Refusal():
            body = {"type": "refusal", "reason": message.reason[:_MAX_REASON]}
    return canonical_json(body)


def decode(frame: bytes) -> Message:
    """The message of a frame. Points are checked, scalars are not. Raises `DecodeError`."""
    value = parse_json(frame)
    try:
        return _decode(value, text(value, "type"))
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _decode(value: object, kind: str) -> Message:
    match kind:
        case "commit_request":
            return CommitRequest(
                request_id=integer(value, "request_id"),
                domain_id=integer(value, "domain_id"),
                payload=_hex(text(value, "payload")),
                keyset=KeysetDigest(text(value, "keyset")),
            )
        case "commit_reply":
            verifying_share = _hex(text(value, "verifying_share"), _POINT_BYTES)
            GROUPS[Curve.ED25519].check(verifying_share)
            return CommitReply(commitment=_commitment(value), verifying_share=verifying_share)
        case "sign_request":
            items = array(value, "commitments", maximum=_MAX_SIGNERS)
            return SignRequest(commitments=tuple(_commitment(item) for item in items))
        case "sign_reply":
            return SignReply(share=_hex(text(value, "share"), _SHARE_BYTES))
        case "refusal":
            return Refusal(reason=text(value, "reason")[:_MAX_REASON])
        case _:
            raise DecodeError(f"unknown message {kind[:40]!r}")


def _commitment(value: object) -> Commitment:
    return Commitment(
        identifier=integer(value, "identifier"),
        hiding=_hex(text(value, "hiding"), _POINT_BYTES),
        binding=_hex(text(value, "binding"), _POINT_BYTES),
    )


def _commitment_json(commitment: Commitment) -> dict[str, Any]:
    return {
        "identifier": commitment.identifier,
        "hiding": commitment.hiding.hex(),
        "binding": commitment.binding.hex(),
    }


def _hex(value: str, length: int | None = None) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise DecodeError("not hexadecimal") from None
    if length is not None and len(data) != length:
        raise DecodeError(f"{len(data)} bytes, expected {length}")
    return data
