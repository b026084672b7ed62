"""What a transaction or a promise asks of an account."""

from dataclasses import dataclass
from typing import TypeAlias

from sharekeeper_devnet.runtime.public_key import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class FullAccess:
    """A key that may sign anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCallAccess:
    """A key that may sign one call without a deposit.

    Attributes:
        allowance: yoctoNEAR it may still spend on gas; None is unlimited.
        receiver_id: the only contract it may call.
        method_names: the methods it may call; empty means all.
    """

    allowance: int | None
    receiver_id: str
    method_names: tuple[str, ...]


Permission: TypeAlias = FullAccess | FunctionCallAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """What a public key may do for an account, and the last nonce it used."""

    nonce: int
    permission: Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccount:
    """Brings the receiver into being."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployContract:
    """Puts `code` on the receiver."""

    code: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """Calls the receiver's contract; `gas` in gas units, `deposit` in yoctoNEAR."""

    method_name: str
    args: bytes
    gas: int
    deposit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Moves `deposit` yoctoNEAR to the receiver."""

    deposit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddKey:
    """Adds an access key to the receiver."""

    public_key: PublicKey
    access_key: AccessKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteKey:
    """Removes an access key from the receiver."""

    public_key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAccount:
    """Ends the receiver; what it holds goes to `beneficiary_id`."""

    beneficiary_id: str


Action: TypeAlias = CreateAccount | DeployContract | FunctionCall | Transfer | AddKey | DeleteKey | DeleteAccount
