"""Receipts: what one account asks of another, and the data that answers; in nearcore's borsh form on disk."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from sharekeeper_devnet.chain.block import ExecutionOutcome
from sharekeeper_devnet.chain.borsh import DecodeError, Reader
from sharekeeper_devnet.chain.fees import GAS_PRICE
from sharekeeper_devnet.chain.primitives import HASH_BYTES, SYSTEM_ACCOUNT, sha256
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    Action,
    ActionKind,
    AddKey,
    CreateAccount,
    DeleteAccount,
    DeleteKey,
    DeployContract,
    FullAccess,
    FunctionCall,
    Permission,
    Transfer,
    decode_action,
    decode_public_key,
)
from sharekeeper_devnet.runtime.promises import DataReceiver
from sharekeeper_devnet.runtime.public_key import Curve, PublicKey

NO_KEY = PublicKey(Curve.ED25519, bytes(32))
MAX_RECEIVERS = MAX_INPUTS = MAX_ACTIONS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReceipt:
    """Actions for the receiver, all or none.

    Attributes:
        signer_id: who signed the transaction that all this comes from, and gets back unused gas.
        signer_public_key: the key that signed it, whose allowance gets unused gas back.
        gas_price: yoctoNEAR per gas unit its gas was bought for; zero for a refund.
        output_data_receivers: who waits for its result.
        input_data_ids: the results it waits for.
        is_promise_yield: it waits for a resumption, or for its time to run out.
    """

    signer_id: str
    signer_public_key: PublicKey
    actions: tuple[Action, ...]
    gas_price: int = GAS_PRICE
    output_data_receivers: tuple[DataReceiver, ...] = ()
    input_data_ids: tuple[bytes, ...] = ()
    is_promise_yield: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReceipt:
    """A result for an action receipt that waits for `data_id`; `data` None says that what it waits for failed."""

    data_id: bytes
    data: bytes | None
    is_promise_resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt; `id` has 32 bytes."""

    id: bytes
    predecessor_id: str
    receiver_id: str
    body: ActionReceipt | DataReceipt

    @property
    def is_refund(self) -> bool:
        """Whether the chain itself made it to give money back; such a receipt costs nothing."""
        return self.predecessor_id == SYSTEM_ACCOUNT

    @property
    def is_action(self) -> bool:
        """Whether it is executed and so has an outcome; data is only delivered."""
        return isinstance(self.body, ActionReceipt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRecord:
    """A receipt and what became of it.

    Attributes:
        tx_hash: the transaction it comes from, through however many receipts.
        height: the block that made it.
        executed_height: the block that executed or delivered it; None while it waits.
        outcome: what executing it did; None before, and for data.
    """

    receipt: Receipt
    tx_hash: bytes
    height: int
    executed_height: int | None = None
    outcome: ExecutionOutcome | None = None


Unmade: TypeAlias = tuple[str, str, ActionReceipt | DataReceipt]
"""Predecessor, receiver and body of a receipt that has no id yet."""


def first_receipt_id(tx_hash: bytes) -> bytes:
    """The id of the receipt a transaction becomes."""
    return sha256(b"receipt", tx_hash)


def receipt_id(parent_id: bytes, index: int) -> bytes:
    """The id of the receipt that another made as its `index`-th."""
    return sha256(b"receipt", parent_id, index.to_bytes(8, "little"))


def refund(receiver_id: str, amount: int, public_key: PublicKey = NO_KEY) -> Unmade:
    """Gives `amount` yoctoNEAR back, and to the allowance of `public_key` when the receiver has that key."""
    body = ActionReceipt(
        signer_id=receiver_id, signer_public_key=public_key, actions=(Transfer(deposit=amount),), gas_price=0
    )
    return SYSTEM_ACCOUNT, receiver_id, body


class _Kind(IntEnum):
    """Borsh discriminants of receipts."""

    ACTION = 0
    DATA = 1
    PROMISE_YIELD = 2
    PROMISE_RESUME = 3


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _u128(number: int) -> bytes:
    return number.to_bytes(16, "little")


def _blob(data: bytes) -> bytes:
    return _u32(len(data)) + data


def _text(text: str) -> bytes:
    return _blob(text.encode())


def _list(parts: list[bytes]) -> bytes:
    return _u32(len(parts)) + b"".join(parts)


def encode_action(action: Action) -> bytes:  # noqa: PLR0911 - one per action
    """The borsh form of an action."""
    match action:
        case CreateAccount():
            return bytes([ActionKind.CREATE_ACCOUNT])
        case DeployContract(code=code):
            return bytes([ActionKind.DEPLOY_CONTRACT]) + _blob(code)
        case FunctionCall(method_name=name, args=args, gas=gas, deposit=deposit):
            return bytes([ActionKind.FUNCTION_CALL]) + _text(name) + _blob(args) + _u64(gas) + _u128(deposit)
        case Transfer(deposit=deposit):
            return bytes([ActionKind.TRANSFER]) + _u128(deposit)
        case AddKey(public_key=public_key, access_key=key):
            return bytes([ActionKind.ADD_KEY]) + public_key.borsh + _access_key(key)
        case DeleteKey(public_key=public_key):
            return bytes([ActionKind.DELETE_KEY]) + public_key.borsh
        case DeleteAccount(beneficiary_id=beneficiary_id):
            return bytes([ActionKind.DELETE_ACCOUNT]) + _text(beneficiary_id)


def _access_key(key: AccessKey) -> bytes:
    return _u64(key.nonce) + _permission(key.permission)


def _permission(permission: Permission) -> bytes:
    if isinstance(permission, FullAccess):
        return b"\1"
    allowance = b"\0" if permission.allowance is None else b"\1" + _u128(permission.allowance)
    return b"\0" + allowance + _text(permission.receiver_id) + _list(list(map(_text, permission.method_names)))


def encode_receipt(receipt: Receipt) -> bytes:
    """The borsh form of a receipt."""
    head = _text(receipt.predecessor_id) + _text(receipt.receiver_id) + receipt.id
    match receipt.body:
        case ActionReceipt() as body:
            return head + _action_body(body)
        case DataReceipt(data_id=data_id, data=data, is_promise_resume=resumes):
            kind = _Kind.PROMISE_RESUME if resumes else _Kind.DATA
            return head + bytes([kind]) + data_id + (b"\0" if data is None else b"\1" + _blob(data))


def _action_body(body: ActionReceipt) -> bytes:
    return b"".join(
        (
            bytes([_Kind.PROMISE_YIELD if body.is_promise_yield else _Kind.ACTION]),
            _text(body.signer_id),
            body.signer_public_key.borsh,
            _u128(body.gas_price),
            _list([each.data_id + _text(each.receiver_id) for each in body.output_data_receivers]),
            _list(list(body.input_data_ids)),
            _list(list(map(encode_action, body.actions))),
        )
    )


def decode_receipt(data: bytes) -> Receipt:
    """The receipt of its borsh form.

    Raises:
        DecodeError: the bytes are not one receipt.
    """
    reader = Reader(data)
    predecessor_id, receiver_id, digest = reader.text(), reader.text(), reader.take(HASH_BYTES)
    body = _body(reader)
    reader.end()
    return Receipt(id=digest, predecessor_id=predecessor_id, receiver_id=receiver_id, body=body)


def _body(reader: Reader) -> ActionReceipt | DataReceipt:
    kind = reader.unsigned(1)
    match kind:
        case _Kind.ACTION | _Kind.PROMISE_YIELD:
            return ActionReceipt(
                is_promise_yield=kind == _Kind.PROMISE_YIELD,
                signer_id=reader.text(),
                signer_public_key=decode_public_key(reader),
                gas_price=reader.unsigned(16),
                output_data_receivers=tuple(
                    DataReceiver(data_id=reader.take(HASH_BYTES), receiver_id=reader.text())
                    for _ in range(reader.count(MAX_RECEIVERS, "receivers"))
                ),
                input_data_ids=tuple(reader.take(HASH_BYTES) for _ in range(reader.count(MAX_INPUTS, "inputs"))),
                actions=tuple(decode_action(reader) for _ in range(reader.count(MAX_ACTIONS, "actions"))),
            )
        case _Kind.DATA | _Kind.PROMISE_RESUME:
            return DataReceipt(
                is_promise_resume=kind == _Kind.PROMISE_RESUME,
                data_id=reader.take(HASH_BYTES),
                data=reader.blob() if reader.option() else None,
            )
    raise DecodeError(f"unknown receipt {kind}")
