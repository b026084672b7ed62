"""Signed transactions: their values and the strict decoder of their borsh form."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import coincurve

from sharekeeper_devnet.chain.borsh import DecodeError, Reader
from sharekeeper_devnet.chain.primitives import HASH_BYTES, is_account_id
from sharekeeper_devnet.runtime.actions import (
    AccessKey,
    Action,
    AddKey,
    CreateAccount,
    DeleteAccount,
    DeleteKey,
    DeployContract,
    FullAccess,
    FunctionCall,
    FunctionCallAccess,
    Permission,
    Transfer,
)
from sharekeeper_devnet.runtime.host import ed25519_signature_holds
from sharekeeper_devnet.runtime.public_key import KEY_BYTES, Curve, PublicKey

__all__ = [
    "AccessKey",
    "Action",
    "ActionKind",
    "AddKey",
    "CreateAccount",
    "DeleteAccount",
    "DeleteKey",
    "DeployContract",
    "FullAccess",
    "FunctionCall",
    "FunctionCallAccess",
    "Permission",
    "SignedTransaction",
    "Transfer",
    "decode_action",
    "decode_public_key",
    "decode_signed_transaction",
]

MAX_ACTIONS = 1000
MAX_METHOD_NAMES = 2000
SIGNATURE_BYTES = {Curve.ED25519: 64, Curve.SECP256K1: 65}
U8, U32, U64, U128 = 1, 4, 8, 16


class ActionKind(IntEnum):
    """Borsh discriminants of actions."""

    CREATE_ACCOUNT = 0
    DEPLOY_CONTRACT = 1
    FUNCTION_CALL = 2
    TRANSFER = 3
    STAKE = 4
    ADD_KEY = 5
    DELETE_KEY = 6
    DELETE_ACCOUNT = 7
    DELEGATE = 8
    DEPLOY_GLOBAL_CONTRACT = 9
    USE_GLOBAL_CONTRACT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction as sent.

    Attributes:
        block_hash: a recent block; the transaction expires `transaction_validity_period` blocks after it.
        signature: raw signature bytes over `hash`.
        hash: SHA-256 of the unsigned borsh form.
        encoded: the signed borsh form.
    """

    signer_id: str
    public_key: PublicKey
    nonce: int
    receiver_id: str
    block_hash: bytes
    actions: tuple[Action, ...]
    signature: bytes
    hash: bytes
    encoded: bytes

    def has_valid_signature(self) -> bool:
        """Whether `public_key` made `signature` over `hash`."""
        if self.public_key.curve is Curve.ED25519:
            return ed25519_signature_holds(self.public_key.data, self.signature, self.hash)
        return _recovers(self.public_key.data, self.signature, self.hash)


def _recovers(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        found = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        return False
    return found.format(compressed=False)[1:] == key


def decode_signed_transaction(data: bytes) -> SignedTransaction:
    """The transaction `data` encodes, and nothing else does: no byte may be missing or left over.

    Raises:
        DecodeError: any other input, or an action the dev chain does not serve.
    """
    reader = Reader(data)
    signer_id = _account_id(reader)
    public_key = decode_public_key(reader)
    nonce = reader.unsigned(U64)
    receiver_id = _account_id(reader)
    block_hash = reader.take(HASH_BYTES)
    actions = tuple(decode_action(reader) for _ in range(reader.count(MAX_ACTIONS, "actions")))
    unsigned_end = reader.position
    signature = _signature(reader, public_key.curve)
    reader.end()
    return SignedTransaction(
        signer_id=signer_id,
        public_key=public_key,
        nonce=nonce,
        receiver_id=receiver_id,
        block_hash=block_hash,
        actions=actions,
        signature=signature,
        hash=hashlib.sha256(data[:unsigned_end]).digest(),
        encoded=data,
    )


def _account_id(reader: Reader) -> str:
    at = reader.position
    text = reader.text()
    if not is_account_id(text):
        raise DecodeError(f"invalid account id at offset {at}")
    return text


def _curve(reader: Reader) -> Curve:
    number = reader.unsigned(U8)
    if number not in KEY_BYTES:
        raise DecodeError(f"unknown key type {number}")
    return Curve(number)


def decode_public_key(reader: Reader) -> PublicKey:
    """The next public key.

    Raises:
        DecodeError: the bytes are none.
    """
    curve = _curve(reader)
    return PublicKey(curve, reader.take(KEY_BYTES[curve]))


def _signature(reader: Reader, expected: Curve) -> bytes:
    curve = _curve(reader)
    if curve is not expected:
        raise DecodeError("the signature is of another curve than the public key")
    return reader.take(SIGNATURE_BYTES[curve])


def decode_action(reader: Reader) -> Action:  # noqa: PLR0911 - one per action
    """The next action.

    Raises:
        DecodeError: the bytes are none, or it is one that the dev chain does not serve.
    """
    number = reader.unsigned(U8)
    match number:
        case ActionKind.CREATE_ACCOUNT:
            return CreateAccount()
        case ActionKind.DEPLOY_CONTRACT:
            return DeployContract(code=reader.blob())
        case ActionKind.FUNCTION_CALL:
            return _function_call(reader)
        case ActionKind.TRANSFER:
            return Transfer(deposit=reader.unsigned(U128))
        case ActionKind.ADD_KEY:
            return AddKey(public_key=decode_public_key(reader), access_key=_access_key(reader))
        case ActionKind.DELETE_KEY:
            return DeleteKey(public_key=decode_public_key(reader))
        case ActionKind.DELETE_ACCOUNT:
            return DeleteAccount(beneficiary_id=_account_id(reader))
    if number in set(ActionKind):
        raise DecodeError(f"the dev chain does not serve the action {ActionKind(number).name}")
    raise DecodeError(f"unknown action {number}")


def _function_call(reader: Reader) -> FunctionCall:
    return FunctionCall(
        method_name=reader.text(), args=reader.blob(), gas=reader.unsigned(U64), deposit=reader.unsigned(U128)
    )


def _access_key(reader: Reader) -> AccessKey:
    return AccessKey(nonce=reader.unsigned(U64), permission=_permission(reader))


def _permission(reader: Reader) -> Permission:
    kind = reader.unsigned(U8)
    if kind == 0:
        return FunctionCallAccess(
            allowance=reader.unsigned(U128) if reader.option() else None,
            receiver_id=reader.text(),
            method_names=tuple(reader.text() for _ in range(reader.count(MAX_METHOD_NAMES, "method names"))),
        )
    if kind == 1:
        return FullAccess()
    raise DecodeError(f"the dev chain does not serve access key permissions of kind {kind}")
