"""What transactions and storage cost, with nearcore's parameters.

Gas is counted in gas units, money in yoctoNEAR. The fees of receipts and actions come from the runtime, which
charges contracts for the receipts they make.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sharekeeper_devnet.runtime.actions import Action
from sharekeeper_devnet.runtime.fees import (
    CALL_BASE,
    CALL_BYTE,
    CALL_KEY_BASE,
    CALL_KEY_BYTE,
    CREATE_ACCOUNT,
    DATA_RECEIPT,
    DATA_RECEIPT_BYTE,
    DELETE_ACCOUNT,
    DELETE_KEY,
    DEPLOY_BASE,
    DEPLOY_BYTE,
    FULL_KEY,
    RECEIPT,
    TRANSFER,
    Fee,
    attached_gas,
    deposit,
    execution_gas,
    send_gas,
)

__all__ = [
    "ACCOUNT_BYTES",
    "CALL_BASE",
    "CALL_BYTE",
    "CALL_KEY_BASE",
    "CALL_KEY_BYTE",
    "CREATE_ACCOUNT",
    "DATA_RECEIPT",
    "DATA_RECEIPT_BYTE",
    "DELETE_ACCOUNT",
    "DELETE_KEY",
    "DEPLOY_BASE",
    "DEPLOY_BYTE",
    "FREE_STORAGE_BYTES",
    "FULL_KEY",
    "GAS_PRICE",
    "RECEIPT",
    "RECORD_BYTES",
    "STORAGE_PRICE_PER_BYTE",
    "TRANSFER",
    "Fee",
    "TransactionCost",
    "attached_gas",
    "bought_gas",
    "deposit",
    "execution_gas",
    "required_balance",
    "send_gas",
    "transaction_cost",
]

GAS_PRICE = 100_000_000
"""yoctoNEAR per gas unit; constant on the dev chain."""
STORAGE_PRICE_PER_BYTE = 10**19
"""yoctoNEAR an account must hold for each byte it stores."""
FREE_STORAGE_BYTES = 770
"""Accounts up to this size need no balance."""

ACCOUNT_BYTES = 100
RECORD_BYTES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCost:
    """What a transaction takes from its signer before it runs.

    Attributes:
        gas_burnt: gas units burnt by turning it into a receipt.
        gas_remaining: gas units bought for executing the receipt; what is left of them is refunded.
        deposit: yoctoNEAR that moves with it.
    """

    gas_burnt: int
    gas_remaining: int
    deposit: int

    @property
    def gas_cost(self) -> int:
        """Price of all gas, yoctoNEAR; this is also what counts against a key's allowance."""
        return (self.gas_burnt + self.gas_remaining) * GAS_PRICE

    @property
    def total(self) -> int:
        """YoctoNEAR."""
        return self.gas_cost + self.deposit


def bought_gas(receiver_id: str, actions: Iterable[Action]) -> int:
    """Gas that is paid for when a receipt with `actions` is made: to execute it, and attached to its calls."""
    return RECEIPT.execution + sum(execution_gas(action, receiver_id) + attached_gas(action) for action in actions)


def transaction_cost(signer_id: str, receiver_id: str, actions: Iterable[Action]) -> TransactionCost:
    """The cost of a transaction from `signer_id` to `receiver_id`."""
    actions = tuple(actions)
    sir = signer_id == receiver_id
    return TransactionCost(
        gas_burnt=RECEIPT.send(sir=sir) + sum(send_gas(action, receiver_id, sir=sir) for action in actions),
        gas_remaining=bought_gas(receiver_id, actions),
        deposit=sum(map(deposit, actions)),
    )


def required_balance(storage_usage: int) -> int:
    """YoctoNEAR an account with `storage_usage` bytes must hold."""
    return 0 if storage_usage <= FREE_STORAGE_BYTES else storage_usage * STORAGE_PRICE_PER_BYTE
