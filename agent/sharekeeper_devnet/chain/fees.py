"""What actions cost before and beside contract execution, with nearcore's parameters.

Gas is counted in gas units, money in yoctoNEAR. A fee is paid once when a receipt is sent (`send_sir` when
sender is receiver) and once when it is executed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sharekeeper_devnet.chain.primitives import is_implicit_account_id
from sharekeeper_devnet.chain.transaction import (
    Action,
    AddKey,
    CreateAccount,
    DeleteKey,
    DeployContract,
    FunctionCall,
    FunctionCallAccess,
    Transfer,
)

GAS_PRICE = 100_000_000
"""yoctoNEAR per gas unit; constant on the dev chain."""
STORAGE_PRICE_PER_BYTE = 10**19
"""yoctoNEAR an account must hold for each byte it stores."""
FREE_STORAGE_BYTES = 770
"""Accounts up to this size need no balance."""

ACCOUNT_BYTES = 100
RECORD_BYTES = 40


@dataclass(frozen=True, slots=True)
class Fee:
    """Gas units of one action or one byte."""

    send_sir: int
    send_not_sir: int
    execution: int

    def send(self, *, sir: bool) -> int:
        """The sending part; `sir` says that sender is receiver."""
        return self.send_sir if sir else self.send_not_sir


def _same(gas: int) -> Fee:
    return Fee(gas, gas, gas)


RECEIPT = _same(108_059_500_000)
CREATE_ACCOUNT = _same(3_850_000_000_000)
DEPLOY_BASE = _same(184_765_750_000)
DEPLOY_BYTE = Fee(6_812_999, 47_683_715, 64_572_944)
CALL_BASE = Fee(200_000_000_000, 200_000_000_000, 780_000_000_000)
CALL_BYTE = Fee(2_235_934, 47_683_715, 2_235_934)
TRANSFER = _same(115_123_062_500)
FULL_KEY = _same(101_765_125_000)
CALL_KEY_BASE = _same(102_217_625_000)
CALL_KEY_BYTE = Fee(1_925_331, 47_683_715, 1_925_331)
DELETE_KEY = _same(94_946_625_000)


def _parts(action: Action, receiver_id: str) -> Iterable[tuple[Fee, int]]:
    """Fees of one action, each with how often it is due."""
    match action:
        case CreateAccount():
            yield CREATE_ACCOUNT, 1
        case DeployContract(code=code):
            yield DEPLOY_BASE, 1
            yield DEPLOY_BYTE, len(code)
        case FunctionCall(method_name=name, args=args):
            yield CALL_BASE, 1
            yield CALL_BYTE, len(name.encode()) + len(args)
        case Transfer():
            yield TRANSFER, 1
            if is_implicit_account_id(receiver_id):
                yield CREATE_ACCOUNT, 1
                yield FULL_KEY, 1
        case AddKey(access_key=key) if isinstance(key.permission, FunctionCallAccess):
            yield CALL_KEY_BASE, 1
            yield CALL_KEY_BYTE, sum(len(name.encode()) + 1 for name in key.permission.method_names)
        case AddKey():
            yield FULL_KEY, 1
        case DeleteKey():
            yield DELETE_KEY, 1


def send_gas(action: Action, receiver_id: str, *, sir: bool) -> int:
    """Gas to send `action` to `receiver_id`."""
    return sum(fee.send(sir=sir) * times for fee, times in _parts(action, receiver_id))


def execution_gas(action: Action, receiver_id: str) -> int:
    """Gas to execute `action` on `receiver_id`, contract execution not included."""
    return sum(fee.execution * times for fee, times in _parts(action, receiver_id))


def deposit(action: Action) -> int:
    """YoctoNEAR that moves with the action."""
    return action.deposit if isinstance(action, FunctionCall | Transfer) else 0


def attached_gas(action: Action) -> int:
    """Gas attached to the action for contract execution."""
    return action.gas if isinstance(action, FunctionCall) else 0


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


def transaction_cost(signer_id: str, receiver_id: str, actions: Iterable[Action]) -> TransactionCost:
    """The cost of a transaction from `signer_id` to `receiver_id`."""
    actions = tuple(actions)
    sir = signer_id == receiver_id
    return TransactionCost(
        gas_burnt=RECEIPT.send(sir=sir) + sum(send_gas(action, receiver_id, sir=sir) for action in actions),
        gas_remaining=RECEIPT.execution
        + sum(execution_gas(action, receiver_id) + attached_gas(action) for action in actions),
        deposit=sum(map(deposit, actions)),
    )


def required_balance(storage_usage: int) -> int:
    """YoctoNEAR an account with `storage_usage` bytes must hold."""
    return 0 if storage_usage <= FREE_STORAGE_BYTES else storage_usage * STORAGE_PRICE_PER_BYTE
