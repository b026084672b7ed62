"""Chain state: accounts, access keys, contract code and contract data under one key space.

A state is read through `StateReader` and changed through `Overlay`; overlays nest, so that a receipt that fails
leaves nothing behind. Keys are `a:<account>`, `c:<account>`, `k:<account>:<borsh key>`, `d:<account>:<data key>`,
and for receipts that wait `r:<account>:<data id>` (data that came) and `y:<account>:<data id>` (a receipt yielded);
account ids hold no colon, so no prefix reaches into another account.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sharekeeper_devnet.chain.fees import ACCOUNT_BYTES, RECORD_BYTES
from sharekeeper_devnet.chain.primitives import ZERO_HASH
from sharekeeper_devnet.chain.transaction import AccessKey, FullAccess, FunctionCallAccess, Permission
from sharekeeper_devnet.runtime.public_key import Curve, PublicKey

KEY_RECORD_BYTES = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account.

    Attributes:
        amount: yoctoNEAR.
        code_hash: SHA-256 of the contract, 32 zero bytes without one.
        storage_usage: bytes.
    """

    amount: int
    code_hash: bytes = ZERO_HASH
    storage_usage: int = ACCOUNT_BYTES


class StateReader(Protocol):
    """State at one height, or at one height with changes on top."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value under `key`, or None."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys that start with `prefix`, in order, with their values."""


