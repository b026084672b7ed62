"""What two nodes of the reference network say to each other over an authenticated channel.

One channel carries one signature: the leader sends `CommitRequest`, the signer answers `CommitReply`; the leader
sends `SignRequest`, the signer answers `SignReply`. Or it carries one question of a key event (`session.py`): a
recipient sends `DealingRequest`, `AgreementRequest` or `ShareRequest`, and gets the reply of that name. Ahead of
requests a leader collects commitments (`PrecomputeRequest`, `PrecomputeReply`), and signs with them in one round
(`PresignedRequest`, `SignReply`). Any answer may be `Refusal` instead. Each message is one frame of canonical JSON with a `type`. `decode` is total: a message,
or `DecodeError`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.domain.keyset import Curve, KeysetDigest, Sha256Hex
from sharekeeper.protocol.codec import DecodeError, array, canonical_json, integer, parse_json, text
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS
from sharekeeper_devnet.network.frost import Commitment
from sharekeeper_devnet.network.session import Agreement
from sharekeeper_devnet.network.sharing import Dealing

MAX_FRAME_BYTES: Final = 128 * 1024
"""Largest message: a dealing with a threshold of 400, or the commitments of 400 signers."""

_POINT_BYTES: Final = 32
_SHARE_BYTES: Final = 32
_MAX_SIGNERS: Final = 400
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
class PrecomputeRequest:
    """A leader asks for commitments ahead of requests; those it had of that keyset and domain are void then."""

    domain_id: int
    keyset: KeysetDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecomputeReply:
    """The signer's commitments, each good for one signature, and its verifying share (32 bytes)."""

    commitments: tuple[Commitment, ...]
    verifying_share: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PresignedRequest:
    """Both rounds in one: the contract's request, and the commitments of all signers, made ahead."""

    request_id: int
    domain_id: int
    payload: bytes
    keyset: KeysetDigest
    commitments: tuple[Commitment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DealingRequest:
    """A recipient of that attempt (`Attempt.digest`) asks for the peer's dealing."""

    attempt: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class DealingReply:
    """The peer's dealing, unchecked: `check_dealing` does that."""

    dealing: Dealing


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRequest:
    """A recipient asks another one for its agreement."""

    attempt: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReply:
    """The dealers that count for the peer, and what it was dealt."""

    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRequest:
    """A recipient asks for the share that the peer dealt to it."""

    attempt: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareReply:
    """That share, unchecked: `check_share` does that."""

    share: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The peer will not, or not yet, and says why."""

    reason: str


KeyEventQuestion = DealingRequest | AgreementRequest | ShareRequest
KeyEventReply = DealingReply | AgreementReply | ShareReply
SigningMessage = CommitRequest | CommitReply | SignRequest | SignReply
PresigningMessage = PrecomputeRequest | PrecomputeReply | PresignedRequest
Message = SigningMessage | PresigningMessage | KeyEventQuestion | KeyEventReply | Refusal

_QUESTION_NAMES: Final[Mapping[type[KeyEventQuestion], str]] = {
    DealingRequest: "dealing_request",
    AgreementRequest: "agreement_request",
    ShareRequest: "share_request",
}


def encode(message: Message) -> bytes:
    """The frame of a message."""
    if isinstance(message, Refusal):
        body: dict[str, Any] = {"type": "refusal", "reason": message.reason[:_MAX_REASON]}
    elif isinstance(message, KeyEventQuestion | KeyEventReply):
        body = _key_event_json(message)
    elif isinstance(message, PresigningMessage):
        body = _presigning_json(message)
    else:
        body = _signing_json(message)
    return canonical_json(body)


def _signing_json(message: SigningMessage) -> dict[str, Any]:
    match message:
        case CommitRequest():
            return {"type": "commit_request", **_request_json(message)}
        case CommitReply():
            verifying_share = message.verifying_share.hex()
            return {
                "type": "commit_reply",
                "verifying_share": verifying_share,
                **_commitment_json(message.commitment),
            }
        case SignRequest():
            return {"type": "sign_request", **_commitments_json(message.commitments)}
        case SignReply():
            return {"type": "sign_reply", "share": message.share.hex()}


def _presigning_json(message: PresigningMessage) -> dict[str, Any]:
    match message:
        case PrecomputeRequest():
            return {"type": "precompute_request", "domain_id": message.domain_id, "keyset": str(message.keyset)}
        case PrecomputeReply():
            verifying_share = message.verifying_share.hex()
            return {
                "type": "precompute_reply",
                "verifying_share": verifying_share,
                **_commitments_json(message.commitments),
            }
        case PresignedRequest():
            return {"type": "presigned_request", **_request_json(message), **_commitments_json(message.commitments)}


def _key_event_json(message: KeyEventQuestion | KeyEventReply) -> dict[str, Any]:
    match message:
        case DealingRequest() | AgreementRequest() | ShareRequest():
            return {"type": _QUESTION_NAMES[type(message)], "attempt": str(message.attempt)}
        case DealingReply():
            return {"type": "dealing_reply", **_dealing_json(message.dealing)}
        case AgreementReply():
            agreed = message.agreement
            return {"type": "agreement_reply", "dealers": list(agreed.dealers), "digest": str(agreed.digest)}
        case ShareReply():
            return {"type": "share_reply", "share": message.share.reveal().hex()}


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
    if kind not in _DECODERS:
        raise DecodeError(f"unknown message {kind[:40]!r}")
    return _DECODERS[kind](value)


def _commit_request(value: object) -> CommitRequest:
    return CommitRequest(
        request_id=integer(value, "request_id"),
        domain_id=integer(value, "domain_id"),
        payload=_hex(text(value, "payload")),
        keyset=KeysetDigest(text(value, "keyset")),
    )


def _presigned_request(value: object) -> PresignedRequest:
    return PresignedRequest(
        request_id=integer(value, "request_id"),
        domain_id=integer(value, "domain_id"),
        payload=_hex(text(value, "payload")),
        keyset=KeysetDigest(text(value, "keyset")),
        commitments=_commitments(value),
    )


def _precompute_request(value: object) -> PrecomputeRequest:
    return PrecomputeRequest(domain_id=integer(value, "domain_id"), keyset=KeysetDigest(text(value, "keyset")))


def _agreement_reply(value: object) -> AgreementReply:
    ids = array(value, "dealers", maximum=_MAX_SIGNERS)
    dealers = tuple(integer({"dealer": item}, "dealer") for item in ids)
    return AgreementReply(agreement=Agreement(dealers=dealers, digest=Sha256Hex(text(value, "digest"))))


_DECODERS: Final[Mapping[str, Callable[[object], Message]]] = {
    "commit_request": _commit_request,
    "commit_reply": lambda value: CommitReply(commitment=_commitment(value), verifying_share=_verifying(value)),
    "sign_request": lambda value: SignRequest(commitments=_commitments(value)),
    "sign_reply": lambda value: SignReply(share=_hex(text(value, "share"), _SHARE_BYTES)),
    "precompute_request": _precompute_request,
    "precompute_reply": lambda value: PrecomputeReply(
        commitments=_commitments(value), verifying_share=_verifying(value)
    ),
    "presigned_request": _presigned_request,
    "dealing_request": lambda value: DealingRequest(attempt=Sha256Hex(text(value, "attempt"))),
    "dealing_reply": lambda value: DealingReply(dealing=_dealing(value)),
    "agreement_request": lambda value: AgreementRequest(attempt=Sha256Hex(text(value, "attempt"))),
    "agreement_reply": _agreement_reply,
    "share_request": lambda value: ShareRequest(attempt=Sha256Hex(text(value, "attempt"))),
    "share_reply": lambda value: ShareReply(share=Secret(_hex(text(value, "share"), _SHARE_BYTES))),
    "refusal": lambda value: Refusal(reason=text(value, "reason")[:_MAX_REASON]),
}


def _verifying(value: object) -> bytes:
    verifying_share = _hex(text(value, "verifying_share"), _POINT_BYTES)
    GROUPS[Curve.ED25519].check(verifying_share)
    return verifying_share


def _commitments(value: object) -> tuple[Commitment, ...]:
    return tuple(_commitment(item) for item in array(value, "commitments", maximum=_MAX_SIGNERS))


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


def _commitments_json(commitments: tuple[Commitment, ...]) -> dict[str, Any]:
    return {"commitments": [_commitment_json(item) for item in commitments]}


def _request_json(message: CommitRequest | PresignedRequest) -> dict[str, Any]:
    return {
        "request_id": message.request_id,
        "domain_id": message.domain_id,
        "payload": message.payload.hex(),
        "keyset": str(message.keyset),
    }


def _dealing(value: object) -> Dealing:
    items = array(value, "commitments", maximum=_MAX_SIGNERS)
    if not items:
        raise DecodeError("a dealing has at least one commitment")
    return Dealing(
        commitments=tuple(_hex(text({"commitment": item}, "commitment")) for item in items),
        proof_point=_hex(text(value, "proof_point")),
        proof_scalar=_hex(text(value, "proof_scalar"), _SHARE_BYTES),
    )


def _dealing_json(dealing: Dealing) -> dict[str, Any]:
    return {
        "commitments": [point.hex() for point in dealing.commitments],
        "proof_point": dealing.proof_point.hex(),
        "proof_scalar": dealing.proof_scalar.hex(),
    }


def _hex(value: str, length: int | None = None) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise DecodeError("not hexadecimal") from None
    if length is not None and len(data) != length:
        raise DecodeError(f"{len(data)} bytes, expected {length}")
    return data
