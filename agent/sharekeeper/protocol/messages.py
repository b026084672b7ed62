"""The five messages of wire version 1 and their one encoding (docs/wire-format.md).

A message is one type byte and canonical JSON. `decode_message` is total: a message or `ProtocolViolation`,
whatever the bytes; it accepts exactly the bytes that `encode_message` writes. What a message may say at
which moment is the session's business (`session`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from sharekeeper.attestation.evidence import decode_evidence, encode_evidence
from sharekeeper.domain.attestation import Evidence
from sharekeeper.domain.identity import AccountId, NetworkId, Role, TlsKey
from sharekeeper.domain.keyset import KeysetDigest, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare, Purpose
from sharekeeper.errors import PeerNotAttested, ProtocolViolation, SharekeeperError
from sharekeeper.protocol.codec import (
    canonical_json,
    decode_shares,
    encode_shares,
    field,
    hexadecimal,
    integer,
    parse_json,
    text,
)
from sharekeeper.spec import (
    ATTESTATION_NONCE_BYTES,
    MAX_CONTROL_FRAME_BYTES,
    MAX_EVIDENCE_BYTES,
    MAX_SHARES_FRAME_BYTES,
    SPEC_REVISION,
    WIRE_VERSION,
)

MAX_REFUSAL_CHARACTERS: Final = 300
MAX_EVIDENCE_FRAME_BYTES: Final = 1 + MAX_EVIDENCE_BYTES
"""Largest evidence message."""
MAX_CODE_CHARACTERS: Final = 40
_CODE: Final = re.compile(r"[a-z0-9_]{1,40}")
_DURABLE: Final = "durable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What both sides must agree on before shares travel. Raises `ValueError` when it contradicts itself.

    `recovery_id` is the contract's for a recovery and None otherwise. In a copy and a check the backup service that
    holds the shares stands where the node stands in a backup: `node_tls_key` is its key, `Role.NODE` its side.
    """

    account_id: AccountId
    network: NetworkId
    purpose: Purpose
    recovery_id: int | None
    keyset_digest: KeysetDigest
    node_tls_key: TlsKey
    backup_service_tls_key: TlsKey

    def __post_init__(self) -> None:
        if (self.recovery_id is None) is (self.purpose is Purpose.RECOVERY):
            raise ValueError("a recovery has a recovery_id, any other exchange has none")
        if self.node_tls_key == self.backup_service_tls_key:
            raise ValueError("both sides have the same TLS key; machines never share one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who sends (account and role) and for which exchange.

    `nonce`: what the peer's evidence must be made for, 32 random bytes; None in soft launch.
    """

    role: Role
    exchange: Exchange
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShares:
    """The key shares of the exchange's keyset, in keyset order."""

    shares: tuple[KeyShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The sender holds the shares durably. `payload_digest` names the `KeyShares` message byte for byte."""

    role: Role
    exchange: Exchange
    payload_digest: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvidence:
    """The sender's evidence, made for this exchange. Nothing of it is verified here."""

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The sender ends the exchange. `message` is one printable line.

    `code` is that of an error class; of evidence that was refused it is `not_attested_` and the check that failed.
    """

    code: str
    message: str

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError(f"a refusal's code is 1 to {MAX_CODE_CHARACTERS} characters of a-z, 0-9 and _")
        if len(self.message) > MAX_REFUSAL_CHARACTERS or not self.message.isprintable():
            raise ValueError(f"a refusal's message is at most {MAX_REFUSAL_CHARACTERS} printable characters")

    @classmethod
    def of(cls, fault: SharekeeperError) -> Self:
        """The refusal that tells the peer of `fault`, whose text must hold nothing the peer may not know."""
        line = "".join(character if character.isprintable() else " " for character in str(fault))
        check = fault.check if isinstance(fault, PeerNotAttested) else None
        return cls(code=_check_code(check) if check else fault.code, message=line[:MAX_REFUSAL_CHARACTERS])


def _check_code(check: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"not attested {check}".lower())[:MAX_CODE_CHARACTERS].strip("_")


Message = Hello | KeyShares | Receipt | Refusal | ShownEvidence

_HELLO: Final = 1
_KEY_SHARES: Final = 2
_RECEIPT: Final = 3
_REFUSAL: Final = 4
_EVIDENCE: Final = 5


# --- encoding -----------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """The message's bytes: a frame's payload. A `KeyShares` message holds secrets: send it, keep it nowhere."""
    if isinstance(message, ShownEvidence):
        return bytes([_EVIDENCE]) + encode_evidence(message.evidence)
    kind, value = _encode(message)
    return bytes([kind]) + canonical_json(value)


def payload_digest(frame: bytes) -> Sha256Hex:
    """What a receipt says about the `KeyShares` message in `frame`: SHA-256 of type byte and JSON."""
    return Sha256Hex.of(frame)


def _encode(message: Hello | KeyShares | Receipt | Refusal) -> tuple[int, dict[str, Any]]:
    match message:
        case Hello():
            nonce = None if message.nonce is None else message.nonce.hex()
            head = {"wire_version": WIRE_VERSION, "spec_revision": SPEC_REVISION, "nonce": nonce}
            return _HELLO, head | _encode_exchange(message.role, message.exchange)
        case KeyShares():
            return _KEY_SHARES, {"shares": encode_shares(message.shares)}
        case Receipt():
            says = {"status": _DURABLE, "payload_digest": message.payload_digest}
            return _RECEIPT, says | _encode_exchange(message.role, message.exchange)
        case _:
            return _REFUSAL, {"code": message.code, "message": message.message}


def _encode_exchange(role: Role, exchange: Exchange) -> dict[str, Any]:
    keys = (exchange.node_tls_key, exchange.backup_service_tls_key)
    sender, receiver = keys if role is Role.NODE else keys[::-1]
    return {
        "role": role.value,
        "account_id": exchange.account_id,
        "chain_id": exchange.network.chain_id,
        "genesis_hash": exchange.network.genesis_hash,
        "contract_id": exchange.network.contract_id,
        "purpose": exchange.purpose.value,
        "recovery_id": exchange.recovery_id,
        "keyset_digest": exchange.keyset_digest,
        "sender_tls_key": str(sender),
        "receiver_tls_key": str(receiver),
    }


# --- decoding -----------------------------------------------------------------------------------


def decode_message(frame: bytes) -> Message:
    """The message in `frame`.

    1. A known type byte. 2. At most that type's size. 3. Strict JSON with every field in its form.
    4. Exactly the bytes that encode the message: nothing unknown, repeated or written another way.

    Raises:
        ProtocolViolation: at the first step that fails; its text quotes no secret.
    """
    known = _DECODERS.get(frame[0]) if frame else None
    if known is None:
        raise ProtocolViolation(f"the peer sent no message of wire version {WIRE_VERSION}: unknown type byte")
    name, limit, decode = known
    if len(frame) > limit:
        raise ProtocolViolation(f"the peer sent a {name} of {len(frame)} bytes; at most {limit} are allowed")
    try:
        message = decode(frame[1:])
    except ValueError as error:
        raise ProtocolViolation(f"the peer sent a malformed {name}: {error}") from None
    if encode_message(message) != frame:
        raise ProtocolViolation(f"the peer sent a {name} with unknown fields or not in its one encoding")
    return message


def decode_hello(frame: bytes) -> Hello:
    """The hello in the first frame of a connection: its purpose says which session to open.

    Raises:
        ProtocolViolation: another message or none.
    """
    message = decode_message(frame)
    if not isinstance(message, Hello):
        raise ProtocolViolation(f"the peer must begin with a hello; it sent a {type(message).__name__}")
    return message


def _decode_hello(data: bytes) -> Hello:
    value = parse_json(data)
    version = integer(value, "wire_version")
    if version != WIRE_VERSION:
        raise ValueError(f"it speaks wire version {version}, this side {WIRE_VERSION}; upgrade the older side")
    revision = text(value, "spec_revision")
    if revision != SPEC_REVISION:
        raise ValueError(f"it follows spec revision {revision[:40]!r}, this side {SPEC_REVISION!r}")
    nonce = None if field(value, "nonce") is None else hexadecimal(value, "nonce", ATTESTATION_NONCE_BYTES)
    role, exchange = _decode_exchange(value)
    return Hello(role=role, exchange=exchange, nonce=nonce)


def _decode_key_shares(data: bytes) -> KeyShares:
    return KeyShares(shares=decode_shares(field(parse_json(data), "shares")))


def _decode_receipt(data: bytes) -> Receipt:
    value = parse_json(data)
    if text(value, "status") != _DURABLE:
        raise ValueError(f"field 'status' is not {_DURABLE!r}")
    role, exchange = _decode_exchange(value)
    return Receipt(role=role, exchange=exchange, payload_digest=Sha256Hex(text(value, "payload_digest")))


def _decode_refusal(data: bytes) -> Refusal:
    value = parse_json(data)
    return Refusal(code=text(value, "code"), message=text(value, "message"))


def _decode_evidence(data: bytes) -> ShownEvidence:
    return ShownEvidence(evidence=decode_evidence(data))


def _decode_exchange(value: object) -> tuple[Role, Exchange]:
    role = Role(text(value, "role"))
    keys = (TlsKey.parse(text(value, "sender_tls_key")), TlsKey.parse(text(value, "receiver_tls_key")))
    node, backup_service = keys if role is Role.NODE else keys[::-1]
    network = NetworkId(
        chain_id=text(value, "chain_id"),
        genesis_hash=text(value, "genesis_hash"),
        contract_id=AccountId(text(value, "contract_id")),
    )
    return role, Exchange(
        account_id=AccountId(text(value, "account_id")),
        network=network,
        purpose=Purpose(text(value, "purpose")),
        recovery_id=None if field(value, "recovery_id") is None else integer(value, "recovery_id"),
        keyset_digest=KeysetDigest(text(value, "keyset_digest")),
        node_tls_key=node,
        backup_service_tls_key=backup_service,
    )


_Decoder = Callable[[bytes], Message]

_DECODERS: Final[dict[int, tuple[str, int, _Decoder]]] = {
    _HELLO: ("hello", MAX_CONTROL_FRAME_BYTES, _decode_hello),
    _KEY_SHARES: ("key-shares message", MAX_SHARES_FRAME_BYTES, _decode_key_shares),
    _RECEIPT: ("receipt", MAX_CONTROL_FRAME_BYTES, _decode_receipt),
    _REFUSAL: ("refusal", MAX_CONTROL_FRAME_BYTES, _decode_refusal),
    _EVIDENCE: ("evidence message", MAX_EVIDENCE_FRAME_BYTES, _decode_evidence),
}
