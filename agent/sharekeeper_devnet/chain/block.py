"""Blocks, and outcomes of what they executed."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block.

    Attributes:
        prev_height: height of the block before; heights may have gaps.
        ordinal: how many blocks came before.
        prev_state_root: digest of the state before this block, `state_root` after it.
        tx_root: digest of the transactions it took up, zero without any.
        outcome_root: digest of the outcomes it produced, zero without any.
        gas_used: gas units.
    """

    height: int
    hash: bytes
    prev_hash: bytes
    prev_height: int
    ordinal: int
    timestamp_ns: int
    prev_state_root: bytes
    state_root: bytes
    tx_root: bytes
    outcome_root: bytes
    gas_used: int

    @property
    def chunk_hash(self) -> bytes:
        """Hash of the block's only chunk."""
        return sha256(b"chunk", self.hash)


def genesis_block(*, genesis_digest: bytes, height: int, timestamp_ns: int, state_root: bytes) -> Block:
    """The first block; its hash stands for the whole genesis file."""
    return Block(
        height=height,
        hash=sha256(b"genesis", genesis_digest),
        prev_hash=ZERO_HASH,
        prev_height=height,
        ordinal=0,
        timestamp_ns=timestamp_ns,
        prev_state_root=state_root,
        state_root=state_root,
        tx_root=ZERO_HASH,
        outcome_root=ZERO_HASH,
        gas_used=0,
    )


def next_block(
    head: Block,
    *,
    height: int,
    timestamp_ns: int,
    state_root: bytes,
    tx_root: bytes,
    outcome_root: bytes,
    gas_used: int,
) -> Block:
    """The block after `head`; its hash covers every field and, through `prev_hash`, everything before."""
    digest = sha256(
        b"block",
        head.hash,
        height.to_bytes(8, "little"),
        timestamp_ns.to_bytes(8, "little"),
        state_root,
        tx_root,
        outcome_root,
        gas_used.to_bytes(8, "little"),
    )
    return Block(
        height=height,
        hash=digest,
        prev_hash=head.hash,
        prev_height=head.height,
        ordinal=head.ordinal + 1,
        timestamp_ns=timestamp_ns,
        prev_state_root=head.state_root,
        state_root=state_root,
        tx_root=tx_root,
        outcome_root=outcome_root,
        gas_used=gas_used,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessValue:
    """The receipt ran; `value` is what its last call returned."""

    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessReceipt:
    """The transaction became the receipt `receipt_id`, or what the receipt returned is the result of that one."""

    receipt_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailure:
    """An action failed.

    Attributes:
        index: which one; None when it was the receipt as a whole.
        kind: the `ActionErrorKind` as clients see it.
    """

    index: int | None
    kind: object


Status: TypeAlias = SuccessValue | SuccessReceipt | ActionFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOutcome:
    """What executing a transaction or a receipt did.

    Attributes:
        gas_burnt: gas units.
        tokens_burnt: yoctoNEAR paid for them; nothing for a refund.
        receipt_ids: the action receipts it made, refunds included, in order; data receipts are not among them.
    """

    executor_id: str
    gas_burnt: int
    tokens_burnt: int
    logs: tuple[str, ...]
    status: Status
    receipt_ids: tuple[bytes, ...] = ()


def status_view(status: Status) -> dict[str, object]:
    """A status as clients see it."""
    match status:
        case SuccessValue(value=value):
            return {"SuccessValue": base64.b64encode(value).decode()}
        case SuccessReceipt(receipt_id=receipt_id):
            return {"SuccessReceiptId": hash_text(receipt_id)}
        case ActionFailure(index=index, kind=kind):
            return {"Failure": {"ActionError": {"index": index, "kind": kind}}}


def encode_outcome(outcome: ExecutionOutcome) -> str:
    """The stored form of an outcome."""
    match outcome.status:
        case SuccessValue(value=value):
            status: list[object] = ["value", value.hex()]
        case SuccessReceipt(receipt_id=receipt_id):
            status = ["receipt", receipt_id.hex()]
        case ActionFailure(index=index, kind=kind):
            status = ["failure", index, kind]
    receipt_ids = [each.hex() for each in outcome.receipt_ids]
    tokens_burnt = str(outcome.tokens_burnt)
    return json.dumps([outcome.executor_id, outcome.gas_burnt, tokens_burnt, outcome.logs, status, receipt_ids])


def decode_outcome(text: str) -> ExecutionOutcome:
    """The outcome of its stored form."""
    executor_id, gas_burnt, tokens_burnt, logs, status, receipt_ids = json.loads(text)
    return ExecutionOutcome(
        executor_id=executor_id,
        gas_burnt=gas_burnt,
        tokens_burnt=int(tokens_burnt),
        logs=tuple(logs),
        status=_decode_status(status),
        receipt_ids=tuple(map(bytes.fromhex, receipt_ids)),
    )


def _decode_status(status: Sequence[object]) -> Status:
    match status:
        case ["value", str(value)]:
            return SuccessValue(value=bytes.fromhex(value))
        case ["receipt", str(receipt_id)]:
            return SuccessReceipt(receipt_id=bytes.fromhex(receipt_id))
        case ["failure", int() | None as index, kind]:
            return ActionFailure(index=index, kind=kind)
    raise ValueError("a stored outcome has an unknown status")