class Overlay:
    """Changes on top of a state that is only read."""

    def __init__(self, below: "StateReader | Overlay") -> None:
        self._below = below
        self._changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes, /) -> bytes | None:
        return self._changes[key] if key in self._changes else self._below.get(key)

    def set(self, key: bytes, value: bytes | None) -> None:
        """Puts `value` under `key`; None removes it."""
        self._changes[key] = value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys that start with `prefix`, in order, with their values."""
        found: dict[bytes, bytes | None] = dict(self._below.scan(prefix))
        found |= {key: value for key, value in self._changes.items() if key.startswith(prefix)}
        return ((key, value) for key, value in sorted(found.items()) if value is not None)

    @property
    def changes(self) -> Mapping[bytes, bytes | None]:
        """What was set, None for removed."""
        return self._changes

    def merge(self, upper: "Overlay") -> None:
        """Takes over the changes made in an overlay on top of this one."""
        self._changes.update(upper.changes)


def account_key(account_id: str) -> bytes:
    """Where the account lies."""
    return f"a:{account_id}".encode()


def code_key(account_id: str) -> bytes:
    """Where the contract code of the account lies."""
    return f"c:{account_id}".encode()


def access_key_prefix(account_id: str) -> bytes:
    """Where the access keys of the account lie."""
    return f"k:{account_id}:".encode()


def access_key_key(account_id: str, public_key: PublicKey) -> bytes:
    """Where one access key lies."""
    return access_key_prefix(account_id) + public_key.borsh


def data_prefix(account_id: str) -> bytes:
    """Where the contract data of the account lies."""
    return f"d:{account_id}:".encode()


def received_key(account_id: str, data_id: bytes) -> bytes:
    """Where data lies that came for a receipt of the account, until the receipt runs."""
    return f"r:{account_id}:".encode() + data_id


def yield_key(account_id: str, data_id: bytes) -> bytes:
    """Where it is written that a receipt of the account waits to be resumed."""
    return f"y:{account_id}:".encode() + data_id


def encode_account(account: Account) -> bytes:
    """The stored form of an account."""
    return json.dumps(
        {"amount": str(account.amount), "code_hash": account.code_hash.hex(), "storage_usage": account.storage_usage}
    ).encode()


def decode_account(value: bytes) -> Account:
    """The account of its stored form."""
    record = json.loads(value)
    return Account(
        amount=int(record["amount"]),
        code_hash=bytes.fromhex(record["code_hash"]),
        storage_usage=record["storage_usage"],
    )


def encode_access_key(key: AccessKey) -> bytes:
    """The stored form of an access key."""
    return json.dumps({"nonce": key.nonce, "permission": _encode_permission(key.permission)}).encode()


def _encode_permission(permission: Permission) -> dict[str, object] | None:
    match permission:
        case FullAccess():
            return None
        case FunctionCallAccess(allowance=allowance, receiver_id=receiver_id, method_names=names):
            return {
                "allowance": None if allowance is None else str(allowance),
                "receiver_id": receiver_id,
                "method_names": list(names),
            }


def decode_access_key(value: bytes) -> AccessKey:
    """The access key of its stored form."""
    record = json.loads(value)
    permission = record["permission"]
    if permission is None:
        return AccessKey(nonce=record["nonce"], permission=FullAccess())
    allowance = permission["allowance"]
    return AccessKey(
        nonce=record["nonce"],
        permission=FunctionCallAccess(
            allowance=None if allowance is None else int(allowance),
            receiver_id=permission["receiver_id"],
            method_names=tuple(permission["method_names"]),
        ),
    )


def read_account(state: StateReader | Overlay, account_id: str) -> Account | None:
    """The account, or None when there is none of that id."""
    value = state.get(account_key(account_id))
    return None if value is None else decode_account(value)


def write_account(state: Overlay, account_id: str, account: Account) -> None:
    """Puts the account in place."""
    state.set(account_key(account_id), encode_account(account))


def remove_account(state: Overlay, account_id: str) -> None:
    """The account is gone, with its keys, its code and its data."""
    state.set(account_key(account_id), None)
    state.set(code_key(account_id), None)
    for prefix in (access_key_prefix(account_id), data_prefix(account_id)):
        for key, _ in state.scan(prefix):
            state.set(key, None)


def write_received(state: Overlay, account_id: str, data_id: bytes, data: bytes | None) -> None:
    """Data came for a receipt of the account; None says that what it waited for failed."""
    state.set(received_key(account_id, data_id), b"\0" if data is None else b"\1" + data)


def has_received(state: StateReader | Overlay, account_id: str, data_id: bytes) -> bool:
    """Whether that data came and still waits to be used."""
    return state.get(received_key(account_id, data_id)) is not None


def take_received(state: Overlay, account_id: str, data_id: bytes) -> bytes | None:
    """The data that came, None for a failure; it is used up by this."""
    key = received_key(account_id, data_id)
    value = state.get(key)
    state.set(key, None)
    return None if value is None or value == b"\0" else value[1:]


def read_access_key(state: StateReader | Overlay, account_id: str, public_key: PublicKey) -> AccessKey | None:
    """The access key, or None when the account has none of that public key."""
    value = state.get(access_key_key(account_id, public_key))
    return None if value is None else decode_access_key(value)


def write_access_key(state: Overlay, account_id: str, public_key: PublicKey, key: AccessKey | None) -> None:
    """Puts the access key in place; None removes it."""
    state.set(access_key_key(account_id, public_key), None if key is None else encode_access_key(key))


def write_code(state: Overlay, account_id: str, account: Account, code: bytes) -> Account:
    """Puts `code` on the account; returns the account as it is then (not yet written)."""
    old = len(state.get(code_key(account_id)) or b"")
    state.set(code_key(account_id), code)
    return Account(
        amount=account.amount,
        code_hash=hashlib.sha256(code).digest(),
        storage_usage=account.storage_usage + len(code) - old,
    )


def access_keys(state: StateReader | Overlay, account_id: str) -> Iterator[tuple[PublicKey, AccessKey]]:
    """All access keys of the account."""
    prefix = access_key_prefix(account_id)
    for key, value in state.scan(prefix):
        raw = key[len(prefix) :]
        yield PublicKey(Curve(raw[0]), raw[1:]), decode_access_key(value)


def access_key_bytes(public_key: PublicKey, key: AccessKey) -> int:
    """Storage the access key counts for, as nearcore measures it: both borsh forms and the record."""
    size = len(public_key.borsh) + KEY_RECORD_BYTES + RECORD_BYTES
    if isinstance(key.permission, FunctionCallAccess):
        size += 1 if key.permission.allowance is None else 1 + 16
        size += 4 + len(key.permission.receiver_id.encode())
        size += 4 + sum(4 + len(name.encode()) for name in key.permission.method_names)
    return size


class ContractStorage:
    """The data of one contract as its calls see it."""

    def __init__(self, state: StateReader | Overlay, account_id: str) -> None:
        self._state = state
        self._prefix = data_prefix(account_id)

    def get(self, key: bytes, /) -> bytes | None:
        return self._state.get(self._prefix + key)


class ContractYields:
    """The data ids under which receipts of one contract wait to be resumed."""

    def __init__(self, state: StateReader | Overlay, account_id: str) -> None:
        self._state = state
        self._account_id = account_id

    def __contains__(self, data_id: object) -> bool:
        return isinstance(data_id, bytes) and self._state.get(yield_key(self._account_id, data_id)) is not None
