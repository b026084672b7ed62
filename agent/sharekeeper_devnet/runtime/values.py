"""The values that go into a contract call and come out of it."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Protocol

from sharekeeper_devnet.runtime.faults import CallFailure
from sharekeeper_devnet.runtime.gas import MAX_GAS
from sharekeeper_devnet.runtime.promises import NewReceipt, Resumption


class Storage(Protocol):
    """What a call reads: a `dict` of a contract's storage serves."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value under `key`, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Everything a contract can ask about its call.

    Attributes:
        current_account_id: the account the contract is deployed on.
        signer_account_id: who signed the transaction.
        signer_public_key: the access key that signed it, `ed25519:<base58>`.
        predecessor_account_id: who called: the signer, unless the call came through another contract.
        input: the arguments as raw bytes.
        attached_deposit: yoctoNEAR.
        prepaid_gas: gas units; also bounded by `MAX_GAS`.
        block_timestamp: nanoseconds since 1970.
        account_balance: yoctoNEAR, the attached deposit included.
        storage_usage: bytes the account occupies before the call.
        random_seed: 32 bytes, the same for all calls of one block.
        promise_results: what the call waited for, in order; None stands for a failure.
        output_receiver_ids: who waits for its result.
        action_id: 32 bytes no other call has; ids of data derive from it.
        is_view: true refuses writes, promises and questions about signer, predecessor, deposit and gas.
    """

    current_account_id: str
    signer_account_id: str = "system"
    signer_public_key: str = "ed25519:11111111111111111111111111111111"
    predecessor_account_id: str = "system"
    input: bytes = b""
    attached_deposit: int = 0
    prepaid_gas: int = MAX_GAS
    block_height: int = 1
    block_timestamp: int = 0
    epoch_height: int = 0
    account_balance: int = 0
    storage_usage: int = 0
    random_seed: bytes = bytes(32)
    promise_results: tuple[bytes | None, ...] = ()
    output_receiver_ids: tuple[str, ...] = ()
    action_id: bytes = bytes(32)
    is_view: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call did.

    Attributes:
        failure: None when it succeeded.
        return_value: bytes given to `value_return`; empty when it gave none or failed.
        logs: in order; kept when the call failed.
        gas_burnt: gas units, at most the prepaid gas.
        gas_reserved: gas units set aside for the receipts it made.
        storage_writes: new values, None for removed keys; empty when the call failed.
        storage_usage_change: bytes the account's storage grew by, negative when it shrank.
        spent: yoctoNEAR that leave the account with the receipts.
        receipts: what it made by promises, in order; empty when the call failed.
        resumptions: data for receipts that yielded.
        returned: the index in `receipts` whose result is that of the call; None when `return_value` is.
    """

    failure: CallFailure | None
    return_value: bytes = b""
    logs: tuple[str, ...] = ()
    gas_burnt: int
    storage_writes: Mapping[bytes, bytes | None] = field(default_factory=dict)
    storage_usage_change: int = 0
    gas_reserved: int = 0
    spent: int = 0
    receipts: tuple[NewReceipt, ...] = ()
    resumptions: tuple[Resumption, ...] = ()
    returned: int | None = None

    @property
    def status(self) -> str:
        """`ok`, or the sentence that says why the call failed."""
        return "ok" if self.failure is None else self.failure.detail

    @property
    def panic(self) -> str | None:
        """The message the contract panicked with; None when it did not panic."""
        return None if self.failure is None else self.failure.panic

    def apply_to(self, storage: MutableMapping[bytes, bytes]) -> None:
        """Makes the writes of this call part of `storage`; a failed call has none."""
        for key, value in self.storage_writes.items():
            if value is None:
                storage.pop(key, None)
            else:
                storage[key] = value
